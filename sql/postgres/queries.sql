-- Named statements for Postgres: `-- name: x`, what it does, the statement. Loaded by store/sql.py.
-- Upserts take one array for each column, and each key at most once; the row given wins.

-- name: save_runs
-- Runs with their totals, tags and flags.
INSERT INTO agent_debug_logs (
    project_id, run_id, session_id, parent_run_id, agent_name, agent_version, user_id, title, status,
    started_at, ended_at, last_activity_at, is_agent, total_steps, total_calls, error_count, input_tokens,
    output_tokens, cache_read_input_tokens, total_cost_usd, unpriced_calls, tags, flags, is_explicit, reported,
    dearest_step_usd
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::boolean[], $14::integer[],
    $15::integer[], $16::integer[], $17::bigint[], $18::bigint[], $19::bigint[], $20::numeric[],
    $21::integer[], $22::jsonb[], $23::jsonb[], $24::boolean[], $25::text[], $26::numeric[]
)
ON CONFLICT (project_id, run_id) DO UPDATE SET
    session_id = excluded.session_id, parent_run_id = excluded.parent_run_id,
    agent_name = excluded.agent_name, agent_version = excluded.agent_version, user_id = excluded.user_id,
    title = excluded.title, status = excluded.status, started_at = excluded.started_at,
    ended_at = excluded.ended_at, last_activity_at = excluded.last_activity_at,
    is_agent = excluded.is_agent, total_steps = excluded.total_steps, total_calls = excluded.total_calls,
    error_count = excluded.error_count, input_tokens = excluded.input_tokens,
    output_tokens = excluded.output_tokens, cache_read_input_tokens = excluded.cache_read_input_tokens,
    total_cost_usd = excluded.total_cost_usd, unpriced_calls = excluded.unpriced_calls,
    tags = excluded.tags, flags = excluded.flags, is_explicit = excluded.is_explicit,
    reported = excluded.reported, dearest_step_usd = excluded.dearest_step_usd;

