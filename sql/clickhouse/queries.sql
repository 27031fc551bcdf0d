-- Named statements for ClickHouse: `-- name: x`, what it does, the statement. Loaded by store/sql.py.
-- Values are bound as {name:Type}. Hashes travel as hexadecimal: drivers take binary strings for text.
-- insert_deduplicate = 0: what is broken off by a crash of ClickHouse itself must not be dropped when it is repeated.
-- An alias hides the column of its name, in WHERE too: `events.x` is the column.

-- name: get_calls
-- The rows of these calls, all of them but their messages, of those that began within [from_us, to_us). In no order.
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
    agent_name, request_bytes, response_bytes, opaque_reason, is_truncated, redacted, expires_on
FROM events
WHERE project_id = {project_id:String}
  AND started_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND started_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
  AND events.call_id IN (SELECT toUUID(arrayJoin({call_ids:Array(String)})))
ORDER BY stored_at DESC
LIMIT 1 BY events.call_id;

-- name: message_contents
-- Contents of messages by their hashes, each once. A call and its messages stand in one partition.
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
-- The last calls to begin, in the order they were stored in. Figures only. Where they begin is looked for among the
-- newest rows, which are read from the end of the key; a call has a few rows at most (moved, settled), and never eight.
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
    FROM events
    WHERE project_id = {project_id:String}
      AND started_at >= (
          SELECT min(started_at)
          FROM (
              SELECT DISTINCT started_at, call_id
              FROM (
                  SELECT started_at, call_id FROM events
                  WHERE project_id = {project_id:String}
                  ORDER BY started_at DESC
                  LIMIT {limit:UInt32} * 8
              )
              ORDER BY started_at DESC
              LIMIT {limit:UInt32}
          )
      )
    ORDER BY started_at DESC, stored_at DESC
    LIMIT 1 BY call_id
    LIMIT {limit:UInt32}
)
ORDER BY stored_at, ended_at_us, call_id;

-- name: calls_after
-- Calls stored after the given one, in the order they were stored in. A call may have begun long before it
-- was stored, but not more than a day. Of the rows of a call the newest comes first, and is the one that counts.
WITH (
    SELECT (max(stored_at), max(ended_at), toString(any(call_id)), max(started_at))
    FROM events
    WHERE project_id = {project_id:String} AND events.call_id = {after:UUID}
) AS last
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
    FROM events
    WHERE project_id = {project_id:String}
      AND started_at > last.4 - INTERVAL 1 DAY
      AND (stored_at, ended_at, toString(events.call_id)) > (last.1, last.2, last.3)
    ORDER BY stored_at DESC
    LIMIT 1 BY call_id
)
ORDER BY stored_at, ended_at_us, call_id
LIMIT {limit:UInt32};

-- name: move_calls
-- Calls whose run has been hung elsewhere: their rows again, one microsecond younger, so that these count. Where the
-- call call_ids[i] goes stands in run_ids[i], session_ids[i] and parent_run_ids[i]; "" is "none". A repeat is harmless.
INSERT INTO events SETTINGS insert_deduplicate = 0
SELECT * REPLACE (
    stored_at + toIntervalMicrosecond(1) AS stored_at,
    nullIf(transform(toString(call_id), {call_ids:Array(String)}, {run_ids:Array(String)}, ''), '') AS run_id,
    nullIf(transform(toString(call_id), {call_ids:Array(String)}, {session_ids:Array(String)}, ''), '') AS session_id,
    nullIf(transform(toString(call_id), {call_ids:Array(String)}, {parent_run_ids:Array(String)}, ''), '') AS parent_run_id
)
FROM events FINAL
WHERE project_id = {project_id:String}
  AND call_id IN (SELECT toUUID(arrayJoin({call_ids:Array(String)})));

-- name: calls_here
-- Those of these calls that have a row.
SELECT DISTINCT toString(call_id) AS key
FROM events
WHERE project_id = {project_id:String} AND call_id IN (SELECT toUUID(arrayJoin({keys:Array(String)})));

-- name: bodies_here
-- Those of these calls of which exact bytes are kept.
SELECT DISTINCT toString(call_id) AS key
FROM raw_exchanges
WHERE project_id = {project_id:String} AND call_id IN (SELECT toUUID(arrayJoin({keys:Array(String)})));

-- name: messages_here
-- In which partitions these messages are, by their hashes.
SELECT DISTINCT concat(toString(expires_on), ' ', lower(hex(messages.content_hash))) AS key
FROM messages
WHERE project_id = {project_id:String}
  AND messages.content_hash IN (SELECT toFixedString(unhex(arrayJoin({keys:Array(String)})), 16));

