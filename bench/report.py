"""Figures as Markdown, and docs/benchmarks.md: each section written anew by the command that measures it."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from bench.forwarding import Figures, WholeProduct
from bench.inserting import Inserted
from bench.live import Live
from bench.memory import Held
from bench.outage import Demand, Outcome, demands
from bench.outage import Plan as OutagePlan
from bench.pages import Opened
from bench.questions import Asked
from bench.reading import Loaded
from bench.recording import Breakdown, Rate
from bench.storage import Stored
from bench.streams import Course
from bench.streams import Plan as StreamPlan
from bench.thinking import Thinking

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
KIB = 1024
MIB = 1024 * KIB


def write_section(name: str, command: str, text: str, page: Path = PAGE) -> None:
    """Put `text` between the marks of section `name`. Raises `LookupError` where the page has no such marks."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    written = f"{begin}\n{text}\n\n*{command}: {_when_and_where()}*\n{end}"
    found, count = pattern.subn(lambda _: written, page.read_text(encoding="utf-8"))
    if count != 1:
        raise LookupError(f"{page} has no section {name}")
    page.write_text(found, encoding="utf-8")


def forwarding(figures: Sequence[Figures], whole: WholeProduct) -> str:
    rows = [_forwarding_row(found) for found in figures]
    table = _table(
        "target",
        "added p50, one at a time",
        "CPU/request",
        "× nginx",
        "requests/s",
        "CPU/SSE event",
        "× nginx",
        "event delay p50",
        "failed",
        rows=rows,
    )
    return (
        f"{table}\n\n"
        f"From the socket to both stores, `watchllm up`: {whole.all_us:,.0f} µs of CPU a request in all its "
        f"processes and its Postgres, {whole.worker_us:,.0f} µs of it in the proxy worker."
    )


def _forwarding_row(found: Figures) -> list[str]:
    if found.target == "direct":
        return ["the model itself", "–", "–", "–", f"{found.requests_per_s:,.0f}", "–", "–",
                f"{found.event_delay_p50_us:.0f} µs", str(found.failed)]  # fmt: skip
    return [
        found.target,
        f"{found.added_p50_us:.0f} µs",
        f"{found.cpu_us_per_request:.0f} µs",
        f"{found.times_nginx_json:.1f}",
        f"{found.requests_per_s:,.0f}",
        f"{found.cpu_us_per_event:.1f} µs",
        f"{found.times_nginx_sse:.1f}",
        f"{found.event_delay_p50_us:.0f} µs",
        str(found.failed),
    ]


def pages(opened: Sequence[Opened]) -> str:
    rows = [
        ("HTML, bytes", "40,000", [f"{each.html_bytes:,}" for each in opened]),
        ("steps, bytes gzipped", "40,000", [f"{each.steps_gzip_bytes:,}" for each in opened]),
        ("elements in the page", "1,200", [f"{each.elements:,}" for each in opened]),
        ("the page from the server, the first time", "", [f"{each.first_page_ms:.0f} ms" for each in opened]),
        ("… median", "20 ms", [f"{each.page_ms:.0f} ms" for each in opened]),
        ("the steps from the server, the first time", "", [f"{each.first_columns_ms:.0f} ms" for each in opened]),
        ("… median", "20 ms", [f"{each.columns_ms:.0f} ms" for each in opened]),
        ("interactive, median", "1,000 ms", [f"{each.interactive_ms:,.0f} ms" for each in opened]),
        ("main thread until then, median", "300 ms", [f"{each.main_thread_ms:,.0f} ms" for each in opened]),
        ("`j` to the next frame, p50", "", [f"{each.frame_ms:.1f} ms" for each in opened]),
        ("`j` to the next frame, p95", "20 ms", [f"{each.frame_p95_ms:.1f} ms" for each in opened]),
        ("`j` to the detail, median", "100 ms", [f"{each.detail_ms:.0f} ms" for each in opened]),
    ]
    heads = [f"{each.steps:,} steps" for each in opened]
    return _table("a run of", "limit at 2,000", *heads, rows=[(what, limit, *seen) for what, limit, seen in rows])


def live(seen: Live) -> str:
    added_ms = seen.beside_pages_p99_ms - seen.alone_p99_ms
    p95_ms = seen.listed_ms[int(0.95 * len(seen.listed_ms))]
    rows = [
        ("first answer to its run on `/welcome`", "1,000 ms", f"{seen.first_run_ms:.0f} ms"),
        ("answer to its step in the list, p50", "", f"{statistics.median(seen.listed_ms):.0f} ms"),
        ("answer to its step in the list, p95", "500 ms", f"{p95_ms:.0f} ms"),
        (f"longest task of the page while {seen.steady_steps:,} steps come, 50 a second", "100 ms",
         f"{seen.longest_task_ms:.0f} ms" if seen.longest_task_ms else "none beyond 50 ms"),
        ("the place that is read stays", "yes", "yes" if seen.is_place_kept else "**no**"),
        ("the server stops: until the page says so", "5,000 ms", f"{seen.told_lost_ms:,.0f} ms"),
        ("after its start every step is there once", "yes", "yes" if seen.is_whole_after_restart else "**no**"),
        ("a step with a picture of 5 MB: key to detail", "300 ms", f"{seen.picture_ms:.0f} ms"),
        ("p99 of calls, four at a time", "", f"{seen.alone_p99_ms:.1f} ms"),
        ("… while pages of a long run are read", "+5 ms", f"{added_ms:+.1f} ms"),
    ]  # fmt: skip
    return _table("what", "limit", "seen", rows=rows)


