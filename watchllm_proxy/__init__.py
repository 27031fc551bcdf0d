"""WatchLLM proxy: see every agent run by changing one base URL.

The path of a call, in the order it happens; each step names the module that does it.

    1. `proxy.server`     accepts the request, checks the project key (`proxy.auth`) and what its project may send
                          (`proxy.limits`), rejects what is malformed
    2. `proxy.upstream`   streams it to the upstream and the answer back, byte for byte, both ways at once
    3. `proxy.tee`        keeps a copy of both bodies as they pass, up to a limit
    4. `capture.writer`   appends the finished `Exchange` to the capture log: durable, off the caller's path
    ---- nothing above this line parses a body, waits for a database or knows what a run is ----
    5. `recorder`         reads the log in batches and conducts what follows; `thinking` does 6 to 10,
                          `inserting` stores what came of it in ClickHouse, `cutting` halves what no start lives
                          long enough to store, `suspecting` tells which record is to blame
    6. `decode`           Exchange -> Call: five API dialects, JSON and SSE, into one
    7. `enrich.tokens`, `enrich.prices`   what the upstream did not say: counts (marked estimated) and cost
    8. `enrich.redact`    credentials and personal data become tags: nothing behind this line sees them
    9. `sessionize`       Call -> Run, Step, Link: which run, and why
    10. `enrich.flags`, `insights.explain`   what is worth a look, in sentences that point at steps
    11. `store`           ClickHouse (events, messages) and Postgres (runs, steps, links, offsets), exactly once
    12. `console`         the JSON API and the dashboard read both
    ---- what clients report themselves is taken by `ingesting` at 1, and told from 5 on by `reporting` ----
    ---- and back: what a person says there about which calls belong together, `correcting` carries out ----

`app`, `core` and `supervisor` put the parts together; `cli` is the way in. Stages know only the vocabulary
(`records`, `errors`, `outcomes`, `settings`); conductors know the order. CI checks it (import-linter).
"""

__version__ = "0.1.0"