-- name: reported_here
-- When these reported events were stored, by their ids: each time one is told again it is another row.
SELECT DISTINCT concat(toString(toUnixTimestamp64Micro(stored_at)), ' ', lower(hex(reported_events.event_id))) AS key
FROM reported_events
WHERE project_id = {project_id:String}
  AND reported_events.event_id IN (SELECT unhex(arrayJoin({keys:Array(String)})));

-- name: note_hours
-- Figures of the hours in which these calls began are to be made anew.
INSERT INTO changed_hours SETTINGS insert_deduplicate = 0
SELECT DISTINCT project_id, toStartOfHour(toDateTime(started_at, 'UTC')), now64(6, 'UTC')
FROM events
WHERE project_id = {project_id:String} AND expires_on > toDate(now('UTC'))
  AND call_id IN (SELECT toUUID(arrayJoin({keys:Array(String)})));

-- name: redacted_of_run
-- What was redacted in the calls of a run that began within [from_us, to_us).
SELECT toString(events.call_id) AS call_id, redacted
FROM events FINAL
WHERE project_id = {project_id:String}
  AND started_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND started_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
  AND events.run_id = {run_id:String}
  AND notEmpty(redacted);

-- name: call_heads
-- What calls say of the run that they are part of, beside their text.
SELECT toString(events.call_id) AS call_id, agent_name, agent_version, user_id, tags,
    notEmpty(events.tool_names) AS offers_tools
FROM events
WHERE project_id = {project_id:String}
  AND events.call_id IN (SELECT toUUID(arrayJoin({call_ids:Array(String)})))
ORDER BY stored_at DESC
LIMIT 1 BY call_id;

-- name: messages_sent
-- By all requests of a run together.
SELECT sum(length(message_hashes)) AS messages
FROM events
WHERE project_id = {project_id:String} AND run_id = {run_id:String}
  AND started_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND started_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC');

-- name: sent_calls
-- Calls of a run in the order they began in. The first `kept` messages of each are those of the call before.
SELECT
    toString(call_id) AS call_id, api, method, `end`, http_status,
    toUnixTimestamp64Micro(started_at) AS started_at_us,
    request_model, response_model, provider_name, response_id, response_metadata,
    input_tokens, output_tokens, total_tokens, cache_read_input_tokens, cache_creation_input_tokens,
    reasoning_tokens, is_usage_estimated, upstream_cost_usd, cost_usd, cost_source, price_provider, price_date,
    if(isNull(answer_hash), '', hex(assumeNotNull(answer_hash))) AS answer_hash,
    toUInt32(if(differs = 0, shorter, toUInt64(differs - 1))) AS kept,
    arrayMap(hash -> hex(hash), arraySlice(sent, kept + 1)) AS new_hashes,
    arraySlice(message_slots, kept + 1) AS new_slots,
    toString(expires_on) AS day
FROM
(
    SELECT *, message_hashes AS sent, least(length(sent), length(before)) AS shorter,
        arrayFirstIndex((one, other) -> one != other, arraySlice(sent, 1, shorter), arraySlice(before, 1, shorter)) AS differs
    FROM
    (
        SELECT *, lagInFrame(message_hashes) OVER (
            ORDER BY started_at, call_id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
        ) AS before
        FROM
        (
            SELECT * FROM events FINAL
            WHERE project_id = {project_id:String} AND run_id = {run_id:String}
              AND started_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
              AND started_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
        )
    )
)
ORDER BY started_at, call_id;

-- name: message_sizes
-- How long messages are, what is base64 by the piece: a picture takes as much of a prompt as a page of text. And the
-- tool calls whose results they bring, in three dialects, with how long each result is. A pattern that counts to 900
-- takes 25 ms a megabyte of picture: it tells whether there is one, no more.
SELECT
    hex(messages.content_hash) AS content_hash, role,
    length(content) + if(match(content, '[A-Za-z0-9+/]{900}'), arraySum(run -> 4000 - toInt64(length(run)), arrayFilter(
        run -> length(run) >= 900 AND substring(run, 900, 1) != '=', extractAll(content, '[A-Za-z0-9+/]+=*')
    )), 0) AS size,
    arrayFilter(result -> result.1 != '', arrayConcat(
        [(JSONExtractString(content, 'tool_call_id'), length(content))],
        [(if(endsWith(JSONExtractString(content, 'type'), '_output'), JSONExtractString(content, 'call_id'), ''), length(content))],
        arrayMap(part -> (JSONExtractString(part, 'tool_use_id'), length(part)), JSONExtractArrayRaw(content, 'content'))
    )) AS tool_results
