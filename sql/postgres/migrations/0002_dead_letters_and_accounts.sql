-- Dead letters can be retried and dropped; each log's records are counted in the transaction that stores them.
ALTER TABLE dead_letters
    ADD COLUMN attempts integer NOT NULL DEFAULT 1,
    ADD COLUMN retry_requested_at timestamptz,
    ADD COLUMN dropped_at timestamptz;
CREATE INDEX dead_letters_wanted ON dead_letters (retry_requested_at) WHERE retry_requested_at IS NOT NULL;

ALTER TABLE capture_offsets
    ADD COLUMN stored_records bigint NOT NULL DEFAULT 0,
    ADD COLUMN damaged_stretches bigint NOT NULL DEFAULT 0;
