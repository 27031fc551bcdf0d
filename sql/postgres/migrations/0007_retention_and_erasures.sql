-- How long a project keeps its calls, and what somebody asked to be erased.
ALTER TABLE projects ADD COLUMN retention_days integer CHECK (retention_days >= 0);

CREATE TABLE erasures (
    erasure_id uuid PRIMARY KEY,
    project_id text NOT NULL,
    scope text NOT NULL,
    subject text NOT NULL,
    requested_at timestamptz NOT NULL,
    done_at timestamptz,
    failure text,
    erased jsonb
);
CREATE INDEX erasures_wanted ON erasures (requested_at) WHERE done_at IS NULL AND failure IS NULL;