FROM messages
WHERE project_id = {project_id:String} AND expires_on = {expires_on:Date}
  AND messages.content_hash IN (SELECT toFixedString(unhex(arrayJoin({hashes:Array(String)})), 16))
LIMIT 1 BY content_hash;

-- name: messages_by_hash
-- Contents of messages, whatever calls hold them.
SELECT hex(messages.content_hash) AS content_hash, content
FROM messages
WHERE project_id = {project_id:String}
  AND messages.content_hash IN (SELECT toFixedString(unhex(arrayJoin({hashes:Array(String)})), 16))
LIMIT 1 BY content_hash;

-- name: messages_brought_up
-- By the calls of a run, in the order they began in: what is not in the call before, and the answer.
SELECT
    toString(call_id) AS call_id, toString(expires_on) AS day,
    if(isNull(answer_hash), '', hex(assumeNotNull(answer_hash))) AS answer_hash,
    arrayMap(hash -> hex(hash), arraySlice(message_hashes, toUInt32(if(differs = 0, shorter, toUInt64(differs - 1))) + 1)) AS new_hashes
FROM
(
    SELECT *, least(length(message_hashes), length(before)) AS shorter,
        arrayFirstIndex((one, other) -> one != other, arraySlice(message_hashes, 1, shorter), arraySlice(before, 1, shorter)) AS differs
    FROM
    (
        SELECT *, lagInFrame(message_hashes) OVER (
            ORDER BY started_at, call_id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
        ) AS before
        FROM
        (
            SELECT call_id, started_at, expires_on, answer_hash, message_hashes FROM events FINAL
            WHERE project_id = {project_id:String} AND run_id = {run_id:String}
              AND started_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
              AND started_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
        )
    )
)
ORDER BY started_at, call_id;

-- name: messages_with_text
-- Messages of a partition by their hashes, of those that hold one of the spellings; and whose results they bring.
SELECT
    hex(messages.content_hash) AS content_hash, role,
    arrayFilter(id -> id != '', arrayConcat(
        [JSONExtractString(content, 'tool_call_id')],
        [if(endsWith(JSONExtractString(content, 'type'), '_output'), JSONExtractString(content, 'call_id'), '')],
        arrayMap(part -> JSONExtractString(part, 'tool_use_id'), JSONExtractArrayRaw(content, 'content'))
    )) AS tool_call_ids
FROM messages
WHERE project_id = {project_id:String} AND expires_on = {expires_on:Date}
  AND messages.content_hash IN (SELECT toFixedString(unhex(arrayJoin({hashes:Array(String)})), 16))
  AND multiSearchAnyCaseInsensitiveUTF8(/*said*/, {spellings:Array(String)})
LIMIT 1 BY content_hash;

-- name: plain_json
-- Fragment: a message without its base64, which holds any short word by chance.
if(length(content) > 10000, replaceRegexpAll(content, '[A-Za-z0-9+/]{900,}=*', ''), content)

-- name: what_was_said
-- Fragment: a message without its base64, its role, kinds of parts and names of fields.
replaceRegexpAll(content, '"(?:role|type)":"[a-z_]+"|"[a-z_]+":|[A-Za-z0-9+/]{900,}=*', '')

-- name: settle_call
-- A call whose cost was told afterwards: its row again, one microsecond younger, with what was told. "" is "not told":
-- then it stays as it is. A repeat is harmless.
INSERT INTO events SETTINGS insert_deduplicate = 0
SELECT * REPLACE (
    stored_at + toIntervalMicrosecond(1) AS stored_at,
    coalesce(toUInt64OrNull({input_tokens:String}), input_tokens) AS input_tokens,
    coalesce(toUInt64OrNull({output_tokens:String}), output_tokens) AS output_tokens,
    coalesce(toUInt64OrNull({total_tokens:String}), total_tokens) AS total_tokens,
    coalesce(toUInt64OrNull({cache_read_input_tokens:String}), cache_read_input_tokens) AS cache_read_input_tokens,
    coalesce(toUInt64OrNull({reasoning_tokens:String}), reasoning_tokens) AS reasoning_tokens,
    is_usage_estimated AND empty({input_tokens:String}) AS is_usage_estimated,
    toDecimal64OrNull({cost_usd:String}, 12) AS upstream_cost_usd,
    toDecimal64OrNull({cost_usd:String}, 12) AS cost_usd,
    {cost_source:String} AS cost_source,
    NULL AS price_provider,
    NULL AS price_date
)
FROM events FINAL
WHERE project_id = {project_id:String} AND call_id = {call_id:UUID};

