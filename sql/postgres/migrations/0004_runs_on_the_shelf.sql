-- A restart reads outlines of runs and anchors; steps are read when a call needs them, and tell all of the rest.
ALTER TABLE agent_debug_logs ADD COLUMN is_explicit boolean NOT NULL DEFAULT false;
UPDATE agent_debug_logs SET is_explicit = true
FROM run_anchors AS named
WHERE named.kind = 'run' AND named.project_id = agent_debug_logs.project_id AND named.run_id = agent_debug_logs.run_id;
DROP INDEX agent_debug_logs_open;
CREATE INDEX agent_debug_logs_may_go_on ON agent_debug_logs (last_activity_at)
WHERE status <> 'completed' OR is_explicit;
CREATE INDEX agent_debug_logs_settled ON agent_debug_logs (last_activity_at)
WHERE NOT (status <> 'completed' OR is_explicit);

-- What `user_input` anchors held: a run's user messages in the order of their steps.
ALTER TABLE agent_debug_steps ADD COLUMN occurrence text;
DELETE FROM run_anchors WHERE kind = 'user_input';

ALTER TABLE run_anchors ADD COLUMN seq bigint NOT NULL DEFAULT 0;
UPDATE run_anchors SET seq = numbered.seq
FROM (
    SELECT project_id, kind, md5(value) AS hash, row_number() OVER (ORDER BY at, call_id) AS seq FROM run_anchors
) AS numbered
WHERE numbered.project_id = run_anchors.project_id
  AND numbered.kind = run_anchors.kind
  AND numbered.hash = md5(run_anchors.value);
CREATE INDEX run_anchors_window ON run_anchors (seq);
