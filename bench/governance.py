"""Governance under load: many members, many proposals that are kept, one node in memory.

One process with neither sockets nor disk (`memory_node`): requests are signed by members and go
through the node whole, with authentication, scripts, ledger entries. Proposals stay open, so that
all are kept, which is the worst there can be: of the closed ones a service keeps the last alone. An
operation is measured with few and with many of them; what depends on their number beyond the
answer's own size shows as a rate that falls.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import msgspec

from bench.memory_node import INTERFACE, MemoryNode
from pyccf import constitutions
from pyccf.apps.js.registry import JsApp
from pyccf.client.gov_api import BALLOT_FOR
from pyccf.client.signing import MessageType, governance_header
from pyccf.client.two_step import request_path
from pyccf.crypto import certs, cosesign
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.service import genesis, tables
from pyccf.service.info import ServiceStatus
from pyccf.service.members import ACTIVE
from pyccf.shell.hardware import SystemEntropy
from pyccf.shell.install import LoadedApp, install_endpoints
from pyccf.types import Json, ProposalId

MEMBERS = 100
PROPOSALS = 1_000
FEW = 10
"""Proposals kept in the comparison."""
LISTING = "list proposals"
"""The operation whose answer grows with their number."""
REPEATS = 30
"""Measurements of which the median is told."""
VERSION = "api-version=2024-07-01"
OK = b"HTTP/1.1 200 "


class Operation(msgspec.Struct, frozen=True):
    """Operations per second with few and with many proposals kept."""

    name: str
    few: float
    many: float


class Member:
    """One who signs."""

    def __init__(self, number: int, now: int) -> None:
        entropy = SystemEntropy()
        self.key = PrivateKey.generate(Curve.P384, entropy)
        self.cert = certs.self_signed(
            self.key, f"CN=member{number}", not_before=now, days=1, entropy=entropy
        )
        self.id = certs.fingerprint(self.cert)


class Consortium:
    """A service of many members, and requests of theirs."""

    def __init__(self, members: int) -> None:
        now = int(time.time())
        self.members = [Member(number, now) for number in range(members)]
        self.created_at = now
        first = tuple(genesis.Member(cert=member.cert) for member in self.members)
        app = JsApp()
        self.memory = MemoryNode(
            "app-js",
            members=first,
            constitution=constitutions.text("default"),
            window=PROPOSALS,
            install=lambda parts: install_endpoints(
                parts, LoadedApp(None, app), SystemEntropy(), dict, dict
            ),
        )
        node = self.memory.node
        tx = node.store.tx()
        for member in self.members:
            tables.put_json(tx, tables.MEMBERS_INFO, member.id, {"status": ACTIVE})
        info = tables.get_object(tx, tables.SERVICE_INFO)
        assert info is not None, "a service has its info"
        opened: dict[str, Json] = {**info, "status": ServiceStatus.OPEN.value}
        tables.put_json(tx, tables.SERVICE_INFO, tables.UNIT, opened)
        node.commit(tx)
        self.memory.pump()

    def sign(
        self, who: Member, kind: MessageType, payload: bytes, about: ProposalId | None = None
    ) -> Request:
        """A signed request, ready to be sent."""
        header = governance_header(Curve.P384, who.id, kind, self.created_at, about)
        body = cosesign.sign1(who.key, header, payload)
        path = f"{request_path(kind, who.id, about)}?{VERSION}"
        return Request("POST", path, {"content-type": "application/cose"}, body)

    def send(self, request: Request) -> bytes:
        """Body of the answer. Raises RuntimeError unless it is a success."""
        answer = self.memory.node.handle(Session(1, INTERFACE), request)
        if answer is None or not answer.startswith(OK):
            raise RuntimeError(f"{request.method} {request.path}: {answer!r}")
        self.memory.pump()
        return answer.partition(b"\r\n\r\n")[2]

    def proposal(self, number: int) -> Request:
        """A proposal of one of the members, each in turn."""
        self.created_at += 1
        args = {"user_id": f"{number:064x}", "user_data": {"n": number}}
        document = {"actions": [{"name": "set_user_data", "args": args}]}
        who = self.members[number % len(self.members)]
        return self.sign(who, MessageType.PROPOSAL, json.dumps(document).encode())

    def propose(self, number: int) -> ProposalId:
        """Make it."""
        return str(json.loads(self.send(self.proposal(number)))["proposalId"])

    def ballot(self, who: Member, about: ProposalId) -> Request:
        """A vote for it."""
        payload = json.dumps({"ballot": BALLOT_FOR}).encode()
        return self.sign(who, MessageType.BALLOT, payload, about)


def measure(say: Callable[[str], None], members: int = MEMBERS) -> list[Operation]:
    """Operations per second of each kind."""
    consortium = Consortium(members)
    say(f"governance: {members} members …")
    made = 0

    def fill(until: int) -> None:
        nonlocal made
        while made < until:
            consortium.propose(made)
            made += 1

    def propose() -> float:
        nonlocal made
        made += 1
        return _timed(consortium, consortium.proposal(made))

    def rates() -> dict[str, float]:
        nonlocal made
        found = {"propose": _rate([propose() for _ in range(REPEATS)])}
        made += 1
        about = consortium.propose(made)
        votes = []
        for who in consortium.members[: members // 2]:
            votes.append(_timed(consortium, consortium.ballot(who, about)))
        found["first votes"] = _rate(votes[: len(votes) // 4])
        found[f"votes up to {len(votes)}"] = _rate(votes[-len(votes) // 4 :])
        last = _timed(consortium, consortium.ballot(consortium.members[members // 2], about))
        found["last vote and apply"] = 1 / last
        for name, path in (
            (LISTING, "/gov/members/proposals"),
            ("one proposal", f"/gov/members/proposals/{about}"),
            ("list members", "/gov/service/members"),
        ):
            request = Request("GET", f"{path}?{VERSION}")
            found[name] = _rate([_timed(consortium, request) for _ in range(REPEATS)])
        return found

    fill(FEW)
    few = rates()
    say(f"governance: {PROPOSALS} proposals …")
    fill(PROPOSALS)
    many = rates()
    return [Operation(name, few[name], many[name]) for name in few]


def _timed(consortium: Consortium, request: Request) -> float:
    begin = time.process_time()
    consortium.send(request)
    return time.process_time() - begin


def _rate(seconds: list[float]) -> float:
    return 1 / statistics.median(seconds)
