"""Requests of members, which the ledger holds signed, run again with the scripts looked on.

These are proposals, ballots and withdrawals. What a constitution has the node do is done by a
stand-in with keys of its own: certificates, shares and secrets come out otherwise than they did.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Literal, assert_never

import msgspec

from pyccf.api.gov.requests import CREATED_AT_HEADER, PROPOSAL_HEADER
from pyccf.api.gov.scripts import Scripts
from pyccf.appdev.dispatch import Executed
from pyccf.appdev.past import Moment
from pyccf.appdev.requests import parse_envelope
from pyccf.appdev.trace import Step, Steps, host_maker
from pyccf.apps.context import JSON_TYPE, Cose, Services
from pyccf.apps.js import governance
from pyccf.apps.js.governance import JsArg, JsResult
from pyccf.codec.text import dump_json, load_json, unb64
from pyccf.errors import LocalError, RpcError
from pyccf.http.message import error_body
from pyccf.kv.tx import Tx
from pyccf.ledger.secrets import KEY_SIZE, LedgerSecret, LedgerSecrets
from pyccf.service import proposals, tables
from pyccf.service.identity import make_service
from pyccf.service.operations import PART_OF_NETWORK, Operations, TransactionFlags
from pyccf.types import MemberId, ProposalId

GOV_TYPE = "ccf.gov.msg.type"
PATHS = {
    "proposal": "POST /gov/members/proposals:create",
    "ballot": "POST /gov/members/proposals/{proposal}/ballots/{member}:submit",
    "withdrawal": "POST /gov/members/proposals/{proposal}:withdraw",
}
VALIDITY_DAYS = 365


class ByMembers(msgspec.Struct, frozen=True):
    """A signed request about a proposal."""

    kind: Literal["proposal", "ballot", "withdrawal"]
    member_id: MemberId
    cose: Cose
    proposal_id: ProposalId

    @property
    def request(self) -> str:
        """Method and path."""
        return PATHS[self.kind].format(proposal=self.proposal_id, member=self.member_id)


def told_by_members(then: Moment) -> ByMembers | None:
    """The signed request that a transaction wrote down, if it is one about a proposal."""
    envelopes = then.writes.get(tables.COSE_HISTORY, {})
    if tables.PROPOSALS_INFO not in then.writes or len(envelopes) != 1:
        return None
    ((member, raw),) = envelopes.items()
    value = None if raw is None else load_json(raw)
    try:
        envelope = unb64(value if isinstance(value, str) else "?")
    except ValueError:
        raise LocalError(f"The signed request in {then.txid} is not base64") from None
    cose = parse_envelope(envelope)
    kind = cose.headers.get(GOV_TYPE)
    if kind not in ("proposal", "ballot", "withdrawal"):
        return None
    return ByMembers(kind, member.decode(), cose, str(cose.headers.get(PROPOSAL_HEADER, "")))


def run_again(by: ByMembers, then: Moment, tx: Tx, services: Services, steps: Steps) -> Executed:
    """Run a member's request again over `tx`."""
    runner = Scripts(services, _stand_in(), host_maker(steps), _traced(steps))
    try:
        ident, proposal = _again(by, then, tx, runner)
    except RpcError as e:
        return Executed(
            e.status, {"content-type": JSON_TYPE}, error_body(e.code, e.message, e.details)
        )
    body = dump_json(proposal.summary(ident))
    return Executed(200, {"content-type": JSON_TYPE}, body, applied=True)


def _again(
    by: ByMembers, then: Moment, tx: Tx, runner: proposals.ScriptRunner
) -> tuple[ProposalId, proposals.Proposal]:
    cose, ident = by.cose, by.proposal_id
    if by.kind == "proposal":
        created_at = cose.headers.get(CREATED_AT_HEADER)
        if not isinstance(created_at, int):
            raise LocalError(f"The proposal signed in {then.txid} does not say when it was made")
        return proposals.create(
            tx,
            runner,
            proposer_id=by.member_id,
            body=cose.content,
            envelope=cose.envelope,
            signature=cose.signature,
            created_at=created_at,
            root=then.root,
        )
    known = proposals.read(tx, ident)
    if known is None:
        raise RpcError(404, "ProposalNotFound", f"Could not find proposal {ident}.")
    if by.kind == "withdrawal":
        return ident, proposals.withdraw(tx, ident, known, by.member_id, cose.envelope)
    if by.kind == "ballot":
        payload = load_json(cose.content)
        ballot = payload.get("ballot") if isinstance(payload, dict) else None
        if not isinstance(ballot, str):
            raise LocalError(f"The ballot signed in {then.txid} has no text")
        voted = proposals.submit_ballot(
            tx,
            runner,
            ident,
            known,
            member_id=by.member_id,
            ballot=ballot,
            envelope=cose.envelope,
        )
        return ident, voted
    assert_never(by.kind)


def _told(result: JsResult) -> str:
    """A result in a word: its text, or else whether it counts as true."""
    return result.text or str(result.truthy).lower()


def _traced(steps: Steps) -> Callable[..., JsResult]:
    """Runs scripts as ever, and notes what was called and what came of it."""

    def call(source: str, name: str, function: str, args: list[JsArg], **how: Any) -> JsResult:
        steps.append(Step("call", told=f"{function}() of {name}"))
        result = governance.run(source, name, function, args, **how)
        told = _told(result)
        if result.fields:
            members = (f"{key}: {_told(one)}" for key, one in result.fields.items())
            told = f"{{{', '.join(members)}}}"
        steps.append(Step("result", told=told))
        return result

    return call


class _Entropy:
    """This machine's."""

    def bytes(self, n: int) -> bytes:
        return os.urandom(n)


def _stand_in() -> Operations:
    """A node's operations, with keys that are nobody's."""
    entropy = _Entropy()
    now = int(time.time())
    return Operations(
        secrets=LedgerSecrets([LedgerSecret(1, bytes(KEY_SIZE))]),
        service=make_service(entropy=entropy, not_before=now, days=VALIDITY_DAYS),
        entropy=entropy,
        unix_time=lambda: now,
        node_state=lambda: PART_OF_NETWORK,
        flags=TransactionFlags(),
    )
