"""Conditional requests: `if-match` and `if-none-match` against the state of a resource.

RFC 9110 §13. `if-match` compares strongly, so that a weak tag never matches; `if-none-match`
compares weakly. Refuses headers that are no list of entity tags.
"""

from __future__ import annotations

import re

from pyccf.errors import RpcError
from pyccf.http.message import Request

READS = ("GET", "HEAD")
ANY = "*"
WEAK = "W/"

_TAG = re.compile(r'[ \t]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*')


def quoted(tag: str) -> str:
    """An entity tag as it stands in a header. Raises ValueError for what cannot."""
    made = f'"{tag}"'
    if _TAG.fullmatch(made) is None:
        raise ValueError(f"{tag!r} cannot be an entity tag: only visible characters but quotes")
    return made


def parse(name: str, header: str) -> tuple[str, ...]:
    """The entity tags of a header, quotes and all; `(ANY,)` for an asterisk. Raises RpcError."""
    if header.strip() == ANY:
        return (ANY,)
    found: list[str] = []
    at = 0
    while True:
        match = _TAG.match(header, at)
        if match is None:
            raise RpcError(400, "InvalidHeaderValue", f"{name} is not a list of entity tags")
        found.append(match[1])
        at = match.end()
        if at == len(header):
            return tuple(found)
        if header[at] != ",":
            raise RpcError(400, "InvalidHeaderValue", f"{name} is not a list of entity tags")
        at += 1


def is_unchanged(request: Request, present: str | None) -> bool:
    """Judge the conditions of a request; True if the client has what it asks for (304).

    `present` is the tag of the resource as it is, None if there is none. Raises RpcError 412
    when a condition does not hold.
    """
    tag = None if present is None else quoted(present)
    header = request.headers.get("if-match")
    if header is not None:
        wanted = parse("if-match", header)
        if tag is None or (wanted != (ANY,) and tag not in wanted):
            raise _failed("if-match", tag)
    header = request.headers.get("if-none-match")
    if header is None or tag is None:
        if header is not None:
            parse("if-none-match", header)
        return False
    unwanted = parse("if-none-match", header)
    if unwanted != (ANY,) and tag not in (one.removeprefix(WEAK) for one in unwanted):
        return False
    if request.method in READS:
        return True
    raise _failed("if-none-match", tag)


def _failed(name: str, tag: str | None) -> RpcError:
    state = "does not exist" if tag is None else f"has the entity tag {tag}"
    return RpcError(412, "PreconditionFailed", f"{name} does not hold: the resource {state}")
