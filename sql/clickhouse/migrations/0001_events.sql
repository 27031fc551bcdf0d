-- The first tables: events, messages, raw_exchanges.
-- One row per call: figures, where it belongs, and the hashes of its messages. No message text.
CREATE TABLE IF NOT EXISTS events
(
    project_id LowCardinality(String) COMMENT 'the tenant',
    call_id UUID COMMENT 'id of the call and of its exchange; deterministic',
    started_at DateTime64(6, 'UTC') COMMENT 'when the request head was read' CODEC(Delta, ZSTD(1)),
    ended_at DateTime64(6, 'UTC') COMMENT 'when the exchange ended' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'when its batch was thought at: of two rows of a call the later counts' CODEC(Delta, ZSTD(1)),
    time_to_first_token_us Nullable(UInt64) COMMENT 'microseconds from start to the first token; NULL: no token came, or not a stream',

    run_id Nullable(String) COMMENT 'the run it belongs to; NULL: none, as for /v1/models',
    session_id Nullable(String) COMMENT 'the conversation of the run; NULL: no run',
    parent_run_id Nullable(String) COMMENT 'the run that started this one; NULL: none known',

    api LowCardinality(String) COMMENT 'dialect: chat_completions, completions, embeddings, responses, messages, other',
    method LowCardinality(String) COMMENT 'HTTP method',
    target String COMMENT 'path and query as sent, credentials stripped',
    `end` LowCardinality(String) COMMENT 'how the exchange ended: complete, client_aborted, upstream_…',
    http_status Nullable(UInt16) COMMENT 'of the upstream; NULL: no answer head came',
    client_address String COMMENT 'ip:port of the client''s connection',
    user_agent LowCardinality(Nullable(String)) COMMENT 'NULL: not sent',
    is_stream Bool COMMENT 'the client asked for a stream',
    request_model LowCardinality(Nullable(String)) COMMENT 'as asked for; NULL: not named',
    response_model LowCardinality(Nullable(String)) COMMENT 'as answered; NULL: not told',
    provider_name LowCardinality(Nullable(String)) COMMENT 'who served it behind a router; NULL: not told',

    request_skeleton String COMMENT 'JSON body with its message lists taken out; rebuilt with messages of message_hashes' CODEC(ZSTD(3)),
    message_hashes Array(FixedString(16)) COMMENT 'content_hash of each message of the request, in order' CODEC(ZSTD(3)),
    message_slots Array(LowCardinality(String)) COMMENT 'where each message sat in the body; parallel to message_hashes',
    request_hash FixedString(16) COMMENT 'blake2b-128 of the canonical body; all zero: opaque',
    tool_names Array(LowCardinality(String)) COMMENT 'tools offered, in order',

    answer_hash Nullable(FixedString(16)) COMMENT 'content_hash of the answer; NULL: no usable answer',
    response_id Nullable(String) COMMENT 'the upstream''s id of the answer; NULL: not told',
    finish_reasons Array(LowCardinality(String)) COMMENT 'one for each choice, as told',
    response_metadata String COMMENT 'JSON object: the answer beside choices, output and usage; empty: none' CODEC(ZSTD(3)),

    input_tokens Nullable(UInt64) COMMENT 'tokens, cached ones included; NULL: not known',
    output_tokens Nullable(UInt64) COMMENT 'tokens; NULL: not known',
    total_tokens Nullable(UInt64) COMMENT 'tokens, as the upstream told; NULL: not told',
    cache_read_input_tokens Nullable(UInt64) COMMENT 'tokens; NULL: not known',
    cache_creation_input_tokens Nullable(UInt64) COMMENT 'tokens; NULL: not known',
    reasoning_tokens Nullable(UInt64) COMMENT 'tokens; NULL: not known',
    is_usage_estimated Bool COMMENT 'token counts are ours, not the upstream''s',
    upstream_cost_usd Nullable(Decimal(18, 12)) COMMENT 'US dollars, the upstream''s own figure; NULL: not told',
    cost_usd Nullable(Decimal(18, 12)) COMMENT 'US dollars; NULL: unpriced, never 0',
    cost_source LowCardinality(String) COMMENT 'upstream, price_table or unknown',
    price_provider LowCardinality(Nullable(String)) COMMENT 'whose price list; NULL: none was used',
    price_date LowCardinality(Nullable(String)) COMMENT 'ISO date or version of the price list; NULL: none was used',

    error_type LowCardinality(Nullable(String)) COMMENT 'NULL: the call did not fail',
    error_code LowCardinality(Nullable(String)) COMMENT 'NULL: not told',
    error_message Nullable(String) COMMENT 'in the upstream''s words; NULL: the call did not fail' CODEC(ZSTD(3)),

    agent_name LowCardinality(Nullable(String)) COMMENT 'as the client says; NULL: not said',
    agent_version LowCardinality(Nullable(String)) COMMENT 'as the client says; NULL: not said',
    user_id Nullable(String) COMMENT 'the client''s end user; NULL: not said',
    tags Map(LowCardinality(String), String) COMMENT 'as the client says; of a repeated name the last value',
    client_ids Map(LowCardinality(String), String) COMMENT 'ids the client sent, by the header or body field they came in',
    retry_count_hint Nullable(UInt32) COMMENT 'the client''s own count of retries; NULL: not sent',

    request_bytes UInt64 COMMENT 'bytes of the request body',
    response_bytes UInt64 COMMENT 'bytes of the response body',
    opaque_reason LowCardinality(Nullable(String)) COMMENT 'why the bodies could not be understood; NULL: they were',
    is_truncated Bool COMMENT 'the capture limit cut a body: figures may be missing',
    is_content_refused Bool COMMENT 'the client asked to keep figures but no text: no message, skeleton or body is kept',

    INDEX call_id_index call_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX run_id_index run_id TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
PARTITION BY toYYYYMM(started_at)
ORDER BY (project_id, started_at, call_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Each message of a project once, addressed by its content. Not partitioned: a message may be sent again
-- in any month, and equal rows collapse only within a partition.
CREATE TABLE IF NOT EXISTS messages
(
    project_id LowCardinality(String) COMMENT 'the tenant',
    content_hash FixedString(16) COMMENT 'blake2b-128 of content',
    role LowCardinality(String) COMMENT 'system, developer, user, assistant, tool; empty: tool schemas, embeddings input',
    content String COMMENT 'the JSON value as sent, keys sorted, no white space' CODEC(ZSTD(3)),
    seen_at DateTime64(6, 'UTC') COMMENT 'when a call last held it, at most a day behind: calls that hold it are not more than a day younger' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(seen_at)
ORDER BY (project_id, content_hash)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Exact bodies, as they were on the wire: of calls that could not be understood, and where
-- WATCHLLM_KEEP_RAW asks for them.
CREATE TABLE IF NOT EXISTS raw_exchanges
(
    project_id LowCardinality(String) COMMENT 'the tenant',
    call_id UUID COMMENT 'of the call',
    started_at DateTime64(6, 'UTC') COMMENT 'when the request head was read' CODEC(Delta, ZSTD(1)),
    expires_at DateTime('UTC') COMMENT 'the row is dropped after it',
    request Nullable(String) COMMENT 'bytes; NULL: not kept' CODEC(ZSTD(3)),
    response Nullable(String) COMMENT 'bytes; NULL: not kept' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (project_id, call_id)
TTL expires_at DELETE
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;
