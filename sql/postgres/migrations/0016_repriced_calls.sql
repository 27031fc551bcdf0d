-- How many calls a backfill priced anew.
ALTER TABLE backfills ADD COLUMN repriced_calls bigint NOT NULL DEFAULT 0;
