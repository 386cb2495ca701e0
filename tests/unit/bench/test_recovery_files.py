"""The measurement of a recovery from files: the service is open at its end."""

from __future__ import annotations

from bench.recovery_files import measure


def test_a_recovery_from_files_is_measured() -> None:
    said: list[str] = []
    found = measure(300, 20, said.append)
    assert found.public_s > 0
    assert found.private_s > 0
    assert found.ledger_bytes > 300 * 100
    assert len(said) == 2
