"""How many files a process may open, and how many of them are clients'."""

from __future__ import annotations

import resource
import sys

import pytest

from pyccf.shell.descriptors import RESERVE, for_clients

ENDLESS = resource.RLIM_INFINITY


class System:
    """What the system allows."""

    def __init__(self, soft: int, hard: int, *, refuses: bool = False) -> None:
        self.limits = (soft, hard)
        self.refuses = refuses

    def get(self, kind: int) -> tuple[int, int]:
        assert kind == resource.RLIMIT_NOFILE
        return self.limits

    def set(self, kind: int, limits: tuple[int, int]) -> None:
        assert kind == resource.RLIMIT_NOFILE
        if self.refuses:
            raise ValueError("not allowed to raise maximum limit")
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "hard", "refuses", "after", "clients", "told"),
    [
        (1024, 524288, False, 1010 + RESERVE, 1010, False),
        (1024, ENDLESS, False, 1010 + RESERVE, 1010, False),
        (65536, 65536, False, 65536, 65536 - RESERVE, False),
        (ENDLESS, ENDLESS, False, ENDLESS, sys.maxsize, False),
        (1024, 1024, False, 1024, 1024 - RESERVE, True),
        (1024, 524288, True, 1024, 1024 - RESERVE, True),
        (200, 200, False, 200, 100, True),
    ],
)
def test_clients_leave_room_for_the_ledger(
    soft: int,
    hard: int,
    refuses: bool,
    after: int,
    clients: int,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = System(soft, hard, refuses=refuses)
    monkeypatch.setattr(resource, "getrlimit", system.get)
    monkeypatch.setattr(resource, "setrlimit", system.set)
    lines: list[tuple[str, str]] = []
    assert for_clients(1010, lambda level, text: lines.append((level, text))) == clients
    assert system.limits == (after, hard)
    assert bool(lines) is told
    for level, text in lines:
        assert level == "fail"
        assert f"Raise the limit (ulimit -n) to {1010 + RESERVE}" in text
