-- How much of a call was redacted, by kind. The content of messages may be redacted, its hash is keyed then.
ALTER TABLE events ADD COLUMN IF NOT EXISTS
    redacted Map(LowCardinality(String), String) COMMENT 'values put behind tags before it was stored: how many (decimal), by kind' AFTER is_content_refused;
ALTER TABLE messages MODIFY COLUMN content_hash COMMENT 'blake2b-128 of content; of redacted content a keyed hash of what it was';
