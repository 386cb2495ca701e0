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

    def submit(
        self, actions: Sequence[Action] | bytes, *, signer: Identity | None = None
    ) -> Proposal:
        """Propose actions, given as values or as the JSON text `{"actions": [...]}`.

        The proposal may come back accepted, if the constitution needs no votes for it.
        """
        if isinstance(actions, bytes):
            payload = actions
        else:
            payload = msgspec.json.encode({"actions": list(actions)})
        reply = self._signed(
            "/gov/members/proposals:create", MessageType.PROPOSAL, payload, signer=signer
        )
        return reply.decode(Proposal)

    def vote(
        self,
        proposal_id: ProposalId,
        ballot: str | bool = True,
        *,
        signer: Identity | None = None,
    ) -> Proposal:
        """Vote on a proposal: for, against, or by the text of a JavaScript module with `vote`."""
        if isinstance(ballot, bool):
            ballot = BALLOT_FOR if ballot else BALLOT_AGAINST
        who = self._signer(signer)
        reply = self._signed(
            f"/gov/members/proposals/{proposal_id}/ballots/{who.id}:submit",
            MessageType.BALLOT,
            msgspec.json.encode({"ballot": ballot}),
            proposal_id=proposal_id,
            signer=who,
        )
        return reply.decode(Proposal)

    def withdraw(
        self, proposal_id: ProposalId, *, signer: Identity | None = None
    ) -> Proposal | None:
        """Withdraw one's own proposal. None if the service knows no such proposal."""
        reply = self._signed(
            f"/gov/members/proposals/{proposal_id}:withdraw",
            MessageType.WITHDRAWAL,
            b"",
            proposal_id=proposal_id,
            signer=signer,
        ).check()
        return None if reply.status == 204 else reply.decode(Proposal)

    def proposals(self) -> list[Proposal]:
        """All proposals that are kept."""
        return self._gov_list("/gov/members/proposals", Proposal)

    def proposal(self, proposal_id: ProposalId) -> Proposal:
        """One proposal."""
        return self._gov(f"/gov/members/proposals/{proposal_id}").decode(Proposal)

    def proposal_actions(self, proposal_id: ProposalId) -> bytes:
        """What was proposed, byte for byte."""
        return self._gov(f"/gov/members/proposals/{proposal_id}/actions").check().body

    def ballot(self, proposal_id: ProposalId, member_id: MemberId) -> str:
        """The module a member voted with."""
        path = f"/gov/members/proposals/{proposal_id}/ballots/{member_id}"
        return self._gov(path).check().text()

    # -- acknowledgements ------------------------------------------------------------------------

    def state_digest(self, member_id: MemberId) -> StateDigest:
        """The state that a member is asked to acknowledge."""
        return self._gov(f"/gov/members/state-digests/{member_id}").decode(StateDigest)

    def update_state_digest(self, *, signer: Identity | None = None) -> StateDigest:
        """Ask for a fresh state to acknowledge."""
        who = self._signer(signer)
        path = f"/gov/members/state-digests/{who.id}:update"
        return self._signed(path, MessageType.STATE_DIGEST, b"", signer=who).decode(StateDigest)

    def ack(self, *, signer: Identity | None = None) -> StateDigest:
        """Fetch a fresh state digest and acknowledge it: the member becomes active."""
        who = self._signer(signer)
        digest = self.update_state_digest(signer=who)
        payload = msgspec.json.encode({"stateDigest": digest.state_digest})
        path = f"/gov/members/state-digests/{who.id}:ack"
        self._signed(path, MessageType.ACK, payload, signer=who).check()
        return digest

    # -- recovery --------------------------------------------------------------------------------

    def encrypted_share(self, member_id: MemberId) -> EncryptedShare:
        """A member's recovery share, encrypted for that member."""
        return self._gov(f"/gov/recovery/encrypted-shares/{member_id}").decode(EncryptedShare)

    def submit_share(self, share_b64: str, *, signer: Identity | None = None) -> ShareSubmitted:
        """Hand in one's decrypted recovery share, base64."""
        who = self._signer(signer)
        payload = msgspec.json.encode({"share": share_b64})
        path = f"/gov/recovery/members/{who.id}:recover"
        reply = self._signed(path, MessageType.RECOVERY_SHARE, payload, signer=who)
        return reply.decode(ShareSubmitted)

    # -- service state ---------------------------------------------------------------------------

    def service_info(self) -> ServiceInfo:
        """Status, identity and configuration of the service."""
        return self._gov("/gov/service/info").decode(ServiceInfo)

    def members(self) -> list[Member]:
        """All members."""
        return self._gov_list("/gov/service/members", Member)

    def member(self, member_id: MemberId) -> Member:
        """One member."""
        return self._gov(f"/gov/service/members/{member_id}").decode(Member)

    def users(self) -> list[User]:
        """All users."""
        return self._gov_list("/gov/service/users", User)

    def user(self, user_id: UserId) -> User:
        """One user."""
        return self._gov(f"/gov/service/users/{user_id}").decode(User)

    def service_nodes(self) -> list[ServiceNode]:
        """All nodes, as governance knows them."""
        return self._gov_list("/gov/service/nodes", ServiceNode)

    def service_node(self, node_id: NodeId) -> ServiceNode:
        """One node, as governance knows it."""
        return self._gov(f"/gov/service/nodes/{node_id}").decode(ServiceNode)

    def constitution(self) -> str:
        """The constitution's module text."""
        return self._gov("/gov/service/constitution").check().text()

    def javascript_app(self, *, original: bool = False) -> dict[str, dict[str, dict[str, object]]]:
        """Endpoints of the JavaScript app by URL and verb; `original` as they were submitted."""
        params = {"case": "original"} if original else {}
        return self._gov("/gov/service/javascript-app", **params).decode(_App).endpoints

    def javascript_modules(self) -> list[str]:
        """Names of the app's modules, each with a leading slash."""
        modules = self._gov_list("/gov/service/javascript-modules", _Module)
        return [module.module_name for module in modules]

    def javascript_module(self, name: str) -> str:
        """Source text of one module."""
        encoded = percent_encode(name if name.startswith("/") else f"/{name}", safe="")
        return self._gov(f"/gov/service/javascript-modules/{encoded}").check().text()

    def join_policy(self) -> Json:
        """What evidence nodes must show to join."""
        return self._gov("/gov/service/join-policy").check().json()

    def jwk(self) -> TokenIssuers:
        """Issuers of bearer tokens and their keys."""
        return self._gov("/gov/service/jwk").decode(TokenIssuers)

    def gov_last_committed(self) -> GovTransaction:
        """The last transaction known to be committed."""
        return self._gov("/gov/service/transactions/commit").decode(GovTransaction)

    def gov_tx_status(self, txid: TxID) -> GovTransaction:
        """How a transaction stands."""
        return self._gov(f"/gov/service/transactions/{txid}").decode(GovTransaction)

    def gov_document(self) -> Json:
        """The description of the governance endpoints of this version."""
        return self._gov("/gov/api").check().json()

    def send_signed(self, path: str, body: bytes) -> Reply:
        """Send a request that was signed elsewhere (`client.two_step`); the reply as it is."""
        return self.post(
            path,
            content=body,
            headers={"content-type": COSE_TYPE},
            params={"api-version": self.api_version},
        )

    # -- how -------------------------------------------------------------------------------------

    def _gov(self, path: str, **params: str) -> Reply:
        return self.get(path, params={"api-version": self.api_version, **params})

    def _gov_list(self, path: str, kind: type[T]) -> list[T]:
        return self._gov(path).decode(_List[kind]).value  # type: ignore[valid-type]

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
    ) -> Reply:
        body = sign_governance(
            self._signer(signer), message, payload, int(self._unix_time()), proposal_id
        )
        return self.send_signed(path, body)


class _List(msgspec.Struct, Generic[T]):
    value: list[T]


class _App(msgspec.Struct):
    endpoints: dict[str, dict[str, dict[str, object]]]


class _Module(msgspec.Struct, rename="camel"):
    module_name: str
