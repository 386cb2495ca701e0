"""The table of a replay: per file what was equal, what differs with a reason, what without."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple


class Outcome(NamedTuple):
    """What became of one exchange or probe."""

    name: str
    differences: list[str]
    why: str | None
    """The reason, if all differences are meant to be."""

    @property
    def kind(self) -> str:
        if not self.differences:
            return "equal"
        return "listed" if self.why else "unlisted"


class FileResult(NamedTuple):
    """What became of one file."""

    name: str
    outcomes: list[Outcome]
    left_out: int = 0

    def count(self, kind: str) -> int:
        return sum(one.kind == kind for one in self.outcomes)


def share(results: list[FileResult]) -> float:
    """Which part of everything is equal."""
    total = sum(len(r.outcomes) + r.left_out for r in results)
    return sum(r.count("equal") for r in results) / total if total else 0.0


def table(results: list[FileResult]) -> str:
    """The table in Markdown, with the reasons below."""
    lines = ["| file | recorded | equal | listed | unlisted | not played |", "| --- " * 6 + "|"]
    sums = Counter[str]()
    for result in results:
        counts = {kind: result.count(kind) for kind in ("equal", "listed", "unlisted")}
        total = len(result.outcomes) + result.left_out
        sums.update(counts, total=total, left=result.left_out)
        lines.append(
            f"| {result.name} | {total} | {counts['equal']} | {counts['listed']} |"
            f" {counts['unlisted']} | {result.left_out} |"
        )
    lines.append(
        f"| **all** | {sums['total']} | {sums['equal']} | {sums['listed']} |"
        f" {sums['unlisted']} | {sums['left']} |"
    )
    lines += ["", f"Equal: {100 * share(results):.1f} %.", ""]
    reasons = Counter(one.why for r in results for one in r.outcomes if one.kind == "listed")
    if reasons:
        lines += ["| listed difference | how often |", "| --- | --- |"]
        lines += [f"| {why} | {count} |" for why, count in reasons.most_common()]
    return "\n".join(lines) + "\n"
