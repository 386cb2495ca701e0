"""The measurement of history: a ledger on disk is asked, and everything asked for comes."""

from __future__ import annotations

import pytest

from bench import history
from bench.parts import Plan
from bench.report import Results, machine, text


def test_queries_and_an_index_are_measured_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "QUERIES", 5)
    monkeypatch.setattr(history, "RANGES", 3)
    monkeypatch.setattr(history, "RANGE", 20)
    monkeypatch.setattr(history, "SIGNED_EVERY", (10, 50))
    said: list[str] = []
    found = history.measure(said.append, 200)
    assert [past.signed_every for past in found] == [10, 50]
    assert len(said) == 2
    for past in found:
        assert past.receipt_cold.p50 > 0
        assert past.range_warm.p50 > 0
        assert past.indexed_per_s > 0
    results = Results("now", machine(), Plan(1, 1, [1], [1], 1), history=found)
    assert text(results).count("History, ms of processor time (200 entries") == 2
