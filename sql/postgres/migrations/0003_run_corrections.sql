-- What people said about which calls belong together.
CREATE TABLE run_corrections (
    correction_id uuid PRIMARY KEY,
    ordinal bigint GENERATED ALWAYS AS IDENTITY,
    project_id text NOT NULL,
    kind text NOT NULL,
    run_id text NOT NULL,
    call_id uuid,
    is_single boolean NOT NULL,
    into_run_id text,
    undoes uuid,
    at timestamptz NOT NULL,
    carried_out_at timestamptz,
    refusal_code text,
    refusal text,
    call_ids uuid[] NOT NULL DEFAULT '{}',
    to_run_id text,
    to_session_id text,
    to_parent_run_id text,
    left_session_id text,
    left_parent_run_id text,
    undone_by uuid
);
CREATE INDEX run_corrections_waiting ON run_corrections (ordinal) WHERE carried_out_at IS NULL AND refusal IS NULL;
CREATE INDEX run_corrections_taken ON run_corrections (project_id, run_id);
CREATE INDEX run_corrections_given ON run_corrections (project_id, to_run_id);
