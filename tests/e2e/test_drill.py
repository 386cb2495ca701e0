"""Disaster drills with real processes: kill -9 of all nodes under load, files lost, and back again.

PYCCF_DRILLS says how many (`make drill`: 20); in the ordinary tests it is one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pyccf.audit.files import ChunkReader, find_chunks
from pyccf.audit.snapshots import SnapshotAudit
from pyccf.audit.verify import verify
from pyccf.client.types import Action
from pyccf.ledger import chunk, snapshot
from pyccf.ledger.entry import parse
from pyccf.types import TxID
from support.linear import Kind, Operation, Outcome
from support.linear_load import Plan
from support.network import Network, Settings
from support.process import NodeProcess
from support.recovery_commands import bring_back, client, until

WITHOUT_BEGINNING = 0.4
"""How often nobody kept the ledger before the newest snapshot."""
DRILLS = int(os.environ.get("PYCCF_DRILLS", "1"))
SETTINGS = Settings(chunk_size="15KB", election_ms=6000, forwarding_ms=20_000)
WRITES = 40


def told_committed(operations: list[Operation]) -> list[TxID]:
    """Writes whose clients were told that they are committed."""
    return [
        op.txid
        for op in operations
        if op.kind is Kind.WRITE and op.waited and op.outcome is Outcome.ANSWERED and op.txid
    ]


def disaster(network: Network, chance: Random) -> list[TxID]:
    """Use the service, then kill everything; what clients were told to be committed."""
    plan = Plan(clients=4, pause_s=0.002, waits=0.7, seed=chance.randrange(1000))
    load = network.load(plan)
    with load as running:
        network.wait(lambda: running.committed_writes() >= WRITES // 2, "writes")
        if chance.random() < 0.5:
            network.govern(Action("trigger_ledger_rekey", None))
        goal = running.committed_writes() + WRITES // 2
        network.wait(lambda: running.committed_writes() >= goal, "writes")
        for node in chance.sample(network.nodes, len(network.nodes)):
            node.kill()
            time.sleep(chance.random() * 0.1)
        operations = list(running.operations())
    return told_committed(operations)


class Snapshotting(Network):
    """A network that takes snapshots often."""

    def tune(self, config: dict[str, Any], number: int) -> None:
        super().tune(config, number)
        config["snapshots"] = {"tx_count": 30}


def lose(network: Network, heap: Path, chance: Random) -> tuple[TxID, int]:
    """Of one host all is left, of the others some, with torn ends, and now and then nothing before
    some snapshot. How far the whole ledger went, and after which entry it is there."""
    spared = chance.choice(network.nodes)
    for node in network.nodes:
        host = heap / str(node)
        shutil.copytree(node.folder / "ledger", host / "ledger")
        shutil.copytree(node.folder / "snapshots", host / "snapshots")
        if node is spared:
            continue
        for file in sorted(host.rglob("*_*")):
            luck = chance.random()
            if luck < 0.3:
                file.unlink()
            elif luck < 0.5:
                data = file.read_bytes()
                file.write_bytes(data[: chance.randrange(len(data))])
    whole = verify(heap / str(spared) / "ledger").last_valid
    assert whole is not None
    if chance.random() >= WITHOUT_BEGINNING:
        return whole, 0
    taken = [
        (name.seqno, file)
        for node in network.nodes
        for file in (node.folder / "snapshots").iterdir()
        if (name := snapshot.parse_name(file.name)) is not None and name.committed
    ]
    seqno, file = max(taken, default=(0, Path()))
    if seqno:
        shutil.copy(file, heap / str(spared) / "snapshots" / file.name)
    for old in heap.rglob("ledger_*"):
        found = chunk.parse_name(old.name)
        if found is not None and found.last is not None and found.last <= seqno:
            old.unlink()
    return whole, seqno


def views(ledger: Path) -> dict[int, int]:
    """View of each entry."""
    found: dict[int, int] = {}
    for one in find_chunks(ledger).chunks:
        with ChunkReader(one) as reader:
            for data in reader.entries():
                entry = parse(data)
                found[entry.seqno] = entry.view
    return found


@pytest.mark.parametrize("number", range(DRILLS))
def test_drill(tmp_path: Path, number: int) -> None:
    chance = Random(f"{os.environ.get('PYCCF_DRILL_SEED', 'drill')} {number}")
    with Snapshotting(tmp_path, 3, settings=SETTINGS) as network:
        told = disaster(network, chance)
        keys = network.nodes[0].folder
        base = json.loads((keys / "config.json").read_text())
    assert len(told) >= WRITES
    heap, new = tmp_path / "heap", tmp_path / "new"
    whole, begin = lose(network, heap, chance)
    (tmp_path / "base.json").write_text(json.dumps(base))
    inspected = subprocess.run(
        [
            *(sys.executable, "-m", "pyccf.cli.main", "recover", "inspect", str(heap), "--json"),
            *("--base", str(tmp_path / "base.json"), "--write", str(new / "config.json")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert inspected.returncode == 0, inspected.stderr
    report: dict[str, Any] = json.loads(inspected.stdout)
    last = TxID.parse(report["recoverable"])
    assert last is not None
    assert last >= whole, "a later view, or the same one further"
    collected = views(new / "ledger")
    with NodeProcess(new) as node:
        node.wait_ready()
        bring_back(node, keys, new / "previous_service_identity.pem")
        with client(node, keys) as member:
            assert member.service_info().recovery_count == 1
        body = json.dumps({"register": "x", "value": 1_000_000}).encode()
        until(lambda: node.request("POST", "/app/registers", body)[0] < 500, "a write")
        assert node.stop() == 0
    beginning = SnapshotAudit([new / "snapshots"]).beginning(find_chunks(new / "ledger").chunks)
    # Entries may also be missing that only torn files held.
    assert beginning is not None or not begin
    auditor = None if beginning is None else beginning.auditor
    report_after = verify(new / "ledger", beginning=auditor)
    assert report_after.ok, report_after.error
    # Nothing that a client was told to be committed is another transaction now, and whatever the
    # whole ledger held of it is there.
    for txid in told:
        if begin < txid.seqno <= whole.seqno or txid.seqno in collected:
            assert collected[txid.seqno] == txid.view, txid
