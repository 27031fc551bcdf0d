-- Runs that clients report stand beside captured ones; no captured call may ever join one, so the recorder's memory
-- leaves them out.
ALTER TABLE agent_debug_logs ADD COLUMN reported text;
ALTER TABLE agent_debug_steps ADD COLUMN reported text;

DROP INDEX agent_debug_logs_may_go_on;
CREATE INDEX agent_debug_logs_may_go_on ON agent_debug_logs (last_activity_at)
WHERE (status <> 'completed' OR is_explicit) AND reported IS NULL;
DROP INDEX agent_debug_logs_settled;
CREATE INDEX agent_debug_logs_settled ON agent_debug_logs (last_activity_at)
WHERE NOT (status <> 'completed' OR is_explicit) AND reported IS NULL;
