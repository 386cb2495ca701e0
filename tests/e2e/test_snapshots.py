"""Snapshots of real processes: taken, served, joined from, and what becomes of damaged ones."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pyccf.audit.verify import verify
from pyccf.client.types import Action
from pyccf.ledger import chunk, snapshot
from pyccf.types import Json
from support.fault_proxy import FaultProxy
from support.linear_load import Connection
from support.network import CALM, PATIENCE_S, Network, NetworkNode, Proxied
from support.tls import trusting

TX_COUNT = 30
FETCH = {"fetch_recent_snapshot": True}


class SmallSnapshots(Network):
    """A network whose nodes take snapshots often and keep three of them."""

    joining: dict[str, Any]
    """What else a joiner's configuration says of joining."""
    local: Path | None = None
    """A directory of snapshots that a joiner may read."""

    def tune(self, config: dict[str, Any], number: int) -> None:
        config["snapshots"] = {"tx_count": TX_COUNT, "kept": 3}
        config["ledger"] = {"chunk_size": "10KB"}
        if "join" in config.get("command", {}):
            config["command"]["join"] |= self.joining
            if self.local is not None:
                config["snapshots"]["read_only_directory"] = str(self.local)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallSnapshots]:
    made = SmallSnapshots(tmp_path_factory.mktemp("network"), 1, settings=CALM)
    made.joining = FETCH
    with made:
        yield made


def write(node: NetworkNode, network: Network, count: int, first: int = 0) -> None:
    connection = Connection(node.address(), trusting(network.service_cert), PATIENCE_S)
    for value in range(first, first + count):
        body: Json = {"register": f"r{value}", "value": value}
        answer = connection.ask("POST", "/app/registers", body)
        assert answer.status == 200, answer.text
    connection.close()


def read(node: NetworkNode, network: Network, value: int) -> Any:
    connection = Connection(node.address(), trusting(network.service_cert), PATIENCE_S)
    found = connection.ask("GET", f"/app/registers?register=r{value}").body
    connection.close()
    return found


def snapshots(node: NetworkNode) -> list[snapshot.SnapshotName]:
    found = [snapshot.parse_name(p.name) for p in (node.folder / "snapshots").iterdir()]
    return sorted((n for n in found if n is not None and n.committed), key=lambda n: n.seqno)


def first_entry(node: NetworkNode) -> int:
    """Seqno of the first entry in a node's ledger directory."""
    names = [chunk.parse_name(p.name) for p in (node.folder / "ledger").iterdir()]
    return min(n.first for n in names if n is not None)


def first_missing(node: NetworkNode) -> int:
    """Seqno of the first entry that no committed file of a node has."""
    names = [chunk.parse_name(p.name) for p in (node.folder / "ledger").iterdir()]
    last = 0
    for name in sorted((n for n in names if n is not None), key=lambda n: n.first):
        if name.first == last + 1 and name.committed and name.last is not None:
            last = name.last
    return last + 1


def startup_seqno(node: NetworkNode) -> int:
    return int(node.ask("/node/state")["startup_seqno"])


def log_of(node: NetworkNode) -> str:
    return node.out.read_text() + node.err.read_text()


def test_snapshots_are_taken_pruned_and_served(network: SmallSnapshots) -> None:
    primary = network.primary()
    write(primary, network, 150)
    network.wait(lambda: len(snapshots(primary)) == 3, "old snapshots to be pruned")
    newest = snapshots(primary)[-1]
    before = newest.seqno
    network.govern(Action("trigger_snapshot", None))
    network.wait(lambda: snapshots(primary)[-1].seqno > before, "governance's snapshot")
    network.wait(lambda: at_rest(primary), "the last snapshot to be written")
    found = snapshots(primary)[-1]
    host, port = primary.address()
    name = f"snapshot_{found.seqno}_{found.evidence}.committed"
    context = trusting(network.service_cert)
    url = f"https://{host}:{port}/node/snapshot"
    with pytest.raises(urllib.error.HTTPError) as redirect:
        urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), NoRedirect()
        ).open(url)
    assert redirect.value.headers["location"] == f"{url}/{name}"
    redirect.value.close()
    with urllib.request.urlopen(f"{url}/{name}", context=context) as answer:
        served = answer.read()
    assert served == (primary.folder / "snapshots" / name).read_bytes()
    snapshot.verify(snapshot.parse(served), network.service_cert.read_text())


