-- ClickHouse: today's whole truth. Migrations lead here; a test compares the two.
--
-- Conventions. Instants are UTC with microseconds. Units end the name. NULL is "not known", never zero.
-- A row may reach a table twice. First line: every insert carries an insert_deduplication_token made of its
-- batch, and the table remembers the last 1,000 of them (the default window is 0, which is off). Second
-- line: ReplacingMergeTree, keyed by a deterministic id, keeps the newest of equal rows; read with FINAL.
-- fsync_*: the capture log forgets a batch once it is stored, so an insert must survive a power cut.
-- expires_on: the partition. Retention drops partitions, it deletes no rows (decision 0135); so a row, and all
-- that it needs, stands in the partition of one day: a call, its messages and its bytes go together.
-- cleanup_delay_period: files of rows that were erased leave the disk within seconds, not within half a minute.
-- On a cluster store/cluster.py puts ON CLUSTER and Replicated… in; nothing here knows of it.

-- One row per call: figures, where it belongs, and the hashes of its messages. No message text.
CREATE TABLE events
(
    project_id LowCardinality(String) COMMENT 'the tenant',
    call_id UUID COMMENT 'id of the call and of its exchange; deterministic',
    started_at DateTime64(6, 'UTC') COMMENT 'when the request head was read' CODEC(Delta, ZSTD(1)),
    ended_at DateTime64(6, 'UTC') COMMENT 'when the exchange ended' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'when its batch was thought at: of two rows of a call the later counts' CODEC(Delta, ZSTD(1)),
    time_to_first_token_us Nullable(UInt64) COMMENT 'microseconds from start to the first token; NULL: no token came, or not a stream' CODEC(T64, ZSTD(1)),

    run_id Nullable(String) COMMENT 'the run it belongs to; NULL: none, as for /v1/models' CODEC(ZSTD(1)),
    session_id Nullable(String) COMMENT 'the conversation of the run; NULL: no run' CODEC(ZSTD(1)),
    parent_run_id Nullable(String) COMMENT 'the run that started this one; NULL: none known' CODEC(ZSTD(1)),

    api LowCardinality(String) COMMENT 'dialect: chat_completions, completions, embeddings, responses, messages, other',
    method LowCardinality(String) COMMENT 'HTTP method',
    target String COMMENT 'path and query as sent, credentials stripped' CODEC(ZSTD(1)),
    `end` LowCardinality(String) COMMENT 'how the exchange ended: complete, client_aborted, upstream_…',
    http_status Nullable(UInt16) COMMENT 'of the upstream; NULL: no answer head came',
    client_address String COMMENT 'ip:port of the client''s connection' CODEC(ZSTD(1)),
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
    response_id Nullable(String) COMMENT 'the upstream''s id of the answer; NULL: not told' CODEC(ZSTD(1)),
    finish_reasons Array(LowCardinality(String)) COMMENT 'one for each choice, as told',
    response_metadata String COMMENT 'JSON object: the answer beside choices, output and usage; empty: none' CODEC(ZSTD(3)),

    input_tokens Nullable(UInt64) COMMENT 'tokens, cached ones included; NULL: not known' CODEC(T64, ZSTD(1)),
    output_tokens Nullable(UInt64) COMMENT 'tokens; NULL: not known' CODEC(T64, ZSTD(1)),
    total_tokens Nullable(UInt64) COMMENT 'tokens, as the upstream told; NULL: not told' CODEC(T64, ZSTD(1)),
    cache_read_input_tokens Nullable(UInt64) COMMENT 'tokens; NULL: not known' CODEC(T64, ZSTD(1)),
    cache_creation_input_tokens Nullable(UInt64) COMMENT 'tokens; NULL: not known' CODEC(T64, ZSTD(1)),
    reasoning_tokens Nullable(UInt64) COMMENT 'tokens; NULL: not known' CODEC(T64, ZSTD(1)),
    is_usage_estimated Bool COMMENT 'token counts are ours, not the upstream''s',
    upstream_cost_usd Nullable(Decimal(18, 12)) COMMENT 'US dollars, the upstream''s own figure; NULL: not told',
    cost_usd Nullable(Decimal(18, 12)) COMMENT 'US dollars; NULL: unpriced, never 0',
    cost_source LowCardinality(String) COMMENT 'whose figure: upstream, generation (told afterwards), override, price_table or unknown',
    price_provider LowCardinality(Nullable(String)) COMMENT 'whose price list; NULL: none was used',
    price_date LowCardinality(Nullable(String)) COMMENT 'ISO date or version of the price list; NULL: none was used',

    error_type LowCardinality(Nullable(String)) COMMENT 'NULL: the call did not fail',
    error_code LowCardinality(Nullable(String)) COMMENT 'NULL: not told',
    error_message Nullable(String) COMMENT 'in the upstream''s words; NULL: the call did not fail' CODEC(ZSTD(3)),

    agent_name LowCardinality(Nullable(String)) COMMENT 'as the client says; NULL: not said',
    agent_version LowCardinality(Nullable(String)) COMMENT 'as the client says; NULL: not said',
    user_id Nullable(String) COMMENT 'the client''s end user; NULL: not said' CODEC(ZSTD(1)),
    tags Map(LowCardinality(String), String) COMMENT 'as the client says; of a repeated name the last value',
    client_ids Map(LowCardinality(String), String) COMMENT 'ids the client sent, by the header or body field they came in',
    retry_count_hint Nullable(UInt32) COMMENT 'the client''s own count of retries; NULL: not sent',

    request_bytes UInt64 COMMENT 'bytes of the request body' CODEC(T64, ZSTD(1)),
    response_bytes UInt64 COMMENT 'bytes of the response body' CODEC(T64, ZSTD(1)),
    opaque_reason LowCardinality(Nullable(String)) COMMENT 'why the bodies could not be understood; NULL: they were',
    is_truncated Bool COMMENT 'the capture limit cut a body: figures may be missing',
    is_content_refused Bool COMMENT 'the client asked to keep figures but no text: no message, skeleton or body is kept',
    redacted Map(LowCardinality(String), String) COMMENT 'values put behind tags before it was stored: how many (decimal), by kind',
    expires_on Date COMMENT 'its partition, dropped from this day on: end of the day or week it began in, and the retention of its project',

    INDEX call_id_index call_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX run_id_index run_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX session_id_index session_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX user_id_index user_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX request_model_index request_model TYPE set(64) GRANULARITY 1,
    INDEX agent_name_index agent_name TYPE set(64) GRANULARITY 1,
    INDEX error_type_index error_type TYPE set(64) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
PARTITION BY expires_on
ORDER BY (project_id, started_at, call_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    cleanup_delay_period = 3, max_cleanup_delay_period = 3, cleanup_delay_period_random_add = 0;

-- Each message of a project once in each partition, addressed by its content: it is written again for the first
-- call of a partition that holds it, so a partition that is dropped takes along no message of a call that stays.
CREATE TABLE messages
(
    project_id LowCardinality(String) COMMENT 'the tenant',
    content_hash FixedString(16) COMMENT 'blake2b-128 of content',
    role LowCardinality(String) COMMENT 'system, developer, user, assistant, tool; empty: tool schemas, embeddings input',
    content String COMMENT 'the JSON value as sent, keys sorted, no white space' CODEC(ZSTD(3)),
    expires_on Date COMMENT 'its partition: that of the calls that hold it'
)
ENGINE = ReplacingMergeTree
PARTITION BY expires_on
ORDER BY (project_id, content_hash, expires_on)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    cleanup_delay_period = 3, max_cleanup_delay_period = 3, cleanup_delay_period_random_add = 0;

-- Exact bodies, as they were on the wire: of calls that could not be understood, and where
-- WATCHLLM_KEEP_RAW asks for them.
CREATE TABLE raw_exchanges
(
    project_id LowCardinality(String) COMMENT 'the tenant',
    call_id UUID COMMENT 'of the call',
    started_at DateTime64(6, 'UTC') COMMENT 'when the request head was read' CODEC(Delta, ZSTD(1)),
    request Nullable(String) COMMENT 'bytes; NULL: not kept' CODEC(ZSTD(3)),
    response Nullable(String) COMMENT 'bytes; NULL: not kept' CODEC(ZSTD(3)),
    expires_on Date COMMENT 'its partition: not later than that of its call'
)
ENGINE = ReplacingMergeTree
PARTITION BY expires_on
ORDER BY (project_id, call_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    cleanup_delay_period = 3, max_cleanup_delay_period = 3, cleanup_delay_period_random_add = 0;

-- Hours in which calls were stored, or stored again: their figures are to be made anew (decision 0136).
CREATE TABLE changed_hours
(
    project_id LowCardinality(String) COMMENT 'the tenant',
    hour DateTime('UTC') COMMENT 'in which calls began',
    changed_at DateTime64(6, 'UTC') COMMENT 'when the last of them was inserted'
)
ENGINE = ReplacingMergeTree(changed_at)
PARTITION BY toYYYYMM(hour)
ORDER BY (project_id, hour)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW note_changed_hours TO changed_hours AS
SELECT project_id, toStartOfHour(toDateTime(started_at, 'UTC')) AS hour, now64(6, 'UTC') AS changed_at
FROM events
WHERE expires_on > toDate(now('UTC'))
GROUP BY project_id, hour;

-- What an hour cost, one row for each: it is replaced as a whole, so that no insert that came twice counts twice.
-- Outlives the calls it counts. Read it with FINAL.
CREATE TABLE hourly_figures
(
    project_id LowCardinality(String) COMMENT 'the tenant',
    hour DateTime('UTC') COMMENT 'in which the calls began',
    complete_until DateTime64(6, 'UTC') COMMENT 'calls that were inserted before it are counted',
    `groups.request_model` Array(LowCardinality(Nullable(String))) COMMENT 'of each group; NULL: not named',
    `groups.agent_name` Array(LowCardinality(Nullable(String))) COMMENT 'of each group; NULL: not said',
    `groups.calls` Array(UInt64) COMMENT 'how many calls',
    `groups.failed_calls` Array(UInt64) COMMENT 'of them, those that failed',
    `groups.unpriced_calls` Array(UInt64) COMMENT 'of them, those that cost_usd leaves out',
    `groups.input_tokens` Array(UInt64) COMMENT 'tokens, of the calls that told them',
    `groups.output_tokens` Array(UInt64) COMMENT 'tokens, of the calls that told them',
    `groups.cache_read_input_tokens` Array(UInt64) COMMENT 'tokens, of the calls that told them',
    `groups.cost_usd` Array(Decimal(38, 12)) COMMENT 'US dollars, of the priced calls',
    `groups.duration_us` Array(UInt64) COMMENT 'microseconds, from start to end of each call, added up'
)
ENGINE = ReplacingMergeTree(complete_until)
PARTITION BY toYYYYMM(hour)
ORDER BY (project_id, hour)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE VIEW daily_figures AS
SELECT
    project_id, toDate(hour, 'UTC') AS day, `groups.request_model` AS request_model, `groups.agent_name` AS agent_name,
    sum(`groups.calls`) AS calls, sum(`groups.failed_calls`) AS failed_calls,
    sum(`groups.unpriced_calls`) AS unpriced_calls, sum(`groups.input_tokens`) AS input_tokens,
    sum(`groups.output_tokens`) AS output_tokens, sum(`groups.cache_read_input_tokens`) AS cache_read_input_tokens,
    sum(`groups.cost_usd`) AS cost_usd, sum(`groups.duration_us`) AS duration_us
FROM hourly_figures FINAL
ARRAY JOIN groups
GROUP BY project_id, day, request_model, agent_name;

-- Calls that are being erased; emptied once they are gone. Ids only.
CREATE TABLE erased_calls
(
    erasure_id UUID COMMENT 'what asked for it (Postgres: erasures)',
    project_id LowCardinality(String) COMMENT 'the tenant',
    call_id UUID COMMENT 'of the call'
)
ENGINE = ReplacingMergeTree
ORDER BY (erasure_id, project_id, call_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Messages of the calls that are being erased; those that other calls hold stay. Hashes only.
CREATE TABLE erased_messages
(
    erasure_id UUID COMMENT 'what asked for it (Postgres: erasures)',
    project_id LowCardinality(String) COMMENT 'the tenant',
    expires_on Date COMMENT 'partition of the call and of its message',
    content_hash FixedString(16) COMMENT 'of the message'
)
ENGINE = ReplacingMergeTree
ORDER BY (erasure_id, project_id, expires_on, content_hash)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Events that clients report: the newest row of each event counts, wherever it stands. Read it with FINAL.
CREATE TABLE reported_events
(
    project_id LowCardinality(String) COMMENT 'the tenant',
    event_id String COMMENT 'as the client says; an event that is sent again takes the place of the first',
    event_type LowCardinality(String) COMMENT 'prompt_call, tool_call, agent_step, error, assertion_failed, hallucination_detected, cost_threshold_exceeded, performance_alert',
    run_id Nullable(String) COMMENT 'the run that it names; NULL: none' CODEC(ZSTD(1)),
    at DateTime64(6, 'UTC') COMMENT 'when it was, as told' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'when its batch was thought at: of two rows of an event the later counts' CODEC(Delta, ZSTD(1)),
    user_id Nullable(String) COMMENT 'the client''s end user; NULL: not said' CODEC(ZSTD(1)),
    status LowCardinality(Nullable(String)) COMMENT 'success, error, timeout, assertion_failed, warning; NULL: not said',
    model LowCardinality(Nullable(String)) COMMENT 'NULL: not about a model',
    tags Array(String) COMMENT 'as the client says' CODEC(ZSTD(1)),
    release LowCardinality(Nullable(String)) COMMENT 'of the client''s program; NULL: not said',
    env LowCardinality(String) COMMENT 'production, staging, development',
    latency_ms Nullable(UInt64) COMMENT 'milliseconds; NULL: not said' CODEC(T64, ZSTD(1)),
    tokens_input Nullable(UInt64) COMMENT 'tokens; NULL: not known' CODEC(T64, ZSTD(1)),
    tokens_output Nullable(UInt64) COMMENT 'tokens; NULL: not known' CODEC(T64, ZSTD(1)),
    cost_usd Nullable(Decimal(18, 12)) COMMENT 'US dollars; NULL: unpriced, never 0',
    cost_source LowCardinality(String) COMMENT 'upstream (as told), price_table or unknown',
    body String COMMENT 'JSON object: the event as it was told, unknown fields too, numbers as they were spelt' CODEC(ZSTD(3)),
    expires_on Date COMMENT 'its partition, dropped from this day on',

    INDEX at_index at TYPE minmax GRANULARITY 1,
    INDEX run_id_index run_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX user_id_index user_id TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
PARTITION BY expires_on
ORDER BY (project_id, event_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    cleanup_delay_period = 3, max_cleanup_delay_period = 3, cleanup_delay_period_random_add = 0;
