-- Who may come in, and with what: keys that end at a time, provider keys of projects, people and their sessions.
ALTER TABLE api_keys
    DROP COLUMN provider_key_encrypted,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN replaced_by uuid;

CREATE TABLE provider_keys (
    project_id text PRIMARY KEY REFERENCES projects,
    sealed text NOT NULL,
    last_four text NOT NULL,
    set_at timestamptz NOT NULL
);

CREATE TABLE people (
    user_name text PRIMARY KEY,
    project_id text NOT NULL REFERENCES projects,
    scopes text[] NOT NULL,
    password_hash text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE sessions (
    session_hash bytea PRIMARY KEY,
    project_id text NOT NULL REFERENCES projects,
    user_name text NOT NULL REFERENCES people ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_person ON sessions (user_name);
