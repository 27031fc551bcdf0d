-- Postgres: today's whole truth. Migrations lead here; a test compares the two.
--
-- Conventions. Instants are timestamptz with microseconds. Units end the name. NULL is "not known", never
-- zero. Texts here are views for people: what Postgres cannot hold (NUL, lone surrogates) is replaced, the
-- exact bytes are in ClickHouse. Tenant tables carry project_id first in their key.

-- What can be had: rows, so that a price or a limit changes without a release.
CREATE TABLE plans (
    plan text PRIMARY KEY,                          -- free, starter, pro, enterprise, self_hosted
    rank integer NOT NULL UNIQUE,                   -- order on the pricing page; of two with a feature the lower is named
    title text NOT NULL,                            -- for people
    monthly_usd numeric,                            -- US dollars a month; NULL: not for sale
    monthly_requests bigint CHECK (monthly_requests >= 0), -- requests passed on in a month of UTC; NULL: any number
    retention_days integer CHECK (retention_days >= 0), -- days that calls are kept, 0: for ever; NULL: as WATCHLLM_RETENTION_DAYS says
    features text[] NOT NULL                        -- events, dashboard, debugger, cost_attribution, anomaly_detection
);
INSERT INTO plans (plan, rank, title, monthly_usd, monthly_requests, retention_days, features) VALUES
    ('free', 1, 'Free', 0, 1000, 7, '{events}'),
    ('starter', 2, 'Starter', 29, 50000, 30, '{events,dashboard}'),
    ('pro', 3, 'Pro', 99, 500000, 90, '{events,dashboard,debugger,cost_attribution,anomaly_detection}'),
    ('enterprise', 4, 'Enterprise', 499, NULL, 365,
        '{events,dashboard,debugger,cost_attribution,anomaly_detection}'),
    ('self_hosted', 5, 'Self-hosted', NULL, NULL, NULL,
        '{events,dashboard,debugger,cost_attribution,anomaly_detection}');

-- The tenants, and what each of them chose.
CREATE TABLE projects (
    project_id text PRIMARY KEY,                    -- short name, part of every key below
    name text NOT NULL,                             -- for people
    created_at timestamptz NOT NULL,                -- set by Python
    retention_days integer CHECK (retention_days >= 0), -- days that calls are kept, 0: for ever; NULL: as its plan says
    redaction text CHECK (redaction IN ('off', 'secrets', 'all')), -- what is taken out of calls before they are stored; NULL: as WATCHLLM_REDACT says
    plan text NOT NULL DEFAULT 'self_hosted' REFERENCES plans, -- what it may use
    over_quota text NOT NULL DEFAULT 'refuse' CHECK (over_quota IN ('refuse', 'pass')), -- what becomes of requests beyond the plan's: refuse, or pass and keep figures without text
    store_content boolean NOT NULL DEFAULT true,    -- false: figures are kept, and no text
    requests_per_minute integer CHECK (requests_per_minute > 0), -- of all its keys together; NULL: any number
    monthly_cap_usd numeric CHECK (monthly_cap_usd >= 0), -- US dollars in a month of UTC, from which requests are refused; NULL: no cap
    redaction_rules jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(redaction_rules) = 'object'), -- rules of its own for what is taken out: {name: pattern of RE2}
    flag_thresholds jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(flag_thresholds) = 'object'), -- from where on something is a flag, where it is not as for all: {name: number as text}
    wanted_plan text REFERENCES plans               -- what its admin asks for, and who runs the installation may give; NULL: nothing
);
INSERT INTO projects (project_id, name, created_at) VALUES ('default', 'Default', '2026-01-01T00:00:00Z');

