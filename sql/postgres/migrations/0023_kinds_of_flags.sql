-- Lists by a kind of flag, and by a user, are counted in an index: what they ask for is in it.
ALTER TABLE agent_debug_logs
    ADD COLUMN flag_kinds jsonb NOT NULL GENERATED ALWAYS AS (jsonb_path_query_array(flags, '$[*].kind')) STORED;
DROP INDEX agent_debug_logs_flagged;
CREATE INDEX agent_debug_logs_flagged ON agent_debug_logs (project_id, started_at DESC, run_id)
INCLUDE (is_agent, flag_kinds) WHERE flag_kinds <> '[]';
-- An entry of an index holds 2,700 bytes: an overlong name is written by its beginning and a hash from now on.
UPDATE agent_debug_logs SET user_id = left(user_id, 190) || '…' || md5(user_id) WHERE octet_length(user_id) > 800;
CREATE INDEX agent_debug_logs_user ON agent_debug_logs (project_id, user_id, started_at DESC, run_id)
INCLUDE (is_agent) WHERE user_id IS NOT NULL;
