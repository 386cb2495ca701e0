"""The 27 versioned routes of the governance API, as one table (spec: gov-api.md §2).

What is refused to a member that signed is told in the log, too, so that operators see what the
consortium tries; but nothing of recovery shares, whose payload an error might quote.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from pyccf.api.gov import acks, proposals, shares, state
from pyccf.api.gov.versions import PREVIEW, V2024, versioned
from pyccf.api.logged import one_line
from pyccf.apps.auth import MemberCose
from pyccf.apps.router import Endpoint, Forwarding, Mode, Redirection
from pyccf.errors import RpcError
from pyccf.service.proposals import ScriptRunner

if TYPE_CHECKING:
    from pyccf.apps.context import Context
    from pyccf.kv.tx import Tx


class GovDeps(Protocol):
    """What the routes need of the node beside the transaction."""

    def refresh_shares(self, tx: Tx) -> None:
        """Issue recovery shares anew; raises LocalError with the plain reason."""
        ...

    @property
    def shares(self) -> shares.ShareTaker:
        """Takes recovery shares."""
        ...

    def root_at(self, tx: Tx) -> bytes | None:
        """Merkle root of the state the transaction reads; None when it cannot be told."""
        ...

    def scripts(self, ctx: Context) -> ScriptRunner:
        """Runs constitution and ballots for one request."""
        ...


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table: everything but the handler."""

    verb: str
    path: str
    operation_id: str
    """As published, where it is."""
    summary: str
    schema: str = ""
    """Of the answer, if that is JSON."""
    result: str = "object"
    """`object` (JSON), `text` (JavaScript source), `raw`, or `none`."""
    queries: dict[str, tuple[str, ...]] = {}
    """Optional query parameters and the values they may have."""
    minimum: str = PREVIEW
    message_type: str | None = None
    """What a signed request must say it is; None: not signed."""
    active: bool = True
    """Whether the signer must be an active member."""
    command: bool = False


def _get(path: str, operation_id: str, summary: str, schema: str, **rest: object) -> Route:
    made = Route(verb="GET", path=path, operation_id=operation_id, summary=summary, schema=schema)
    return msgspec.structs.replace(made, **rest)


def _post(
    path: str, operation_id: str, summary: str, schema: str, message_type: str, **rest: object
) -> Route:
    made = _get(path, operation_id, summary, schema)
    return msgspec.structs.replace(made, verb="POST", message_type=message_type, **rest)


RECOVERY_SHARE = "recovery_share"
DIGEST = "/members/state-digests/{memberId}"
PROPOSALS = "/members/proposals"
PROPOSAL = "/members/proposals/{proposalId}"
BALLOT = "/members/proposals/{proposalId}/ballots/{memberId}"

ROUTES: tuple[Route, ...] = (
    _get(
        DIGEST,
        "StateDigests_Get",
        "State digest that a member is to acknowledge",
        "Acks.StateDigest",
    ),
    _post(
        DIGEST + ":update",
        "StateDigests_Update",
        "Have a member acknowledge the latest signed state",
        "Acks.StateDigest",
        "state_digest",
        active=False,
    ),
    _post(
        DIGEST + ":ack",
        "StateDigests_Acknowledge",
        "Acknowledge the state of the service",
        "",
        "ack",
        active=False,
        result="none",
    ),
    _post(
        PROPOSALS + ":create",
        "Proposals_Create",
        "Make a proposal",
        "Proposals.Proposal",
        "proposal",
    ),
    _post(
        PROPOSAL + ":withdraw",
        "Proposals_Withdraw",
        "Withdraw an open proposal",
        "Proposals.Proposal",
        "withdrawal",
    ),
    _get(PROPOSAL, "Proposals_Get", "One proposal", "Proposals.Proposal"),
    _get(PROPOSALS, "Proposals_List", "All proposals that are kept", "PagedProposal"),
    _get(
        PROPOSAL + "/actions",
        "Proposals_GetActions",
        "A proposal as its proposer signed it",
        "Proposals.ProposalActions",
        result="raw",
    ),
    _post(
        BALLOT + ":submit", "Ballots_Submit", "Vote on a proposal", "Proposals.Proposal", "ballot"
    ),
    _get(BALLOT, "Ballots_Get", "A member's ballot on a proposal", "", result="text"),
    _get(
        "/recovery/encrypted-shares/{memberId}",
        "EncryptedShares_Get",
        "A member's encrypted recovery share",
        "Recovery.EncryptedRecoveryShare",
    ),
    _post(
        "/recovery/members/{memberId}:recover",
        "Shares_Submit",
        "Hand in a recovery share",
        "Recovery.RecoveryResponse",
        RECOVERY_SHARE,
    ),
    _get(
        "/service/constitution",
        "ServiceState_GetConstitution",
        "The constitution in force",
        "",
        result="text",
    ),
    _get(
        "/service/info",
        "ServiceState_GetServiceInfo",
        "Status, identity and configuration of the service",
        "ServiceState.ServiceInfo",
    ),
    _get(
        "/service/javascript-app",
        "ServiceState_GetJsApp",
        "Endpoints of the JavaScript application",
        "ServiceState.JsApp",
        minimum=V2024,
        queries={"case": ("original",)},
    ),
    _get(
        "/service/javascript-modules",
        "ServiceState_ListJsModules",
        "Modules of the JavaScript application",
        "PagedJsModuleNames",
        minimum=V2024,
    ),
    _get(
        "/service/javascript-modules/{moduleName}",
        "ServiceState_GetJsModule",
        "Source of a module of the JavaScript application",
        "",
        minimum=V2024,
        result="text",
    ),
    _get(
        "/service/join-policy",
        "ServiceState_GetJoinPolicies",
        "Which programs may join the service",
        "ServiceState.JoinPolicies",
    ),
    _get(
        "/service/jwk",
        "ServiceState_GetJwkInfo",
        "Token issuers, their keys and trusted authorities",
        "ServiceState.JwkInfo",
    ),
    _get("/service/members", "ServiceState_ListMembers", "All members", "PagedMember"),
    _get(
        "/service/members/{memberId}",
        "ServiceState_GetMember",
        "One member",
        "ServiceState.Member",
    ),
    _get("/service/users", "ServiceState_ListUsers", "All users", "PagedUser"),
    _get("/service/users/{userId}", "ServiceState_GetUser", "One user", "ServiceState.User"),
    _get("/service/nodes", "ServiceState_ListNodes", "All nodes", "PagedNode"),
    _get("/service/nodes/{nodeId}", "ServiceState_GetNode", "One node", "ServiceState.Node"),
    _get(
        "/service/transactions/{transactionId}",
        "Transactions_Get",
        "What is known of a transaction",
        "Transactions.Transaction",
        command=True,
    ),
    _get(
        "/service/transactions/commit",
        "Transactions_GetCommit",
        "The last committed transaction",
        "Transactions.Transaction",
        command=True,
    ),
)


