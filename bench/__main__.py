"""`python -m bench`: measure, print a report, write the figures to `bench/results/`."""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
from pathlib import Path

import msgspec

from bench import governance, history, http, parts, report
from bench.load import WrkMissing
from bench.parts import LEDGER_ENTRIES, Plan
from bench.servers import BENCH

PARTS = ("load", "auth", "http", "growth", "ledger", "governance", "history", "stages")
NEEDS_WRK = ("load", "auth", "growth", "ledger")


def numbers(given: str) -> list[int]:
    """Whole numbers above 0, separated by commas. Raises ValueError."""
    found = [int(word) for word in given.split(",")]
    if min(found) < 1:
        raise ValueError("numbers must be at least 1")
    return found


def positive(given: str) -> int:
    """A whole number above 0. Raises ValueError."""
    (found,) = numbers(given)
    return found


def arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line; ends the program when it cannot be understood."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=positive, default=3, help="length of one round (3)")
    parser.add_argument("--rounds", type=positive, default=5, help="rounds of each target (5)")
    parser.add_argument(
        "--connections", type=numbers, default=[64, 32], help="one part of the load each (64,32)"
    )
    parser.add_argument(
        "--keys", type=numbers, default=[1_000, 100_000, 1_000_000], help="sizes for growth"
    )
    parser.add_argument("--ledger-entries", type=positive, default=LEDGER_ENTRIES)
    parser.add_argument(
        "--only", choices=PARTS, action="append", help="measure this part alone (may be repeated)"
    )
    parser.add_argument("--output", type=Path, help="file for the figures (results/<date>.json)")
    return parser.parse_args(given)


def main(given: list[str]) -> int:
    """Measure; the exit code."""
    chosen = arguments(given)
    only = chosen.only or PARTS
    if shutil.which("wrk") is None and any(part in NEEDS_WRK for part in only):
        print(f"{WrkMissing()}\nWithout it: python -m bench --only stages", file=sys.stderr)
        return 1
    if shutil.which("h2load") is None and "http" in only:
        print(
            f"{http.H2loadMissing()}\nWithout it: choose other parts with --only", file=sys.stderr
        )
        return 1
    plan = Plan(
        chosen.seconds, chosen.rounds, chosen.connections, chosen.keys, chosen.ledger_entries
    )
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    results = report.Results(
        date=now.isoformat(),
        machine=report.machine(),
        plan=plan,
        load=parts.load(plan, _say) if "load" in only else None,
        auth=parts.auth(plan, _say) if "auth" in only else None,
        http=http.measure(plan.seconds, _say) if "http" in only else None,
        growth=parts.growth(plan, _say) if "growth" in only else None,
        ledger=parts.ledger(plan, _say) if "ledger" in only else None,
        governance=governance.measure(_say) if "governance" in only else None,
        history=history.measure(_say) if "history" in only else None,
        stages=parts.stages(plan, _say) if "stages" in only else None,
    )
    results = msgspec.structs.replace(results, goals=report.goals(results))
    print(report.text(results))
    path = chosen.output or BENCH / "results" / f"{now:%Y-%m-%dT%H%M}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    print(f"\nFigures: {path}")
    return 0


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
