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
from pyccf.audit.verify import verify
from pyccf.client.types import Action
from pyccf.ledger.entry import parse
from pyccf.types import TxID
from support.linear import Kind, Operation, Outcome
from support.linear_load import Plan
from support.network import Network, Settings
from support.process import NodeProcess
from support.recovery_commands import bring_back, client, until

DRILLS = int(os.environ.get("PYCCF_DRILLS", "1"))
SETTINGS = Settings(chunk_size="15KB")
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


def lose(network: Network, heap: Path, chance: Random) -> Path:
    """What is left: of one host all, of the others some, with torn ends; the whole one."""
    spared = chance.choice(network.nodes)
    for node in network.nodes:
        host = heap / str(node)
        shutil.copytree(node.folder / "ledger", host)
        if node is spared:
            continue
        for file in sorted(host.iterdir()):
            luck = chance.random()
            if luck < 0.3:
                file.unlink()
            elif luck < 0.5:
                data = file.read_bytes()
                file.write_bytes(data[: chance.randrange(len(data))])
    return heap / str(spared)


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
    with Network(tmp_path, 3, settings=SETTINGS) as network:
        told = disaster(network, chance)
        keys = network.nodes[0].folder
        base = json.loads((keys / "config.json").read_text())
    assert len(told) >= WRITES
    heap, new = tmp_path / "heap", tmp_path / "new"
    spared = lose(network, heap, chance)
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
    whole = verify(spared).last_valid
    assert last is not None
    assert whole is not None
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
    report_after = verify(new / "ledger")
    assert report_after.ok, report_after.error
    # Nothing that a client was told to be committed is another transaction now, and whatever the
    # whole ledger held of it is there.
    for txid in told:
        if txid.seqno <= whole.seqno or txid.seqno in collected:
            assert collected[txid.seqno] == txid.view, txid
