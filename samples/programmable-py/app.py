"""An application whose users install JavaScript endpoints of their own while it runs.

Notes are what the application itself keeps. Under /custom_endpoints, users whom the consortium
trusts with it replace the custom endpoints, which are then served under /custom/. Their scripts see
the tables `custom.*` and `public:custom.*`, and no notes. Every change is recorded with who made it
and what was sent; a change that was signed is made once.

Who may: users whose user data says {"isAdmin": true}, or {"roles": ["..."]} with a role to which
members gave the action (`set_role_definition` of the constitution "roles").
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pyccf.apps.auth import UserCose
from pyccf.apps.custom import Audit, Bundle, CustomEndpoints, Entry, Options
from pyccf.apps.python import App, AppContext, Reply, Table
from pyccf.errors import RpcError

PREFIX = "public:custom_endpoints"
ROLES = "public:programmability.roles"
ROLES_MAX = 32
"""Roles of one user that are looked at."""
AUDIT_MAX = 100
"""Changes in one page of the audit."""
SPAN_MAX = 5000
"""Transactions that one page looks through."""

INSTALL = "set_custom_endpoints"
REMOVE = "remove_custom_endpoints"
CHANGE = "set_runtime_options"

app = App(
    title="Programmable",
    description="Notes, and JavaScript endpoints that users install.",
    version="1.0.0",
)
custom = CustomEndpoints(PREFIX)
app.dynamic(custom)
audit = Audit(app, PREFIX)
notes = Table("notes", key=str, value=str)


class ByName(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Note(msgspec.Struct):
    text: Annotated[str, msgspec.Meta(max_length=4096)]


class OfEndpoint(msgspec.Struct):
    verb: str
    path: str


class OfModule(msgspec.Struct):
    module_name: str


class Span(msgspec.Struct):
    from_seqno: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)] = 1


class Page(msgspec.Struct):
    """Changes, oldest first; `next` is where to go on, null at the end of what is committed."""

    entries: list[Entry]
    next: int | None


def signed(action: str) -> list[Any]:
    """Who may ask for a change: a user by a message signed for just that, or by certificate."""
    return [UserCose(action, names="app.msg"), "user_cert"]


def allow(ctx: AppContext, action: str) -> None:
    """Refuse callers who may not take an action."""
    assert ctx.caller is not None, "the policies name a caller"
    data = ctx.caller.data if isinstance(ctx.caller.data, dict) else {}
    if data.get("isAdmin") is True:
        return
    roles = data.get("roles")
    for role in roles[:ROLES_MAX] if isinstance(roles, list) else ():
        if isinstance(role, str) and ctx.kv(f"{ROLES}.{role}").has(msgspec.json.encode(action)):
            return
    raise RpcError(403, "AuthorizationFailed", f"You may not take the action {action}")


@app.put("/custom_endpoints", auth=signed(INSTALL))
def install(ctx: AppContext, body: Bundle) -> None:
    """Replace all custom endpoints by those of a bundle"""
    allow(ctx, INSTALL)
    audit.record(ctx, INSTALL)
    custom.install(ctx, body)


@app.delete("/custom_endpoints", auth=signed(REMOVE))
def remove(ctx: AppContext) -> None:
    """Remove all custom endpoints"""
    allow(ctx, REMOVE)
    audit.record(ctx, REMOVE)
    custom.remove(ctx)


@app.get("/custom_endpoints", auth=["user_cert"])
def listing(ctx: AppContext) -> Any:
    """Metadata of all custom endpoints, by path and verb"""
    return {"endpoints": custom.endpoints(ctx)}


@app.get("/custom_endpoints/endpoint", auth=["user_cert"])
def endpoint(ctx: AppContext, query: OfEndpoint) -> Any:
    """Metadata of one custom endpoint"""
    return custom.endpoint(ctx, query.verb, query.path)


@app.get("/custom_endpoints/modules", auth=["user_cert"])
def modules(ctx: AppContext) -> list[str]:
    """Names of all modules"""
    return custom.modules(ctx)


@app.get("/custom_endpoints/module", auth=["user_cert"], produces="text/javascript")
def module(ctx: AppContext, query: OfModule) -> str:
    """Source of a module"""
    return custom.module(ctx, query.module_name)


@app.get("/custom_endpoints/runtime_options", auth=["user_cert"])
def options(ctx: AppContext) -> Any:
    """Runtime options of custom endpoints"""
    return custom.options(ctx)


@app.endpoint("PATCH", "/custom_endpoints/runtime_options", auth=signed(CHANGE))
def change_options(ctx: AppContext, body: Options) -> Any:
    """Change some runtime options, within what members allow"""
    allow(ctx, CHANGE)
    audit.record(ctx, CHANGE)
    return custom.change_options(ctx, body)


@app.get("/custom_endpoints/audit", auth=["user_cert", "member_cert"], forwarding="never")
def history(ctx: AppContext, query: Span) -> Page | Reply:
    """Who changed the custom endpoints when, and how"""
    upto = audit.watermark(ctx)
    if query.from_seqno > upto:
        return Page([], None)
    last = min(upto, query.from_seqno + SPAN_MAX - 1)
    found = audit.history(ctx, query.from_seqno, last, AUDIT_MAX)
    if found is None:
        return Reply(202, "The audit is being read, ask again.", {"retry-after": "1"})
    if len(found) == AUDIT_MAX:
        last = int(found[-1].transaction_id.partition(".")[2])
    return Page(found, last + 1 if last < upto else None)


@app.put("/notes/{name}", auth=["user_cert"])
def keep(ctx: AppContext, path: ByName, body: Note) -> None:
    """Keep a note"""
    notes(ctx).set(path.name, body.text)


@app.get("/notes/{name}", auth=["user_cert"])
def read(ctx: AppContext, path: ByName) -> Note:
    """Read a note"""
    text = notes(ctx).get(path.name)
    if text is None:
        raise RpcError(404, "ResourceNotFound", f"There is no note {path.name}")
    return Note(text)
