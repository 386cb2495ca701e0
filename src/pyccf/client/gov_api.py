"""The governance endpoints, with requests signed where a member's signature is asked for.

Spec: gov-api.md. Reads are open to everyone; writes are signed by the client's identity, or by the
`signer` given. Each method is one request and raises ServiceError when refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar
from urllib.parse import quote as percent_encode

import msgspec

from pyccf.client.connection import Connection, Reply
from pyccf.client.signing import COSE_TYPE, Identity, MessageType, sign_governance
from pyccf.client.steps import Steps, conversation
from pyccf.client.types import (
    Action,
    EncryptedShare,
    GovTransaction,
    Member,
    Proposal,
    ServiceInfo,
    ServiceNode,
    ShareSubmitted,
    StateDigest,
    TokenIssuers,
    User,
)
from pyccf.errors import LocalError
from pyccf.types import Json, MemberId, NodeId, ProposalId, TxID, UserId

API_VERSION = "2024-07-01"

BALLOT_FOR = "export function vote (rawProposal, proposerId) { return true }"
BALLOT_AGAINST = "export function vote (rawProposal, proposerId) { return false }"

T = TypeVar("T")


class GovApi(Connection):
    """Endpoints under /gov."""

    api_version = API_VERSION

    # -- proposals -------------------------------------------------------------------------------

    @conversation
    def submit(
        self, actions: Sequence[Action] | bytes, *, signer: Identity | None = None
    ) -> Steps[Proposal]:
        """Propose actions, given as values or as the JSON text `{"actions": [...]}`.

        The proposal may come back accepted, if the constitution needs no votes for it.
        """
        if isinstance(actions, bytes):
            payload = actions
        else:
            payload = msgspec.json.encode({"actions": list(actions)})
        reply = yield from self._signed(
            "/gov/members/proposals:create", MessageType.PROPOSAL, payload, signer=signer
        )
        return reply.decode(Proposal)

    @conversation
    def vote(
        self,
        proposal_id: ProposalId,
        ballot: str | bool = True,
        *,
        signer: Identity | None = None,
    ) -> Steps[Proposal]:
        """Vote on a proposal: for, against, or by the text of a JavaScript module with `vote`."""
        if isinstance(ballot, bool):
            ballot = BALLOT_FOR if ballot else BALLOT_AGAINST
        who = self._signer(signer)
        reply = yield from self._signed(
            f"/gov/members/proposals/{proposal_id}/ballots/{who.id}:submit",
            MessageType.BALLOT,
            msgspec.json.encode({"ballot": ballot}),
            proposal_id=proposal_id,
            signer=who,
        )
        return reply.decode(Proposal)

    @conversation
    def withdraw(
        self, proposal_id: ProposalId, *, signer: Identity | None = None
    ) -> Steps[Proposal | None]:
        """Withdraw one's own proposal. None if the service knows no such proposal."""
        reply = (
            yield from self._signed(
                f"/gov/members/proposals/{proposal_id}:withdraw",
                MessageType.WITHDRAWAL,
                b"",
                proposal_id=proposal_id,
                signer=signer,
            )
        ).check()
        return None if reply.status == 204 else reply.decode(Proposal)

    @conversation
    def proposals(self) -> Steps[list[Proposal]]:
        """All proposals that are kept."""
        return (yield from self._gov_list("/gov/members/proposals", Proposal))

    @conversation
    def proposal(self, proposal_id: ProposalId) -> Steps[Proposal]:
        """One proposal."""
        return (yield from self._gov(f"/gov/members/proposals/{proposal_id}")).decode(Proposal)

    @conversation
    def proposal_actions(self, proposal_id: ProposalId) -> Steps[bytes]:
        """What was proposed, byte for byte."""
        return (yield from self._gov(f"/gov/members/proposals/{proposal_id}/actions")).check().body

    @conversation
    def ballot(self, proposal_id: ProposalId, member_id: MemberId) -> Steps[str]:
        """The module a member voted with."""
        path = f"/gov/members/proposals/{proposal_id}/ballots/{member_id}"
        return (yield from self._gov(path)).check().text()

    # -- acknowledgements ------------------------------------------------------------------------

    @conversation
    def state_digest(self, member_id: MemberId) -> Steps[StateDigest]:
        """The state that a member is asked to acknowledge."""
        return (yield from self._gov(f"/gov/members/state-digests/{member_id}")).decode(StateDigest)

    @conversation
    def update_state_digest(self, *, signer: Identity | None = None) -> Steps[StateDigest]:
        """Ask for a fresh state to acknowledge."""
        who = self._signer(signer)
        path = f"/gov/members/state-digests/{who.id}:update"
        return (yield from self._signed(path, MessageType.STATE_DIGEST, b"", signer=who)).decode(
            StateDigest
        )

    @conversation
    def ack(self, *, signer: Identity | None = None) -> Steps[StateDigest]:
        """Fetch a fresh state digest and acknowledge it: the member becomes active."""
        who = self._signer(signer)
        digest = yield from GovApi.update_state_digest.steps(self, signer=who)
        payload = msgspec.json.encode({"stateDigest": digest.state_digest})
        path = f"/gov/members/state-digests/{who.id}:ack"
        (yield from self._signed(path, MessageType.ACK, payload, signer=who)).check()
        return digest

    # -- recovery --------------------------------------------------------------------------------

    @conversation
    def encrypted_share(self, member_id: MemberId) -> Steps[EncryptedShare]:
        """A member's recovery share, encrypted for that member."""
        return (yield from self._gov(f"/gov/recovery/encrypted-shares/{member_id}")).decode(
            EncryptedShare
        )

    @conversation
    def submit_share(
        self, share_b64: str, *, signer: Identity | None = None
    ) -> Steps[ShareSubmitted]:
        """Hand in one's decrypted recovery share, base64."""
        who = self._signer(signer)
        payload = msgspec.json.encode({"share": share_b64})
        path = f"/gov/recovery/members/{who.id}:recover"
        reply = yield from self._signed(path, MessageType.RECOVERY_SHARE, payload, signer=who)
        return reply.decode(ShareSubmitted)

    # -- service state ---------------------------------------------------------------------------

    @conversation
    def service_info(self) -> Steps[ServiceInfo]:
        """Status, identity and configuration of the service."""
        return (yield from self._gov("/gov/service/info")).decode(ServiceInfo)

    @conversation
    def members(self) -> Steps[list[Member]]:
        """All members."""
        return (yield from self._gov_list("/gov/service/members", Member))

    @conversation
    def member(self, member_id: MemberId) -> Steps[Member]:
        """One member."""
        return (yield from self._gov(f"/gov/service/members/{member_id}")).decode(Member)

    @conversation
    def users(self) -> Steps[list[User]]:
        """All users."""
        return (yield from self._gov_list("/gov/service/users", User))

    @conversation
    def user(self, user_id: UserId) -> Steps[User]:
        """One user."""
        return (yield from self._gov(f"/gov/service/users/{user_id}")).decode(User)

    @conversation
    def service_nodes(self) -> Steps[list[ServiceNode]]:
        """All nodes, as governance knows them."""
        return (yield from self._gov_list("/gov/service/nodes", ServiceNode))

    @conversation
    def service_node(self, node_id: NodeId) -> Steps[ServiceNode]:
        """One node, as governance knows it."""
        return (yield from self._gov(f"/gov/service/nodes/{node_id}")).decode(ServiceNode)

    @conversation
    def constitution(self) -> Steps[str]:
        """The constitution's module text."""
        return (yield from self._gov("/gov/service/constitution")).check().text()

    @conversation
    def javascript_app(
        self, *, original: bool = False
    ) -> Steps[dict[str, dict[str, dict[str, object]]]]:
        """Endpoints of the JavaScript app by URL and verb; `original` as they were submitted."""
        params = {"case": "original"} if original else {}
        return (
            (yield from self._gov("/gov/service/javascript-app", **params)).decode(_App).endpoints
        )

    @conversation
    def javascript_modules(self) -> Steps[list[str]]:
        """Names of the app's modules, each with a leading slash."""
        modules = yield from self._gov_list("/gov/service/javascript-modules", _Module)
        return [module.module_name for module in modules]

    @conversation
    def javascript_module(self, name: str) -> Steps[str]:
        """Source text of one module."""
        encoded = percent_encode(name if name.startswith("/") else f"/{name}", safe="")
        return (yield from self._gov(f"/gov/service/javascript-modules/{encoded}")).check().text()

    @conversation
    def join_policy(self) -> Steps[Json]:
        """What evidence nodes must show to join."""
        return (yield from self._gov("/gov/service/join-policy")).check().json()

    @conversation
    def jwk(self) -> Steps[TokenIssuers]:
        """Issuers of bearer tokens and their keys."""
        return (yield from self._gov("/gov/service/jwk")).decode(TokenIssuers)

    @conversation
    def gov_last_committed(self) -> Steps[GovTransaction]:
        """The last transaction known to be committed."""
        return (yield from self._gov("/gov/service/transactions/commit")).decode(GovTransaction)

    @conversation
    def gov_tx_status(self, txid: TxID) -> Steps[GovTransaction]:
        """How a transaction stands."""
        return (yield from self._gov(f"/gov/service/transactions/{txid}")).decode(GovTransaction)

    @conversation
    def gov_document(self) -> Steps[Json]:
        """The description of the governance endpoints of this version."""
        return (yield from self._gov("/gov/api")).check().json()

    @conversation
    def send_signed(self, path: str, body: bytes) -> Steps[Reply]:
        """Send a request that was signed elsewhere (`client.two_step`); the reply as it is."""
        return (
            yield from self._post(
                path,
                content=body,
                headers={"content-type": COSE_TYPE},
                params={"api-version": self.api_version},
            )
        )

    # -- how -------------------------------------------------------------------------------------

    def _gov(self, path: str, **params: str) -> Steps[Reply]:
        return (yield from self._get(path, params={"api-version": self.api_version, **params}))

    def _gov_list(self, path: str, kind: type[T]) -> Steps[list[T]]:
        return (yield from self._gov(path)).decode(_List[kind]).value  # type: ignore[valid-type]

    def _signer(self, signer: Identity | None) -> Identity:
        who = signer or self.identity
        if who is None:
            raise LocalError(
                "This request must be signed by a member",
                hint="Give the member's certificate and key (--cert and --key).",
            )
        return who

    def _signed(
        self,
        path: str,
        message: MessageType,
        payload: bytes,
        *,
        proposal_id: ProposalId | None = None,
        signer: Identity | None = None,
    ) -> Steps[Reply]:
        body = sign_governance(
            self._signer(signer), message, payload, int(self._unix_time()), proposal_id
        )
        return (yield from GovApi.send_signed.steps(self, path, body))


class _List(msgspec.Struct, Generic[T]):
    value: list[T]


class _App(msgspec.Struct):
    endpoints: dict[str, dict[str, dict[str, object]]]


class _Module(msgspec.Struct, rename="camel"):
    module_name: str
