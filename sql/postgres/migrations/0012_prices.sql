-- Prices that a project set for itself, and lists of prices that are newer than the release.
CREATE TABLE price_overrides (
    project_id text NOT NULL,
    model text NOT NULL,
    prices jsonb NOT NULL,
    set_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, model)
);
CREATE TABLE price_lists (
    provider text PRIMARY KEY,
    prices jsonb NOT NULL,
    source text NOT NULL,
    fetched_at timestamptz NOT NULL
);
