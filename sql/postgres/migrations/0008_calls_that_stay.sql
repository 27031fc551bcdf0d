-- A call that is taken out alone leaves calls behind it that lean on it: they are not to follow it when the log is
-- read again.
ALTER TABLE run_corrections ADD COLUMN stay_call_ids uuid[] NOT NULL DEFAULT '{}';
