-- A recorder that is killed again and again before a batch is stored cuts it: how often it has begun, and how far what
-- was cut reached.
ALTER TABLE pending_batches ADD COLUMN starts integer NOT NULL DEFAULT 0;
ALTER TABLE capture_offsets ADD COLUMN tried_segment bigint;
ALTER TABLE capture_offsets ADD COLUMN tried_offset_bytes bigint;