-- name: reprice_calls
-- Calls that are priced anew: their rows again, one microsecond younger. What the call call_ids[i] costs stands in
-- costs_usd[i] and its fellows; "" is "not known". What an upstream told of its cost stays. A repeat is harmless.
INSERT INTO events SETTINGS insert_deduplicate = 0
SELECT * REPLACE (
    stored_at + toIntervalMicrosecond(1) AS stored_at,
    toDecimal64OrNull(transform(toString(call_id), {call_ids:Array(String)}, {costs_usd:Array(String)}, ''), 12) AS cost_usd,
    transform(toString(call_id), {call_ids:Array(String)}, {cost_sources:Array(String)}, '') AS cost_source,
    nullIf(transform(toString(call_id), {call_ids:Array(String)}, {price_providers:Array(String)}, ''), '') AS price_provider,
    nullIf(transform(toString(call_id), {call_ids:Array(String)}, {price_dates:Array(String)}, ''), '') AS price_date
)
FROM events FINAL
WHERE project_id = {project_id:String} AND cost_source NOT IN ('upstream', 'generation')
  AND call_id IN (SELECT toUUID(arrayJoin({call_ids:Array(String)})));

-- name: expired_partitions
-- Partitions of a table whose day has come, the oldest first, with their rows.
SELECT expires_on, count() AS rows
FROM /*table*/
WHERE expires_on <= {today:Date}
GROUP BY expires_on
ORDER BY expires_on
LIMIT {limit:UInt32};

-- name: oldest_calls
-- The oldest call or reported event of each project that is not to be dropped with its partition.
SELECT project_id, toUnixTimestamp64Micro(min(began)) AS started_at_us
FROM
(
    SELECT project_id, min(started_at) AS began FROM events WHERE expires_on > {today:Date} GROUP BY project_id
    UNION ALL
    SELECT project_id, min(at) AS began FROM reported_events WHERE expires_on > {today:Date} GROUP BY project_id
)
GROUP BY project_id;

-- name: changed_hours
-- Hours with calls that were inserted after their figures were made, or may have been; the newest first.
SELECT changed.project_id AS project_id, toUnixTimestamp(changed.hour) AS hour_s
FROM
(
    SELECT project_id, hour, max(changed_at) AS last_change
    FROM changed_hours
    WHERE changed_at > fromUnixTimestamp64Micro({since_us:Int64}, 'UTC')
    GROUP BY project_id, hour
) AS changed
LEFT JOIN
(
    SELECT project_id, hour, max(complete_until) AS made_until FROM hourly_figures GROUP BY project_id, hour
) AS made USING (project_id, hour)
WHERE changed.last_change > made.made_until
ORDER BY hour_s DESC, project_id
LIMIT {limit:UInt32};

-- name: make_figures
-- The figures of one hour of a project, from its calls as they are now.
INSERT INTO hourly_figures
SELECT
    {project_id:String}, toDateTime({hour_s:UInt32}, 'UTC'), now64(6, 'UTC') - toIntervalSecond({settled_s:UInt32}),
    arrayMap(one -> one.1, groupArray(model)), arrayMap(one -> one.1, groupArray(agent)), groupArray(calls), groupArray(failed_calls), groupArray(unpriced_calls),
    groupArray(input), groupArray(output), groupArray(cache_read), groupArray(cost), groupArray(duration)
FROM
(
    SELECT
        tuple(request_model) AS model, tuple(agent_name) AS agent,
        count() AS calls, countIf(isNotNull(error_type)) AS failed_calls, countIf(isNull(cost_usd)) AS unpriced_calls,
        sum(ifNull(input_tokens, 0)) AS input, sum(ifNull(output_tokens, 0)) AS output,
        sum(ifNull(cache_read_input_tokens, 0)) AS cache_read,
        assumeNotNull(sum(cost_usd)) AS cost,
        sum(toUInt64(greatest(0, toUnixTimestamp64Micro(ended_at) - toUnixTimestamp64Micro(started_at)))) AS duration
    FROM events FINAL
    WHERE project_id = {project_id:String}
      AND started_at >= toDateTime64({hour_s:UInt32}, 6, 'UTC')
      AND started_at < toDateTime64({hour_s:UInt32}, 6, 'UTC') + toIntervalHour(1)
    GROUP BY request_model, agent_name
    ORDER BY request_model, agent_name
);