def at_rest(node: NetworkNode) -> bool:
    """Whether nothing was written for a while; without requests nothing more will be."""
    before = snapshots(node), node.committed()
    time.sleep(1.0)
    return before == (snapshots(node), node.committed())


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def test_a_node_joins_from_a_snapshot_and_takes_over(network: SmallSnapshots) -> None:
    primary = network.primary()
    new = network.join()
    network.trust(new)
    start = startup_seqno(new)
    assert start >= TX_COUNT
    assert first_entry(new) == start + 1
    assert snapshots(new)[0].seqno == start
    assert f"This node starts from the snapshot at 2.{start}" in log_of(new)
    network.synced([new])
    for value in (0, 149):
        assert read(new, network, value) == read(primary, network, value)
    network.remove(primary)
    assert primary.stop() == 0
    network.wait(lambda: network.primary() is new, "the new node to lead")
    write(new, network, 2 * TX_COUNT, first=200)
    network.wait(lambda: len(snapshots(new)) > 1, "the new node to take snapshots")
    third = network.join()
    network.trust(third)
    assert startup_seqno(third) > start
    network.synced([third])
    for value in (0, 149, 201):
        assert read(third, network, value) == read(new, network, value)
    report = verify(primary.folder / "ledger", service_cert_pem=network.service_cert.read_text())
    assert report.ok, report


def test_local_snapshots_a_damaged_one_and_none(network: SmallSnapshots, tmp_path: Path) -> None:
    leader = network.primary()
    network.wait(lambda: at_rest(leader), "the last snapshot to be written")
    good, newest = snapshots(leader)[-2:]
    for name in (good, newest):
        file = f"snapshot_{name.seqno}_{name.evidence}.committed"
        data = bytearray((leader.folder / "snapshots" / file).read_bytes())
        if name is newest:
            data[500] ^= 1
        (tmp_path / file).write_bytes(data)
    network.joining = {"fetch_recent_snapshot": False}
    network.local = tmp_path
    try:
        new = network.join()
        network.trust(new)
    finally:
        network.joining, network.local = FETCH, None
    assert startup_seqno(new) == good.seqno
    assert f"snapshot_{newest.seqno}_{newest.evidence}.committed is not used" in log_of(new)
    network.synced([new])
    assert read(new, network, 149) == read(leader, network, 149)


def test_without_one_a_node_that_is_too_old_is_refused(network: SmallSnapshots) -> None:
    """The nodes that are left have not got the beginning of the ledger."""
    network.joining = {"fetch_recent_snapshot": False}
    try:
        new = network.knock()
        network.wait(lambda: new.process.poll() is not None, "it to end")
    finally:
        network.joining = FETCH
    assert "StartupSeqnoIsOld" in log_of(new)
    assert json.loads((new.folder / "config.json").read_text())["command"]["type"] == "Join"


def test_a_node_that_lacks_what_no_member_has_begins_anew(tmp_path: Path) -> None:
    """It is cut off while everybody else is replaced; who is left began after what it has."""
    with ExitStack() as stack:
        links = Proxied(stack.enter_context(FaultProxy()))
        made = SmallSnapshots(tmp_path, 3, settings=CALM, links=links)
        made.joining = FETCH
        stack.enter_context(made)
        first, lonely, second = made.nodes
        assert made.primary() is first
        write(first, made, 10)
        had = made.synced().seqno
        links.part([lonely.number], [first.number, second.number])
        del made.serving[lonely.number]
        write(first, made, 3 * TX_COUNT, first=10)
        newcomers = [made.join(), made.join()]
        for node in newcomers:
            made.trust(node)
            assert startup_seqno(node) > had
        for leaving in (second, first):
            made.remove(leaving)
        assert second.stop() == 0
        # The first node is no member any more; its snapshots it still has, and gives.
        made.wait(lambda: "it begins anew with" in log_of(lonely), "it to begin anew")
        assert startup_seqno(lonely) >= startup_seqno(newcomers[0])
        assert first.stop() == 0
        made.serving[lonely.number] = lonely
        write(made.primary(), made, 5, first=200)
        made.synced([lonely])
        for value in (0, 99, 204):
            assert read(lonely, made, value) == read(made.primary(), made, value)
        made.stop()
        # What it had is kept, and ends where a signature does; what lies between is missing.
        report = verify(lonely.folder / "ledger", service_cert_pem=made.service_cert.read_text())
        assert report.last_valid.seqno >= had
        assert first_missing(lonely) == report.last_valid.seqno + 1
