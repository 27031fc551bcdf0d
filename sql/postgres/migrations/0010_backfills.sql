-- How far a backfill came: it goes on from there.
CREATE TABLE backfills (
    project_id text PRIMARY KEY,
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL,
    done_until timestamptz NOT NULL,
    thought_calls bigint NOT NULL,
    moved_calls bigint NOT NULL,
    left_calls bigint NOT NULL
);
