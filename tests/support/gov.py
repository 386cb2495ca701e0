"""Governance requests against endpoints in memory: signed as by a member, run as by a node.

`Gov` executes one request at a time over the store of a `World`, with the real authentication and
the real routes; the scripts are whatever the test gives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pyccf.api.gov import routes
from pyccf.api.gov.shares import ShareTaker
from pyccf.apps.auth import authenticate
from pyccf.apps.context import Context, HistoricalState, Services, TxStatus
from pyccf.apps.index import Indexes
from pyccf.apps.router import Templates
from pyccf.codec import cbor
from pyccf.crypto import cosesign
from pyccf.errors import RpcError
from pyccf.http.message import Request, error_body
from pyccf.http.session import Session
from pyccf.kv.tx import Tx
from pyccf.service.proposals import ScriptFailure, ScriptRunner, ScriptUnusable, Validation, Vote
from pyccf.types import SeqNo, TxID, View
from support.service import NOW, Person, World, person

VERSION = "api-version=2024-07-01"


class NodeFacts:
    """The few facts of a node that governance handlers ask for."""

    def __init__(self, store_version: SeqNo = 1) -> None:
        self.committed = TxID(2, store_version)
        self.lines: list[tuple[str, str, str]] = []

    def last_committed(self) -> TxID:
        return self.committed

    def tx_status(self, txid: TxID) -> TxStatus:
        if txid.seqno > self.committed.seqno:
            return TxStatus.UNKNOWN
        return TxStatus.COMMITTED if txid.view == 2 else TxStatus.INVALID

    def view_of(self, seqno: SeqNo) -> View | None:
        return 2

    def unix_time(self) -> int:
        return NOW

    def random(self, n: int) -> bytes:
        return bytes(n)

    def historical_range(self, *_: int) -> None:
        return None

    def historical_states(self, *_: object) -> None:
        return None

    def historical_state(self, ctx: object, txid: TxID) -> HistoricalState:
        raise AssertionError("nothing is read from the past here")

    def historical_drop(self, handle: int) -> bool:
        return False

    @property
    def indexes(self) -> Indexes:
        raise AssertionError("governance asks no index")

    def log(self, level: str, tag: str, text: str, about: dict[str, str] | None = None) -> None:
        self.lines.append((level, tag, text))


class FakeScripts:
    """Scripts in Python: what a proposal's first action is called decides what becomes of it.

    Ballots: `for`, `against`, `throw`, `loop`, `broken`.
    """

    def __init__(self) -> None:
        self.applied: list[str] = []
        self.votes: list[list[Vote]] = []

    def validate(self, tx: Tx, constitution: str, proposal: str) -> Validation:
        if constitution == "unusable":
            raise ScriptUnusable("Failed to compile public:ccf.gov.constitution[0]")
        try:
            actions = json.loads(proposal)["actions"]
        except (ValueError, KeyError, TypeError):
            raise ScriptFailure("SyntaxError: bad", "    at parse (native)\n") from None
        names = [action["name"] for action in actions]
        if "validate_to_number" in names:
            return Validation(is_object=False)
        if "validate_loops" in names:
            raise ScriptFailure("InternalError: interrupted", None, timed_out=True)
        if "nonsense" in names:
            return Validation(True, False, "nonsense: no such action")
        return Validation(True, True)

    def resolve(
        self,
        tx: Tx,
        constitution: str,
        proposal: str,
        proposer_id: str,
        votes: list[Vote],
        proposal_id: str,
    ) -> str:
        self.votes.append(votes)
        name = json.loads(proposal)["actions"][0]["name"]
        count = sum(vote.vote for vote in votes)
        if name == "throw_in_resolve":
            raise ScriptFailure("Error: Resolve message", "    at resolve\n")
        if name == "reject":
            return "Rejected"
        if name == "nonsense_state":
            return "Failed"
        if name in ("accept", "throw_in_apply", "throw_text_in_apply"):
            return "Accepted"
        if name == "reject_on_vote" and votes and not count:
            return "Rejected"
        return "Accepted" if count >= 2 else "Open"

    def apply(self, tx: Tx, constitution: str, proposal: str, proposal_id: str) -> None:
        name = json.loads(proposal)["actions"][0]["name"]
        if name == "throw_in_apply":
            raise ScriptFailure("Error: Error message", "    at apply\n")
        if name == "throw_text_in_apply":
            raise ScriptFailure("text", None)
        self.applied.append(proposal_id)

    def vote(
        self, tx: Tx, ballot: str, name: str, proposal: str, proposer_id: str, among: int
    ) -> bool:
        if ballot == "throw":
            raise ScriptFailure("Error: ballot error", f"    at vote ({name})\n")
        if ballot == "loop":
            raise ScriptFailure("InternalError: interrupted", None, timed_out=True)
        if ballot == "broken":
            raise ScriptUnusable(f"Failed to compile {name}")
        return ballot == "for"


@dataclass
class Answer:
    """What a client would see."""

    status: int
    headers: dict[str, str]
    body: bytes
    seqno: SeqNo | None
    """Of the transaction, when something was written."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str]:
        found = self.json["error"]
        return self.status, found["code"], found["message"]