def recording(measured: Sequence[tuple[Rate, Breakdown]]) -> str:
    rates = _table(
        "conversations",
        "exchanges",
        "request + answer, mean",
        "exchanges/s and core",
        "exchanges/s, by the clock",
        "CPU, recorder",
        "CPU, Postgres",
        rows=[
            [
                rate.shape,
                f"{rate.exchanges:,}",
                f"{rate.mean_bytes / KIB:.1f} KiB",
                f"{rate.per_core_s:,.0f}",
                f"{rate.per_wall_s:,.0f}",
                f"{rate.cpu_us:,.0f} µs",
                f"{rate.postgres_us:,.0f} µs",
            ]
            for rate, _ in measured
        ],
    )
    stages = list(measured[0][1].stages)
    breakdown = _table(
        "CPU of an exchange, µs",
        *(found.shape for _, found in measured),
        rows=[[stage, *(f"{found.stages[stage]:,.0f}" for _, found in measured)] for stage in stages],
    )
    return f"{rates}\n\n{breakdown}"


def memory(held: Sequence[Held]) -> str:
    return _table(
        "calls of finished runs",
        "resident memory",
        "beside the first",
        "CPU of a call, of the last tenth",
        "beside the first",
        rows=[
            [
                f"{found.calls:,}",
                f"{found.resident_bytes / MIB:,.0f} MiB",
                f"{found.resident_bytes / held[0].resident_bytes:.2f}",
                f"{found.call_us:,.0f} µs",
                f"{found.call_us / held[0].call_us:.2f}",
            ]
            for found in held
        ],
    )


def thinking(measured: Sequence[Thinking]) -> str:
    stages = list(measured[0].stages_us)
    return _table(
        "traffic",
        "calls",
        "request + answer, mean",
        "decode + sessionize, calls/s and core",
        *(f"{stage}, µs" for stage in stages),
        rows=[
            [
                found.traffic,
                f"{found.calls:,}",
                f"{found.mean_bytes / KIB:.1f} KiB",
                f"{found.calls_per_core_s:,.0f}",
                *(f"{found.stages_us[stage]:,.0f}" for stage in stages),
            ]
            for found in measured
        ],
    )


def storage(measured: Sequence[Stored], inserted: Sequence[Inserted]) -> str:
    bytes_table = _table(
        "bytes a call",
        "calls",
        "passed",
        "whole, compressed",
        "ClickHouse, as it came",
        "ClickHouse, merged",
        "Postgres with indexes",
        "ours, of what passed",
        "ours, of whole",
        rows=[
            [
                f"runs of {found.shape.name}",
                f"{found.calls:,}",
                *(
                    f"{size_bytes / found.calls:,.0f}"
                    for size_bytes in (
                        found.passed_bytes,
                        found.whole_bytes,
                        found.clickhouse_bytes,
                        found.clickhouse_merged_bytes,
                        found.postgres_bytes,
                    )
                ),
                f"1/{1 / found.merged_share:.0f} ({found.merged_share:.1%}; before merges {found.share:.1%})",
                f"{found.ours_bytes / found.whole_bytes:.2f}",
            ]
            for found in measured
        ],
    )
    rows_table = _table(
        "into",
        "calls",
        "batches",
        "rows",
        "rows/s and core",
        "rows/s, by the clock",
        "calls/s and core",
        rows=[
            [
                each.store,
                f"{each.calls:,}",
                str(each.batches),
                ", ".join(f"{count:,} {table}" for table, count in each.rows.items()),
                f"{sum(each.rows.values()) / each.cpu_s:,.0f}",
                f"{sum(each.rows.values()) / each.wall_s:,.0f}",
                f"{each.calls / each.cpu_s:,.0f}",
            ]
            for each in inserted
        ],
    )
    return f"{bytes_table}\n\n{rows_table}"


