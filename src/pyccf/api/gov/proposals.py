"""Proposals and ballots over HTTP (spec: gov-api.md §4.1-4.5).

What a proposal is and does stands in `service.proposals`; here are the routes' own checks, in the
order that clients of the original see.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyccf.api.gov.requests import (
    INVALID_INPUT,
    INVALID_RESOURCE_NAME,
    check_signed_proposal,
    created_at,
    path_id,
    payload_json,
    signed,
)
from pyccf.errors import InvalidLedger, RpcError
from pyccf.service import proposals, soundness
from pyccf.service.proposals import Proposal, ScriptRunner, State
from pyccf.types import ProposalId

if TYPE_CHECKING:
    from pyccf.apps.context import Context
    from pyccf.kv.tx import Tx

JAVASCRIPT = "text/javascript"


def _missing(ident: ProposalId) -> RpcError:
    return RpcError(404, "ProposalNotFound", f"Could not find proposal {ident}.")


def _find(ctx: Context) -> tuple[ProposalId, Proposal]:
    ident = path_id(ctx, "proposalId", "proposal")
    proposal = proposals.read(ctx.tx, ident)
    if proposal is None:
        raise _missing(ident)
    return ident, proposal


def get_one(ctx: Context) -> None:
    """GET a proposal."""
    ident, proposal = _find(ctx)
    ctx.json(proposal.summary(ident))


def get_all(ctx: Context) -> None:
    """GET every proposal that is kept."""
    listed = [proposal.summary(ident) for ident, proposal in proposals.read_all(ctx.tx)]
    ctx.json({"value": [*listed]})


def get_actions(ctx: Context) -> None:
    """GET a proposal exactly as it was signed; no content type is stated."""
    ident = path_id(ctx, "proposalId", "proposal")
    body = proposals.content(ctx.tx, ident)
    if body is None:
        raise _missing(ident)
    ctx.body = body


def get_ballot(ctx: Context) -> None:
    """GET the text of a member's ballot."""
    ident = path_id(ctx, "proposalId", "proposal")
    member_id = path_id(ctx, "memberId", "member")
    proposal = proposals.read(ctx.tx, ident)
    if proposal is None:
        raise RpcError(404, "ProposalNotFound", f"Proposal {ident} does not exist.")
    ballot = proposal.ballots.get(member_id)
    if ballot is None:
        raise RpcError(
            404, "VoteNotFound", f"Member m[{member_id}] has not voted for proposal {ident}."
        )
    ctx.text(ballot, content_type=JAVASCRIPT)


def _check_decision(ctx: Context, proposal: Proposal) -> None:
    """Refuse a decision that leaves rows which no node could read any more."""
    if proposal.state is not State.ACCEPTED:
        return
    try:
        soundness.check_written(ctx.tx)
    except InvalidLedger as e:
        told = f"Failed to apply(): {e.message}\nTrace: N/A"
        raise RpcError(500, "InternalError", told) from None


def create(
    runner: Callable[[Context], ScriptRunner], root_at: Callable[[Tx], bytes | None]
) -> Callable[[Context], None]:
    """POST :create."""

    def handler(ctx: Context) -> None:
        member_id, cose = signed(ctx)
        ident, proposal = proposals.create(
            ctx.tx,
            runner(ctx),
            proposer_id=member_id,
            body=cose.content,
            envelope=cose.envelope,
            signature=cose.signature,
            created_at=created_at(cose),
            root=root_at(ctx.tx),
        )
        _check_decision(ctx, proposal)
        ctx.json(proposal.summary(ident))

    return handler


def withdraw(ctx: Context) -> None:
    """POST :withdraw; a proposal that is gone counts as withdrawn."""
    member_id, cose = signed(ctx)
    ident = path_id(ctx, "proposalId", "proposal")
    check_signed_proposal(cose, ident)
    proposal = proposals.read(ctx.tx, ident)
    if proposal is None:
        ctx.empty()
        return
    if member_id != proposal.proposer_id:
        raise RpcError(
            403,
            "AuthorizationFailed",
            f"Proposal {ident} can only be withdrawn by proposer m[{proposal.proposer_id}], not"
            f" caller m[{member_id}].",
        )
    if proposal.state not in (State.OPEN, State.WITHDRAWN):
        raise RpcError(
            400,
            "ProposalNotOpen",
            f"Proposal {ident} is currently in state {_state_text(proposal.state)} and cannot be"
            " withdrawn.",
        )
    withdrawn = proposals.withdraw(ctx.tx, ident, proposal, member_id, cose.envelope)
    ctx.json(withdrawn.summary(ident))


def submit_ballot(runner: Callable[[Context], ScriptRunner]) -> Callable[[Context], None]:
    """POST a ballot."""

    def handler(ctx: Context) -> None:
        signer, cose = signed(ctx)
        ident = path_id(ctx, "proposalId", "proposal")
        check_signed_proposal_ids(ctx, signer, ident)
        proposal = proposals.read(ctx.tx, ident)
        if proposal is None:
            raise _missing(ident)
        if proposal.state is not State.OPEN:
            raise RpcError(
                400,
                "ProposalNotOpen",
                f"Proposal {ident} is currently in state {_state_text(proposal.state)} - only open"
                " proposals can receive votes",
            )
        payload = payload_json(cose)
        ballot = payload.get("ballot") if isinstance(payload, dict) else None
        if not isinstance(ballot, str):
            raise RpcError(
                400,
                INVALID_INPUT,
                "Signed request body is not a JSON object containing required string field"
                ' "ballot"',
            )
        voted = proposals.submit_ballot(
            ctx.tx,
            runner(ctx),
            ident,
            proposal,
            member_id=signer,
            ballot=ballot,
            envelope=cose.envelope,
        )
        _check_decision(ctx, voted)
        ctx.json(voted.summary(ident))

    return handler


def check_signed_proposal_ids(ctx: Context, signer: str, ident: ProposalId) -> None:
    """Refuse a ballot whose path names another member or proposal than its signature."""
    member_id = path_id(ctx, "memberId", "member")
    _, cose = signed(ctx)
    if member_id != signer:
        raise RpcError(400, INVALID_RESOURCE_NAME, "Authenticated member id does not match URL")
    check_signed_proposal(cose, ident)


def _state_text(state: State) -> str:
    return "UNKNOWN" if state is State.FAILED else state.value.lower()
