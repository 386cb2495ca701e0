"""Recovery shares over HTTP: fetching one's own, and handing it in (spec: gov-api.md §5).

Handing in is refused as long as the service does not wait for shares. Recovering a service is not
available in this version; a service that waits is told so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.api.gov.requests import not_found, path_id
from pyccf.errors import LocalError, RpcError
from pyccf.service import info, recovery
from pyccf.service.info import ServiceStatus

if TYPE_CHECKING:
    from pyccf.apps.context import Context


def get_encrypted(ctx: Context) -> None:
    """GET a member's share, encrypted to it."""
    member_id = path_id(ctx, "memberId", "member")
    try:
        share = recovery.encrypted_share(ctx.tx, member_id)
    except LocalError as e:
        raise RpcError(500, "InternalError", e.message) from None
    if share is None:
        raise not_found(f"Recovery share not found for member m[{member_id}].")
    ctx.json({"memberId": member_id, "encryptedShare": share})


def submit(ctx: Context) -> None:
    """POST :recover."""
    if info.status(ctx.tx) is not ServiceStatus.WAITING_FOR_RECOVERY_SHARES:
        raise RpcError(
            403,
            "ServiceNotWaitingForRecoveryShares",
            "Service is not waiting for recovery shares.",
        )
    raise RpcError(
        500, "InternalError", "Recovery of a service is not available in this version of pyccf"
    )
