"""`pyccf sandbox --nodes 3`: used as it says, with nodes killed, added and retired."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pyccf.cli.network_view import NetworkView
from support.programs import program
from support.sandbox_program import PROGRAM, STOP_S, Sandbox, run, run_line

ELECTION_S = 60
"""Patience with an election, on a machine that has much else to do."""
WRITE = ("call", "/app/log/public", "-d", '{"id":7,"msg":"m"}', "--patience", str(ELECTION_S))


def status(one: Sandbox) -> NetworkView:
    """What `pyccf network status` sees."""
    said = run("network", "status", "--json", "--workspace", str(one.workspace), cwd=one.folder)
    assert said.returncode == 0, said.stderr
    return msgspec.json.decode(said.stdout, type=NetworkView)


def wait_until(one: Sandbox, so: Callable[[NetworkView], bool]) -> NetworkView:
    """How the network looks once it looks so: a node that is busy may not answer each time."""
    deadline = time.monotonic() + ELECTION_S
    while not so(view := status(one)):
        assert time.monotonic() < deadline, view
    return view


def wait_for_primary(one: Sandbox, without: str) -> NetworkView:
    """How the network looks once a node other than this one leads it."""
    return wait_until(
        one,
        lambda view: view.primary is not None and view.primary.name != without and view.can_commit,
    )


def removable(view: NetworkView, name: str) -> bool:
    node = view.find(name)
    return node is not None and node.removable


def verified(one: Sandbox, line: str) -> int:
    """Seqno up to which the ledger is proven that a printed line verifies."""
    ran = run_line(line, one.folder, "--json")
    assert ran.returncode == 0, (line, ran.stderr)
    return int(json.loads(ran.stdout)["last_valid"].split(".")[1])


def test_what_is_printed_works_also_without_the_primary(tmp_path: Path) -> None:
    program("curl")
    one = Sandbox(tmp_path, "--nodes", "3", "--verbose")
    where = ("--workspace", str(one.workspace))
    try:
        said = one.wait_for("Ctrl-C stops")
        assert "node2, process" in said
        lines = [line.strip() for line in said.splitlines()]
        curls = [line for line in lines if line.startswith("curl ")]
        info = json.loads((one.workspace / "sandbox.json").read_text())
        urls = [node["url"] for node in info["nodes"]]
        assert len(urls) == 3
        assert all(any(url in line for line in curls) for url in urls)
        for line in curls:
            ran = run_line(line, tmp_path, "--silent", "--show-error", "--fail-with-body")
            assert ran.returncode == 0, (line, ran.stdout, ran.stderr)
        kinds = (" receipt get ", " receipt verify ", " network status ")
        commands = [line for line in lines if any(kind in line for kind in kinds)]
        assert len(commands) == 4
        for line in commands:
            ran = run_line(line, tmp_path, *(["--count", "2"] if "--watch" in line else []))
            assert ran.returncode == 0, (line, ran.stderr)
        ran = run("network", "wait", "--nodes", "3", *where, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        assert re.search("primary node[0-2], 3 of 3 trusted nodes answer", ran.stdout), ran.stdout

        (kill,) = [line for line in lines if line.startswith("kill -9 ")]
        subprocess.run(["sh", "-c", kill], check=True)
        one.wait_for_error("node0 ended with exit code -9: SIGKILL; 2 of 3 nodes run")
        view = wait_for_primary(one, "node0")
        assert view.nodes[0].problem is not None
        assert (view.view or 0) > 2
        assert "no answer" in run("network", "status", *where, cwd=tmp_path).stdout
        ran = run(*WRITE, *where, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        txid = ran.stderr.split()[-1]
        assert run("receipt", "get", txid, *where, cwd=tmp_path).returncode == 0
    finally:
        code = one.stop()
    assert code == 0, one.err.read_text()
    assert len(one.err.read_text().splitlines()) == 1  # of node0, which was killed
    for i in (1, 2):
        assert (one.workspace / f"node{i}" / "err").read_text() == ""
    found = [line for line in one.out.read_text().splitlines() if "ledger verify" in line]
    assert len(found) == 3
    proven = [verified(one, line) for line in found]
    assert min(proven[1:]) >= int(txid.split(".")[1])


def test_a_node_comes_and_others_go(tmp_path: Path) -> None:
    one = Sandbox(tmp_path, "--nodes", "3", "--members", "2", "--json")
    where = ("--workspace", str(one.workspace))
    extra: subprocess.Popen[bytes] | None = None

    def done(*arguments: str) -> Any:
        ran = run(*arguments, *where, "--json", cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    try:
        info = one.info
        pids = [int(node["pid"]) for node in info["nodes"]]
        assert len(info["ledgers"]) == len(set(info["ledgers"])) == 3

        (tmp_path / "extra").mkdir()
        shutil.copy(one.workspace / "node1" / "config.json", tmp_path / "extra")
        with open(tmp_path / "extra.out", "wb") as said:
            extra = subprocess.Popen(
                [*PROGRAM, "node", "--config", "config.json"],
                cwd=tmp_path / "extra",
                stdout=said,
                stderr=said,
            )
        deadline = time.monotonic() + ELECTION_S
        pending: list[str] = []
        while not pending:
            assert extra.poll() is None, (tmp_path / "extra.out").read_text()
            assert time.monotonic() < deadline
            pending = [n["node_id"] for n in done("network", "nodes") if n["status"] == "Pending"]
        assert done("network", "trust", pending[0][:12])["proposalState"] == "Accepted"
        assert len(done("network", "wait", "--nodes", "4")["nodes"]) == 4

        assert done("network", "remove", "node2")["proposalState"] == "Accepted"
        gone = wait_until(one, lambda view: removable(view, "node2")).find("node2")
        assert gone is not None
        entry = f"/node/network/nodes/{gone.node_id}"
        done("call", "-X", "DELETE", entry, "--patience", str(ELECTION_S))
        os.kill(pids[2], signal.SIGTERM)
        one.wait_for_error("node2 ended with exit code 0")
        wait_until(one, lambda view: len(view.trusted) == 3)

        assert done("network", "remove", "node0")["proposalState"] == "Accepted"
        view = wait_for_primary(one, "node0")
        assert [node.name for node in view.trusted] == ["node1", "node3"]
        assert run(*WRITE, *where, cwd=tmp_path).returncode == 0
        os.kill(pids[0], signal.SIGTERM)
        one.wait_for_error("node0 ended with exit code 0")
        assert run(*WRITE, *where, cwd=tmp_path).returncode == 0
        assert one.process.poll() is None

        os.kill(pids[1], signal.SIGKILL)
        assert one.process.wait(STOP_S) == 1
        told = one.err.read_text()
        assert "Too few nodes are left for a majority: node1 ended" in told
        way_back = told.partition("docs/recovery.md): pyccf ")[2].splitlines()[0]
        assert "recoverable" in run(*way_back.split(), cwd=tmp_path).stdout
        assert (tmp_path / "recovered" / "config.json").is_file()
    finally:
        one.stop()
        if extra is not None:
            extra.kill()
            extra.wait()