-- name: save_steps
-- Steps, new or changed.
INSERT INTO agent_debug_steps (
    project_id, run_id, step_index, type, started_at, duration_us, is_duration_inferred, summary, call_id,
    decision, tool, tool_call_id, tool_args, tool_output_summary, is_tool_error, model, input_tokens,
    output_tokens, cache_read_input_tokens, cost_usd, is_priced, time_to_first_token_us, http_status,
    error_type, error_message, occurrence, reported, finish_reason, output_chars, prompt_hash, offered_tools,
    contradiction
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::integer[], $4::text[], $5::timestamptz[], $6::bigint[], $7::boolean[],
    $8::text[], $9::uuid[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::boolean[],
    $16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::numeric[], $21::boolean[], $22::bigint[],
    $23::integer[], $24::text[], $25::text[], $26::text[], $27::text[], $28::text[], $29::bigint[],
    $30::text[], $31::text[], $32::text[]
)
ON CONFLICT (project_id, run_id, step_index) DO UPDATE SET
    type = excluded.type, started_at = excluded.started_at, duration_us = excluded.duration_us,
    is_duration_inferred = excluded.is_duration_inferred, summary = excluded.summary,
    call_id = excluded.call_id, decision = excluded.decision, tool = excluded.tool,
    tool_call_id = excluded.tool_call_id, tool_args = excluded.tool_args,
    tool_output_summary = excluded.tool_output_summary, is_tool_error = excluded.is_tool_error,
    model = excluded.model, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,
    cache_read_input_tokens = excluded.cache_read_input_tokens, cost_usd = excluded.cost_usd,
    is_priced = excluded.is_priced, time_to_first_token_us = excluded.time_to_first_token_us,
    http_status = excluded.http_status, error_type = excluded.error_type,
    error_message = excluded.error_message, occurrence = excluded.occurrence, reported = excluded.reported,
    finish_reason = excluded.finish_reason, output_chars = excluded.output_chars,
    prompt_hash = excluded.prompt_hash, offered_tools = excluded.offered_tools,
    contradiction = excluded.contradiction;

-- name: earlier_runs_of_agents
-- For each ($1[i], $2[i], $3[i]): the newest $4 runs of the project's agent that began, and were over, before $3[i], and had
-- a price; what the dearest step of each cost. `asked` counts from 1.
SELECT asked.number::integer AS asked, earlier.run_id, earlier.started_at, earlier.dearest_step_usd
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS asked (project_id, agent_name, before, number)
CROSS JOIN LATERAL (
    SELECT run_id, started_at, dearest_step_usd FROM agent_debug_logs
    WHERE project_id = asked.project_id AND agent_name = asked.agent_name
        AND started_at < asked.before AND last_activity_at < asked.before AND dearest_step_usd IS NOT NULL
    ORDER BY started_at DESC, run_id LIMIT $4
) AS earlier;

-- name: drop_explanations
-- Explanations of the runs ($1[i], $2[i]): they are written anew as a whole.
DELETE FROM agent_debug_explanations
USING unnest($1::text[], $2::text[]) AS changed (project_id, run_id)
WHERE agent_debug_explanations.project_id = changed.project_id
  AND agent_debug_explanations.run_id = changed.run_id;

-- name: save_explanations
-- Why steps are as they are.
INSERT INTO agent_debug_explanations (
    project_id, run_id, step_index, ordinal, explanation, confidence, source, rules_matched
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::integer[], $4::integer[], $5::text[], $6::float8[], $7::text[], $8::jsonb[]
)
ON CONFLICT (project_id, run_id, step_index, ordinal) DO UPDATE SET
    explanation = excluded.explanation, confidence = excluded.confidence, source = excluded.source,
    rules_matched = excluded.rules_matched;

-- name: save_links
-- The evidence for each call's place.
INSERT INTO run_links (
    project_id, call_id, ordinal, run_id, kind, value, confidence, to_call_id, to_step_index
)
SELECT * FROM unnest(
    $1::text[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[],
    $9::integer[]
)
ON CONFLICT (project_id, call_id, ordinal) DO UPDATE SET
    run_id = excluded.run_id, kind = excluded.kind, value = excluded.value,
    confidence = excluded.confidence, to_call_id = excluded.to_call_id,
    to_step_index = excluded.to_step_index;

-- name: save_anchors
-- What later calls can hang on; the newest of a value wins. One without a number counts as put just now.
INSERT INTO run_anchors (
    project_id, kind, value, run_id, call_id, step_index, at, session_id, seq
)
SELECT project_id, kind, value, run_id, call_id, step_index, at, session_id,
    CASE WHEN seq > 0 THEN seq ELSE 1 + coalesce(greatest(
        (SELECT max(seq) FROM run_anchors WHERE kind IN ('state', 'said', 'asked', 'observed', 'task')),
        (SELECT max(seq) FROM run_anchors WHERE kind NOT IN ('state', 'said', 'asked', 'observed', 'task'))
    ), 0) END
FROM unnest(
    $1::text[], $2::text[], $3::bytea[], $4::text[], $5::uuid[], $6::integer[], $7::timestamptz[],
    $8::text[], $9::bigint[]
) AS put (project_id, kind, value, run_id, call_id, step_index, at, session_id, seq)
ON CONFLICT (project_id, kind, md5(value)) DO UPDATE SET
    run_id = excluded.run_id, call_id = excluded.call_id, step_index = excluded.step_index, at = excluded.at,
    session_id = excluded.session_id, seq = excluded.seq;

-- name: save_offsets
-- How far the logs are stored. In the transaction of the rows that came from them.
INSERT INTO capture_offsets (
    log_name, segment, offset_bytes
)
SELECT * FROM unnest(
    $1::text[], $2::bigint[], $3::bigint[]
)
ON CONFLICT (log_name) DO UPDATE SET
    segment = excluded.segment, offset_bytes = excluded.offset_bytes;

-- name: add_to_accounts
-- Counts what became of the logs' records, in the transaction that stores them: once. A commit whose answer
-- was lost is made again, and finds that the batch of the recorder $4 is not pending any more.
UPDATE capture_offsets SET
    stored_records = capture_offsets.stored_records + counted.stored,
    damaged_stretches = capture_offsets.damaged_stretches + counted.damaged
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS counted (log_name, stored, damaged)
WHERE capture_offsets.log_name = counted.log_name
  AND EXISTS (SELECT FROM pending_batches WHERE recorder = $4);

-- name: accounts
-- What became of the records of each log, as of one moment.
SELECT log_name, segment, offset_bytes, stored_records, damaged_stretches,
    coalesce(set_aside.dead_lettered, '{}') AS dead_lettered, coalesce(set_aside.dropped, 0) AS dropped
FROM capture_offsets
LEFT JOIN (
    SELECT log_name, jsonb_object_agg(reason, kept) FILTER (WHERE kept > 0) AS dead_lettered,
        sum(dropped)::bigint AS dropped
    FROM (
        SELECT log_name, reason, count(*) FILTER (WHERE dropped_at IS NULL) AS kept, count(dropped_at) AS dropped
        FROM dead_letters
        GROUP BY log_name, reason
    ) AS by_reason
    GROUP BY log_name
) AS set_aside USING (log_name);

-- name: save_dead_letters
-- Records set aside, with their bytes; of one that was tried again in vain, that it was. The same commit made
-- again is told by its time.
INSERT INTO dead_letters (
    record_id, log_name, reason, detail, payload, at
)
SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::timestamptz[]
)
ON CONFLICT (record_id) DO UPDATE SET
    reason = excluded.reason, detail = excluded.detail, at = excluded.at,
    attempts = dead_letters.attempts + (dead_letters.at <> excluded.at)::integer, retry_requested_at = NULL;

-- name: forget_dead_letters
-- Letters that were tried again and are stored now.
DELETE FROM dead_letters WHERE record_id = ANY($1::uuid[]);

-- name: list_dead_letters
-- Letters of the reason $1 (NULL: any), oldest first, at most $3; $2: dropped ones too.
SELECT record_id, log_name, reason, detail, octet_length(payload) AS payload_bytes, at, attempts,
    retry_requested_at, dropped_at
FROM dead_letters
WHERE ($1::text IS NULL OR reason = $1) AND ($2::boolean OR dropped_at IS NULL)
ORDER BY at, record_id
LIMIT $3;

-- name: dead_letters_beginning_with
-- Letters whose id begins with $1, at most $2.
SELECT record_id, log_name, reason, detail, octet_length(payload) AS payload_bytes, at, attempts,
    retry_requested_at, dropped_at
FROM dead_letters
WHERE starts_with(record_id::text, $1)
ORDER BY record_id
LIMIT $2;

-- name: dead_letter_states
-- Letters by id, without their bytes.
SELECT record_id, log_name, reason, detail, octet_length(payload) AS payload_bytes, at, attempts,
    retry_requested_at, dropped_at
FROM dead_letters
WHERE record_id = ANY($1::uuid[])
ORDER BY at, record_id;

-- name: dead_letters_by_id
-- Letters whose bytes are kept, by id.
SELECT record_id, log_name, reason, detail, payload
FROM dead_letters
WHERE record_id = ANY($1::uuid[]) AND dropped_at IS NULL;

-- name: ask_for_dead_letters
-- Letters the recorder is to try again; one that was asked for before keeps its place.
UPDATE dead_letters SET retry_requested_at = coalesce(retry_requested_at, $2)
WHERE record_id = ANY($1::uuid[]) AND dropped_at IS NULL
RETURNING record_id;

-- name: drop_dead_letters
-- Deletes the bytes of letters; not of those that the recorder is about to try again.
UPDATE dead_letters SET dropped_at = $2, payload = '', detail = ''
WHERE record_id = ANY($1::uuid[]) AND dropped_at IS NULL AND retry_requested_at IS NULL
RETURNING record_id;

-- name: wanted_dead_letters
-- Letters to try again, at most $1 and of $2 bytes together, but one in any case.
SELECT record_id, log_name, reason, detail, payload
FROM (
    SELECT *, sum(octet_length(payload)) OVER waiting - octet_length(payload) AS bytes_before
    FROM dead_letters
    WHERE retry_requested_at IS NOT NULL
    WINDOW waiting AS (ORDER BY retry_requested_at, record_id)
    ORDER BY retry_requested_at, record_id
    LIMIT $1
) AS first
WHERE bytes_before = 0 OR bytes_before + octet_length(payload) <= $2;

-- name: prune_old_anchors
-- Anchors of more than $1 before the newest of all, which no call is hung on any more. The log's own time counts.
DELETE FROM run_anchors WHERE at < (SELECT max(at) FROM run_anchors) - $1::interval;

-- name: prune_texts
-- Anchors of texts that are not among the last $1 anchors that were put.
DELETE FROM run_anchors
WHERE kind IN ('state', 'said', 'asked', 'observed', 'task')
    AND seq <= greatest(
        (SELECT max(seq) FROM run_anchors WHERE kind IN ('state', 'said', 'asked', 'observed', 'task')),
        (SELECT max(seq) FROM run_anchors WHERE kind NOT IN ('state', 'said', 'asked', 'observed', 'task'))
    ) - $1::bigint;

-- name: prune_ids
-- The same of all others.
DELETE FROM run_anchors
WHERE kind NOT IN ('state', 'said', 'asked', 'observed', 'task')
    AND seq <= greatest(
        (SELECT max(seq) FROM run_anchors WHERE kind IN ('state', 'said', 'asked', 'observed', 'task')),
        (SELECT max(seq) FROM run_anchors WHERE kind NOT IN ('state', 'said', 'asked', 'observed', 'task'))
    ) - $1::bigint;

-- name: offsets
-- How far each capture log is stored.
SELECT log_name, segment, offset_bytes FROM capture_offsets;

-- name: begin_batch
-- Notes the batch that is about to be thought at; a repeat after a crash is the same.
INSERT INTO pending_batches (recorder, bounds, now_us) VALUES ($1, $2::jsonb, $3)
ON CONFLICT (recorder) DO UPDATE SET bounds = excluded.bounds, now_us = excluded.now_us;

-- name: pending_batch
-- The batch that was begun and not committed.
SELECT bounds, now_us, starts FROM pending_batches WHERE recorder = $1;

-- name: take_up_batch
-- The same for one that is to store it: counted before it tries.
UPDATE pending_batches SET starts = starts + 1 WHERE recorder = $1 RETURNING bounds, now_us, starts;

-- name: note_tried
-- Batches of the logs $1[i] reached to the segment $2[i], offset $3[i], and were cut. What reached further stays.
INSERT INTO capture_offsets (log_name, segment, offset_bytes, tried_segment, tried_offset_bytes)
SELECT log_name, 0, 0, segment, offset_bytes
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS reached (log_name, segment, offset_bytes)
ON CONFLICT (log_name) DO UPDATE SET
    tried_segment = excluded.tried_segment, tried_offset_bytes = excluded.tried_offset_bytes
WHERE capture_offsets.tried_segment IS NULL
    OR (capture_offsets.tried_segment, capture_offsets.tried_offset_bytes)
    < (excluded.tried_segment, excluded.tried_offset_bytes);

-- name: tried
-- How far batches reached that were cut, where not all before it is stored yet.
SELECT log_name, tried_segment, tried_offset_bytes
FROM capture_offsets
WHERE (tried_segment, tried_offset_bytes) > (segment, offset_bytes);

-- name: end_batch
-- The batch is committed.
DELETE FROM pending_batches WHERE recorder = $1;

-- name: live_outlines
-- Outlines of the runs that a later call may still belong to: those that may go on, of the last $1 before the
-- latest activity of all, and those that have settled, of the last $2; of each at most $3. The log's own time
-- counts, not the clock. The two conditions are those of the two indexes. One row, an array for each column: of so
-- many rows the driver would make an object each.
WITH latest AS (
    SELECT greatest(
        (
            SELECT max(last_activity_at) FROM agent_debug_logs
            WHERE (status <> 'completed' OR is_explicit) AND reported IS NULL
        ), (
            SELECT max(last_activity_at) FROM agent_debug_logs
            WHERE NOT (status <> 'completed' OR is_explicit) AND reported IS NULL
        )
    ) AS at
)
SELECT coalesce(array_agg(project_id), '{}') AS project_ids, coalesce(array_agg(run_id), '{}') AS run_ids,
    coalesce(array_agg(session_id), '{}') AS session_ids, coalesce(array_agg(status), '{}') AS statuses,
    coalesce(array_agg((extract(epoch FROM last_activity_at) * 1000000)::bigint), '{}') AS times,
    coalesce(array_agg(is_explicit), '{}') AS explicit
FROM (
    (
        SELECT * FROM agent_debug_logs
        WHERE (status <> 'completed' OR is_explicit) AND reported IS NULL
            AND last_activity_at >= (SELECT at FROM latest) - $1::interval
        ORDER BY last_activity_at DESC
        LIMIT $3
    ) UNION ALL (
        SELECT * FROM agent_debug_logs
        WHERE NOT (status <> 'completed' OR is_explicit) AND reported IS NULL
            AND last_activity_at >= (SELECT at FROM latest) - $2::interval
        ORDER BY last_activity_at DESC
        LIMIT $3
    )
) AS newest;

-- name: reported_among
-- Those of the runs ($1[i], $2[i]) that were reported, not captured.
SELECT project_id, run_id
FROM agent_debug_logs
JOIN unnest($1::text[], $2::text[]) AS wanted (project_id, run_id) USING (project_id, run_id)
WHERE reported IS NOT NULL;

-- name: told_runs
-- The runs ($1[i], $2[i]), captured or reported.
SELECT agent_debug_logs.*
FROM agent_debug_logs
JOIN unnest($1::text[], $2::text[]) AS wanted (project_id, run_id) USING (project_id, run_id);

-- name: steps_of_runs
-- Steps of the runs ($1[i], $2[i]), in order.
SELECT agent_debug_steps.*
FROM agent_debug_steps
JOIN unnest($1::text[], $2::text[]) AS live (project_id, run_id) USING (project_id, run_id)
ORDER BY project_id, run_id, step_index;

-- name: live_anchors
-- What later calls can hang on, in no order: of the last $1 before the newest of all, of texts those among the
-- last $2 that were put, of all others those among the last $3. A row for every $4 that were put, an array for each
-- column: a start waits for this.
WITH latest AS (
    SELECT max(at) - $1::interval AS since, greatest(
        (SELECT max(seq) FROM run_anchors WHERE kind IN ('state', 'said', 'asked', 'observed', 'task')),
        (SELECT max(seq) FROM run_anchors WHERE kind NOT IN ('state', 'said', 'asked', 'observed', 'task'))
    ) AS seq
    FROM run_anchors
)
SELECT found.*
FROM latest, generate_series(latest.seq - $3::bigint, latest.seq - 1, $4::bigint) AS put_before, LATERAL (
    SELECT array_agg(project_id) AS project_ids, array_agg(kind) AS kinds, array_agg(value) AS "values",
        array_agg(run_id) AS run_ids, array_agg(call_id::text) AS call_ids, array_agg(step_index) AS step_indexes,
        array_agg((extract(epoch FROM at) * 1000000)::bigint) AS times, array_agg(session_id) AS session_ids,
        array_agg(seq) AS numbers
    FROM (
        (
            SELECT * FROM run_anchors
            WHERE kind IN ('state', 'said', 'asked', 'observed', 'task')
                AND seq > greatest(put_before, latest.seq - $2::bigint) AND seq <= put_before + $4::bigint
        ) UNION ALL (
            SELECT * FROM run_anchors
            WHERE kind NOT IN ('state', 'said', 'asked', 'observed', 'task')
                AND seq > put_before AND seq <= put_before + $4::bigint
        )
    ) AS anchors
    WHERE at >= latest.since
) AS found
WHERE found.numbers IS NOT NULL;

-- name: runs_by_id
-- The captured ones of the runs ($1[i], $2[i]).
SELECT agent_debug_logs.*
FROM agent_debug_logs
JOIN unnest($1::text[], $2::text[]) AS wanted (project_id, run_id) USING (project_id, run_id)
WHERE reported IS NULL
ORDER BY last_activity_at, project_id, run_id;

-- name: run_filter
-- Fragment: which runs of the project $1. NULL is "any"; $6 is looked for in title, agent and run id.
project_id = $1
    AND ($2::text IS NULL OR status = $2)
    AND ($3::text IS NULL OR agent_name = $3)
    AND ($4::text IS NULL OR (flag_kinds <> '[]' AND flag_kinds ? $4))
    AND ($5::text IS NULL OR session_id = $5)
    AND ($6::text IS NULL OR strpos(lower(concat_ws(E'\n', title, agent_name, run_id)), lower($6)) > 0)
    AND ($7::timestamptz IS NULL OR started_at >= $7)
    AND ($8::timestamptz IS NULL OR started_at < $8)
    AND ($9::boolean OR is_agent)
    AND ($10::text IS NULL OR user_id = $10)
    AND (NOT $11::boolean OR error_count > 0);

-- name: list_runs
-- One page of runs. The order is one of an allow-list in store/reading.py. Which runs it holds is found in an index alone,
-- so that rows are read of those that are shown.
SELECT runs.*
FROM (
    SELECT project_id AS found_project_id, run_id AS found_run_id FROM agent_debug_logs
    WHERE /*run_filter*/ ORDER BY /*order*/ LIMIT $12 OFFSET $13
) AS found
JOIN agent_debug_logs AS runs ON runs.project_id = found_project_id AND runs.run_id = found_run_id
ORDER BY /*order*/;

-- name: list_runs_known_first
-- One page of runs in the order of /*key*/, which an index holds the other way round: read backwards it has those that
-- are not known first, and they are to come last. So either part is read from its own place, as far as the page goes.
SELECT *
FROM (
    (
        SELECT *, false AS is_unknown FROM agent_debug_logs WHERE /*run_filter*/ AND /*key*/ IS NOT NULL
        ORDER BY /*key*/ NULLS FIRST, started_at, run_id DESC LIMIT $12::bigint + $13::bigint
    ) UNION ALL (
        SELECT *, true AS is_unknown FROM agent_debug_logs WHERE /*run_filter*/ AND /*key*/ IS NULL
        ORDER BY /*key*/ NULLS FIRST, started_at, run_id DESC LIMIT $12::bigint + $13::bigint
    )
) AS found
ORDER BY is_unknown, /*key*/, started_at, run_id DESC
LIMIT $12 OFFSET $13;

-- name: count_runs
-- How many runs match, counted up to $12: nobody waits for a number that nobody reads to its end.
SELECT count(*)
FROM (SELECT FROM agent_debug_logs WHERE /*run_filter*/ ORDER BY started_at DESC, run_id LIMIT $12) AS newest;

-- name: session_figures
-- Fragment: what all runs of the session wanted.session_id come to. What a client told of a run that was captured as well
-- is a run beside it (0170), and is not counted twice.
SELECT sums.*, first_run.title, first_run.agent_name, first_run.user_id
FROM (
    SELECT
        count(*) AS runs,
        count(*) FILTER (WHERE parent_run_id IS NULL) AS turns,
        count(*) FILTER (WHERE status = 'running') AS running,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        min(started_at) AS started_at,
        max(last_activity_at) AS last_activity_at,
        sum(total_steps) AS total_steps,
        sum(error_count) AS error_count,
        sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens,
        sum(cache_read_input_tokens) AS cache_read_input_tokens,
        sum(total_cost_usd) AS total_cost_usd,
        sum(unpriced_calls) AS unpriced_calls
    FROM agent_debug_logs
    WHERE project_id = $1 AND session_id = wanted.session_id
        AND (reported IS NULL OR run_id IS DISTINCT FROM parent_run_id || '~reported')
) AS sums
CROSS JOIN LATERAL (
    SELECT title, agent_name, user_id FROM agent_debug_logs
    WHERE project_id = $1 AND session_id = wanted.session_id
    ORDER BY started_at, run_id DESC LIMIT 1
) AS first_run
WHERE sums.runs > 0;

-- name: list_sessions
-- A page of the sessions of the newest $2 runs, the one with the newest run first; $3: also those of a single turn.
WITH newest AS (
    SELECT session_id, parent_run_id, started_at FROM agent_debug_logs WHERE project_id = $1
    ORDER BY started_at DESC, run_id LIMIT $2
), wanted AS (
    SELECT
        session_id, max(started_at) AS newest_at, count(*) OVER () AS total,
        (SELECT count(*) FROM newest) AS looked_through
    FROM newest
    GROUP BY session_id
    HAVING $3::boolean OR count(*) FILTER (WHERE parent_run_id IS NULL) > 1
    ORDER BY newest_at DESC, session_id LIMIT $4 OFFSET $5
)
SELECT * FROM wanted CROSS JOIN LATERAL (/*session_figures*/) AS figures ORDER BY newest_at DESC, session_id;

-- name: costs_by_tool
-- What the calls within [$2, $3) cost by the tools that they asked for: those of the newest $4 runs with at most $5 steps
-- together. A call's cost, and what it wrote, is shared evenly among its tools.
WITH newest AS (
    SELECT run_id, started_at, total_steps FROM agent_debug_logs
    WHERE project_id = $1 AND reported IS NULL AND started_at < $3 AND last_activity_at >= $2
    ORDER BY started_at DESC, run_id LIMIT $4
), looked_at AS (
    SELECT run_id FROM (
        SELECT run_id, sum(total_steps) OVER (ORDER BY started_at DESC, run_id) AS steps_so_far FROM newest
    ) AS counted
    WHERE steps_so_far <= $5
), steps AS (
    SELECT call_id, type, tool, cost_usd, output_tokens, is_priced, error_type, started_at
    FROM agent_debug_steps JOIN looked_at USING (run_id)
    WHERE project_id = $1 AND call_id IS NOT NULL AND (is_priced OR type = 'tool_call')
), asked_for AS (
    SELECT call_id, tool, count(*) OVER (PARTITION BY call_id) AS tools
    FROM steps WHERE type = 'tool_call' AND tool IS NOT NULL GROUP BY call_id, tool
)
SELECT
    asked_for.tool AS name,
    round(sum(steps.cost_usd / coalesce(asked_for.tools, 1)), 12) AS cost_usd,
    round(sum(steps.output_tokens / coalesce(asked_for.tools, 1)::numeric))::bigint AS output_tokens,
    count(*) AS calls,
    count(*) FILTER (WHERE steps.error_type IS NOT NULL) AS failed_calls,
    count(*) FILTER (WHERE steps.cost_usd IS NULL) AS unpriced_calls
FROM steps LEFT JOIN asked_for USING (call_id)
WHERE steps.is_priced AND steps.started_at >= $2 AND steps.started_at < $3
GROUP BY asked_for.tool
ORDER BY cost_usd DESC NULLS LAST, name NULLS LAST LIMIT $6;

-- name: session_with_figures
-- One conversation.
SELECT * FROM (SELECT $2::text AS session_id) AS wanted CROSS JOIN LATERAL (/*session_figures*/) AS figures;

-- name: get_run
-- One run. `version` is another whenever the run or its steps are stored anew.
SELECT *, xmin::text AS version FROM agent_debug_logs WHERE project_id = $1 AND run_id = $2;

-- name: get_steps
-- The steps of a run.
SELECT * FROM agent_debug_steps WHERE project_id = $1 AND run_id = $2 ORDER BY step_index;

-- name: get_step_lines
-- The steps of a run as its timeline shows them; of long texts their first $3 characters. Columns stand in the order
-- of `records.Step`, and what a timeline does not show is NULL.
SELECT
    step_index, type, (extract(epoch FROM started_at) * 1000000)::bigint AS at_us, duration_us,
    is_duration_inferred, left(summary, $3) AS summary, NULL::uuid AS call_id, left(decision, $3) AS decision, tool,
    NULL::text AS tool_call_id, left(tool_args, $3) AS tool_args,
    left(tool_output_summary, $3) AS tool_output_summary, is_tool_error, model, input_tokens, output_tokens,
    NULL::bigint AS cache_read_input_tokens, cost_usd::text AS cost_usd, is_priced, time_to_first_token_us,
    NULL::integer AS http_status, error_type, left(error_message, $3) AS error_message,
    NULL::text AS occurrence, reported
FROM agent_debug_steps WHERE project_id = $1 AND run_id = $2 ORDER BY step_index;

-- name: tokens_of_runs
-- What the calls of the runs $2[i], of $3[i] steps, took in tokens, in order. Of a run of more than $4 steps the first call
-- in each of $4 equal pieces: each is a look into the key, so that a long run takes no longer than a short one.
WITH wanted AS (
    SELECT run_id, total_steps FROM unnest($2::text[], $3::bigint[]) AS wanted (run_id, total_steps)
), taken AS (
    SELECT wanted.run_id, calls.*
    FROM wanted CROSS JOIN LATERAL (
        SELECT step_index, coalesce(input_tokens, 0) + coalesce(output_tokens, 0) AS tokens
        FROM agent_debug_steps
        WHERE project_id = $1 AND run_id = wanted.run_id AND coalesce(input_tokens, output_tokens) IS NOT NULL
    ) AS calls
    WHERE total_steps <= $4::integer
    UNION ALL
    SELECT wanted.run_id, calls.*
    FROM wanted CROSS JOIN generate_series(0, $4::integer - 1) AS piece CROSS JOIN LATERAL (
        SELECT step_index, coalesce(input_tokens, 0) + coalesce(output_tokens, 0) AS tokens
        FROM agent_debug_steps
        WHERE project_id = $1 AND run_id = wanted.run_id AND coalesce(input_tokens, output_tokens) IS NOT NULL
            AND step_index >= piece * total_steps / $4 AND step_index < (piece + 1) * total_steps / $4
        ORDER BY step_index LIMIT 1
    ) AS calls
    WHERE total_steps > $4
)
SELECT run_id, array_agg(tokens ORDER BY step_index) AS tokens FROM taken GROUP BY run_id;

-- name: get_explanations
-- Why the steps of a run are as they are.
SELECT * FROM agent_debug_explanations WHERE project_id = $1 AND run_id = $2 ORDER BY step_index, ordinal;

-- name: get_links
-- Why the calls of a run belong to it; of each call the link that decided first.
SELECT * FROM run_links WHERE project_id = $1 AND run_id = $2 ORDER BY call_id, ordinal;

-- name: links_of_calls
-- Why calls belong to their runs; of each the link that decided first.
SELECT * FROM run_links WHERE project_id = $1 AND call_id = ANY($2::uuid[]) ORDER BY call_id, ordinal;

-- name: get_children
-- Runs that name this one as their parent.
SELECT * FROM agent_debug_logs WHERE project_id = $1 AND parent_run_id = $2 ORDER BY started_at, run_id;

-- name: peers_of_run
-- The newest $4 runs of the agent $3 beside the run $2, as far as that is compared with them.
SELECT run_id, title, status, total_cost_usd FROM agent_debug_logs
WHERE project_id = $1 AND agent_name = $3 AND run_id <> $2
ORDER BY started_at DESC, run_id LIMIT $4;

-- name: count_by_status
-- The newest $3 runs by status; $2 counts lone chats as well.
SELECT status, count(*) AS runs
FROM (
    SELECT status FROM agent_debug_logs
    WHERE project_id = $1 AND ($2::boolean OR is_agent)
    ORDER BY started_at DESC, run_id LIMIT $3
) AS newest
GROUP BY status;

-- name: count_by_agent
-- The agents with the most of the newest $2 runs.
SELECT agent_name, count(*) AS runs
FROM (
    SELECT agent_name FROM agent_debug_logs WHERE project_id = $1 ORDER BY started_at DESC, run_id LIMIT $2
) AS newest
WHERE agent_name IS NOT NULL
GROUP BY agent_name ORDER BY runs DESC, agent_name LIMIT 200;

-- name: create_key
-- A new project key, by its hash.
INSERT INTO api_keys (key_id, project_id, name, key_hash, key_prefix, scopes, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: list_keys
-- The keys of a project, revoked ones too.
SELECT
    key_id, project_id, name, key_prefix, scopes, created_at, revoked_at, expires_at, replaced_by,
    requests_per_minute, monthly_cap_usd
FROM api_keys WHERE project_id = $1 ORDER BY created_at, key_id;

-- name: revoke_key
-- Ends a key. One that was revoked before keeps its time.
UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3) WHERE project_id = $1 AND key_id = $2 RETURNING key_id;

-- name: revoke_keys
-- Ends all keys of a project.
UPDATE api_keys SET revoked_at = $2
WHERE project_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) RETURNING key_id;

