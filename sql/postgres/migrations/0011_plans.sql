-- What a project may use, as rows: plans, and what each project chose. And what it used, by day.
CREATE TABLE plans (
    plan text PRIMARY KEY,
    rank integer NOT NULL UNIQUE,
    title text NOT NULL,
    monthly_usd numeric,
    monthly_requests bigint CHECK (monthly_requests >= 0),
    retention_days integer CHECK (retention_days >= 0),
    features text[] NOT NULL
);
INSERT INTO plans (plan, rank, title, monthly_usd, monthly_requests, retention_days, features) VALUES
    ('free', 1, 'Free', 0, 1000, 7, '{events}'),
    ('starter', 2, 'Starter', 29, 50000, 30, '{events,dashboard}'),
    ('pro', 3, 'Pro', 99, 500000, 90, '{events,dashboard,debugger,cost_attribution,anomaly_detection}'),
    ('enterprise', 4, 'Enterprise', 499, NULL, 365,
        '{events,dashboard,debugger,cost_attribution,anomaly_detection,explanations,integrations}'),
    ('self_hosted', 5, 'Self-hosted', NULL, NULL, NULL,
        '{events,dashboard,debugger,cost_attribution,anomaly_detection,explanations,integrations}');

ALTER TABLE projects
    ADD COLUMN plan text NOT NULL DEFAULT 'self_hosted' REFERENCES plans,
    ADD COLUMN over_quota text NOT NULL DEFAULT 'refuse' CHECK (over_quota IN ('refuse', 'pass')),
    ADD COLUMN store_content boolean NOT NULL DEFAULT true,
    ADD COLUMN requests_per_minute integer CHECK (requests_per_minute > 0),
    ADD COLUMN monthly_cap_usd numeric CHECK (monthly_cap_usd >= 0);

ALTER TABLE api_keys
    ADD COLUMN requests_per_minute integer CHECK (requests_per_minute > 0),
    ADD COLUMN monthly_cap_usd numeric CHECK (monthly_cap_usd >= 0);

CREATE TABLE usage_by_day (
    project_id text NOT NULL,
    day date NOT NULL,
    source text NOT NULL,
    passed bigint NOT NULL,
    passed_over_quota bigint NOT NULL,
    refused_quota bigint NOT NULL,
    refused_rate bigint NOT NULL,
    refused_cap bigint NOT NULL,
    refused_share bigint NOT NULL,
    PRIMARY KEY (project_id, day, source)
);

CREATE TABLE spend_by_day (
    project_id text NOT NULL,
    day date NOT NULL,
    key_id text NOT NULL,
    cost_usd numeric NOT NULL,
    priced_calls bigint NOT NULL,
    unpriced_calls bigint NOT NULL,
    PRIMARY KEY (project_id, day, key_id)
);
