"""`request.caller`: who calls, as a script sees it (spec: auth.md §6.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyccf.apps.context import Caller

_IDENTIFIED = frozenset({"user_cert", "member_cert", "user_cose_sign1", "member_cose_sign1"})


def caller_object(caller: Caller | None) -> dict[str, object] | None:
    """The object, or None (null) where no caller is asked for."""
    if caller is None:
        return None
    if caller.all_of:
        combined: dict[str, object] = {"policy": [part.policy for part in caller.all_of]}
        for part in caller.all_of:
            combined[part.policy] = caller_object(part)
        return combined
    shown: dict[str, object] = {"policy": caller.policy}
    if caller.policy in _IDENTIFIED:
        shown["id"] = caller.id
        shown["data"] = caller.data
    if caller.cert_pem is not None:
        shown["cert"] = caller.cert_pem
    if caller.cose is not None:
        shown["cose"] = {"content": caller.cose.content}
    if caller.jwt is not None:
        shown["jwt"] = {
            "keyIssuer": caller.jwt.key_issuer,
            "header": caller.jwt.header,
            "payload": caller.jwt.payload,
        }
    return shown
