"""pyccf.cli.local_service: workspaces, nodes that do not start, and nodes that end.

Whole services, with real nodes, are in tests/e2e.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyccf.cli import local_service
from pyccf.cli.bundle import JsBundle
from pyccf.cli.local_service import LocalService, Plan
from pyccf.cli.network_view import NetworkView, NodeView
from pyccf.cli.options import SandboxInfo, SandboxNode, Target
from pyccf.errors import LocalError, Unavailable

APP = JsBundle({"endpoints": {}}, [])


def quiet(_: str) -> None:
    """A report nobody hears."""


def fake_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """Replace the node program by a shell script."""
    path = tmp_path / "fake_python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(path))


def test_a_node_that_ends_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_node(monkeypatch, tmp_path, "echo starting; echo 'no room' >&2; exit 3")
    told: list[str] = []
    service = LocalService(Plan(APP, tmp_path / "ws", members=2, users=1), told.append)
    with pytest.raises(LocalError, match="exit code 3: no room") as caught:
        service.start()
    assert str(tmp_path / "ws" / "node0" / "out") in caught.value.hint
    assert told == ["Made keys for 2 member(s) and 1 user(s)"]
    names = {path.name for path in (tmp_path / "ws").iterdir()}
    assert {"member1_privk.pem", "member1_enc_privk.pem", "user0_cert.pem", "node0"} <= names
    assert (tmp_path / "ws" / ".gitignore").read_text() == "*\n"
    assert service.stop() == {}


def test_a_node_that_hangs_is_given_up_and_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_node(monkeypatch, tmp_path, "trap '' TERM; while :; do sleep 0.05; done")
    monkeypatch.setattr(local_service, "START_TIMEOUT_S", 0.1)
    monkeypatch.setattr(local_service, "STOP_TIMEOUT_S", 0.2)
    service = LocalService(Plan(APP, tmp_path / "ws"), quiet)
    with pytest.raises(LocalError, match=r"Waited 0\.1 s in vain for the node to start"):
        service.start()
    assert service.stop() == {}


def test_a_start_can_be_cancelled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_node(monkeypatch, tmp_path, "exec sleep 60")
    node_started = (tmp_path / "ws" / "node0" / "err").exists
    service = LocalService(Plan(APP, tmp_path / "ws"), quiet, node_started)
    with pytest.raises(local_service.Cancelled):
        service.start()
    assert service.stop() == {}


def test_an_earlier_sandbox_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_node(monkeypatch, tmp_path, "exit 1")
    for _ in range(2):
        service = LocalService(Plan(APP, tmp_path / "ws"), quiet)
        with pytest.raises(LocalError, match="it said nothing"):
            service.start()
        (tmp_path / "ws" / "node0" / "ledger").mkdir()
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("elsewhere")
    (tmp_path / "ws" / "link").symlink_to(kept)
    service._prepare_workspace()
    assert {path.name for path in (tmp_path / "ws").iterdir()} == {".lock", ".gitignore"}
    assert (kept / "file").exists()
    service.stop()


@pytest.mark.parametrize("lock", [None, "", "of another program"])
def test_other_peoples_folders_are_left_alone(tmp_path: Path, lock: str | None) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    if lock is not None:
        (tmp_path / ".lock").write_text(lock)
    with pytest.raises(LocalError, match="not empty and not a sandbox"):
        LocalService(Plan(APP, tmp_path), quiet).start()
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(LocalError, match="Could not use the workspace"):
        LocalService(Plan(APP, tmp_path / "thesis.txt"), quiet).start()


def test_a_running_sandbox_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "member0_privk.pem").write_text("key")
    (tmp_path / "ws" / ".lock").write_text(local_service.MARK)
    with open(tmp_path / "ws" / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LocalError, match="A sandbox is running in"):
            LocalService(Plan(APP, tmp_path / "ws"), quiet).start()
    assert (tmp_path / "ws" / "member0_privk.pem").exists()


# -- several nodes -------------------------------------------------------------------------------


class Sleepers:
    """A service of nodes that are up but are only processes, and what is seen of their network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
        fake_node(monkeypatch, folder, "exec sleep 60")
        self.told: list[str] = []
        self.service = LocalService(Plan(APP, folder / "ws", nodes=number), self.told.append)
        for i, node in enumerate(self.service.nodes):
            node.start({}, APP)
            node.url = f"https://n{i}"
        known = [SandboxNode(n.url, f"id{i}", n.pid) for i, n in enumerate(self.service.nodes)]
        self.service._info = SandboxInfo(known, "", [], [], [], "")
        self.status: list[str | None] = ["Trusted"] * number
        self.primary = "id0"
        self.last = ["2.9"] * number
        self.looks = 0
        self.blind = False
        monkeypatch.setattr(local_service, "look", self.look)

    def look(self, target: Target, timeout_s: float) -> NetworkView:
        self.looks += 1
        if self.blind:
            raise Unavailable("nobody there")
        nodes = [
            NodeView(
                f"id{i}",
                None,
                f"https://n{i}",
                status,
                False,
                None if f"https://n{i}" in target.urls else "down",
                last="2.9",
                committed=self.last[i],
            )
            for i, status in enumerate(self.status)
        ]
        return NetworkView("Open", 0, 2, self.primary, True, nodes)

    def kill(self, number: int) -> None:
        node = self.service.nodes[number]
        os.kill(node.pid, signal.SIGKILL)
        while node.running:
            pass

    def stop(self) -> dict[str, int]:
        return self.service.stop()


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sleepers]:
    sleepers = Sleepers(monkeypatch, tmp_path, 3)
    yield sleepers
    sleepers.stop()