-- name: stored_calls
-- How many calls of a project there are, and of how many the exact bytes. What was stored twice, and waits to be merged,
-- counts once.
SELECT
    (SELECT count() FROM events FINAL WHERE project_id = {project_id:String}) AS calls,
    (SELECT count() FROM raw_exchanges FINAL WHERE project_id = {project_id:String}) AS raw_bodies;

-- name: cost_groups
-- What calls cost together, by one key; its source is one of the two fragments below.
SELECT
    /*key*/ AS name,
    sum(part_calls) AS calls, sum(part_failed) AS failed_calls, sum(part_unpriced) AS unpriced_calls,
    sum(part_input) AS input_tokens, sum(part_output) AS output_tokens, sum(part_read) AS cache_read_input_tokens,
    sum(part_cost) AS cost, toString(cost) AS cost_usd
FROM (/*source*/)
GROUP BY name
ORDER BY /*order*/
LIMIT {limit:UInt32};

-- name: costs_of_hours
-- Fragment: figures of the hours within [from_s, to_s); the newest hours that changed since their figures were made
-- are counted from their calls. Of a great many such hours the older ones are as they were last counted.
WITH changed AS
(
    SELECT noted.hour AS hour
    FROM (SELECT hour, max(changed_at) AS changed_at FROM changed_hours
          WHERE project_id = {project_id:String} AND hour >= toDateTime({from_s:UInt32}, 'UTC')
            AND hour < toDateTime({to_s:UInt32}, 'UTC')
          GROUP BY hour) AS noted
    LEFT JOIN (SELECT hour, max(complete_until) AS complete_until FROM hourly_figures
               WHERE project_id = {project_id:String} AND hour >= toDateTime({from_s:UInt32}, 'UTC')
               GROUP BY hour) AS made ON made.hour = noted.hour
    WHERE noted.changed_at > made.complete_until
    ORDER BY hour DESC
    LIMIT 24
)
SELECT
    toDate(hour, 'UTC') AS day, `groups.request_model` AS request_model, `groups.agent_name` AS agent_name,
    CAST(NULL, 'Nullable(String)') AS agent_version,
    `groups.calls` AS part_calls, `groups.failed_calls` AS part_failed, `groups.unpriced_calls` AS part_unpriced,
    `groups.input_tokens` AS part_input, `groups.output_tokens` AS part_output,
    `groups.cache_read_input_tokens` AS part_read, `groups.cost_usd` AS part_cost
FROM hourly_figures FINAL
ARRAY JOIN groups
WHERE project_id = {project_id:String}
  AND hour >= toDateTime({from_s:UInt32}, 'UTC') AND hour < toDateTime({to_s:UInt32}, 'UTC')
  AND hour NOT IN (SELECT hour FROM changed)
UNION ALL
SELECT
    toDate(started_at, 'UTC') AS day, request_model, agent_name, agent_version,
    count(), countIf(isNotNull(error_type)), countIf(isNull(cost_usd)),
    sum(ifNull(input_tokens, 0)), sum(ifNull(output_tokens, 0)), sum(ifNull(cache_read_input_tokens, 0)),
    assumeNotNull(sum(cost_usd))
FROM events FINAL
WHERE project_id = {project_id:String}
  AND started_at >= (SELECT min(hour) FROM changed)
  AND toStartOfHour(toDateTime(started_at, 'UTC')) IN (SELECT hour FROM changed)
GROUP BY day, request_model, agent_name, agent_version;

-- name: costs_of_calls
-- Fragment: the same of the calls themselves.
SELECT
    toDate(started_at, 'UTC') AS day, request_model, agent_name, agent_version,
    count() AS part_calls, countIf(isNotNull(error_type)) AS part_failed, countIf(isNull(cost_usd)) AS part_unpriced,
    sum(ifNull(input_tokens, 0)) AS part_input, sum(ifNull(output_tokens, 0)) AS part_output,
    sum(ifNull(cache_read_input_tokens, 0)) AS part_read, assumeNotNull(sum(cost_usd)) AS part_cost
FROM events FINAL
WHERE project_id = {project_id:String}
  AND started_at >= toDateTime64({from_s:UInt32}, 6, 'UTC') AND started_at < toDateTime64({to_s:UInt32}, 6, 'UTC')
