"""How well a corpus was grouped: the measure of the benchmark (docs/accuracy.md), over all three dialects.

python -m tests.traffic.score            every corpus in tests/data/traffic, scenario by scenario
python -m tests.traffic.score agno       only this one
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.traffic.catalogue import CORPORA
from tests.traffic.rewriting import Rewrite, rewritten
from watchllm_proxy.replay import replay

SCORED = ("/chat/completions", "/responses", "/messages")


@dataclass(frozen=True, slots=True)
class Row:
    """One exchange: what is true of it, and where it was put."""

    number: int  # its line in the corpus, from 1
    scenario: str
    true_run: tuple[str, int]  # one task of one agent
    true_context: str  # all tasks of that agent
    true_root: str
    true_parent: str | None
    session_id: str
    run_id: str
    parent_run_id: str | None
    is_certain: bool
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Pairs of calls that belong together and were put together; groups recovered exactly."""

    precision: float
    recall: float
    exact: int
    true_groups: int

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True, slots=True)
class Score:
    sessions: Grouping
    runs: Grouping
    right_parents: int
    children: int
    false: tuple[Row, ...]  # put into a foreign session, and said to be certain

    def __str__(self) -> str:
        s, r = self.sessions, self.runs
        return (
            f"session {s.precision:.3f}/{s.recall:.3f}/{s.f1:.3f} {s.exact}/{s.true_groups}  "
            f"run {r.precision:.3f}/{r.recall:.3f}/{r.f1:.3f} {r.exact}/{r.true_groups}  "
            f"parent {self.right_parents}/{self.children}  false {len(self.false)}"
        )


def replayed(corpus: Path) -> list[Row]:
    """The corpus through decode and sessionize; what is scored of it."""
    lines = lines_of(corpus)
    return _rows(lines, corpus)


def replayed_as(corpus: Path, rewrite: Rewrite) -> list[Row]:
    """The same corpus as a client would have sent it that rewrites its history so (rewriting.py)."""
    lines = list(rewritten(lines_of(corpus), rewrite))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rewritten.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return _rows(lines, path)


def lines_of(corpus: Path) -> list[dict[str, Any]]:
    with gzip.open(corpus, "rt", encoding="utf-8") as text:
        return [json.loads(line) for line in text]


def _rows(lines: Sequence[dict[str, Any]], corpus: Path) -> list[Row]:
    rows = [_row(number, *pair) for number, pair in enumerate(zip(lines, replay(corpus), strict=True), start=1)]
    return [row for row, line in zip(rows, lines, strict=True) if _is_scored(line)]


def score(rows: Sequence[Row]) -> Score:
    right, children = _parents(rows)
    return Score(
        sessions=_grouping(rows, lambda row: row.true_root, lambda row: row.session_id),
        runs=_grouping(rows, lambda row: row.true_run, lambda row: row.run_id),
        right_parents=right,
        children=children,
        false=tuple(_false(rows)),
    )


def _grouping(rows: Sequence[Row], truth: Callable[[Row], object], guess: Callable[[Row], object]) -> Grouping:
    both = Counter((truth(row), guess(row)) for row in rows)
    true, guessed = Counter(map(truth, rows)), Counter(map(guess, rows))
    hits, truly, supposed = (sum(map(_pairs, counts.values())) for counts in (both, true, guessed))
    exact = sum(count == true[t] == guessed[g] for (t, g), count in both.items())
    return Grouping(_share(hits, supposed), _share(hits, truly), exact, len(true))


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _share(hits: int, of: int) -> float:
    return hits / of if of else 1.0


def _parents(rows: Sequence[Row]) -> tuple[int, int]:
    """Sub-agents' runs that hang under a run of their true parent, and how many there are."""
    guessed_runs: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        guessed_runs[row.true_context].add(row.run_id)
    first_of = {row.true_run: row for row in reversed(rows) if row.true_parent in guessed_runs}
    right = sum(row.parent_run_id in guessed_runs[str(row.true_parent)] for row in first_of.values())
    return right, len(first_of)


def _false(rows: Sequence[Row]) -> Iterable[Row]:
    """A session is home to those who are most of it; all others in it must not have been certain."""
    members: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        members[row.session_id][row.true_root] += 1
    home = {session_id: roots.most_common(1)[0][0] for session_id, roots in members.items()}
    return (row for row in rows if row.is_certain and home[row.session_id] != row.true_root)


def _row(number: int, line: dict[str, Any], guess: Any) -> Row:
    return Row(
        number=number,
        scenario=f"{line['framework']}/{line['scenario']}",
        true_run=(line["true_run"], line["true_turn"]),
        true_context=line["true_run"],
        true_root=line.get("true_root_run") or line["true_run"],
        true_parent=line.get("true_parent_run"),
        session_id=guess["session_id"],
        run_id=guess["run_id"],
        parent_run_id=guess["parent_run_id"],
        is_certain=guess["certain"],
        links=tuple(f"{link['kind']} ({link['confidence']})" for link in guess["links"]),
    )


def _is_scored(line: dict[str, Any]) -> bool:
    path: str = line["path"]
    return line["method"] == "POST" and path.partition("?")[0].endswith(SCORED)


def main(names: Sequence[str]) -> None:
    for corpus in sorted(CORPORA.glob("*.jsonl.gz")):
        name = corpus.name.removesuffix(".jsonl.gz")
        if names and name not in names:
            continue
        rows = replayed(corpus)
        print(f"{name:44} {score(rows)}")
        scenarios: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            scenarios[row.scenario].append(row)
        for scenario, its_rows in scenarios.items():
            print(f"  {scenario:42} {score(its_rows)}")


if __name__ == "__main__":
    main(sys.argv[1:])