-- Project keys (lgw_proj_…). The key itself is not stored.
CREATE TABLE api_keys (
    key_id uuid PRIMARY KEY,
    project_id text NOT NULL REFERENCES projects,
    name text NOT NULL,                             -- for people: what uses it
    key_hash bytea NOT NULL UNIQUE,                 -- SHA-256 of the whole key: 256 random bits need no salt
    key_prefix text NOT NULL,                       -- its first characters, to recognise it by
    scopes text[] NOT NULL,                         -- what it may do: proxy, ingest, read, admin
    created_at timestamptz NOT NULL,
    revoked_at timestamptz,                         -- NULL: in force
    requests_per_minute integer CHECK (requests_per_minute > 0), -- NULL: only its project's limit holds
    monthly_cap_usd numeric CHECK (monthly_cap_usd >= 0), -- US dollars in a month of UTC; NULL: only its project's cap holds
    expires_at timestamptz,                         -- in force until then, for it was replaced; NULL: until it is revoked
    replaced_by uuid                                -- the key that takes its place; NULL: none
);
CREATE INDEX api_keys_project ON api_keys (project_id, created_at);

-- What a project puts in place of its project keys when it calls the upstream.
CREATE TABLE provider_keys (
    project_id text PRIMARY KEY REFERENCES projects,
    sealed text NOT NULL,                           -- by AES-256-GCM, with a key made of WATCHLLM_SECRET_KEY; bound to its project
    last_four text NOT NULL,                        -- its last characters, to recognise it by
    set_at timestamptz NOT NULL                     -- when it was set, or sealed anew
);

-- People who log in to the console. Each belongs to one project.
CREATE TABLE people (
    user_name text PRIMARY KEY,                     -- what they type to log in; of all projects
    project_id text NOT NULL REFERENCES projects,
    scopes text[] NOT NULL,                         -- what they may do: read, admin
    password_hash text NOT NULL,                    -- argon2id, with its salt and its costs
    created_at timestamptz NOT NULL
);

-- Who is logged in. The cookie itself is not stored.
CREATE TABLE sessions (
    session_hash bytea PRIMARY KEY,                 -- SHA-256 of the cookie: 256 random bits need no salt
    project_id text NOT NULL REFERENCES projects,
    user_name text NOT NULL REFERENCES people ON DELETE CASCADE, -- who it is
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL                 -- when the person has to log in again
);
CREATE INDEX sessions_person ON sessions (user_name);

