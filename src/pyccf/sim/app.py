"""The application of simulated services, and governance without votes.

Every write observes the write before it and says so in its answer: it puts its own number, with how
many came before, under one key. The committed writes must therefore form one chain in the order of
their transaction ids, which a checker follows. Each write also sets or removes a row of a private
map, so that roll-back and encryption have something to do.

Governance acts are real transactions on the tables that the default constitution writes
(spec: governance.md §6), without proposals: adding and removing nodes is what is simulated, voting
is not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from pyccf.apps.context import Context
from pyccf.apps.router import Endpoint, Forwarding, Mode
from pyccf.codec.text import unb64
from pyccf.crypto import certs
from pyccf.errors import RpcError
from pyccf.service import members, recovery, tables
from pyccf.service.identity import ServiceIdentity
from pyccf.service.nodes import NodeStatus
from pyccf.service.operations import Operations
from pyccf.sim import identities
from pyccf.types import Json, NodeId, UnixSeconds

Unix = Callable[[], UnixSeconds]
May = Callable[[list[NodeId], list[NodeId]], bool]

CHAIN = "public:sim.chain"
ROWS = "sim.rows"
LAST = b"last"
ROWS_MAX = 5
"""How many keys writes share."""
VALID_DAYS = 30

_LINK = struct.Struct("<QQ")


class Link:
    """One write of the chain: its number and how many writes came before it."""

    __slots__ = ("before", "number")

    def __init__(self, number: int, before: int) -> None:
        self.number = number
        self.before = before

    def encode(self) -> bytes:
        return _LINK.pack(self.number, self.before)

    @classmethod
    def parse(cls, raw: bytes) -> Link:
        """A link as it stands in the map or in an answer; 0, 0 before the first write."""
        return cls(*_LINK.unpack(raw)) if raw else cls(0, 0)


def _write(ctx: Context) -> None:
    """Append write number <body> to the chain; the answer is the link before it."""
    number = int(ctx.request.body)
    chain = ctx.tx.map(CHAIN)
    before = chain.get(LAST) or b""
    count = Link.parse(before).before + 1 if before else 0
    chain.set(LAST, Link(number, count).encode())
    rows = ctx.tx.map(ROWS)
    key = b"%d" % (number % ROWS_MAX)
    if number % 4 == 0:
        rows.delete(key)
    else:
        rows.set(key, b"row %d" % number)
    ctx.status = 200
    ctx.body = before


def _read(ctx: Context) -> None:
    """The last link of the chain."""
    ctx.body = ctx.tx.map(CHAIN).get(LAST) or b""


def application() -> list[Endpoint]:
    """The endpoints of /app."""
    return [
        Endpoint(verb="POST", path="/write", execute=_write),
        Endpoint(
            verb="GET",
            path="/read",
            execute=_read,
            mode=Mode.READONLY,
            forwarding=Forwarding.SOMETIMES,
        ),
    ]


class Governance:
    """The acts of governance on one node, by name."""

    def __init__(
        self,
        operations: Operations,
        service: ServiceIdentity,
        unix: Unix,
        may: May,
    ) -> None:
        """`may` says whether a change leaves every configuration a majority that still exists."""
        self._operations = operations
        self._service = service
        self._unix = unix
        self._may = may

    def endpoints(self) -> list[Endpoint]:
        """POST /sim/<act>; the body names nodes where they are needed."""
        acts = {
            "open": self._open,
            "trust": self._trust,
            "remove": self._remove,
            "replace": self._replace,
            "rekey": self._rekey,
            "accept": self._accept,
            "share": self._share,
        }
        return [
            Endpoint(verb="POST", path=f"/sim/{name}", execute=act) for name, act in acts.items()
        ]

    def _open(self, ctx: Context) -> None:
        """Activate the members and open the service to users."""
        for member_id, _ in sorted(tables.objects(ctx.tx, tables.MEMBERS_INFO)):
            members.activate(ctx.tx, member_id)
        self._operations.transition_service_to_open(ctx.tx, None, self._service.cert_pem)

    def _accept(self, ctx: Context) -> None:
        """Accept the recovered service."""
        previous = tables.get_text(ctx.tx, tables.PREVIOUS_SERVICE_IDENTITY)
        self._operations.transition_service_to_open(ctx.tx, previous, self._service.cert_pem)

    def _share(self, ctx: Context) -> None:
        """The only member opens its recovery share and hands it in."""
        if self._operations.recovers_already:
            raise RpcError(403, "NodeAlreadyRecovering", "The shares were there before.")
        member = identities.member().member_id
        sealed = recovery.encrypted_share(ctx.tx, member)
        share = identities.member_key().decrypt_oaep(unb64(sealed or ""))
        if self._operations.submit_share(ctx.tx, member, share).enough:
            self._operations.restore_secrets(ctx.tx)

    def _trust(self, ctx: Context) -> None:
        """Trust the nodes named, those of them that are pending."""
        named = _named(ctx)
        self._check(ctx, [], named)
        for node_id in named:
            self._trust_one(ctx, node_id)

    def _trust_one(self, ctx: Context, node_id: str) -> None:
        row = _row(ctx, node_id)
        if row["status"] != NodeStatus.PENDING.value:
            return
        row["status"] = NodeStatus.TRUSTED.value
        row["ledger_secret_seqno"] = self._operations.latest_ledger_secret_seqno(ctx.tx)
        tables.put_json(ctx.tx, tables.NODES_INFO, node_id, row)
        endorsed = self._operations.generate_endorsed_certificate(
            str(row["certificate_signing_request"]), certs.time_text(self._unix()), VALID_DAYS
        )
        ctx.tx.map(tables.NODES_ENDORSED_CERTIFICATES).set(node_id.encode(), endorsed.encode())

    def _remove(self, ctx: Context) -> None:
        """Remove the nodes named."""
        named = _named(ctx)
        self._check(ctx, named, [])
        for node_id in named:
            _remove_one(ctx, node_id)

    def _replace(self, ctx: Context) -> None:
        """Trust the first node named and remove the others, in one transaction."""
        joins, *leave = _named(ctx)
        self._check(ctx, leave, [joins])
        self._trust_one(ctx, joins)
        for node_id in leave:
            _remove_one(ctx, node_id)

    def _rekey(self, ctx: Context) -> None:
        """Change the ledger secret."""
        self._operations.trigger_ledger_rekey(ctx.tx)

    def _check(self, ctx: Context, leaving: list[NodeId], joining: list[NodeId]) -> None:
        if not self._may(leaving, joining):
            raise RpcError(400, "InvalidInput", "Too few nodes would be left.")


def _named(ctx: Context) -> list[str]:
    return ctx.request.body.decode().split()


def _remove_one(ctx: Context, node_id: str) -> None:
    row = _row(ctx, node_id)
    if row["status"] == NodeStatus.PENDING.value:
        ctx.tx.map(tables.NODES_INFO).delete(node_id.encode())
        return
    row["status"] = NodeStatus.RETIRED.value
    tables.put_json(ctx.tx, tables.NODES_INFO, node_id, row)


def _row(ctx: Context, node_id: str) -> dict[str, Json]:
    row = tables.get_object(ctx.tx, tables.NODES_INFO, node_id)
    if row is None:
        raise RpcError(404, "ResourceNotFound", f"No node {node_id}.")
    return row