GROUP BY day, request_model, agent_name, agent_version;

-- name: runs_of_user
-- Runs with a call or an event of this user, as they are now.
SELECT DISTINCT assumeNotNull(run_id) AS run_id
FROM
(
    SELECT run_id, user_id FROM events FINAL WHERE project_id = {project_id:String}
    UNION ALL
    SELECT run_id, user_id FROM reported_events FINAL WHERE project_id = {project_id:String}
)
WHERE user_id = {user_id:String} AND isNotNull(run_id);

-- name: note_calls_of_runs
-- Calls that belong to these runs now are to be erased.
INSERT INTO erased_calls (erasure_id, project_id, call_id)
SELECT {erasure_id:UUID}, project_id, call_id
FROM (SELECT project_id, call_id, run_id FROM events FINAL WHERE project_id = {project_id:String})
WHERE run_id IN (SELECT arrayJoin({run_ids:Array(String)}));

-- name: note_calls_of_user
-- Calls of this user are to be erased, whatever run they belong to.
INSERT INTO erased_calls (erasure_id, project_id, call_id)
SELECT {erasure_id:UUID}, project_id, call_id
FROM events
WHERE project_id = {project_id:String} AND user_id = {user_id:String};

-- name: note_calls_before
-- Calls that began before an instant are to be erased.
INSERT INTO erased_calls (erasure_id, project_id, call_id)
SELECT {erasure_id:UUID}, project_id, call_id
FROM events
WHERE project_id = {project_id:String} AND started_at < fromUnixTimestamp64Micro({before_us:Int64}, 'UTC');

-- name: note_messages_of_calls
-- Their messages may have to go: those of all versions of their rows.
INSERT INTO erased_messages (erasure_id, project_id, expires_on, content_hash)
SELECT DISTINCT
    {erasure_id:UUID}, project_id, expires_on,
    arrayJoin(arrayConcat(message_hashes, if(isNull(answer_hash), [], [assumeNotNull(answer_hash)])))
FROM events
WHERE project_id = {project_id:String}
  AND call_id IN (SELECT call_id FROM erased_calls WHERE erasure_id = {erasure_id:UUID});

-- name: note_hours_of_calls
-- Figures of their hours are wrong until an hour from now: should a crash come, they are made anew all the same.
INSERT INTO changed_hours SETTINGS insert_deduplicate = 0
SELECT DISTINCT project_id, toStartOfHour(toDateTime(started_at, 'UTC')), now64(6, 'UTC') + toIntervalHour(1)
FROM events
WHERE project_id = {project_id:String} AND expires_on > toDate(now('UTC'))
  AND call_id IN (SELECT call_id FROM erased_calls WHERE erasure_id = {erasure_id:UUID});

-- name: hours_of_calls
-- Hours in which they began.
SELECT DISTINCT toUnixTimestamp(toStartOfHour(toDateTime(started_at, 'UTC'))) AS hour_s
FROM events
WHERE project_id = {project_id:String} AND expires_on > toDate(now('UTC'))
  AND call_id IN (SELECT call_id FROM erased_calls WHERE erasure_id = {erasure_id:UUID});

-- name: count_noted_calls
-- How many calls are to be erased.
SELECT uniqExact(call_id) AS rows FROM erased_calls WHERE erasure_id = {erasure_id:UUID};

-- name: count_noted_bodies
-- Of how many of them exact bytes are kept.
SELECT uniqExact(call_id) AS rows
FROM raw_exchanges
WHERE project_id = {project_id:String}
  AND call_id IN (SELECT call_id FROM erased_calls WHERE erasure_id = {erasure_id:UUID});

-- name: count_noted_messages
-- How many messages no call holds any more.
SELECT uniqExact(expires_on, content_hash) AS rows
FROM messages
WHERE project_id = {project_id:String}
  AND (expires_on, content_hash) IN (
      SELECT expires_on, content_hash FROM erased_messages WHERE erasure_id = {erasure_id:UUID}
  )
  AND (expires_on, content_hash) NOT IN (
      SELECT expires_on, arrayJoin(arrayConcat(message_hashes, if(isNull(answer_hash), [], [assumeNotNull(answer_hash)])))
      FROM events
      WHERE project_id = {project_id:String}
        AND expires_on IN (SELECT expires_on FROM erased_messages WHERE erasure_id = {erasure_id:UUID})
  );

