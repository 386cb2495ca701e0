"""pyccf.cli.local_service: workspaces, the node's configuration, nodes that do not start.

Whole services, with real nodes, are in tests/e2e.
"""

from __future__ import annotations

import fcntl
import json
import stat
import sys
from pathlib import Path

import pytest

from pyccf.cli import local_service
from pyccf.cli.bundle import JsBundle
from pyccf.cli.keys import KeyFiles
from pyccf.cli.local_service import LocalService, Plan, node_config
from pyccf.errors import LocalError
from pyccf.shell.config import Authority, RecoveryRole, effective_recovery_threshold, parse_config

APP = JsBundle({"endpoints": {}}, [])


def quiet(_: str) -> None:
    """A report nobody hears."""


def test_the_configuration_is_one_a_node_takes() -> None:
    members = [
        KeyFiles("id", "/w/m_cert.pem", "/w/m_key.pem", "/w/m_enc_key.pem", "/w/m_enc_pub.pem")
    ] * 3
    config = parse_config(json.dumps(node_config(8123, ["c/1.js"], members)))
    interface = config.network.rpc_interfaces["primary_rpc_interface"]
    assert str(interface.bind_address) == "127.0.0.1:8123"
    assert interface.authority is Authority.SERVICE
    start = config.command.start
    assert start is not None
    assert start.constitution_files == ("c/1.js",)
    assert effective_recovery_threshold(start) == 3
    assert start.members[0].effective_role is RecoveryRole.PARTICIPANT
    assert config.ledger_signatures.delay_ms == 100
    assert config.ignored_keys == ()


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
    assert {"member1_key.pem", "member1_enc_key.pem", "user0_cert.pem", "node0"} <= names
    assert (tmp_path / "ws" / ".gitignore").read_text() == "*\n"
    assert service.stop() is None


def test_a_node_that_hangs_is_given_up_and_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_node(monkeypatch, tmp_path, "trap '' TERM; while :; do sleep 0.05; done")
    monkeypatch.setattr(local_service, "START_TIMEOUT_S", 0.1)
    monkeypatch.setattr(local_service, "STOP_TIMEOUT_S", 0.2)
    service = LocalService(Plan(APP, tmp_path / "ws"), quiet)
    with pytest.raises(LocalError, match=r"Waited 0\.1 s in vain for the node to start"):
        service.start()
    assert service.stop() is None


def test_a_start_can_be_cancelled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_node(monkeypatch, tmp_path, "exec sleep 60")
    node_started = (tmp_path / "ws" / "node0" / "err").exists
    service = LocalService(Plan(APP, tmp_path / "ws"), quiet, node_started)
    with pytest.raises(local_service.Cancelled):
        service.start()
    assert service.stop() is None


def test_an_earlier_sandbox_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_node(monkeypatch, tmp_path, "exit 1")
    for _ in range(2):
        service = LocalService(Plan(APP, tmp_path / "ws"), quiet)
        with pytest.raises(LocalError, match="it said nothing"):
            service.start()
        (tmp_path / "ws" / "node0" / "ledger").mkdir()
    service._prepare_workspace()
    assert {path.name for path in (tmp_path / "ws").iterdir()} == {".lock", ".gitignore"}
    service.stop()


def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(LocalError, match="not empty and not a sandbox"):
        LocalService(Plan(APP, tmp_path), quiet).start()
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(LocalError, match="Could not use the workspace"):
        LocalService(Plan(APP, tmp_path / "thesis.txt"), quiet).start()


def test_a_running_sandbox_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "member0_key.pem").write_text("key")
    with open(tmp_path / "ws" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LocalError, match="A sandbox is running in"):
            LocalService(Plan(APP, tmp_path / "ws"), quiet).start()
    assert (tmp_path / "ws" / "member0_key.pem").exists()