def test_a_node_of_three_may_end_but_not_two(three: Sleepers) -> None:
    assert three.service.look_after() == []
    three.kill(1)
    news = three.service.look_after()
    assert news == ["node1 ended with exit code -9: SIGKILL; 2 of 3 nodes run"]
    assert three.service.look_after() == []
    three.kill(0)
    with pytest.raises(
        LocalError, match="Too few nodes are left for a majority: node0 ended"
    ) as caught:
        three.service.look_after()
    assert "pyccf recover inspect " in caught.value.hint
    assert three.stop() == {"node2": -signal.SIGTERM}


def test_retired_nodes_do_not_count(three: Sleepers) -> None:
    three.status[2] = "Retired"
    three.kill(2)
    assert len(three.service.look_after()) == 1
    three.status[1] = None
    three.kill(1)
    assert len(three.service.look_after()) == 1
    three.kill(0)
    with pytest.raises(LocalError, match="Too few nodes"):
        three.service.look_after()


def test_nodes_that_joined_later_count(three: Sleepers) -> None:
    three.status += ["Trusted", "Trusted", "Pending"]
    three.last += ["2.9"] * 3
    three.kill(0)
    three.kill(1)
    assert [line.split()[0] for line in three.service.look_after()] == ["node0", "node1"]


def test_when_the_others_cannot_be_asked(three: Sleepers) -> None:
    three.blind = True
    three.kill(1)
    assert len(three.service.look_after()) == 1
    assert three.told == ["The nodes left could not be asked: nobody there"]
    three.kill(2)
    with pytest.raises(LocalError, match="Too few nodes"):
        three.service.look_after()


def test_the_only_node_that_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = Sleepers(monkeypatch, tmp_path, 1)
    one.kill(0)
    with pytest.raises(LocalError, match="The node ended with exit code -9: SIGKILL"):
        one.service.look_after()
    assert one.stop() == {}


def test_the_primary_stops_first(three: Sleepers) -> None:
    three.primary = "id1"
    assert list(three.stop()) == ["node1", "node0", "node2"]
    assert three.looks == 1


def test_stopping_waits_for_commit(three: Sleepers, monkeypatch: pytest.MonkeyPatch) -> None:
    three.last[2] = "2.7"
    behind = three.look

    def catch_up(target: Target, timeout_s: float) -> NetworkView:
        if three.looks == 2:
            three.last[2] = "2.9"
        return behind(target, timeout_s)

    monkeypatch.setattr(local_service, "look", catch_up)
    three.stop()
    assert three.looks == 3


def test_stopping_does_not_wait_for_ever(three: Sleepers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_service, "SETTLE_TIMEOUT_S", 0.05)
    three.last[2] = "2.7"
    assert len(three.stop()) == 3


def test_stopping_when_nothing_can_be_seen(three: Sleepers) -> None:
    three.blind = True
    assert len(three.stop()) == 3
    assert three.looks == 1