class Gov:
    """The governance frontend of a `World`."""

    def __init__(self, world: World, scripts: ScriptRunner) -> None:
        self.world = world
        self.facts = NodeFacts()
        self.root: bytes | None = bytes(range(32))
        self.created_at = NOW
        self._scripts = scripts
        self._templates = Templates()
        for endpoint in routes.build(self):
            self._templates.add(endpoint)

    # What the routes ask of the node.

    def refresh_shares(self, tx: Tx) -> None:
        self.world.operations.refresh_shares(tx)

    @property
    def shares(self) -> ShareTaker:
        return self.world.operations

    def root_at(self, tx: Tx) -> bytes | None:
        return self.root

    def scripts(self, ctx: Context) -> ScriptRunner:
        return self._scripts

    # Requests.

    def get(self, path: str, query: str = VERSION) -> Answer:
        return self.run(Request("GET", f"/gov{path}?{query}" if query else f"/gov{path}"))

    def post(
        self,
        path: str,
        signer: str,
        message_type: str,
        payload: object = b"",
        headers: Mapping[str, str] | None = None,
        query: str = VERSION,
        created_at: int | None = None,
    ) -> Answer:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        envelope = self.sign(person(signer), message_type, body, headers or {}, created_at)
        target = f"/gov{path}?{query}" if query else f"/gov{path}"
        request = Request("POST", target, {"content-type": "application/cose"}, envelope)
        return self.run(request)

    def sign(
        self,
        who: Person,
        message_type: str,
        payload: bytes,
        headers: Mapping[str, str],
        created_at: int | None = None,
    ) -> bytes:
        if created_at is None:
            # Later than the ones before, so that no two envelopes are alike.
            self.created_at += 1
            created_at = self.created_at
        pairs = [
            (cbor.uint(1), cbor.integer(who.key.curve.cose_alg)),
            (cbor.uint(4), cbor.bstr(who.id.encode())),
            (cbor.tstr("ccf.gov.msg.type"), cbor.tstr(message_type)),
            (cbor.tstr("ccf.gov.msg.created_at"), cbor.integer(created_at)),
        ]
        pairs += [(cbor.tstr(name), cbor.tstr(value)) for name, value in headers.items()]
        return cosesign.sign1(who.key, cbor.mapping(pairs), payload)

    def run(self, request: Request) -> Answer:
        found = self._templates.find(request.method, request.path.removeprefix("/gov"))
        assert found is not None, request.path
        endpoint, params = found
        tx = self.world.store.tx()
        services = cast(Services, self.facts)
        ctx = Context(request, Session(1, "rpc"), tx, services, endpoint)
        ctx.params = params
        try:
            if endpoint.auth:
                ctx.caller = authenticate(ctx, endpoint.auth)
            endpoint.execute(ctx)
        except RpcError as e:
            body = error_body(e.code, e.message, e.details)
            return Answer(e.status, {**e.headers, "content-type": "application/json"}, body, None)
        written = self.world.store.commit(tx) if 200 <= ctx.status < 300 else None
        seqno = None if written is None else written.version
        return Answer(ctx.status, ctx.headers, ctx.body, seqno)

    # Common steps.

    def propose(self, signer: str, *names: str, **more: Any) -> Answer:
        payload = {"actions": [{"name": name, "args": None} for name in names]}
        return self.post("/members/proposals:create", signer, "proposal", payload, **more)

    def vote(self, signer: str, ident: str, ballot: str) -> Answer:
        return self.post(
            f"/members/proposals/{ident}/ballots/{person(signer).id}:submit",
            signer,
            "ballot",
            {"ballot": ballot},
            {"ccf.gov.msg.proposal_id": ident},
        )

    def withdraw(self, signer: str, ident: str) -> Answer:
        return self.post(
            f"/members/proposals/{ident}:withdraw",
            signer,
            "withdrawal",
            b"",
            {"ccf.gov.msg.proposal_id": ident},
        )
