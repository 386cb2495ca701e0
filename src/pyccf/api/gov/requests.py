"""Reading governance requests: ids in paths, signed payloads, and who signed them.

Ids are printed in errors as `m[...]`, `u[...]`, `n[...]`; proposal ids plain (spec: gov-api.md,
head and §2-3). Refused with RpcError: ids that are not 64 hexadecimal characters, payloads that are
not the JSON they must be, signatures over another member's or proposal's path.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyccf.apps.context import Cose
from pyccf.codec.text import load_json
from pyccf.errors import RpcError
from pyccf.types import Json, MemberId, ProposalId

if TYPE_CHECKING:
    from pyccf.apps.context import Context

INVALID_INPUT = "InvalidInput"
INVALID_RESOURCE_NAME = "InvalidResourceName"
RESOURCE_NOT_FOUND = "ResourceNotFound"
PROPOSAL_HEADER = "ccf.gov.msg.proposal_id"
CREATED_AT_HEADER = "ccf.gov.msg.created_at"

_HEX_ID = re.compile(r"[0-9A-Fa-f]{64}")


def path_id(ctx: Context, parameter: str, kind: str) -> str:
    """An id of the path; `kind` is member, user, node or proposal."""
    text = ctx.params[parameter]
    if _HEX_ID.fullmatch(text) is None:
        raise RpcError(400, INVALID_RESOURCE_NAME, f"'{text}' is not a valid hex-encoded {kind} ID")
    return text


def not_found(message: str) -> RpcError:
    """404 for something named in the path."""
    return RpcError(404, RESOURCE_NOT_FOUND, message)


def signed(ctx: Context) -> tuple[MemberId, Cose]:
    """The signer of a request, and what was signed; only for endpoints with a COSE policy."""
    caller = ctx.caller
    assert caller is not None
    assert caller.id is not None
    assert caller.cose is not None
    return caller.id, caller.cose


def created_at(cose: Cose) -> int:
    """Seconds since 1970 at which the signer says it signed; the policy saw that it is there."""
    value = cose.headers[CREATED_AT_HEADER]
    assert isinstance(value, int)
    return value


def check_signed_proposal(cose: Cose, ident: ProposalId) -> None:
    """Refuse a signature over another proposal than the path's."""
    if cose.headers.get(PROPOSAL_HEADER) != ident:
        raise RpcError(400, INVALID_RESOURCE_NAME, "Authenticated proposal id does not match URL")


def check_own_path(ctx: Context, signer: MemberId) -> None:
    """Refuse a member that signs for another member's path."""
    named = ctx.params["memberId"]
    if named != signer:
        raise RpcError(
            400,
            "InvalidAuthenticationInfo",
            f"Member ID from path parameter (m[{named}]) does not match member ID from body"
            f" signature (m[{signer}]).",
        )


def payload_json(cose: Cose) -> Json:
    """The signed payload as JSON."""
    try:
        return load_json(cose.content)
    except ValueError as e:
        raise RpcError(400, INVALID_INPUT, str(e)) from None


def text_member(value: Json, name: str) -> str:
    """A text in a signed payload that must be there."""
    if not isinstance(value, dict):
        raise RpcError(400, INVALID_INPUT, f"type must be object, but is {_kind(value)}")
    found = value.get(name)
    if not isinstance(found, str):
        raise RpcError(400, INVALID_INPUT, f"{name}: type must be string, but is {_kind(found)}")
    return found


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"
