-- Named statements for ClickHouse: `-- name: x`, what it does, the statement. Loaded by store/sql.py.
-- Values are bound as {name:Type}. Hashes travel as hexadecimal: drivers take binary strings for text.
-- An alias hides the column of its name, in WHERE too: `events.x` is the column.

-- name: get_call
-- The row of one call, all of it but its messages.
SELECT
    toString(events.call_id) AS call_id,
    run_id,
    api, method, target, `end`, http_status, user_agent, is_stream,
    toUnixTimestamp64Micro(started_at) AS started_at_us,
    toUnixTimestamp64Micro(ended_at) AS ended_at_us,
    time_to_first_token_us,
    request_model, response_model, provider_name,
    request_skeleton,
    arrayMap(hash -> hex(hash), events.message_hashes) AS message_hashes,
    message_slots,
    hex(assumeNotNull(events.answer_hash)) AS answer_hash,
    isNotNull(events.answer_hash) AS has_answer,
    response_id, finish_reasons, response_metadata,
    input_tokens, output_tokens, total_tokens, cache_read_input_tokens, cache_creation_input_tokens,
    reasoning_tokens, is_usage_estimated, upstream_cost_usd,
    cost_usd, cost_source, price_provider, price_date,
    error_type, error_code, error_message,
    agent_name, request_bytes, response_bytes, opaque_reason, is_truncated, expires_on
FROM events
WHERE project_id = {project_id:String} AND events.call_id = {call_id:UUID}
ORDER BY stored_at DESC
LIMIT 1;

-- name: message_contents
-- Contents of messages of one call by their hashes, each once. They stand in the partition of the call.
SELECT hex(messages.content_hash) AS content_hash, content
FROM messages
WHERE project_id = {project_id:String} AND expires_on = {expires_on:Date}
  AND messages.content_hash IN (SELECT toFixedString(unhex(arrayJoin({hashes:Array(String)})), 16))
LIMIT 1 BY content_hash;

-- name: raw_exchange
-- Exact bodies of a call, hexadecimal, where they are kept.
SELECT hex(assumeNotNull(raw_exchanges.request)) AS request, isNotNull(raw_exchanges.request) AS has_request,
    hex(assumeNotNull(raw_exchanges.response)) AS response, isNotNull(raw_exchanges.response) AS has_response
FROM raw_exchanges FINAL
WHERE project_id = {project_id:String} AND call_id = {call_id:UUID};

-- name: newest_calls
-- The last calls to begin, in the order they were stored in. Figures only.
SELECT * FROM (
    SELECT
        toString(events.call_id) AS call_id, run_id, api, method, target, `end`, http_status,
        toUnixTimestamp64Micro(started_at) AS started_at_us,
        toUnixTimestamp64Micro(ended_at) AS ended_at_us,
        stored_at,
        request_model, response_model,
        input_tokens, output_tokens, total_tokens, cache_read_input_tokens, cache_creation_input_tokens,
        reasoning_tokens, is_usage_estimated, upstream_cost_usd,
        cost_usd, cost_source, price_provider, price_date,
        error_type, error_code, error_message, agent_name
    FROM events FINAL
    WHERE project_id = {project_id:String}
    ORDER BY started_at DESC
    LIMIT {limit:UInt32}
)
ORDER BY stored_at, ended_at_us, call_id;

-- name: calls_after
-- Calls stored after the given one, in the order they were stored in. A call may have begun long before it
-- was stored, but not more than a day.
WITH (
    SELECT (max(stored_at), max(ended_at), toString(any(call_id)), max(started_at))
    FROM events
    WHERE project_id = {project_id:String} AND events.call_id = {after:UUID}
) AS last
SELECT
    toString(events.call_id) AS call_id, run_id, api, method, target, `end`, http_status,
    toUnixTimestamp64Micro(started_at) AS started_at_us,
    toUnixTimestamp64Micro(ended_at) AS ended_at_us,
    request_model, response_model,
    input_tokens, output_tokens, total_tokens, cache_read_input_tokens, cache_creation_input_tokens,
    reasoning_tokens, is_usage_estimated, upstream_cost_usd,
    cost_usd, cost_source, price_provider, price_date,
    error_type, error_code, error_message, agent_name
FROM events FINAL
WHERE project_id = {project_id:String}
  AND started_at > last.4 - INTERVAL 1 DAY
  AND (stored_at, ended_at, toString(events.call_id)) > (last.1, last.2, last.3)
ORDER BY stored_at, ended_at, call_id
LIMIT {limit:UInt32};

-- name: move_calls
-- Calls whose run has been hung elsewhere: their rows again, one microsecond younger, so that these count.
-- "" is "none". A repeat is harmless.
INSERT INTO events
SELECT * REPLACE (
    stored_at + toIntervalMicrosecond(1) AS stored_at,
    nullIf({run_id:String}, '') AS run_id,
    nullIf({session_id:String}, '') AS session_id,
    nullIf({parent_run_id:String}, '') AS parent_run_id
)
FROM events FINAL
WHERE project_id = {project_id:String}
  AND call_id IN (SELECT toUUID(arrayJoin({call_ids:Array(String)})));

-- name: call_heads
-- What calls say of the run that they are part of, beside their text.
SELECT toString(events.call_id) AS call_id, agent_name, agent_version, user_id, tags,
    notEmpty(events.tool_names) AS offers_tools
FROM events
WHERE project_id = {project_id:String}
  AND events.call_id IN (SELECT toUUID(arrayJoin({call_ids:Array(String)})))
ORDER BY stored_at DESC
LIMIT 1 BY call_id;
