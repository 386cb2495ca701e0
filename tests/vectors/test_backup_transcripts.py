"""The exchanges recorded from backups of the original, and around an election, replayed.

One service is opened as recorded, then given backups whose consensus does what the recording says
happened. Every exchange goes to the node it was recorded on: what is forwarded, redirected or
answered there, and what becomes of sessions and transaction ids when another node leads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from pyccf.apps.js.registry import JsApp
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.http.h1 import Parser
from pyccf.http.limits import HttpLimits
from pyccf.http.session import Session
from pyccf.node.frontend import InterfaceRules
from pyccf.shell.install import LoadedApp, install_endpoints
from support.node import INTERFACE, Reply, Service
from support.told import Network, ToldEngine
from support.transcripts import Answer, Replay, load
from support.vectors import vectors_dir
from vectors.test_transcripts import JUDGED_AT, start

INTERFACES = (
    INTERFACE,
    "http2",
    "redirecting",
    "static_redirecting",
    "filtered",
    "plain",
)
"""In the order of their ports."""

RULES = {
    INTERFACE: InterfaceRules(),
    "plain": InterfaceRules(),
    "filtered": InterfaceRules.of(["/node/.*", "/app/commit", "/app/log/public"]),
    "redirecting": InterfaceRules.of(
        None,
        redirects={
            "to_primary": {"kind": "NodeByRole", "target": {"role": "primary"}},
            "to_backup": {"kind": "NodeByRole", "target": {"role": "backup"}},
        },
    ),
    "static_redirecting": InterfaceRules.of(
        None,
        redirects={
            "to_primary": {
                "kind": "StaticAddress",
                "target": {"address": "primary.example.com:1234"},
            },
            "to_backup": {
                "kind": "StaticAddress",
                "target": {"address": "backup.example.com:1234"},
            },
        },
    ),
}

PLAIN = "the original closes a plaintext connection instead of answering what was forwarded"
EARLIER = "shows what exchanges recorded in between wrote"
CONSENSUS = "tells of an engine that is not here"
ENDS = "the original ends: the status is unknown to it"

LEFT_OUT = {
    "forwarding: forwarded write over plaintext": PLAIN,
    "forwarding: forwarded write over plaintext again, other interface": PLAIN,
    "forwarding: effect of that write on the primary": PLAIN,
    "forwarding: sticky: never-forwarded endpoint still local": EARLIER,
    "forwarding: forwarded with user certificate": EARLIER,
    "forwarding: gov read on backup": EARLIER,
    "redirects: gov read on primary, redirecting": EARLIER,
    "redirects: gov read on backup, redirecting": EARLIER,
    "redirects: gov read on primary, static_redirecting": EARLIER,
    "redirects: gov read on backup, static_redirecting": EARLIER,
    "failover: node consensus while backups suspended": CONSENSUS,
    "failover: consensus on new primary": CONSENSUS,
    "failover: commit with view history": CONSENSUS,
    "failover: status 999 from the app": ENDS,
}


SESSION_IDS = {
    "session A": 122,
    "session B": 123,
    "session D": 1472,
    "session E": 1473,
    "session F": 124,
}
"""Numbers that the original had given to the connections it names."""


def recorded_address(number: int, interface: int) -> str:
    return f"127.0.0.1:{8300 + 20 * number + interface}"


def make_network(primary: Service) -> Network:
    network = Network(primary=primary, backups=2, interfaces=INTERFACES, address=recorded_address)
    for member in network.members:
        member.node.interfaces.clear()
        member.node.interfaces.update(RULES)
    for backup in network.backups:
        app = JsApp()
        parts = msgspec.structs.replace(primary.parts, node=backup.node)
        install_endpoints(parts, LoadedApp(None, app), SeededEntropy("backup"), dict, dict)
        backup.node.app.app = app
    return network


class NetworkReplay:
    """Plays exchanges on the node each was recorded on."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.network = make_network(replay.service)
        self.replay.send = self._send  # type: ignore[method-assign]
        self.sessions: dict[str, Session] = {}
        self.primary: Service = self.network.primary
        self.backup: Service = self.network.backups[0]

    def _session(self, exchange: dict[str, Any], at: Service) -> Session:
        """The connection an exchange was made on: some were made on one."""
        name = exchange["name"]
        key = name.partition(":")[0]
        if key.startswith("session "):
            key = key[:9]  # the letter
        elif key not in ("sticky", "session after redirect"):
            return self._open(exchange, at)
        if key not in self.sessions:
            self.sessions[key] = self._open(exchange, at)
            self.sessions[key].id = SESSION_IDS.get(key, self.sessions[key].id)
        return self.sessions[key]

    def _open(self, exchange: dict[str, Any], at: Service) -> Session:
        session = at.session()
        session.interface = exchange["interface"]
        client = exchange["request"].get("client", "none")
        if client != "none":
            session.peer_cert = certs.pem_to_der(self.replay.clients[client].cert)
        return session

    def _send(self, exchange: dict[str, Any]) -> Answer:
        at = self.primary if exchange["node"] == "primary" else self.backup
        session = self._session(exchange, at)
        (request,) = Parser(HttpLimits()).feed(self.replay.message(exchange))
        raw: list[bytes] = []
        session.deferrer = lambda: raw.append
        answer = at.node.handle(session, request)
        if answer is not None:
            raw.append(answer)
        self.network.settle()
        if not raw:
            self.network.tick(3000)
        line = raw[0].partition(b"\r\n")[0].decode()
        return Answer(Reply(raw[0]), line.split(" ", 2)[2], session.close_after)

    def play(self, file: str, before: dict[str, Callable[[], None]]) -> tuple[int, list[str]]:
        """How many exchanges of a file were compared, and in what they differ."""
        compared, wrong = 0, []
        for exchange in load(vectors_dir() / "ccf" / "transcripts", file):
            name = exchange["name"]
            if name in before:
                before[name]()
            if f"{file}: {name}" in LEFT_OUT:
                continue
            compared += 1
            _, differences = self.replay.play(exchange)
            wrong += [f"{name}: {d}" for d in differences]
            self.catch_up()
        return compared, wrong

    following = True

    def catch_up(self) -> None:
        if self.following:
            self.network.replicate()

    # What happened to the recorded nodes.

    def suspend_backups(self) -> None:
        self.following = False
        self.network.leader.commits = False

    def resume_backups(self) -> None:
        self.following = True
        self.network.leader.commits = True
        self.network.sign()

    def fall_behind(self) -> None:
        self.following = False

    def go_on(self) -> None:
        self.following = True

    def second_backup(self, status: str) -> None:
        """Whether the second backup can be sent to: the recorded choice was the first."""
        self.network.trust(self.network.backups[1].node.node_id, 2, status)
        self.network.replicate()

    def suspend_primary(self) -> None:
        for backup in self.network.backups:
            self.network.cut.add((self.primary.node.node_id, backup.node.node_id))

    def elect(self) -> None:
        """The first backup leads; the former primary is still suspended."""
        self.network.cut.clear()
        self.network.replicate()
        former, (chosen, other) = self.network.primary, self.network.backups
        for backup in (chosen, other):
            backup.engine.elect(3, chosen.node.node_id, backup.engine.last)
        self.primary, self.backup = chosen, other
        self.former = former

    def commit_in_new_view(self) -> None:
        self.primary.node.sign()
        self.network.settle()

    def resume_former(self) -> None:
        engine = self.former.node.consensus
        assert isinstance(engine, ToldEngine)
        engine.elect(3, self.primary.node.node_id, engine.last)
        self.backup = self.former


