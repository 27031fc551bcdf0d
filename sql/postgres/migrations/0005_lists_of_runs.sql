-- A page of a list of runs comes out of an index in the order it is shown in, however many runs there are.
DROP INDEX agent_debug_logs_newest;
CREATE INDEX agent_debug_logs_newest ON agent_debug_logs (project_id, started_at DESC, run_id);
CREATE INDEX agent_debug_logs_agents ON agent_debug_logs (project_id, started_at DESC, run_id) WHERE is_agent;
CREATE INDEX agent_debug_logs_status ON agent_debug_logs (project_id, status, started_at DESC, run_id) INCLUDE (is_agent);
CREATE INDEX agent_debug_logs_agent_name ON agent_debug_logs (project_id, agent_name, started_at DESC, run_id) INCLUDE (is_agent);
DROP INDEX agent_debug_logs_session;
CREATE INDEX agent_debug_logs_session ON agent_debug_logs (project_id, session_id, started_at DESC, run_id) INCLUDE (is_agent);
CREATE INDEX agent_debug_logs_flagged ON agent_debug_logs (project_id, started_at DESC, run_id) WHERE flags <> '[]';
CREATE INDEX agent_debug_logs_cost ON agent_debug_logs (project_id, total_cost_usd DESC NULLS LAST, started_at DESC, run_id);
CREATE INDEX agent_debug_logs_duration ON agent_debug_logs (project_id, (ended_at - started_at) DESC NULLS LAST, started_at DESC, run_id);
CREATE INDEX agent_debug_logs_steps ON agent_debug_logs (project_id, total_steps DESC, started_at DESC, run_id);
