"""How many files a process may open, and how many of them are clients'."""

from __future__ import annotations

import resource
import sys

import pytest

from pyccf.shell.descriptors import ENOUGH, RESERVE, for_clients, raise_limit

ENDLESS = resource.RLIM_INFINITY


class System:
    """What the system allows."""

    def __init__(self, soft: int, hard: int) -> None:
        self.limits = (soft, hard)
        self.most = ENDLESS

    def get(self, kind: int) -> tuple[int, int]:
        assert kind == resource.RLIMIT_NOFILE
        return self.limits

    def set(self, kind: int, limits: tuple[int, int]) -> None:
        assert kind == resource.RLIMIT_NOFILE
        if self.most != ENDLESS and limits[0] > self.most:
            raise ValueError("not allowed to raise maximum limit")
        self.limits = limits


@pytest.fixture
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> System:
    made = System(*request.param)
    monkeypatch.setattr(resource, "getrlimit", made.get)
    monkeypatch.setattr(resource, "setrlimit", made.set)
    return made


@pytest.mark.parametrize(
    ("system", "after"),
    [
        ((1024, 524288), 524288),
        ((1024, 1024), 1024),
        ((1024, ENDLESS), ENOUGH),
        ((2 * ENOUGH, ENDLESS), 2 * ENOUGH),
        ((ENDLESS, ENDLESS), ENDLESS),
    ],
    indirect=["system"],
)
def test_the_limit_is_raised_as_far_as_it_may_be(system: System, after: int) -> None:
    hard = system.limits[1]
    raise_limit()
    assert system.limits == (after, hard)


@pytest.mark.parametrize("system", [(1024, 524288)], indirect=True)
def test_a_system_that_does_not_keep_its_word(system: System) -> None:
    system.most = 4096
    raise_limit()
    assert system.limits == (1024, 524288)


@pytest.mark.parametrize(
    ("system", "clients", "told"),
    [
        ((65536, 65536), 65536 - RESERVE, False),
        ((1010 + RESERVE, 65536), 1010, False),
        ((ENDLESS, ENDLESS), sys.maxsize, False),
        ((1024, 1024), 1024 - RESERVE, True),
        ((200, 200), 100, True),
    ],
    indirect=["system"],
)
def test_clients_leave_room_for_the_ledger(system: System, clients: int, told: bool) -> None:
    lines: list[tuple[str, str]] = []
    assert for_clients(1010, lambda level, text: lines.append((level, text))) == clients
    assert [level for level, _ in lines] == ["fail"] * told
    assert all(f"(ulimit -n) to {1010 + RESERVE}" in text for _, text in lines)
