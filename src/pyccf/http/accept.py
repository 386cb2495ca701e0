"""Content negotiation: whether a client takes JSON, the only thing built-in endpoints give.

Follows CCF to the letter (spec: http-api.md §6): names are compared case-sensitively, a q-factor
must be a number but decides nothing.
"""

from __future__ import annotations

from pyccf.errors import RpcError

_JSON = frozenset({"application/json", "application/*", "*/*"})


def check_accept(header: str | None) -> None:
    """Refuse a client whose `accept` header leaves no room for application/json.

    None means that there is no such header. Raises RpcError: 406 UnsupportedContentType, or 400
    InvalidHeaderValue when an entry is not a MIME type or its q-factor not a number.
    """
    if header is None:
        return
    taken = False
    for entry in header.split(",") if header else ():
        entry = entry.strip()
        mime, *parameters = entry.split(";")
        mime = mime.strip()
        if "/" not in mime:
            raise RpcError(
                400,
                "InvalidHeaderValue",
                f"Entry in Accept header is not a valid MIME type: {entry}",
            )
        for parameter in parameters:
            name, _, value = parameter.strip().partition("=")
            if name == "q" and not _is_number(value):
                raise RpcError(
                    400,
                    "InvalidHeaderValue",
                    f"Could not parse q-factor from MIME type in Accept header: {entry}",
                )
        taken = taken or mime in _JSON
    if not taken:
        raise RpcError(
            406,
            "UnsupportedContentType",
            f"No supported content type in accept header: {header}\n"
            "Only application/json is currently supported",
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
