"""Taking one decision with the keys of several members: propose, then vote until it is decided."""

from __future__ import annotations

from collections.abc import Sequence

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