def _handlers(deps: GovDeps) -> dict[tuple[str, str], Callable[[Context], None]]:
    return {
        ("GET", DIGEST): acks.get_digest,
        ("POST", DIGEST + ":update"): acks.update_digest,
        ("POST", DIGEST + ":ack"): acks.acknowledge(deps),
        ("POST", PROPOSALS + ":create"): proposals.create(deps.scripts, deps.root_at),
        ("POST", PROPOSAL + ":withdraw"): proposals.withdraw,
        ("GET", PROPOSAL): proposals.get_one,
        ("GET", PROPOSALS): proposals.get_all,
        ("GET", PROPOSAL + "/actions"): proposals.get_actions,
        ("POST", BALLOT + ":submit"): proposals.submit_ballot(deps.scripts),
        ("GET", BALLOT): proposals.get_ballot,
        ("GET", "/recovery/encrypted-shares/{memberId}"): shares.get_encrypted,
        ("POST", "/recovery/members/{memberId}:recover"): shares.submit(deps.shares),
        ("GET", "/service/constitution"): state.get_constitution,
        ("GET", "/service/info"): state.get_info,
        ("GET", "/service/javascript-app"): state.get_javascript_app,
        ("GET", "/service/javascript-modules"): state.get_javascript_modules,
        ("GET", "/service/javascript-modules/{moduleName}"): state.get_javascript_module,
        ("GET", "/service/join-policy"): state.get_join_policy,
        ("GET", "/service/jwk"): state.get_jwk,
        ("GET", "/service/members"): state.get_members,
        ("GET", "/service/members/{memberId}"): state.get_member,
        ("GET", "/service/users"): state.get_users,
        ("GET", "/service/users/{userId}"): state.get_user,
        ("GET", "/service/nodes"): state.get_nodes,
        ("GET", "/service/nodes/{nodeId}"): state.get_node,
        ("GET", "/service/transactions/{transactionId}"): state.get_transaction,
        ("GET", "/service/transactions/commit"): state.get_commit,
    }


def _told(handler: Callable[[Context], None]) -> Callable[[Context], None]:
    """The handler, with a line in the log for what it refuses."""

    def execute(ctx: Context) -> None:
        try:
            handler(ctx)
        except RpcError as e:
            where = f"{ctx.request.method} {ctx.request.path}"
            told = f"{where} returning error {e.status}: {one_line(e.message)}"
            ctx.services.log("info", "gov", told)
            raise

    return execute


def build(deps: GovDeps) -> list[Endpoint]:
    """Endpoints of all routes, hidden from the generated OpenAPI document."""
    handlers = _handlers(deps)
    return [_endpoint(route, handlers[route.verb, route.path]) for route in ROUTES]


def _endpoint(route: Route, handler: Callable[[Context], None]) -> Endpoint:
    if route.message_type is None:
        return Endpoint(
            verb=route.verb,
            path=route.path,
            execute=versioned(handler, route.minimum),
            mode=Mode.COMMAND if route.command else Mode.READONLY,
            forwarding=Forwarding.SOMETIMES,
            redirection=Redirection.NONE,
            hidden=True,
        )
    if route.message_type != RECOVERY_SHARE:
        handler = _told(handler)
    return Endpoint(
        verb=route.verb,
        path=route.path,
        execute=versioned(handler, route.minimum),
        mode=Mode.READWRITE,
        forwarding=Forwarding.ALWAYS,
        redirection=Redirection.TO_PRIMARY,
        auth=(MemberCose(route.message_type, route.active),),
        hidden=True,
    )
