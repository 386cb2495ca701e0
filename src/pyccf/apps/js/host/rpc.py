"""`ccf.rpc` (spec: js-runtime.md §4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.apps.js.engine import JsThrow
from pyccf.apps.js.host.row import Row, Scope, Style

if TYPE_CHECKING:
    from pyccf.apps.js.host.host import Host

DIGEST_SIZE = 32


def _set_apply_writes(host: Host, flag: bool) -> None:
    host.the_request().apply_writes = flag


def _set_claims_digest(host: Host, digest: object) -> None:
    if not isinstance(digest, bytes):
        raise JsThrow("TypeError", "Argument must be an ArrayBuffer")
    if len(digest) != DIGEST_SIZE:
        raise JsThrow(
            "TypeError", f"Argument must be an ArrayBuffer of the right size: {DIGEST_SIZE}"
        )
    host.the_request().claims_digest = digest


ROWS: tuple[Row, ...] = (
    Row("ccf.rpc", "setApplyWrites", "t", _set_apply_writes, scope=Scope.APP, style=Style.PLAIN),
    Row("ccf.rpc", "setClaimsDigest", "v", _set_claims_digest, scope=Scope.APP, style=Style.PLAIN),
)
