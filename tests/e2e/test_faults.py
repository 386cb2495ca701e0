"""Networks of real processes that crash, hang, and lose each other, under load.

After each fault the history of all clients is judged (`support.linear`): no committed write is
lost, nothing is executed twice or out of order, no session goes back in time, no status is taken
back.

Election timeout 500 ms, heartbeat 50 ms, signatures every 20 ms (`support.network.Settings`), but
where an election would spoil what is shown: there it is so long that no busy machine causes one.
Partitions are made by a proxy, and once more in network namespaces where the machine allows them.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest

from pyccf.types import Json
from support.fault_proxy import FaultProxy
from support.linear import History, Kind, Operation, Outcome, check
from support.linear_load import Connection, Load, Plan
from support.network import PATIENCE_S, Links, Network, NetworkNode, Proxied, Settings
from support.network_namespaces import Namespaces, unavailable
from support.tls import trusting

ELECTION_S = Settings().election_ms / 1000
PATIENT = Settings(election_ms=3000)
PATIENT_S = PATIENT.election_ms / 1000
PLAN = Plan(clients=6, pause_s=0.01, timeout_s=1.0, seed=11)


def connect(network: Network, node: NetworkNode) -> Connection:
    return Connection(node.address(), trusting(network.service_cert), PATIENCE_S)


def answered(
    load: Load, kind: Kind, since: float, nodes: set[int] | None = None
) -> list[Operation]:
    """What was sent after a time and answered."""
    return [
        op
        for op in load.operations()
        if op.kind is kind
        and op.sent > since
        and op.outcome is Outcome.ANSWERED
        and (nodes is None or op.node in nodes)
    ]


def wait_for_commits(network: Network, load: Load, since: float) -> None:
    """Until writes that were sent after a time are answered as committed again."""
    network.wait(
        lambda: len([op for op in answered(load, Kind.WRITE, since) if op.waited]) >= 3,
        "writes to be committed again",
    )


def stepped_down(node: NetworkNode) -> bool:
    """Whether a node says that it does not lead; one that says nothing may do so still."""
    return node.consensus().get("leadership_state") in ("Follower", "PreVoteCandidate", "Candidate")


def reads(network: Network, node: NetworkNode) -> bool:
    """Whether a node answers a read on a session that has nothing to do with the primary."""
    connection = connect(network, node)
    try:
        answer = connection.ask("GET", "/app/registers?register=r0")
    finally:
        connection.close()
    return answer.status in (200, 404)


def judge(history: History) -> None:
    assert check(history) == []
    writes = [op for op in history.operations if op.kind is Kind.WRITE]
    assert sum(op.waited and op.outcome is Outcome.ANSWERED for op in writes) > 3


# -- processes -----------------------------------------------------------------------------------


def test_the_primary_is_killed(tmp_path: Path) -> None:
    with Network(tmp_path, 3) as network:
        with network.load(PLAN) as load:
            wait_for_commits(network, load, 0)
            old = network.primary()
            view = old.consensus()["current_view"]
            backups = network.backups()
            session = connect(network, backups[0])
            assert session.ask("GET", "/app/registers?register=r0").status == 200
            old.kill()
            killed = time.monotonic()
            # Whatever becomes of the primary, reads are answered.
            assert all(reads(network, node) for node in backups)
            wait_for_commits(network, load, killed)
            # A session cannot go on in another view: it is told so, and ends.
            lost = session.ask("GET", "/app/registers?register=r0")
            assert (lost.status, lost.code) == (500, "SessionConsistencyLost")
            with pytest.raises((OSError, HTTPException)):
                session.ask("GET", "/app/registers?register=r0")
            session.close()
            new = network.primary()
            assert new is not old
            assert new.consensus()["current_view"] > view
            network.serving.pop(old.number)
        judge(load.history())
        network.stop()


def test_the_primary_hangs_for_long_and_comes_back_as_a_backup(tmp_path: Path) -> None:
    with Network(tmp_path, 3) as network:
        with network.load(PLAN) as load:
            wait_for_commits(network, load, 0)
            old = network.primary()
            old.pause()
            paused = time.monotonic()
            wait_for_commits(network, load, paused)
            new = network.primary()
            time.sleep(2 * ELECTION_S)
            old.resume()
            network.wait(
                lambda: old.consensus().get("primary_id") == new.id,
                "the old primary to follow the new one",
            )
            wait_for_commits(network, load, time.monotonic())
            network.synced()
        judge(load.history())
        network.stop()


def test_a_backup_hangs_and_catches_up(tmp_path: Path) -> None:
    with Network(tmp_path, 3, settings=PATIENT) as network:
        with network.load(PLAN) as load:
            wait_for_commits(network, load, 0)
            primary, backup = network.primary(), network.backups()[0]
            view = primary.consensus()["current_view"]
            backup.pause()
            paused = time.monotonic()
            wait_for_commits(network, load, paused)
            time.sleep(max(0.0, paused + 1.1 * PATIENT_S - time.monotonic()))
            backup.resume()
            network.synced()
        judge(load.history())
        # Its absence is no reason for an election, and nor is its return (PreVote).
        assert network.primary() is primary
        assert primary.consensus()["current_view"] == view


def test_a_primary_that_hears_nobody_steps_down_until_others_are_back(tmp_path: Path) -> None:
    """Both backups hang: nothing can be committed, and nothing of it is lost afterwards."""
    with Network(tmp_path, 3) as network:
        with network.load(PLAN) as load:
            wait_for_commits(network, load, 0)
            primary, backups = network.primary(), network.backups()
            for node in backups:
                node.pause()
            paused = time.monotonic()
            network.wait(
                lambda: stepped_down(primary),
                "the primary to step down",
            )
            time.sleep(ELECTION_S)
            assert not [op for op in answered(load, Kind.WRITE, paused + ELECTION_S) if op.waited]
            for node in backups:
                node.resume()
            wait_for_commits(network, load, time.monotonic())
            network.synced()
        judge(load.history())
        network.stop()


def test_five_nodes_lose_two_at_once(tmp_path: Path) -> None:
    with Network(tmp_path, 5) as network:
        with network.load(PLAN) as load:
            wait_for_commits(network, load, 0)
            lost = [network.primary(), network.backups()[0]]
            for node in lost:
                node.kill()
            killed = time.monotonic()
            wait_for_commits(network, load, killed)
            for node in lost:
                network.serving.pop(node.number)
            for node in lost:
                network.replace(node)
            wait_for_commits(network, load, time.monotonic())
        judge(load.history())
        assert len(network.primary().consensus()["configs"][-1]["nodes"]) == 5
        network.stop()


def test_a_primary_that_is_told_to_stop_hands_over(tmp_path: Path) -> None:
    settings = Settings(election_ms=20_000)
    with Network(tmp_path, 3, settings=settings) as network:
        with network.load(PLAN) as load:
            wait_for_commits(network, load, 0)
            old = network.primary()
            told = time.monotonic()
            old.process.send_signal(signal.SIGTERM)
            network.serving.pop(old.number)
            new = network.primary(besides=old)
            took = time.monotonic() - told
            assert new is not old
            assert old.process.wait(PATIENCE_S) == 0
            wait_for_commits(network, load, told)
        # Nobody had to wait until the silence of the old primary was noticed.
        assert took < settings.election_ms / 2000
        judge(load.history())
        assert old.err.read_text() == ""


def test_a_node_that_is_left_alone_answers_reads_and_refuses_writes(tmp_path: Path) -> None:
    with Network(tmp_path, 3) as network:
        survivor = network.backups()[0]
        connection = connect(network, survivor)
        body: Json = {"register": "x", "value": 1}
        txid = connection.ask("POST", "/app/registers", body, wait=True).txid
        assert txid is not None
        connection.close()
        network.synced()
        for node in list(network.running()):
            if node is not survivor:
                node.kill()
                network.serving.pop(node.number)
        alone = time.monotonic()
        while time.monotonic() < alone + 4 * ELECTION_S:
            connection = connect(network, survivor)
            read = connection.ask("GET", "/app/registers?register=x")
            assert (read.status, read.body) == (200, {"count": 1, "last": 1})
            status = connection.ask("GET", f"/node/tx?transaction_id={txid}")
            assert status.body["status"] == "Committed"
            connection.close()
        network.wait(
            lambda: (
                survivor.consensus().get("leadership_state") in ("PreVoteCandidate", "Candidate")
            ),
            "the survivor to look for another primary",
        )
        connection = connect(network, survivor)
        refused = connection.ask("POST", "/app/registers", body)
        assert (refused.status, refused.code) == (503, "InternalError")
        assert refused.text == "RPC could not be forwarded to unknown primary."
        connection.close()


# -- partitions ----------------------------------------------------------------------------------


@contextmanager
def parted_network(
    kind: str, folder: Path, size: int, settings: Settings | None = None
) -> Iterator[tuple[Network, Links]]:
    """A network whose ways can be cut, by the given means."""
    with ExitStack() as stack:
        links: Links
        if kind == "proxy":
            links = Proxied(stack.enter_context(FaultProxy()))
        else:
            missing = unavailable()
            if missing:
                pytest.skip(missing)
            links = stack.enter_context(Namespaces())
        yield stack.enter_context(Network(folder, size, links=links, settings=settings)), links


@pytest.mark.parametrize(("kind", "size"), [("proxy", 3), ("namespaces", 5)])
def test_a_primary_in_the_minority_steps_down(tmp_path: Path, kind: str, size: int) -> None:
    """What it ordered meanwhile can never commit, and every node says so."""
    with parted_network(kind, tmp_path, size, PATIENT) as (network, links):
        with network.load(PLAN) as load:
            wait_for_commits(network, load, 0)
            old = network.primary()
            backups = [node.number for node in network.backups()]
            minority = [old.number, *backups[: size // 2 - 1]]
            majority = [number for number in range(size) if number not in minority]
            connection = connect(network, old)
            links.part(minority, majority)
            parted = time.monotonic()
            body: Json = {"register": "lost", "value": 10**9}
            lost = connection.ask("POST", "/app/registers", body)
            connection.close()
            assert lost.status == 200
            assert lost.txid is not None
            network.wait(
                lambda: stepped_down(old),
                "the primary of a minority to step down",
            )
            network.wait(
                lambda: len(answered(load, Kind.WRITE, parted, set(majority))) > 3,
                "the majority to go on",
            )
            new = network.primary()
            assert new.number in majority
            assert old.ask(f"/node/tx?transaction_id={lost.txid}")["status"] in (
                "Pending",
                "Unknown",
            )
            for number in minority:
                assert reads(network, network.nodes[number])
            healed = time.monotonic()
            links.heal()
            network.wait(
                lambda: bool(answered(load, Kind.WRITE, healed, {old.number})),
                "the old primary to forward writes",
            )
            network.synced()
            for node in network.running():
                said = node.ask(f"/node/tx?transaction_id={lost.txid}")
                assert said["status"] == "Invalid"
        judge(load.history())
        network.stop()


@pytest.mark.parametrize("mute", [True, False], ids=["unheard", "deaf"])
def test_a_primary_that_is_unheard_or_deaf_is_replaced(tmp_path: Path, mute: bool) -> None:
    """Only one direction is broken: what it sends, or what the others answer."""
    with parted_network("proxy", tmp_path, 3) as (network, links):
        with network.load(PLAN) as load:
            wait_for_commits(network, load, 0)
            old = network.primary()
            for node in network.backups():
                if mute:
                    links.cut(old.number, node.number)
                else:
                    links.cut(node.number, old.number)
            cut = time.monotonic()
            network.wait(
                lambda: stepped_down(old),
                "the primary to step down",
            )
            new = network.primary()
            assert new is not old
            others = {node.number for node in network.running()} - {old.number}
            network.wait(
                lambda: len(answered(load, Kind.WRITE, cut, others)) > 3,
                "the others to go on",
            )
            links.heal()
            wait_for_commits(network, load, time.monotonic())
            network.synced()
        judge(load.history())


def test_a_backup_that_comes_and_goes_does_not_unseat_the_primary(tmp_path: Path) -> None:
    """PreVote: whoever was away finds that the others hear their primary."""
    plan = Plan(clients=6, pause_s=0.01, timeout_s=PATIENCE_S, seed=11)
    with ExitStack() as stack:
        links = Proxied(stack.enter_context(FaultProxy()))
        network = stack.enter_context(Network(tmp_path, 3, settings=PATIENT, links=links))
        with network.load(plan) as load:
            wait_for_commits(network, load, 0)
            primary, backup = network.primary(), network.backups()[0]
            view = primary.consensus()["current_view"]
            others = [node.number for node in network.running() if node is not backup]
            for _ in range(2):
                links.part([backup.number], others)
                time.sleep(1.5 * PATIENT_S)
                links.heal()
                network.synced()
            assert network.primary() is primary
            assert primary.consensus()["current_view"] == view
        judge(load.history())
        assert {op.error for op in load.operations() if op.node == primary.number} == {""}


def test_slow_and_broken_connections_cost_nothing_but_time(tmp_path: Path) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy())
        network = stack.enter_context(Network(tmp_path, 3, links=Proxied(proxy)))
        with network.load(PLAN) as load:
            wait_for_commits(network, load, 0)
            for one in range(3):
                for two in range(3):
                    if one != two:
                        proxy.delay(one, two, 0.03)
            for pair in [(0, 1), (1, 2), (0, 2)] * 2:
                proxy.reset(*pair)
                wait_for_commits(network, load, time.monotonic())
            proxy.heal()
            network.synced()
        judge(load.history())
        assert proxy.strangers == 0
