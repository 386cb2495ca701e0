"""The 27 versioned routes of the governance API, as one table (spec: gov-api.md §2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from pyccf.api.gov import acks, proposals, shares, state
from pyccf.api.gov.versions import PREVIEW, V2024, versioned
from pyccf.apps.auth import MemberCose
from pyccf.apps.router import Endpoint, Forwarding, Mode, Redirection
from pyccf.service.proposals import ScriptRunner

if TYPE_CHECKING:
    from pyccf.apps.context import Context
    from pyccf.kv.tx import Tx


class GovDeps(Protocol):
    """What the routes need of the node beside the transaction."""

    def refresh_shares(self, tx: Tx) -> None:
        """Issue recovery shares anew; raises LocalError with the plain reason."""
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
    summary: str
    result: str = "object"
    """`object` (JSON), `text` (JavaScript source), `raw`, or `none`."""
    minimum: str = PREVIEW
    message_type: str | None = None
    """What a signed request must say it is; None: not signed."""
    active: bool = True
    """Whether the signer must be an active member."""
    command: bool = False


def _get(path: str, summary: str, **rest: object) -> Route:
    return msgspec.structs.replace(Route(verb="GET", path=path, summary=summary), **rest)


def _post(path: str, summary: str, message_type: str, **rest: object) -> Route:
    return msgspec.structs.replace(
        Route(verb="POST", path=path, summary=summary, message_type=message_type), **rest
    )


DIGEST = "/members/state-digests/{memberId}"
PROPOSALS = "/members/proposals"
PROPOSAL = "/members/proposals/{proposalId}"
BALLOT = "/members/proposals/{proposalId}/ballots/{memberId}"

ROUTES: tuple[Route, ...] = (
    _get(DIGEST, "State digest that a member is to acknowledge"),
    _post(
        DIGEST + ":update",
        "Have a member acknowledge the latest signed state",
        "state_digest",
        active=False,
    ),
    _post(
        DIGEST + ":ack", "Acknowledge the state of the service", "ack", active=False, result="none"
    ),
    _post(PROPOSALS + ":create", "Make a proposal", "proposal"),
    _post(PROPOSAL + ":withdraw", "Withdraw an open proposal", "withdrawal"),
    _get(PROPOSAL, "One proposal"),
    _get(PROPOSALS, "All proposals that are kept"),
    _get(PROPOSAL + "/actions", "A proposal as its proposer signed it", result="raw"),
    _post(BALLOT + ":submit", "Vote on a proposal", "ballot"),
    _get(BALLOT, "A member's ballot on a proposal", result="text"),
    _get("/recovery/encrypted-shares/{memberId}", "A member's encrypted recovery share"),
    _post("/recovery/members/{memberId}:recover", "Hand in a recovery share", "recovery_share"),
    _get("/service/constitution", "The constitution in force", result="text"),
    _get("/service/info", "Status, identity and configuration of the service"),
    _get("/service/javascript-app", "Endpoints of the JavaScript application", minimum=V2024),
    _get("/service/javascript-modules", "Modules of the JavaScript application", minimum=V2024),
    _get(
        "/service/javascript-modules/{moduleName}",
        "Source of a module of the JavaScript application",
        minimum=V2024,
        result="text",
    ),
    _get("/service/join-policy", "Which programs may join the service"),
    _get("/service/jwk", "Token issuers, their keys and trusted authorities"),
    _get("/service/members", "All members"),
    _get("/service/members/{memberId}", "One member"),
    _get("/service/users", "All users"),
    _get("/service/users/{userId}", "One user"),
    _get("/service/nodes", "All nodes"),
    _get("/service/nodes/{nodeId}", "One node"),
    _get("/service/transactions/{transactionId}", "What is known of a transaction", command=True),
    _get("/service/transactions/commit", "The last committed transaction", command=True),
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
        ("POST", "/recovery/members/{memberId}:recover"): shares.submit,
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