-- Runs: one row for each task of an agent. Totals are sums over its steps.
CREATE TABLE agent_debug_logs (
    project_id text NOT NULL,
    run_id text NOT NULL,
    session_id text NOT NULL,                       -- the conversation it belongs to
    parent_run_id text,                             -- the run that started it; NULL: none known
    agent_name text,                                -- NULL: not said
    agent_version text,                             -- NULL: not said
    user_id text,                                   -- the client's end user, of an overlong one its beginning and a hash; NULL: not said
    title text NOT NULL,                            -- what set it off, in one line
    status text NOT NULL,                           -- running, completed, failed, cancelled, abandoned
    started_at timestamptz NOT NULL,
    ended_at timestamptz,                           -- NULL: still running
    last_activity_at timestamptz NOT NULL,          -- end of its latest call
    is_agent boolean NOT NULL,                      -- false: a lone chat
    total_steps integer NOT NULL,
    total_calls integer NOT NULL,
    error_count integer NOT NULL,
    input_tokens bigint NOT NULL,                   -- tokens, of the calls that told them
    output_tokens bigint NOT NULL,                  -- tokens, of the calls that told them
    cache_read_input_tokens bigint NOT NULL,        -- tokens, of the calls that told them
    total_cost_usd numeric,                         -- US dollars, of the priced calls; NULL: none could be priced
    unpriced_calls integer NOT NULL,                -- calls that the total leaves out
    tags jsonb NOT NULL,                            -- [[name, value], …] in the client's order
    flags jsonb NOT NULL,                           -- [{kind, message, step_indexes, severity}, …]; replaced as a whole
    is_explicit boolean NOT NULL DEFAULT false,     -- the client named it by an id, and may come back to it
    reported text,                                  -- what the client told of it, JSON; NULL: it was captured
    dearest_step_usd numeric,                       -- US dollars, of its dearest step; NULL: no step has a price
    flag_kinds jsonb NOT NULL GENERATED ALWAYS AS (jsonb_path_query_array(flags, '$[*].kind')) STORED, -- of its flags, made by the store: small enough for an index
    PRIMARY KEY (project_id, run_id)
);
CREATE INDEX agent_debug_logs_newest ON agent_debug_logs (project_id, started_at DESC, run_id);
CREATE INDEX agent_debug_logs_agents ON agent_debug_logs (project_id, started_at DESC, run_id) WHERE is_agent;
CREATE INDEX agent_debug_logs_status ON agent_debug_logs (project_id, status, started_at DESC, run_id) INCLUDE (is_agent);
CREATE INDEX agent_debug_logs_agent_name ON agent_debug_logs (project_id, agent_name, started_at DESC, run_id) INCLUDE (is_agent);
CREATE INDEX agent_debug_logs_session ON agent_debug_logs (project_id, session_id, started_at DESC, run_id) INCLUDE (is_agent);
CREATE INDEX agent_debug_logs_flagged ON agent_debug_logs (project_id, started_at DESC, run_id)
INCLUDE (is_agent, flag_kinds) WHERE flag_kinds <> '[]';
CREATE INDEX agent_debug_logs_user ON agent_debug_logs (project_id, user_id, started_at DESC, run_id)
INCLUDE (is_agent) WHERE user_id IS NOT NULL;
CREATE INDEX agent_debug_logs_erred ON agent_debug_logs (project_id, started_at DESC, run_id)
INCLUDE (is_agent) WHERE error_count > 0;
CREATE INDEX agent_debug_logs_cost ON agent_debug_logs (project_id, total_cost_usd DESC NULLS LAST, started_at DESC, run_id);
CREATE INDEX agent_debug_logs_duration ON agent_debug_logs (project_id, (ended_at - started_at) DESC NULLS LAST, started_at DESC, run_id);
CREATE INDEX agent_debug_logs_steps ON agent_debug_logs (project_id, total_steps DESC, started_at DESC, run_id);
CREATE INDEX agent_debug_logs_children ON agent_debug_logs (project_id, parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX agent_debug_logs_may_go_on ON agent_debug_logs (last_activity_at)
WHERE (status <> 'completed' OR is_explicit) AND reported IS NULL;
CREATE INDEX agent_debug_logs_settled ON agent_debug_logs (last_activity_at)
WHERE NOT (status <> 'completed' OR is_explicit) AND reported IS NULL;

-- Steps: the rows of the debugger.
CREATE TABLE agent_debug_steps (
    project_id text NOT NULL,
    run_id text NOT NULL,
    step_index integer NOT NULL,                    -- place in the run, from 0
    type text NOT NULL,                             -- user_input, decision, tool_call, tool_result, model_response, error, retry
    started_at timestamptz NOT NULL,
    duration_us bigint,                             -- microseconds; NULL: not over yet, or not known
    is_duration_inferred boolean NOT NULL,          -- the gap between two calls stands for it
    summary text NOT NULL,
    call_id uuid,                                   -- the call it was seen in; NULL: reported, not captured
    decision text,                                  -- why, in the model's words; NULL: not said
    tool text,                                      -- NULL: not about a tool
    tool_call_id text,                              -- NULL: none given
    tool_args text,                                 -- as generated, JSON if it parses; NULL: not a tool call
    tool_output_summary text,                       -- NULL: not seen yet
    is_tool_error boolean,                          -- NULL: the dialect does not say
    model text,                                     -- NULL: not about a model
    input_tokens bigint,                            -- tokens; NULL: not known
    output_tokens bigint,                           -- tokens; NULL: not known
    cache_read_input_tokens bigint,                 -- tokens; NULL: not known
    cost_usd numeric,                               -- US dollars; NULL: unpriced, or carried by another step of the call
    is_priced boolean NOT NULL,                     -- this step carries the cost figures of its call
    time_to_first_token_us bigint,                  -- microseconds; NULL: not known
    http_status integer,                            -- NULL: no answer head came, or not about a call
    error_type text,                                -- NULL: no error
    error_message text,                             -- NULL: no error
    occurrence text,                                -- hash of a user message and of what it follows; NULL: no user message
    reported text,                                  -- what the client told of it, JSON; NULL: it was captured
    finish_reason text,                             -- why the model stopped, in the upstream's word; NULL: not told
    output_chars bigint,                            -- characters of a tool's output; NULL: not seen yet, or not to be stored
    prompt_hash text,                               -- hashes of system prompt and tools, - for none; NULL: neither, or no call
    offered_tools text,                             -- {tool: estimated tokens of its schema}, where the run offers this list first; NULL: not here
    contradiction text,                             -- how the answer is at odds with what tools gave; NULL: it is not, as far as can be proved
    PRIMARY KEY (project_id, run_id, step_index)
);

-- Why a step is as it is, by rule.
CREATE TABLE agent_debug_explanations (
    project_id text NOT NULL,
    run_id text NOT NULL,
    step_index integer NOT NULL,
    ordinal integer NOT NULL,                       -- several rules may speak of one step; from 0
    explanation text NOT NULL,
    confidence double precision NOT NULL,           -- 0 to 1
    source text NOT NULL,                           -- deterministic, or the model that wrote it
    rules_matched jsonb NOT NULL,                   -- names of rules
    PRIMARY KEY (project_id, run_id, step_index, ordinal)
);

-- Why a call belongs to its run: the evidence, strongest first.
CREATE TABLE run_links (
    project_id text NOT NULL,
    call_id uuid NOT NULL,
    ordinal integer NOT NULL,                       -- order of strength, from 0
    run_id text NOT NULL,
    kind text NOT NULL,                             -- explicit_run, issued_id, retry, new_run, …
    value text NOT NULL,                            -- the id or hash that links
    confidence text NOT NULL,                       -- certain, probable
    to_call_id uuid,                                -- the earlier call it points at; NULL: none
    to_step_index integer,                          -- the step it points at; NULL: none
    PRIMARY KEY (project_id, call_id, ordinal)
);
CREATE INDEX run_links_run ON run_links (project_id, run_id);

-- What people said about which calls belong together. The recorder carries it out, and obeys it ever after.
CREATE TABLE run_corrections (
    correction_id uuid PRIMARY KEY,                 -- made by the console; names the run that a split begins
    ordinal bigint GENERATED ALWAYS AS IDENTITY,    -- the order in which they are carried out
    project_id text NOT NULL,
    kind text NOT NULL,                             -- split, merge, undo
    run_id text NOT NULL,                           -- whose calls are to go elsewhere
    call_id uuid,                                   -- split: from this call on; NULL: no split
    is_single boolean NOT NULL,                     -- split: this call alone
    into_run_id text,                               -- merge: the run that they join; NULL: no merge
    undoes uuid,                                    -- undo: which correction; NULL: no undo
    at timestamptz NOT NULL,                        -- when it was asked for
    carried_out_at timestamptz,                     -- NULL: it waits for the recorder, or was refused
    refusal_code text,                              -- why it could not be carried out, for programs; NULL: it was not refused
    refusal text,                                   -- the same in words
    call_ids uuid[] NOT NULL DEFAULT '{}',          -- the calls that it moved
    to_run_id text,                                 -- the run they were moved to; NULL: not carried out
    to_session_id text,                             -- its session; NULL: not carried out
    to_parent_run_id text,                          -- its parent run; NULL: none, or not carried out
    left_session_id text,                           -- session of the run they left, as it was; NULL: not carried out
    left_parent_run_id text,                        -- parent of the run they left; NULL: none, or not carried out
    undone_by uuid,                                 -- the correction that took it back; NULL: in force
    stay_call_ids uuid[] NOT NULL DEFAULT '{}'      -- calls after one that was taken out alone: they stay
);
CREATE INDEX run_corrections_waiting ON run_corrections (ordinal) WHERE carried_out_at IS NULL AND refusal IS NULL;
CREATE INDEX run_corrections_taken ON run_corrections (project_id, run_id);
CREATE INDEX run_corrections_given ON run_corrections (project_id, to_run_id);

-- What a later call can hang on. The recorder's memory, reloaded at start; pruned by age.
CREATE TABLE run_anchors (
    project_id text NOT NULL,
    kind text NOT NULL,                             -- issued_id, run, agent, trace, conversation, failed_request, …
    value bytea NOT NULL,                           -- UTF-8, exact; of any length, so the key holds its MD5
    run_id text NOT NULL,                           -- the run to hang on; the newest wins
    call_id uuid NOT NULL,                          -- the call that made it
    step_index integer,                             -- the step that made it; NULL: the call as a whole
    at timestamptz NOT NULL,                        -- when it was last made
    session_id text NOT NULL,                       -- of the run, which may be out of the recorder's memory
    seq bigint NOT NULL DEFAULT 0                   -- its place among all that were put: only the last ones are kept
);
CREATE UNIQUE INDEX run_anchors_key ON run_anchors (project_id, kind, md5(value));
CREATE INDEX run_anchors_age ON run_anchors (at);
CREATE INDEX run_anchors_texts ON run_anchors (seq)
WHERE kind IN ('state', 'said', 'asked', 'observed', 'task');
CREATE INDEX run_anchors_ids ON run_anchors (seq)
WHERE kind NOT IN ('state', 'said', 'asked', 'observed', 'task');
CREATE INDEX run_anchors_run ON run_anchors (project_id, run_id);

-- How far each capture log is stored. Committed together with the rows that came from it.
CREATE TABLE capture_offsets (
    log_name text PRIMARY KEY,                      -- directory of one proxy worker: w0, w1, …
    segment bigint NOT NULL,
    offset_bytes bigint NOT NULL,                   -- bytes into the segment; records before it are stored or set aside
    stored_records bigint NOT NULL DEFAULT 0,       -- records of this log that both stores took; retried ones too
    damaged_stretches bigint NOT NULL DEFAULT 0,    -- unreadable stretches of this log that were stepped over
    tried_segment bigint,                           -- of tried_offset_bytes
    tried_offset_bytes bigint                       -- how far a batch reached that was cut: ClickHouse may hold calls before it; NULL: none was cut
);

-- The batch a recorder is thinking about. After a crash it is taken again, with the same bounds and time.
CREATE TABLE pending_batches (
    recorder text PRIMARY KEY,
    bounds jsonb NOT NULL,                          -- {log name: [[segment, offset] of start, [segment, offset] of end]}
    now_us bigint NOT NULL,                         -- microseconds since 1970: the time it is thought at
    starts integer NOT NULL DEFAULT 0               -- how many recorders have taken it up since, each after a crash
);

-- Records that could not be stored, with their bytes and the reason.
CREATE TABLE dead_letters (
    record_id uuid PRIMARY KEY,
    log_name text NOT NULL,
    reason text NOT NULL,                           -- corrupt, rejected, crashed, deadly
    detail text NOT NULL,                           -- for the operator; never a body, never a key
    payload bytea NOT NULL,                         -- the log record, as it was; empty once dropped
    at timestamptz NOT NULL,                        -- when it was last tried
    attempts integer NOT NULL DEFAULT 1,            -- how often it was tried
    retry_requested_at timestamptz,                 -- NULL: nobody asked to try it again since
    dropped_at timestamptz                          -- when a person gave it up; NULL: it is kept
);
CREATE INDEX dead_letters_wanted ON dead_letters (retry_requested_at) WHERE retry_requested_at IS NOT NULL;

-- What somebody asked to be erased, and what came of it. The recorder, which alone writes runs, erases.
CREATE TABLE erasures (
    erasure_id uuid PRIMARY KEY,                    -- set by who asks
    project_id text NOT NULL,
    scope text NOT NULL,                            -- run, user, project
    subject text NOT NULL,                          -- id of the run or user; empty: the project, or it is done
    requested_at timestamptz NOT NULL,              -- what was captured before goes
    done_at timestamptz,                            -- NULL: not yet
    failure text,                                   -- why it cannot be done; NULL: it can
    erased jsonb                                    -- {what: how many}; NULL: not done
);
CREATE INDEX erasures_wanted ON erasures (requested_at) WHERE done_at IS NULL AND failure IS NULL;

-- Backfills that have not come to their end: calls of these times are being thought about again.
CREATE TABLE backfills (
    project_id text PRIMARY KEY,
    from_at timestamptz NOT NULL,                   -- of calls that ended from then on
    to_at timestamptz NOT NULL,                     -- and before then
    done_until timestamptz NOT NULL,                -- those that ended before are done
    thought_calls bigint NOT NULL,                 -- calls of these times that were thought about again
    moved_calls bigint NOT NULL,                    -- calls that belong to another run since
    left_calls bigint NOT NULL,                     -- calls left where they were
    repriced_calls bigint NOT NULL DEFAULT 0        -- calls that cost another sum since
);

-- Requests by project and day of UTC, as the proxies counted them. Their own counts, never sums: sent twice is sent once.
CREATE TABLE usage_by_day (
    project_id text NOT NULL,
    day date NOT NULL,                              -- of UTC
    source text NOT NULL,                           -- whose count it is: the id of a worker's file of that month
    passed bigint NOT NULL,                         -- requests passed on: what the quota counts
    passed_over_quota bigint NOT NULL,              -- of them, beyond the quota: figures without text are kept
    refused_quota bigint NOT NULL,                  -- requests refused: the month's quota was used up
    refused_rate bigint NOT NULL,                   -- requests refused: too many in a minute
    refused_cap bigint NOT NULL,                    -- requests refused: the month's cap on money was reached
    refused_share bigint NOT NULL,                  -- requests refused: too many of this project were under way
    PRIMARY KEY (project_id, day, source)
);

-- Money by project, day of UTC and key: added to in the transaction that stores the calls.
CREATE TABLE spend_by_day (
    project_id text NOT NULL,
    day date NOT NULL,                              -- of UTC, on which the calls began
    key_id text NOT NULL,                           -- the project key they came with; empty: none, or not known
    cost_usd numeric NOT NULL,                      -- US dollars, of the priced calls
    priced_calls bigint NOT NULL,                   -- calls with a cost, of zero too
    unpriced_calls bigint NOT NULL,                 -- calls that the cost leaves out
    PRIMARY KEY (project_id, day, key_id)
);

-- What a project pays for a model: comes before every list, never before what the upstream told.
CREATE TABLE price_overrides (
    project_id text NOT NULL,
    model text NOT NULL,                            -- as calls name it, in lower case
    prices jsonb NOT NULL,                          -- {input, output, cache_read, …: decimal text}: US dollars, a million tokens or each
    set_at timestamptz NOT NULL,                    -- when it was set last; told with each cost it made
    PRIMARY KEY (project_id, model)
);

-- Lists of prices that were fetched: newer than the one the release came with.
CREATE TABLE price_lists (
    provider text PRIMARY KEY,                      -- whose models: openrouter
    prices jsonb NOT NULL,                          -- {model in lower case: prices as above}
    source text NOT NULL,                           -- file name or address it came from, no key in it
    fetched_at timestamptz NOT NULL                 -- of two the later counts
);
