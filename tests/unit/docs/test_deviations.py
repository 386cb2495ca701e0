"""What differs from the recordings is written down: each reason is a row of docs/deviations.md."""

from __future__ import annotations

from pathlib import Path

from replay.deviations import RULES
from vectors.test_js_probes import DIFFERENT

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "deviations.md").read_text("utf-8")


def test_differences_of_exchanges_are_listed() -> None:
    missing = [rule.why for rule in RULES if f"| {rule.why} |" not in TEXT]
    assert not missing


def test_differences_of_probes_are_listed() -> None:
    reasons = {why for table in DIFFERENT.values() for why in table.values()}
    missing = sorted(why for why in reasons if f"| {why} |" not in TEXT)
    assert not missing
