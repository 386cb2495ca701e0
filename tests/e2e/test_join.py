"""Node programs that join a service: let in, refused, and told to stop."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyccf.audit.verify import verify
from support.process import NodeProcess, make_config

PATIENCE_S = 60
PACKAGE = ("--package", "package")
PATIENT = {"message_timeout": "50ms", "election_timeout": "3s"}
"""Whoever leads does so until it is told to stop, however busy the machine is."""


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def configure(folder: Path, code: bytes = b"code", **changes: Any) -> dict[str, Any]:
    folder.mkdir()
    config = make_config(folder, consensus=PATIENT, **changes)
    (folder / "package").write_bytes(code)
    return config


def configure_joiner(folder: Path, first: NodeProcess, code: bytes = b"code") -> None:
    host, port = first.address()
    command = {
        "type": "Join",
        "join": {"target_rpc_address": f"{host}:{port}", "retry_timeout": "50ms"},
    }
    configure(folder, code, command=command)
    shutil.copy(first.folder / "service_cert.pem", folder / "service_cert.pem")


@pytest.fixture
def first(tmp_path: Path) -> Iterator[NodeProcess]:
    configure(tmp_path / "n0")
    with NodeProcess(tmp_path / "n0", *PACKAGE) as node:
        node.wait_ready()
        yield node


def state(node: NodeProcess) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(node.get("/node/state")[1])
    return found


def commit(node: NodeProcess) -> str:
    return str(json.loads(node.get("/node/commit")[1])["transaction_id"])


def primary(node: NodeProcess) -> str | None:
    found: str | None = json.loads(node.get("/node/network")[1])["primary_id"]
    return found


def test_a_node_joins_follows_and_takes_over(first: NodeProcess, tmp_path: Path) -> None:
    configure_joiner(tmp_path / "n1", first)
    with NodeProcess(tmp_path / "n1", *PACKAGE) as second:
        second.wait_for("nodecert.pem")
        second.wait_ready()
        listed = json.loads(first.get("/node/network/nodes")[1])["nodes"]
        assert [n["status"] for n in listed] == ["Trusted", "Trusted"]
        until(lambda: commit(first) == commit(second), "both commit the same")
        own = json.loads(second.get("/node/network/nodes/self")[1])
        assert own["status"] == "Trusted"
        assert not own["primary"]
        assert primary(second) == state(first)["node_id"]
        status, headers, _ = second.request("HEAD", "/node/primary")
        assert status == 308
        host, port = first.address()
        assert headers["location"] == f"https://{host}:{port}/node/primary"
        # SIGTERM on the primary: the other one leads when it is gone.
        name = state(second)["node_id"]
        assert first.stop() == 0
        assert primary(second) == name
        assert f"Handing over to node {name}" in first.out.read_text()
        assert "No other node took over in time" not in first.out.read_text()
        assert second.stop() == 0
        assert second.err.read_text() == ""
    assert first.err.read_text() == ""
    for node in (first, second):
        assert verify([node.folder / "ledger"]).ok


def test_other_code_is_refused(first: NodeProcess, tmp_path: Path) -> None:
    configure_joiner(tmp_path / "n1", first, b"other code")
    with NodeProcess(tmp_path / "n1", *PACKAGE) as second:
        assert second.process.wait(PATIENCE_S) == 134
    out, err = second.out.read_text(), second.err.read_text()
    assert "Quote host data is not authorised" in err
    (line,) = (line for line in out.splitlines() if "[fail ]" in line)
    host, port = first.address()
    assert f"Join request to {host}:{port} returned 401 Bad Request: " in line
    assert line.endswith("Shutting down node gracefully.")
    assert "Quote host data is not authorised" in first.out.read_text()
    assert len(json.loads(first.get("/node/network/nodes")[1])["nodes"]) == 1


def test_another_service_is_not_asked(first: NodeProcess, tmp_path: Path) -> None:
    configure_joiner(tmp_path / "n1", first)
    configure(tmp_path / "other")
    with NodeProcess(tmp_path / "other", *PACKAGE) as other:
        other.wait_ready()
        shutil.copy(tmp_path / "other" / "service_cert.pem", tmp_path / "n1" / "service_cert.pem")
    with NodeProcess(tmp_path / "n1", *PACKAGE) as second:
        assert second.process.wait(PATIENCE_S) == 134
    assert "invalid cert on handshake" in second.err.read_text()
    assert "Early error when joining existing network at" in second.out.read_text()


def test_a_node_waits_for_one_that_is_not_there_yet(first: NodeProcess, tmp_path: Path) -> None:
    configure_joiner(tmp_path / "n1", first)
    path = tmp_path / "n1" / "config.json"
    config = json.loads(path.read_text())
    config["command"]["join"]["target_rpc_address"] = "127.0.0.1:1"
    path.write_text(json.dumps(config))
    with NodeProcess(tmp_path / "n1", *PACKAGE) as second:
        second.wait_for("rpc.json")
        until(
            lambda: "An error occurred while joining the network" in second.out.read_text(),
            "it says that nobody answers",
        )
        assert second.process.poll() is None
        assert second.stop() == 0
    assert second.err.read_text() == ""


def test_a_service_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    command = {"type": "Join", "join": {"target_rpc_address": "127.0.0.1:1"}}
    configure(tmp_path / "n0", command=command)
    (tmp_path / "n0" / "service_cert.pem").write_text("no certificate")
    with NodeProcess(tmp_path / "n0", *PACKAGE) as node:
        assert node.process.wait(PATIENCE_S) == 1
    assert "The service certificate cannot be used" in node.err.read_text()