@pytest.fixture(scope="module")
def replay() -> NetworkReplay:
    opened = start()
    for exchange in load(vectors_dir() / "ccf" / "transcripts", "opening"):
        if not exchange["node"].startswith("backup"):
            opened.service.tick()
            opened.play(exchange)
    opened.service.tick()
    assert opened.service.node.app_open
    return NetworkReplay(opened)


def test_callers_of_a_backup() -> None:
    """All of auth.jsonl again with backups: what was recorded on one is asked of one of ours."""
    opened = start()
    for exchange in load(vectors_dir() / "ccf" / "transcripts", "opening"):
        if not exchange["node"].startswith("backup"):
            opened.service.tick()
            opened.play(exchange)
    opened.service.tick()
    network = NetworkReplay(opened)
    judged = JUDGED_AT["auth"]
    compared, wrong = 0, []
    for exchange in load(vectors_dir() / "ccf" / "transcripts", "auth"):
        if exchange["name"] == "jwk listing, RSA only":
            break
        for member in network.network.members:
            member.node.clock(member.now, judged)
        _, differences = opened.play(exchange)
        network.catch_up()
        if exchange["node"].startswith("backup"):
            compared += 1
            wrong += [f"{exchange['name']}: {d}" for d in differences]
    assert not wrong, "\n".join(wrong)
    assert compared == 3


def test_the_table_names_exchanges_that_were_recorded() -> None:
    folder = vectors_dir() / "ccf" / "transcripts"
    files = ("forwarding", "redirects", "failover")
    names = {f"{file}: {e['name']}" for file in files for e in load(folder, file)}
    assert LEFT_OUT.keys() <= names


def test_forwarded_requests(replay: NetworkReplay) -> None:
    compared, wrong = replay.play("forwarding", {})
    assert not wrong, "\n".join(wrong)
    assert compared == 15


def test_redirected_requests(replay: NetworkReplay) -> None:
    replay.second_backup("Pending")
    compared, wrong = replay.play("redirects", {})
    replay.second_backup("Trusted")
    assert not wrong, "\n".join(wrong)
    assert compared == 38


def test_an_election(replay: NetworkReplay) -> None:
    compared, wrong = replay.play(
        "failover",
        {
            "write without quorum": replay.suspend_backups,
            "tx committed after resuming": replay.resume_backups,
            "session A on backup node 1: forwarded write": replay.fall_behind,
            "session D on the primary: read": replay.go_on,
            "forwarded write while primary is unresponsive": replay.suspend_primary,
            "session A after election: read (was forwarding)": replay.elect,
            "tx of old view at a seqno committed in the new view": replay.commit_in_new_view,
            "session D on former primary: read": replay.resume_former,
        },
    )
    assert not wrong, "\n".join(wrong)
    assert compared == 25
