-- A list of the runs in which something went wrong, however they ended, is found in an index.
CREATE INDEX agent_debug_logs_erred ON agent_debug_logs (project_id, started_at DESC, run_id)
INCLUDE (is_agent) WHERE error_count > 0;
