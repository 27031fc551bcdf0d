-- How much of a call was redacted, by kind.
ALTER TABLE events ADD COLUMN IF NOT EXISTS
    redacted Map(LowCardinality(String), String) COMMENT 'values put behind tags before it was stored: how many (decimal), by kind' AFTER is_content_refused;