-- name: replace_key
-- A key in force gets a time to end; the new key takes over all that it may. Nothing where it is not in force, or is
-- being replaced already.
WITH old AS (
    UPDATE api_keys SET expires_at = $3, replaced_by = $4
    WHERE project_id = $1 AND key_id = $2 AND revoked_at IS NULL AND expires_at IS NULL
    RETURNING project_id, name, scopes, requests_per_minute, monthly_cap_usd
)
INSERT INTO api_keys
    (key_id, project_id, name, key_hash, key_prefix, scopes, created_at, requests_per_minute, monthly_cap_usd)
SELECT $4, project_id, name, $5, $6, scopes, $7, requests_per_minute, monthly_cap_usd FROM old
RETURNING name, scopes, requests_per_minute, monthly_cap_usd;

-- name: active_keys
-- Keys in force, of all projects.
SELECT key_hash, project_id, key_id, scopes, expires_at, requests_per_minute
FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

-- name: project_terms
-- What the proxies know of each project.
SELECT
    projects.project_id, projects.plan, projects.over_quota, projects.requests_per_minute, plans.monthly_requests,
    provider_keys.sealed AS sealed_provider_key
FROM projects
JOIN plans USING (plan)
LEFT JOIN provider_keys USING (project_id);

-- name: grants_mark
-- Differs when any key, project, provider key or plan was added, changed or taken away: what wrote a row is part of it.
SELECT
    (SELECT count(*) || '/' || coalesce(sum(xmin::text::bigint), 0) FROM api_keys) || ' '
    || (SELECT count(*) || '/' || coalesce(sum(xmin::text::bigint), 0) FROM projects) || ' '
    || (SELECT count(*) || '/' || coalesce(sum(xmin::text::bigint), 0) FROM provider_keys) || ' '
    || (SELECT count(*) || '/' || coalesce(sum(xmin::text::bigint), 0) FROM plans);

