-- Events that clients report.
CREATE TABLE IF NOT EXISTS reported_events
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
