"""`python -m bench [forwarding | recording | reading | …]`: measure, and write the page.

Without words: forwarding, recording and storage, which take about five minutes.

    --base DIR    `reading` asks the base that is there; where there is none, one is filled and stays
    --runs N      `reading` fills N runs and 20 N calls; for trying, nothing is written to the page
    --seconds N   `outage` takes each store away for N seconds; for trying, as well
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench import (
    conversations,
    forwarding,
    inserting,
    keys,
    live,
    memory,
    outage,
    pages,
    reading,
    recording,
    report,
    storage,
    streams,
    targets,
    thinking,
)
from bench.apart import end_in_order_on_sigterm

USUAL = ("forwarding", "recording", "storage")
STORED_CALLS = 600
READ_RUNS, STEPS_EACH, CALLS_EACH = 1_000_000, 5, 20
RENEWED = streams.Plan(streams=1000, seconds=120.0, events=40, pause_s=0.5, ramp_up_s=10.0)
LASTING = streams.Plan(streams=1000, seconds=120.0, events=240, pause_s=0.5, ramp_up_s=10.0)
SLOW_READERS, SLOW_SECONDS = 100, 30.0
LARGE_RUNS = (1_000, 10_200)
FINISHED = memory.Plan((100_000, 1_000_000))
STILL = outage.Plan(per_s=500, calm_s=10.0, outage_s=20.0, direct_s=5.0)
AWAY = outage.Plan(per_s=500, calm_s=15.0, outage_s=60.0, direct_s=10.0)


def say(text: str) -> None:
    print(text, flush=True)


def measure_forwarding() -> str:
    if missing := targets.missing_tools():
        raise SystemExit(
            f"bench: there is no {', '.join(missing)} here. As root: apt-get install nginx gcc util-linux "
            "(nginx is only run by the benchmark, in the foreground, not as a service)."
        )
    return report.forwarding(forwarding.compare(say), forwarding.whole_product())


def measure_recording() -> str:
    return report.recording([recording.measure(shape) for shape in (conversations.SMALL, conversations.LARGE)])


def measure_thinking() -> str:
    return report.thinking(thinking.measure())


def measure_storage() -> str:
    stored = [storage.measure(shape, STORED_CALLS // shape.steps) for shape in conversations.LONG_RUNS]
    return report.storage(stored, inserting.measure())


def measure_reading(runs: int = READ_RUNS, base: Path | None = None) -> str:
    amount = reading.Amount(runs, STEPS_EACH, runs * CALLS_EACH)
    return report.reading(reading.measure(reading.Plan(amount, base)))


def measure_memory() -> str:
    return report.memory(memory.measure(FINISHED))


def measure_streams() -> str:
    renewed = ("streams of 20 s, asked for again and again", RENEWED, streams.many_streams(RENEWED))
    lasting = ("the same streams from beginning to end", LASTING, streams.many_streams(LASTING))
    return report.streams([renewed, lasting], streams.slow_readers(SLOW_READERS, SLOW_SECONDS))


def measure_pages() -> str:
    return report.pages(pages.measure(LARGE_RUNS))


def measure_live() -> str:
    return report.live(live.measure())


def measure_outage(seconds: float | None = None) -> str:
    """Whoever misses a demand is told by the exit status as well, once all is said."""
    still, away = (replace(plan, outage_s=seconds or plan.outage_s) for plan in (STILL, AWAY))
    measured = [(still, outage.recorder_stands_still(still)), (away, outage.stores_away(away))]
    missed.extend(demand for _, found in measured for demand in outage.demands(found) if not demand.is_met)
    return report.outage(measured)


missed: list[outage.Demand] = []
"""Of what was measured by this process."""

MEASUREMENTS: dict[str, Callable[[], str]] = {
    "forwarding": measure_forwarding,
    "recording": measure_recording,
    "keys": keys.table,
    "thinking": measure_thinking,
    "storage": measure_storage,
    "reading": measure_reading,
    "memory": measure_memory,
    "streams": measure_streams,
    "outage": measure_outage,
    "pages": measure_pages,
    "live": measure_live,
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--base", type=Path, help="reading: a base that is kept")
    parser.add_argument("--runs", type=int, help="reading: so many runs, for trying")
    parser.add_argument("--seconds", type=float, help="outage: each so long, for trying")
    asked = parser.parse_args(arguments)
    names: list[str] = asked.names
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        raise SystemExit(f"bench: there is no {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    end_in_order_on_sigterm()
    for name in names or USUAL:
        say(f"\n=== {name}")
        is_trial = bool(asked.runs if name == "reading" else asked.seconds if name == "outage" else None)
        text = _measured(name, asked)
        say(text)
        if not is_trial:
            report.write_section(name, f"`python -m bench {name}`", text)
            say(f"\nwritten to {report.PAGE}")
    if missed:
        raise SystemExit(f"bench: missed: {'; '.join(f'{each.asked} (seen {each.seen})' for each in missed)}")


def _measured(name: str, asked: argparse.Namespace) -> str:
    if name == "reading":
        return measure_reading(asked.runs or READ_RUNS, asked.base)
    return measure_outage(asked.seconds) if name == "outage" else MEASUREMENTS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