-- name: set_provider_key
-- The provider key of a project, sealed; the one given wins.
INSERT INTO provider_keys (project_id, sealed, last_four, set_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (project_id) DO UPDATE
SET sealed = excluded.sealed, last_four = excluded.last_four, set_at = excluded.set_at;

-- name: reseal_provider_key
-- The same provider key, sealed anew, unless somebody set another one meanwhile.
UPDATE provider_keys SET sealed = $3 WHERE project_id = $1 AND sealed = $2 RETURNING project_id;

-- name: list_provider_keys
-- Which projects have a provider key; $1: of this one alone.
SELECT project_id, last_four, set_at FROM provider_keys
WHERE $1::text IS NULL OR project_id = $1 ORDER BY project_id;

-- name: sealed_provider_keys
-- All of them, to be sealed anew.
SELECT project_id, sealed FROM provider_keys ORDER BY project_id;

-- name: remove_provider_key
-- The project is back to the provider key of the settings.
DELETE FROM provider_keys WHERE project_id = $1 RETURNING project_id;

-- name: create_person
-- Somebody who may log in; nothing where the name is taken.
INSERT INTO people (user_name, project_id, scopes, password_hash, created_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (user_name) DO NOTHING RETURNING user_name;

-- name: list_people
-- Who may log in; $1: of this project alone.
SELECT user_name, project_id, scopes, created_at FROM people
WHERE $1::text IS NULL OR project_id = $1 ORDER BY user_name;

-- name: remove_person
-- Whose sessions end with it.
DELETE FROM people WHERE user_name = $1 RETURNING user_name;

-- name: set_password
-- A new password ends all sessions of before.
WITH ended AS (DELETE FROM sessions WHERE user_name = $1)
UPDATE people SET password_hash = $2 WHERE user_name = $1 RETURNING user_name;

-- name: get_person
-- To compare the password with.
SELECT user_name, project_id, scopes, password_hash FROM people WHERE user_name = $1;

-- name: open_session
-- Somebody logged in. Sessions that are over go.
WITH over AS (DELETE FROM sessions WHERE expires_at <= $4)
INSERT INTO sessions (session_hash, project_id, user_name, created_at, expires_at)
SELECT $1, project_id, user_name, $4, $5 FROM people WHERE user_name = $2 AND password_hash = $3
RETURNING user_name;

-- name: get_session
-- Whose it is, while it lasts.
SELECT people.user_name, people.project_id, people.scopes
FROM sessions JOIN people USING (user_name)
WHERE sessions.session_hash = $1 AND sessions.expires_at > $2;

-- name: close_session
-- Somebody logged out.
DELETE FROM sessions WHERE session_hash = $1;

-- name: create_project
-- A new project; nothing where there is one of that name.
INSERT INTO projects (project_id, name, created_at) VALUES ($1, $2, $3)
ON CONFLICT (project_id) DO NOTHING RETURNING project_id;

-- name: list_projects
-- All projects, with their plans, and how many keys each has in force.
SELECT
    projects.project_id, projects.name, projects.created_at, projects.plan, projects.wanted_plan,
    count(api_keys.key_id) AS keys
FROM projects
LEFT JOIN api_keys ON api_keys.project_id = projects.project_id AND api_keys.revoked_at IS NULL
    AND (api_keys.expires_at IS NULL OR api_keys.expires_at > now())
GROUP BY projects.project_id ORDER BY projects.created_at, projects.project_id;

-- name: ask_for_correction
-- What a person wants; the recorder carries it out.
INSERT INTO run_corrections (correction_id, project_id, kind, run_id, call_id, is_single, into_run_id, undoes, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: waiting_corrections
-- Those that are to be carried out, at most $1, in the order in which they were asked for.
SELECT * FROM run_corrections WHERE carried_out_at IS NULL AND refusal IS NULL ORDER BY ordinal LIMIT $1;

-- name: corrections_in_force
-- Those of all projects that later calls obey: the newest $1, in order.
SELECT * FROM (
    SELECT * FROM run_corrections
    WHERE carried_out_at IS NOT NULL AND kind <> 'undo' AND undone_by IS NULL
    ORDER BY ordinal DESC
    LIMIT $1
) AS newest
ORDER BY ordinal;

-- name: correction_by_id
-- One correction, and how it stands.
SELECT * FROM run_corrections WHERE project_id = $1 AND correction_id = $2;

-- name: corrections_of_runs
-- Those in force that took calls from the runs $2, brought calls there, or moved calls that are there now.
SELECT * FROM run_corrections
WHERE project_id = $1 AND carried_out_at IS NOT NULL AND kind <> 'undo' AND undone_by IS NULL
  AND (
    run_id = ANY($2::text[]) OR to_run_id = ANY($2::text[])
    OR call_ids && ARRAY(SELECT DISTINCT call_id FROM run_links WHERE project_id = $1 AND run_id = ANY($2::text[]))
  )
ORDER BY ordinal;

-- name: run_merged_into
-- Where the calls of a run went that was merged away.
SELECT to_run_id FROM run_corrections
WHERE project_id = $1 AND run_id = $2 AND kind = 'merge' AND carried_out_at IS NOT NULL AND undone_by IS NULL
ORDER BY ordinal DESC LIMIT 1;

-- name: runs_of_sessions
-- The captured runs of the sessions $2, and of those that the runs $3 are in.
SELECT * FROM agent_debug_logs
WHERE project_id = $1 AND reported IS NULL AND session_id = ANY(
    $2::text[] || ARRAY(SELECT session_id FROM agent_debug_logs WHERE project_id = $1 AND run_id = ANY($3::text[]))
);

-- name: links_of_runs
-- Why the calls of the runs $2 are there; of each call the link that decided first.
SELECT * FROM run_links WHERE project_id = $1 AND run_id = ANY($2::text[]) ORDER BY call_id, ordinal;

-- name: anchors_about_runs
-- What leads to the runs $2, and what tells of them.
SELECT project_id, kind, value, run_id, call_id, step_index,
    (extract(epoch FROM at) * 1000000)::bigint AS at_us, session_id, seq
FROM run_anchors
WHERE project_id = $1 AND (
    run_id = ANY($2::text[])
    OR (
        kind IN ('run', 'moved', 'child', 'verified')
        AND md5(value) IN (SELECT md5(convert_to(about, 'UTF8')) FROM unnest($2::text[]) AS about)
    )
);

-- name: drop_runs
-- Runs ($1[i], $2[i]) that have no call any more.
DELETE FROM agent_debug_logs
USING unnest($1::text[], $2::text[]) AS gone (project_id, run_id)
WHERE agent_debug_logs.project_id = gone.project_id AND agent_debug_logs.run_id = gone.run_id;

-- name: drop_steps
-- Steps of the runs ($1[i], $2[i]): they are written anew as a whole.
DELETE FROM agent_debug_steps
USING unnest($1::text[], $2::text[]) AS changed (project_id, run_id)
WHERE agent_debug_steps.project_id = changed.project_id AND agent_debug_steps.run_id = changed.run_id;

-- name: drop_links
-- Links of the calls $2: they are written anew as a whole.
DELETE FROM run_links WHERE project_id = $1 AND call_id = ANY($2::uuid[]);

-- name: drop_anchors
-- Anchors of the kinds and values ($2[i], $3[i]).
DELETE FROM run_anchors
USING unnest($2::text[], $3::bytea[]) AS gone (kind, value)
WHERE run_anchors.project_id = $1 AND run_anchors.kind = gone.kind AND md5(run_anchors.value) = md5(gone.value);

-- name: hang_runs
-- Runs ($1[i], $2[i]) that belong to another session or parent now.
UPDATE agent_debug_logs SET session_id = hung.session_id, parent_run_id = hung.parent_run_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS hung (project_id, run_id, session_id, parent_run_id)
WHERE agent_debug_logs.project_id = hung.project_id AND agent_debug_logs.run_id = hung.run_id;

-- name: end_correction
-- It is carried out: what it came to.
UPDATE run_corrections SET
    carried_out_at = $2, call_ids = $3, to_run_id = $4, to_session_id = $5, to_parent_run_id = $6,
    left_session_id = $7, left_parent_run_id = $8, stay_call_ids = $9
WHERE correction_id = $1;

-- name: undo_correction
-- $1 is in force no more, for $2 took it back.
UPDATE run_corrections SET undone_by = $2 WHERE correction_id = $1;

-- name: refuse_correction
-- It cannot be carried out.
UPDATE run_corrections SET refusal_code = $2, refusal = $3 WHERE correction_id = $1;

-- name: retention_rules
-- Projects that keep their calls for a time of their own, or of their plan.
SELECT projects.project_id, coalesce(projects.retention_days, plans.retention_days) AS retention_days
FROM projects
JOIN plans USING (plan)
WHERE coalesce(projects.retention_days, plans.retention_days) IS NOT NULL;

-- name: settings_of_projects
-- What each project chose.
SELECT
    project_id, name, plan, wanted_plan, over_quota, redaction, redaction_rules::text AS redaction_rules, store_content,
    retention_days, requests_per_minute, monthly_cap_usd, flag_thresholds::text AS flag_thresholds
FROM projects;

-- name: settings_of_project
-- What the project $1 chose.
SELECT
    project_id, name, plan, wanted_plan, over_quota, redaction, redaction_rules::text AS redaction_rules, store_content,
    retention_days, requests_per_minute, monthly_cap_usd, flag_thresholds::text AS flag_thresholds
FROM projects WHERE project_id = $1;

-- name: settings_to_change
-- The same, and nobody else changes it meanwhile.
SELECT
    project_id, name, plan, wanted_plan, over_quota, redaction, redaction_rules::text AS redaction_rules, store_content,
    retention_days, requests_per_minute, monthly_cap_usd, flag_thresholds::text AS flag_thresholds
FROM projects WHERE project_id = $1 FOR UPDATE;

-- name: change_settings
-- What the project $1 chose from now on.
UPDATE projects
SET
    plan = $2, over_quota = $3, redaction = $4, store_content = $5, retention_days = $6,
    requests_per_minute = $7, monthly_cap_usd = $8, redaction_rules = $9::jsonb, flag_thresholds = $10::jsonb,
    name = $11, wanted_plan = $12
WHERE project_id = $1;

-- name: set_retention
-- How many days a project keeps its calls; NULL: as the setting says.
UPDATE projects SET retention_days = $2 WHERE project_id = $1 RETURNING project_id;

-- name: projects_with_runs
-- Projects that have runs, known or not: from one end of the index to the next.
WITH RECURSIVE found (project_id) AS (
    SELECT min(project_id) FROM agent_debug_logs
    UNION ALL
    SELECT (SELECT min(project_id) FROM agent_debug_logs WHERE project_id > found.project_id)
    FROM found WHERE found.project_id IS NOT NULL
)
SELECT project_id FROM found WHERE project_id IS NOT NULL;

-- name: latest_activity
-- When the latest captured call of all projects was: by the two indexes on it, whose conditions these are.
SELECT greatest(
    (
        SELECT max(last_activity_at) FROM agent_debug_logs
        WHERE (status <> 'completed' OR is_explicit) AND reported IS NULL
    ), (
        SELECT max(last_activity_at) FROM agent_debug_logs
        WHERE NOT (status <> 'completed' OR is_explicit) AND reported IS NULL
    )
);

-- name: old_runs
-- Runs of the project $1 that began and had their last call before $2, the oldest first, at most $3.
SELECT run_id, last_activity_at FROM agent_debug_logs
WHERE project_id = $1 AND started_at < $2 AND last_activity_at < $2
ORDER BY started_at
LIMIT $3
FOR UPDATE;

-- name: delete_runs
-- The runs $2 of the project $1, and every row that is theirs. How many runs and steps there were.
WITH runs AS (
    DELETE FROM agent_debug_logs WHERE project_id = $1 AND run_id = ANY ($2::text[]) RETURNING 1
), steps AS (
    DELETE FROM agent_debug_steps WHERE project_id = $1 AND run_id = ANY ($2::text[]) RETURNING 1
), explanations AS (
    DELETE FROM agent_debug_explanations WHERE project_id = $1 AND run_id = ANY ($2::text[])
), links AS (
    DELETE FROM run_links WHERE project_id = $1 AND run_id = ANY ($2::text[])
), anchors AS (
    DELETE FROM run_anchors WHERE project_id = $1 AND run_id = ANY ($2::text[])
), corrections AS (
    DELETE FROM run_corrections
    WHERE project_id = $1
      AND (run_id = ANY ($2::text[]) OR into_run_id = ANY ($2::text[]) OR to_run_id = ANY ($2::text[]))
)
SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM steps);

-- name: delete_leftovers_of_project
-- Rows of the project that are of no run that is there.
WITH steps AS (
    DELETE FROM agent_debug_steps WHERE project_id = $1
), explanations AS (
    DELETE FROM agent_debug_explanations WHERE project_id = $1
), links AS (
    DELETE FROM run_links WHERE project_id = $1
), anchors AS (
    DELETE FROM run_anchors WHERE project_id = $1
), corrections AS (
    DELETE FROM run_corrections WHERE project_id = $1
)
SELECT 1;

-- name: ask_for_erasure
-- Somebody asks that a run, a user's or a project's data be erased. Asked for twice it is done once.
INSERT INTO erasures (erasure_id, project_id, scope, subject, requested_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (erasure_id) DO NOTHING;

-- name: wanted_erasures
-- What is to be erased: asked for before $1 (NULL: whenever), oldest first.
SELECT erasure_id, project_id, scope, subject, requested_at FROM erasures
WHERE done_at IS NULL AND failure IS NULL AND ($1::timestamptz IS NULL OR requested_at < $1)
ORDER BY requested_at, erasure_id;

-- name: erasure
-- How an erasure gets on.
SELECT done_at, failure, erased FROM erasures WHERE erasure_id = $1;

-- name: erasures_of_project
-- The newest that people asked for; what goes by age is nobody's wish.
SELECT erasure_id, scope, subject, requested_at, done_at, failure, erased FROM erasures
WHERE project_id = $1 AND scope <> 'before'
ORDER BY requested_at DESC, erasure_id LIMIT 20;

-- name: last_erasures
-- When something that people asked for was erased last, by project.
SELECT project_id, max(done_at) AS done_at FROM erasures
WHERE done_at IS NOT NULL AND scope <> 'before' GROUP BY project_id;

-- name: end_erasure
-- It is done, or cannot be. Whom it was about is forgotten, too.
UPDATE erasures SET done_at = $2, failure = $3, erased = $4::jsonb, subject = '' WHERE erasure_id = $1;

-- name: runs_of_user
-- Runs that say that they are of this user.
SELECT run_id FROM agent_debug_logs WHERE project_id = $1 AND user_id = $2;

-- name: runs_of_project
-- Runs of a project, at most $2.
SELECT run_id FROM agent_debug_logs WHERE project_id = $1 LIMIT $2;

-- name: erase_dead_letters
-- Deletes the bytes of letters, also of those that the recorder is about to try again.
UPDATE dead_letters SET dropped_at = $2, payload = '', detail = '', retry_requested_at = NULL
WHERE record_id = ANY($1::uuid[]);

-- name: dead_letters_with_bytes
-- Letters with their bytes, in the order of their ids, after $1, at most $2.
SELECT record_id, payload FROM dead_letters
WHERE dropped_at IS NULL AND record_id > $1
ORDER BY record_id
LIMIT $2;

-- name: count_exported_runs
-- How many runs there are to export.
SELECT count(*) FROM agent_debug_logs WHERE project_id = $1 AND ($2::text[] IS NULL OR run_id = ANY ($2));

-- name: export_runs
-- Runs in order of time, after ($2, $3).
SELECT run_id, started_at
FROM agent_debug_logs
WHERE project_id = $1 AND (started_at, run_id) > ($2, $3) AND ($4::text[] IS NULL OR run_id = ANY ($4))
ORDER BY started_at, run_id
LIMIT $5;

-- name: export_run
-- One run, its row as JSON.
SELECT row_to_json(agent_debug_logs)::text AS row FROM agent_debug_logs WHERE project_id = $1 AND run_id = $2;

-- name: export_parts
-- Rows of a run in one table, as JSON.
SELECT row_to_json(part)::text AS row
FROM /*table*/ AS part
WHERE project_id = $1 AND run_id = $2
ORDER BY /*order*/;

-- name: project_exists
-- Whether there is such a project.
SELECT 1 FROM projects WHERE project_id = $1;

-- name: columns_to_import
-- Columns of the table $1 but for those that the store makes out of others.
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns
FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';

-- name: import_rows
-- Rows of a table as JSON, of the project $2 whatever they say. Those that are there stay.
INSERT INTO /*table*/ (/*columns*/)
SELECT /*columns*/
FROM unnest($1::jsonb[]) AS each,
    jsonb_populate_record(NULL::/*table*/, each || jsonb_build_object('project_id', $2::text)) AS made
ON CONFLICT DO NOTHING;

-- name: sessions_touched
-- From when to when the sessions of the project $1 last that have a run within [$2, $3); not those longer than $4.
SELECT min(began) AS began, max(ended) AS ended
FROM (
    SELECT min(started_at) AS began, max(last_activity_at) AS ended
    FROM agent_debug_logs
    WHERE project_id = $1 AND session_id IN (
        SELECT session_id FROM agent_debug_logs
        WHERE project_id = $1 AND reported IS NULL AND started_at < $3 AND last_activity_at >= $2
    ) AND reported IS NULL
    GROUP BY session_id
) AS sessions
WHERE ended - began <= $4::interval
HAVING min(began) IS NOT NULL;

-- name: runs_of_calls
-- The runs that the calls $2 belong to.
SELECT call_id, run_id FROM run_links WHERE project_id = $1 AND call_id = ANY($2::uuid[]) AND ordinal = 0;

-- name: sessions_of_runs
-- The sessions of the runs $2.
SELECT run_id, session_id FROM agent_debug_logs WHERE project_id = $1 AND run_id = ANY($2::text[]);

-- name: drop_anchors_of_runs
-- All that leads to the runs $2.
DELETE FROM run_anchors WHERE project_id = $1 AND run_id = ANY($2::text[]);

-- name: backfill
-- How far a backfill of the project $1 came, that has not come to its end.
SELECT from_at, to_at, done_until, thought_calls, moved_calls, left_calls, repriced_calls
FROM backfills WHERE project_id = $1;

-- name: save_backfill
-- It has come so far.
INSERT INTO backfills (project_id, from_at, to_at, done_until, thought_calls, moved_calls, left_calls, repriced_calls)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (project_id) DO UPDATE SET
    from_at = excluded.from_at, to_at = excluded.to_at, done_until = excluded.done_until,
    thought_calls = excluded.thought_calls, moved_calls = excluded.moved_calls, left_calls = excluded.left_calls,
    repriced_calls = excluded.repriced_calls;

-- name: end_backfill
-- It has come to its end.
DELETE FROM backfills WHERE project_id = $1;

-- name: price_overrides
-- Of all projects.
SELECT project_id, model, prices::text AS prices, set_at FROM price_overrides;

-- name: price_overrides_of
-- Of one project, by model.
SELECT model, prices::text AS prices, set_at FROM price_overrides WHERE project_id = $1 ORDER BY model;

-- name: set_price_override
-- Set it, or set it anew. No row: there is no such project.
INSERT INTO price_overrides (project_id, model, prices, set_at)
SELECT project_id, $2, $3::jsonb, $4 FROM projects WHERE project_id = $1
ON CONFLICT (project_id, model) DO UPDATE SET prices = excluded.prices, set_at = excluded.set_at
RETURNING model;

-- name: remove_price_override
-- No row: there was none.
DELETE FROM price_overrides WHERE project_id = $1 AND model = $2 RETURNING model;

-- name: price_lists_newer
-- Lists that were fetched after an instant.
SELECT provider, prices::text AS prices, source, fetched_at FROM price_lists WHERE fetched_at > $1;

-- name: save_price_list
-- In place of the one before.
INSERT INTO price_lists (provider, prices, source, fetched_at) VALUES ($1, $2::jsonb, $3, $4)
ON CONFLICT (provider) DO UPDATE
SET prices = excluded.prices, source = excluded.source, fetched_at = excluded.fetched_at;

-- name: all_plans
-- What can be had, the smallest first.
SELECT plan, title, monthly_usd, monthly_requests, retention_days, features FROM plans ORDER BY rank;

-- name: plan_of_project
-- What the project $1 has.
SELECT plans.plan, title, monthly_usd, monthly_requests, plans.retention_days, features
FROM projects
JOIN plans USING (plan)
WHERE project_id = $1;

-- name: save_usage
-- What a source counted so far. Counts only grow: a file that a power cut set back does not set back what is here.
INSERT INTO usage_by_day (
    project_id, day, source, passed, passed_over_quota, refused_quota, refused_rate, refused_cap, refused_share
)
SELECT * FROM unnest(
    $1::text[], $2::date[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::bigint[]
)
ON CONFLICT (project_id, day, source) DO UPDATE SET
    passed = greatest(usage_by_day.passed, excluded.passed),
    passed_over_quota = greatest(usage_by_day.passed_over_quota, excluded.passed_over_quota),
    refused_quota = greatest(usage_by_day.refused_quota, excluded.refused_quota),
    refused_rate = greatest(usage_by_day.refused_rate, excluded.refused_rate),
    refused_cap = greatest(usage_by_day.refused_cap, excluded.refused_cap),
    refused_share = greatest(usage_by_day.refused_share, excluded.refused_share);

-- name: passed_elsewhere
-- Requests of the days from $1 to before $2 that other sources than $3 counted, of projects with a quota.
SELECT project_id, sum(passed) AS passed
FROM usage_by_day
JOIN projects USING (project_id)
JOIN plans USING (plan)
WHERE day >= $1 AND day < $2 AND source <> ALL ($3::text[]) AND monthly_requests IS NOT NULL
GROUP BY project_id;

-- name: near_quota
-- Projects that used at least the share $3 of their quota in the days from $1 to before $2, and what share.
SELECT project_id, (sum(passed) / greatest(monthly_requests, 1)) AS used
FROM usage_by_day
JOIN projects USING (project_id)
JOIN plans USING (plan)
WHERE day >= $1 AND day < $2 AND monthly_requests IS NOT NULL
GROUP BY project_id, monthly_requests
HAVING sum(passed) >= $3::float8 * monthly_requests
ORDER BY used DESC, project_id;

-- name: capped_projects
-- Projects that spent what they may in the days from $1 to before $2.
SELECT project_id
FROM projects
WHERE monthly_cap_usd <= coalesce((
    SELECT sum(cost_usd) FROM spend_by_day
    WHERE spend_by_day.project_id = projects.project_id AND day >= $1 AND day < $2
), 0);

-- name: capped_keys
-- Keys that spent what they may in the days from $1 to before $2.
SELECT key_id::text AS key_id
FROM api_keys
WHERE revoked_at IS NULL AND monthly_cap_usd <= coalesce((
    SELECT sum(cost_usd) FROM spend_by_day
    WHERE spend_by_day.project_id = api_keys.project_id AND day >= $1 AND day < $2
        AND spend_by_day.key_id = api_keys.key_id::text
), 0);

-- name: used_days
-- What the project $1 used on each of the days from $2 to before $3.
SELECT
    day,
    coalesce(sum(passed), 0) AS passed, coalesce(sum(passed_over_quota), 0) AS passed_over_quota,
    coalesce(sum(refused_quota), 0) AS refused_quota, coalesce(sum(refused_rate), 0) AS refused_rate,
    coalesce(sum(refused_cap), 0) AS refused_cap, coalesce(sum(refused_share), 0) AS refused_share,
    coalesce(sum(cost_usd), 0) AS cost_usd, coalesce(sum(unpriced_calls), 0) AS unpriced_calls
FROM (
    SELECT
        day, passed, passed_over_quota, refused_quota, refused_rate, refused_cap, refused_share,
        NULL::numeric AS cost_usd, NULL::bigint AS unpriced_calls
    FROM usage_by_day WHERE project_id = $1
    UNION ALL
    SELECT day, NULL, NULL, NULL, NULL, NULL, NULL, cost_usd, unpriced_calls
    FROM spend_by_day WHERE project_id = $1
) AS each
WHERE day >= $2 AND day < $3
GROUP BY day ORDER BY day;

-- name: spent_by_key
-- What calls of the project $1 cost in the days from $2 to before $3, by key.
SELECT key_id, sum(cost_usd) AS cost_usd, sum(unpriced_calls) AS unpriced_calls
FROM spend_by_day WHERE project_id = $1 AND day >= $2 AND day < $3
GROUP BY key_id ORDER BY cost_usd DESC, key_id;

-- name: add_spent
-- What calls of a batch cost, beside what is there.
INSERT INTO spend_by_day (project_id, day, key_id, cost_usd, priced_calls, unpriced_calls)
SELECT * FROM unnest($1::text[], $2::date[], $3::text[], $4::numeric[], $5::bigint[], $6::bigint[])
ON CONFLICT (project_id, day, key_id) DO UPDATE SET
    cost_usd = spend_by_day.cost_usd + excluded.cost_usd,
    priced_calls = spend_by_day.priced_calls + excluded.priced_calls,
    unpriced_calls = spend_by_day.unpriced_calls + excluded.unpriced_calls;

-- name: settle_spent
-- The costs $3 of calls that an earlier batch stored, told now: what they differ from what their steps say. By whom a
-- call was sent is not asked any more.
INSERT INTO spend_by_day (project_id, day, key_id, cost_usd, priced_calls, unpriced_calls)
SELECT
    told.project_id, (steps.started_at AT TIME ZONE 'UTC')::date, '',
    sum(told.cost_usd - coalesce(steps.cost_usd, 0)),
    count(*) FILTER (WHERE steps.cost_usd IS NULL), -count(*) FILTER (WHERE steps.cost_usd IS NULL)
FROM unnest($1::text[], $2::uuid[], $3::numeric[]) AS told (project_id, call_id, cost_usd)
JOIN run_links AS links
    ON links.project_id = told.project_id AND links.call_id = told.call_id AND links.ordinal = 0
JOIN agent_debug_steps AS steps
    ON steps.project_id = links.project_id AND steps.run_id = links.run_id AND steps.call_id = told.call_id
    AND steps.is_priced
GROUP BY 1, 2
ON CONFLICT (project_id, day, key_id) DO UPDATE SET
    cost_usd = spend_by_day.cost_usd + excluded.cost_usd,
    priced_calls = spend_by_day.priced_calls + excluded.priced_calls,
    unpriced_calls = spend_by_day.unpriced_calls + excluded.unpriced_calls;

-- name: limit_key
-- Requests a minute and US dollars a month of a key; NULL: only its project's limits hold.
UPDATE api_keys SET requests_per_minute = $3, monthly_cap_usd = $4
WHERE project_id = $1 AND key_id = $2 AND revoked_at IS NULL RETURNING key_id;
