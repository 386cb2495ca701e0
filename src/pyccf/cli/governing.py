"""What commands about proposals share: deciding with several keys, telling how one stands."""

from __future__ import annotations

from collections.abc import Sequence

from pyccf.cli.output import Output
from pyccf.client import Client, Identity
from pyccf.client.types import Action, Proposal


def decide(
    client: Client, actions: Sequence[Action], members: Sequence[Identity]
) -> tuple[Proposal, int]:
    """Propose as the first of the members; all vote for it, in turn, while it is open.

    Returns the proposal as it then stands and how many votes were cast. It may still be open, if
    more votes are needed, or have failed. Raises ServiceError when a request is refused.
    """
    proposal = client.submit(actions, signer=members[0])
    votes = 0
    for member in members:
        if proposal.proposal_state != "Open":
            break
        proposal = client.vote(proposal.proposal_id, True, signer=member)
        votes += 1
    return proposal, votes


def tell(out: Output, proposal: Proposal) -> None:
    """How a proposal stands, for a person."""
    out.fields(
        [
            ("proposal", proposal.proposal_id),
            ("state", proposal.proposal_state),
            ("proposer", proposal.proposer_id),
            ("ballots", str(proposal.ballot_count)),
        ]
    )
    if proposal.failure is not None:
        out.line(f"failure: {proposal.failure.reason}")
