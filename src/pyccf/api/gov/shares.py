"""Recovery shares over HTTP: fetching one's own, and handing it in (spec: gov-api.md §5).

Handing in is refused as long as the service does not wait for shares. Shares that do not fit show
only when they are put together: then all are forgotten, and the members start over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from pyccf.api.gov.requests import (
    check_own_path,
    not_found,
    path_id,
    payload_json,
    signed,
    text_member,
)
from pyccf.apps.context import JSON_TYPE
from pyccf.codec.text import unb64
from pyccf.errors import LocalError, RpcError
from pyccf.http.message import error_body
from pyccf.service import info, recovery, restore
from pyccf.service.info import ServiceStatus
from pyccf.service.restore import Submitted
from pyccf.types import MemberId

if TYPE_CHECKING:
    from pyccf.apps.context import Context
    from pyccf.kv.tx import Tx


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


class ShareTaker(Protocol):
    """What becomes of shares that are handed in."""

    @property
    def recovers_already(self) -> bool:
        """Whether the shares were complete before."""
        ...

    def submit_share(self, tx: Tx, member_id: MemberId, share: bytes) -> Submitted: ...

    def restore_secrets(self, tx: Tx) -> None:
        """Raises LocalError, in words for operators, when the shares do not allow it."""
        ...


def submit(taker: ShareTaker) -> Callable[[Context], None]:
    """POST :recover: a member hands in its share; with enough of them recovery goes on."""

    def handler(ctx: Context) -> None:
        tx = ctx.tx
        if info.status(tx) is not ServiceStatus.WAITING_FOR_RECOVERY_SHARES:
            raise RpcError(
                403,
                "ServiceNotWaitingForRecoveryShares",
                "Service is not waiting for recovery shares.",
            )
        if taker.recovers_already:
            raise RpcError(
                403, "NodeAlreadyRecovering", "Node is already recovering private ledger."
            )
        path_id(ctx, "memberId", "member")
        member_id, cose = signed(ctx)
        check_own_path(ctx, member_id)
        share = _share(text_member(payload_json(cose), "share"))
        try:
            submitted = taker.submit_share(tx, member_id, share)
            if submitted.enough and not submitted.begun:
                taker.restore_secrets(tx)
        except LocalError as e:
            _start_over(ctx, e.message)
            return
        ctx.json(
            {
                "fullKeySubmitted": submitted.full,
                "message": _message(submitted),
                "recoveryThreshold": submitted.threshold,
                "submittedCount": submitted.count,
            }
        )

    return handler


def _share(text: str) -> bytes:
    try:
        return unb64(text)
    except ValueError as e:
        raise RpcError(500, "InternalError", f"The share is not base64: {e}") from None


def _start_over(ctx: Context, reason: str) -> None:
    """The shares fit nothing: all are forgotten, for good, and the reason goes to the log."""
    ctx.services.log("fail", "", f"Failed to initiate private recovery: {reason}")
    restore.forget_shares(ctx.tx)
    ctx.status = 500
    ctx.headers["content-type"] = JSON_TYPE
    ctx.body = error_body("InternalError", "Failed to initiate private recovery.")
    ctx.apply_writes = True


def _message(submitted: Submitted) -> str:
    text = f"{submitted.count}/{submitted.threshold} recovery shares successfully submitted"
    if submitted.full:
        text = "Full recovery key successfully submitted"
    return text + "\nEnd of recovery procedure initiated" if submitted.enough else text
