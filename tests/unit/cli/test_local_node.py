"""pyccf.cli.local_node: a child process that is started, looked after and ended."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest

from pyccf.cli.bundle import JsBundle, PythonApp
from pyccf.cli.local_node import LocalNode

APP = JsBundle({"endpoints": {}}, [])
PATIENCE_S = 60


def started(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    script: str,
    app: JsBundle | PythonApp = APP,
) -> LocalNode:
    """A node whose program is a shell script."""
    program = folder / "fake_python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))
    node = LocalNode("node7", folder / "node7")
    assert not node.running
    assert not node.ended
    assert node.wait(0) is None
    node.start({"a": 1}, app)
    return node


def soon(node: LocalNode) -> int | None:
    return node.wait(time.monotonic() + PATIENCE_S)


def test_it_gets_its_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node = started(monkeypatch, tmp_path, 'cat config.json; echo "$@"; pwd; exit 4')
    assert soon(node) == 4
    assert node.ended
    said = (node.folder / "out").read_text()
    assert '"a": 1' in said
    assert "-m pyccf.cli.main node --config config.json\n" in said
    assert said.splitlines()[-1] == str(node.folder)
    assert node.ledger == node.folder / "ledger"


def test_a_python_application_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", "/before")
    app = PythonApp(tmp_path / "application")
    node = started(monkeypatch, tmp_path, 'echo "$@"; echo "$PYTHONPATH"', app)
    assert soon(node) == 0
    line, path = (node.folder / "out").read_text().splitlines()
    assert line.endswith("--app app:app")
    assert path == f"{tmp_path / 'application'}{os.pathsep}/before"


def test_where_it_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node = started(monkeypatch, tmp_path, "exit 0")
    assert not node.listens()
    addresses = json.dumps({"primary_rpc_interface": "127.0.0.1:99"})
    (node.folder / "node.rpc_addresses").write_text(addresses)
    assert node.listens()
    assert node.url == "https://127.0.0.1:99"
    soon(node)


def test_it_is_told_to_stop_even_when_paused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    node = started(monkeypatch, tmp_path, "exec sleep 60")
    assert node.running
    os.kill(node.pid, signal.SIGSTOP)
    node.tell_to_stop()
    assert soon(node) == -signal.SIGTERM
    node.tell_to_stop()  # nothing is left to be told


def test_it_is_killed_when_it_takes_too_long(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    node = started(monkeypatch, tmp_path, "trap '' TERM; touch deaf; while :; do sleep 0.05; done")
    deadline = time.monotonic() + PATIENCE_S
    while not (node.folder / "deaf").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    node.tell_to_stop()
    assert node.wait(time.monotonic() + 0.1) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo a; echo b; echo c; exit 3", "node7 ended with exit code 3: b / c"),
        ("echo a; echo no room >&2; exit 3", "node7 ended with exit code 3: no room"),
        ("echo Traceback: >&2; echo x >&2; exit 1", "node7 ended with exit code 1: x"),
        ("exit 5", "node7 ended with exit code 5: it said nothing"),
        ("echo working; kill -9 $$", "node7 ended with exit code -9: SIGKILL"),
    ],
)
def test_its_end_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, reason: str
) -> None:
    node = started(monkeypatch, tmp_path, script)
    soon(node)
    error = node.explain_end()
    assert error.message == reason
    assert str(node.folder / "out") in error.hint