-- name: erase_bodies
-- Rewrites the parts that hold them; returns when that is done.
ALTER TABLE raw_exchanges DELETE
WHERE project_id = {project_id:String}
  AND call_id IN (SELECT call_id FROM erased_calls WHERE erasure_id = {erasure_id:UUID})
SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1;

-- name: erase_events
-- The same of the calls, all versions of their rows.
ALTER TABLE events DELETE
WHERE project_id = {project_id:String}
  AND call_id IN (SELECT call_id FROM erased_calls WHERE erasure_id = {erasure_id:UUID})
SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1;

-- name: erase_messages
-- The same of their messages, once they are gone: those that no other call of the same partition holds.
ALTER TABLE messages DELETE
WHERE project_id = {project_id:String}
  AND (expires_on, content_hash) IN (
      SELECT expires_on, content_hash FROM erased_messages WHERE erasure_id = {erasure_id:UUID}
  )
  AND (expires_on, content_hash) NOT IN (
      SELECT expires_on, arrayJoin(arrayConcat(message_hashes, if(isNull(answer_hash), [], [assumeNotNull(answer_hash)])))
      FROM events
      WHERE project_id = {project_id:String}
        AND expires_on IN (SELECT expires_on FROM erased_messages WHERE erasure_id = {erasure_id:UUID})
  )
SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1;

-- name: count_reported_events
-- How many events these runs or this user have, or were before an instant; empty, or -1: none for that.
SELECT uniqExact(event_id) AS rows
FROM reported_events
WHERE project_id = {project_id:String} AND (
    has({run_ids:Array(String)}, ifNull(run_id, ''))
    OR has({user_ids:Array(String)}, ifNull(user_id, ''))
    OR toUnixTimestamp64Micro(at) < {before_us:Int64}
);

-- name: erase_reported_events
-- Rewrites the parts that hold them; returns when that is done.
ALTER TABLE reported_events DELETE
WHERE project_id = {project_id:String} AND (
    has({run_ids:Array(String)}, ifNull(run_id, ''))
    OR has({user_ids:Array(String)}, ifNull(user_id, ''))
    OR toUnixTimestamp64Micro(at) < {before_us:Int64}
)
SETTINGS mutations_sync = 2;

-- name: count_events_of_project
-- How many events were reported to it.
SELECT uniqExact(event_id) AS rows FROM reported_events WHERE project_id = {project_id:String};

-- name: forget_noted_calls
-- It is done.
ALTER TABLE erased_calls DELETE WHERE erasure_id = {erasure_id:UUID} AND project_id = {project_id:String}
SETTINGS mutations_sync = 2;

-- name: forget_noted_messages
-- It is done.
ALTER TABLE erased_messages DELETE WHERE erasure_id = {erasure_id:UUID} AND project_id = {project_id:String}
SETTINGS mutations_sync = 2;

-- name: old_parts
-- Files of before that are still there: not of merges since.
SELECT count() AS rows
FROM system.parts
WHERE database = currentDatabase() AND table IN ('events', 'messages', 'raw_exchanges', 'reported_events')
  AND NOT active AND remove_time <= toDateTime({now_s:UInt32});

-- name: count_calls_of_project
-- How many calls it has.
SELECT uniqExact(call_id) AS rows FROM events WHERE project_id = {project_id:String};

-- name: count_messages_of_project
-- How many messages, of each partition.
SELECT uniqExact(expires_on, content_hash) AS rows FROM messages WHERE project_id = {project_id:String};

-- name: count_bodies_of_project
-- Of how many calls it has exact bytes.
SELECT uniqExact(call_id) AS rows FROM raw_exchanges WHERE project_id = {project_id:String};

-- name: erase_project
-- Everything of a project in one table.
ALTER TABLE /*table*/ DELETE WHERE project_id = {project_id:String} SETTINGS mutations_sync = 2;

-- name: export_calls
-- Calls of a run in order of time, after one of them, as they are now.
SELECT /*columns*/, toString(expires_on) AS day
FROM events FINAL
WHERE project_id = {project_id:String} AND run_id = {run_id:String}
  AND (toUnixTimestamp64Micro(started_at), call_id) > ({after_us:Int64}, {after_id:UUID})
ORDER BY started_at, call_id
LIMIT {limit:UInt32};

-- name: export_reported_events
-- Events of a run in order of time, after one of them.
SELECT /*columns*/
FROM reported_events FINAL
WHERE project_id = {project_id:String} AND run_id = {run_id:String}
  AND (toUnixTimestamp64Micro(at), event_id) > ({after_us:Int64}, {after_id:String})
