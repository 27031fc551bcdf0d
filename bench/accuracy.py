"""`make accuracy`: how well calls are grouped, measured on recorded agents, written to docs/accuracy.md.

The figures of rewritten traffic are made by `tests/traffic/score.py`, the same measure.

The corpora are tests/data/agents (a copy, so that a fresh clone can measure) and, where it is there, the large
mix of ../shared. The figures come from their own scorer, `score.py`, run unchanged.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.traffic.catalogue import CORPORA as TRAFFIC
from tests.traffic.rewriting import REWRITINGS, Rewrite
from tests.traffic.score import replayed_as, score
from watchllm_proxy.replay import write_assignments

PROJECT = Path(__file__).resolve().parents[1]
COPIED = PROJECT / "tests" / "data" / "agents"
SHARED_MIX = PROJECT.parent / "shared" / "data" / "agents" / "mix.jsonl.gz"
PAGE = PROJECT / "docs" / "accuracy.md"
TEXT = Path(__file__).with_name("accuracy.md.in")

HEAD = (
    "| corpus | calls | sessions P / R / F1 | exact | runs F1 | exact | right parents | false |\n"
    + "|---" * 8
    + "|"
)


def corpora() -> list[Path]:
    found = sorted(COPIED.glob("*.jsonl.gz"), key=lambda path: (not path.name.startswith("mix"), path.name))
    return [*([SHARED_MIX] if SHARED_MIX.is_file() else []), *found]


def row(corpus: Path) -> str:
    """One line of the table: the last line that the scorer prints is the sum of all frameworks."""
    with tempfile.TemporaryDirectory() as directory:
        assignments = Path(directory) / "assignments.jsonl"
        with assignments.open("w", encoding="utf-8") as out:
            calls = write_assignments(corpus, out)
        command = [sys.executable, str(COPIED / "score.py"), str(corpus), str(assignments)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    _, session, exact_sessions, run, exact_runs, parents, false = printed.splitlines()[-1].split()
    name = corpus.name.removesuffix(".jsonl.gz")
    sessions = session.replace("/", " / ")
    return (
        f"| {name} | {calls} | {sessions} | {exact_sessions} | {run.rsplit('/', 1)[1]} | {exact_runs}"
        f" | {parents} | {false} |"
    )


REWRITTEN = (COPIED / "mix_sampled.jsonl.gz", TRAFFIC / "mix.jsonl.gz")
REWRITTEN_HEAD = (
    "| rewriting | mix_sampled: sessions F1 | runs F1 | right parents "
    "| traffic mix: sessions F1 | runs F1 | right parents | false |\n" + "|---" * 8 + "|"
)


def rewritten_row(name: str, rewrite: Rewrite) -> str:
    reached = [score(replayed_as(corpus, rewrite)) for corpus in REWRITTEN]
    cells = [
        f"{each.sessions.f1:.3f} | {each.runs.f1:.3f} | {each.right_parents}/{each.children}" for each in reached
    ]
    false = sum(len(each.false) for each in reached)
    return f"| {name.replace('_', ' ')} | {' | '.join(cells)} | {false} |"


def main() -> None:
    rows = []
    for corpus in corpora():
        rows.append(row(corpus))
        print(rows[-1], flush=True)
    rewritten = []
    for name, rewrite in REWRITINGS.items():
        rewritten.append(rewritten_row(name, rewrite))
        print(rewritten[-1], flush=True)
    page = TEXT.read_text().replace("<!-- table -->", "\n".join([HEAD, *rows]))
    PAGE.write_text(page.replace("<!-- rewritten -->", "\n".join([REWRITTEN_HEAD, *rewritten])))


if __name__ == "__main__":
    main()
