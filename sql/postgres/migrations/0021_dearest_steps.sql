-- So that a step can be laid beside what its agent's dearest steps cost before. Runs stored earlier are no history until
-- they are told again.
ALTER TABLE agent_debug_logs ADD COLUMN dearest_step_usd numeric;