ORDER BY at, event_id
LIMIT {limit:UInt32};

-- name: export_messages
-- Messages of a partition by their hashes.
SELECT /*columns*/
FROM messages FINAL
WHERE project_id = {project_id:String} AND expires_on = {expires_on:Date}
  AND content_hash IN (SELECT toFixedString(unhex(arrayJoin({hashes:Array(String)})), 16))
ORDER BY content_hash;

-- name: export_bodies
-- Exact bodies of calls.
SELECT /*columns*/
FROM raw_exchanges FINAL
WHERE project_id = {project_id:String} AND call_id IN (SELECT toUUID(arrayJoin({call_ids:Array(String)})))
ORDER BY started_at, call_id;

-- name: calls_in_order
-- Calls that ended within [from_us, to_us), after one of them, in the order in which they are thought about. A call
-- is not longer than a day.
SELECT
    toString(events.call_id) AS call_id,
    run_id, session_id, parent_run_id,
    api, method, target, `end`, http_status, client_address, user_agent, is_stream,
    toUnixTimestamp64Micro(started_at) AS started_at_us,
    toUnixTimestamp64Micro(events.ended_at) AS ended_at_us,
    time_to_first_token_us,
    request_model, response_model, provider_name,
    request_skeleton,
    arrayMap(hash -> hex(hash), events.message_hashes) AS message_hashes,
    message_slots,
    hex(events.request_hash) AS request_hash,
    tool_names,
    hex(assumeNotNull(events.answer_hash)) AS answer_hash,
    isNotNull(events.answer_hash) AS has_answer,
    response_id, finish_reasons, response_metadata,
    input_tokens, output_tokens, total_tokens, cache_read_input_tokens, cache_creation_input_tokens,
    reasoning_tokens, is_usage_estimated, upstream_cost_usd,
    cost_usd, cost_source, price_provider, price_date,
    error_type, error_code, error_message,
    agent_name, agent_version, user_id, tags, client_ids, retry_count_hint,
    request_bytes, response_bytes, opaque_reason, is_truncated, is_content_refused,
    toString(expires_on) AS day
FROM events FINAL
WHERE project_id = {project_id:String}
  AND started_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC') - toIntervalDay(1)
  AND started_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
  AND events.ended_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND events.ended_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
  AND (toUnixTimestamp64Micro(events.ended_at), toString(events.call_id)) > ({after_us:Int64}, {after_id:String})
ORDER BY events.ended_at, toString(events.call_id)
LIMIT {limit:UInt32};

-- name: count_calls_between
-- How many calls ended within [from_us, to_us).
SELECT uniqExact(call_id) AS rows
FROM events
WHERE project_id = {project_id:String}
  AND started_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC') - toIntervalDay(1)
  AND ended_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND ended_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC');

-- name: event_filter
-- Fragment: which reported events of the project. Empty is "any".
project_id = {project_id:String}
    AND ({run_id:String} = '' OR run_id = {run_id:String})
    AND (empty({user_ids:Array(String)}) OR has({user_ids:Array(String)}, ifNull(user_id, '')))
    AND (empty({event_types:Array(String)}) OR has({event_types:Array(String)}, event_type))
    AND (empty({statuses:Array(String)}) OR has({statuses:Array(String)}, ifNull(status, '')))
    AND (empty({models:Array(String)}) OR has({models:Array(String)}, ifNull(model, '')))
    AND hasAll(tags, {tags:Array(String)})
    AND at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC') AND toUnixTimestamp64Micro(at) < {to_us:Int64}
    AND ({text:String} = '' OR positionCaseInsensitiveUTF8(body, {text:String}) > 0);

-- name: search_reported_events
-- A page of them, in an order of the list in store/reported_reading.py.
SELECT hex(event_id) AS event_id_hex, hex(body) AS body_hex, toString(cost_usd) AS cost_usd_text, cost_source,
    /*place*/ AS place
FROM reported_events FINAL
WHERE /*event_filter*/
    AND ({has_after:UInt8} = 0 OR (/*place*/, event_id) /*beyond*/ ({after_place:Int64}, {after_id:String}))
ORDER BY place /*direction*/, event_id /*direction*/
LIMIT {limit:UInt32} OFFSET {offset:UInt32};

-- name: count_found_events
-- How many match.
SELECT count() AS rows FROM reported_events FINAL WHERE /*event_filter*/;
