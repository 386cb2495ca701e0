"""State digests: a member signs the state of the service, and becomes active by it.

(spec: gov-api.md §4.0, governance.md §7)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from pyccf.api.gov.requests import check_own_path, not_found, payload_json, signed, text_member
from pyccf.codec.text import b64
from pyccf.errors import LocalError, RpcError
from pyccf.service import info, members, tables
from pyccf.service.info import ServiceStatus
from pyccf.types import Json, MemberId

if TYPE_CHECKING:
    from pyccf.apps.context import Context
    from pyccf.kv.tx import Tx


class ShareIssuer(Protocol):
    """Issues recovery shares anew when the members that hold them change."""

    def refresh_shares(self, tx: Tx) -> None:
        """Raises LocalError when it cannot be done."""
        ...


def _no_record(member_id: MemberId) -> str:
    return f"No ACK record exists for member m[{member_id}]."


def get_digest(ctx: Context) -> None:
    """GET: the digest a member is expected to sign."""
    member_id = ctx.params["memberId"]
    record = tables.get_object(ctx.tx, tables.MEMBERS_ACKS, member_id)
    if record is None:
        raise not_found(_no_record(member_id))
    _answer(ctx, member_id, str(record.get("state_digest", "")))


def update_digest(ctx: Context) -> None:
    """POST :update: expect the latest signed state instead."""
    member_id, _ = signed(ctx)
    check_own_path(ctx, member_id)
    root = members.latest_signed_root(ctx.tx)
    if root is None:
        raise RpcError(
            500, "InternalError", "Service has no signatures to ack yet - try again soon."
        )
    record = tables.get_object(ctx.tx, tables.MEMBERS_ACKS, member_id) or {}
    updated: dict[str, Json] = {name: v for name, v in record.items() if v is not None}
    updated["state_digest"] = root
    tables.put_json(ctx.tx, tables.MEMBERS_ACKS, member_id, updated)
    _answer(ctx, member_id, root)


def acknowledge(issuer: ShareIssuer) -> Callable[[Context], None]:
    """POST :ack: the member signed the digest."""

    def handler(ctx: Context) -> None:
        tx = ctx.tx
        member_id, cose = signed(ctx)
        check_own_path(ctx, member_id)
        record = tables.get_object(tx, tables.MEMBERS_ACKS, member_id)
        if record is None:
            raise RpcError(403, "AuthorizationFailed", _no_record(member_id))
        expected = str(record.get("state_digest", ""))
        received = text_member(payload_json(cose), "stateDigest")
        if received != expected:
            raise RpcError(
                400,
                "StateDigestMismatch",
                "Submitted state digest is not valid.\n"
                f"Expected\n {expected}\nReceived\n {received}",
            )
        tables.put_json(
            tx,
            tables.MEMBERS_ACKS,
            member_id,
            {"state_digest": expected, "cose_sign1_req": b64(cose.envelope)},
        )
        newly_active = members.activate(tx, member_id)
        has_key = tx.map(tables.MEMBERS_ENCRYPTION_KEYS).has(member_id.encode())
        if newly_active and has_key and info.status(tx) is ServiceStatus.OPEN:
            try:
                issuer.refresh_shares(tx)
            except LocalError as e:
                raise RpcError(
                    500, "InternalError", f"Error issuing new recovery shares: {e.message}"
                ) from None
        ctx.empty()

    return handler


def _answer(ctx: Context, member_id: MemberId, digest: str) -> None:
    ctx.json({"memberId": member_id, "stateDigest": digest})