def reading(found: Loaded) -> str:
    amount = found.amount
    table = _table(
        "question",
        "p50",
        "p95",
        "worst",
        "p95 wanted below",
        "asked",
        rows=[
            [
                each.what,
                *(f"{each.percentile(share):,.1f} ms" for share in (0.5, 0.95, 1.0)),
                f"{each.limit_ms} ms",
                str(len(each.milliseconds)),
            ]
            for each in found.timed
        ],
    )
    return (
        f"{amount.runs:,} runs with {amount.runs * amount.steps_each:,} steps in Postgres "
        f"({found.postgres_bytes / 1e9:.1f} GB, indexes included; made in {found.load_s[0]:.0f} s), "
        f"{amount.events:,} calls in ClickHouse ({found.clickhouse_bytes / 1e9:.2f} GB; "
        f"in {found.load_s[1]:.0f} s, at the same time). "
        f"Four fifths are of the project that is asked.\n\n{table}\n\n"
        f"Deleting the oldest {found.deleted_runs:,} runs with all that hangs on them, by index, a thousand a "
        f"transaction: {found.delete_s:.1f} s, {found.deleted_runs / found.delete_s:,.0f} runs/s."
    )


def streams(measured: Sequence[tuple[str, StreamPlan, Course]], slow: Course) -> str:
    rows = [
        [
            what,
            f"{course.most_at_once:,}",
            f"{course.finished:,} / {course.failed}",
            _mb(course.idle.rss_mb, course.idle.pss_mb),
            _mb(course.at(plan.ramp_up_s).rss_mb, course.at(plan.ramp_up_s).pss_mb),
            _mb(course.at(60).rss_mb, course.at(60).pss_mb),
            _mb(course.samples[-1].rss_mb, course.samples[-1].pss_mb),
            f"{course.slope_mb_per_min(60):+.2f} MB/min",
        ]
        for what, plan, course in measured
    ]
    last = slow.samples[-1]
    rows.append(
        [
            "readers of 16 KB/s, an endless fast answer",
            f"{slow.most_at_once:,}",
            f"– / {slow.failed}",
            _mb(slow.idle.rss_mb, slow.idle.pss_mb),
            _mb(slow.at(5).rss_mb, slow.at(5).pss_mb),
            "–",
            f"{_mb(last.rss_mb, last.pss_mb)} after {last.at_s:.0f} s",
            f"{slow.received_bytes / 1e6:.0f} MB read by the clients",
        ]
    )
    header = ("", "at once", "ended well / cut", "idle", "ramped up", "after 1 min", "at the end", "growth")
    return _table(*header, rows=rows) + "\n\nMemory of the worker in MB, resident (proportional)."


def outage(measured: Sequence[tuple[OutagePlan, Outcome]]) -> str:
    return "\n\n".join(_one_outage(plan, found) for plan, found in measured)


def _one_outage(plan: OutagePlan, found: Outcome) -> str:
    base_ms = found.direct.percentile_ms(0.99)
    table = _table(
        f"{plan.per_s} requests/s",
        "seconds",
        "p50",
        "p99",
        "p99 added",
        "worst",
        "client errors",
        "worker's memory",
        "all stored after",
        rows=[
            ["the model itself", *_asked(plan.direct_s, found.direct), "–", "–"],
            ["all well", *_asked(plan.calm_s, found.calm, base_ms), "–", "–"],
            *(
                [
                    each.what,
                    *_asked(each.seconds, each.asked, base_ms),
                    f"{each.memory_before_mb:.0f} MB, +{each.memory_added_mb:.0f}",
                    f"{each.drain_s:.1f} s",
                ]
                for each in found.outages
            ),
        ],
    )
    stored = found.stored
    return (
        f"{table}\n\n"
        f"Sent {found.sent:,}, stored {stored.calls:,}: {len(stored.lost)} lost, {len(stored.doubled)} stored "
        f"twice, {stored.unreadable} messages missing. The product's own sum: {stored.books.in_words()}.\n\n"
        f"{demanded(demands(found))}"
    )


def demanded(asked: Sequence[Demand]) -> str:
    rows = [[demand.asked, demand.seen, "held" if demand.is_met else "**missed**"] for demand in asked]
    return _table("must hold", "seen", "", rows=rows)


def _asked(seconds: float, asked: Asked, base_ms: float | None = None) -> list[str]:
    p50, p99, worst = (asked.percentile_ms(share) for share in (0.5, 0.99, 1.0))
    added = "–" if base_ms is None else f"{p99 - base_ms:+.1f} ms"
    return [f"{seconds:.0f}", f"{p50:.1f} ms", f"{p99:.1f} ms", added, f"{worst:.1f} ms", str(len(asked.errors))]


def _table(*header: str, rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _mb(rss_mb: float, pss_mb: float) -> str:
    return f"{rss_mb:.0f} ({pss_mb:.0f})"


def _when_and_where() -> str:
    now = datetime.datetime.now(datetime.UTC)
    load = os.getloadavg()[1]
    return (
        f"{now:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores of {_processor()}, {platform.system()} "
        f"{platform.release().split('-')[0]}, Python {platform.python_version()}; load over 5 minutes {load:.1f}"
    )


def _processor() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return found[1] if found else platform.machine()
