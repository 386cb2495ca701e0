"""Requests to run again: as a file, as the ledger keeps them.

A file is either the bytes of an HTTP/1.1 request, or JSON:

    {"method": "POST", "path": "/app/log?id=1", "headers": {...}, "body": <text, or any JSON>,
     "body_base64": <instead of body>, "caller": <as request.caller, or the name of a policy>}

What the ledger keeps of an endpoint with `record_request` has the same form.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pyccf.appdev.callers import parse_caller
from pyccf.apps.context import Caller, Cose
from pyccf.codec.cose import CoseError, parse_sign1
from pyccf.codec.text import dump_json, load_json, unb64
from pyccf.errors import LocalError
from pyccf.http.message import Request
from pyccf.types import Json


class GivenRequest(msgspec.Struct, frozen=True):
    """A request, and who made it; without a caller it is for the policies to find one."""

    request: Request
    caller: Caller | None


def parse_request(raw: bytes) -> GivenRequest:
    """A request from a file. Raises LocalError saying what is wrong with it."""
    try:
        value = load_json(raw)
    except ValueError as e:
        if raw.lstrip()[:1] == b"{":
            raise LocalError(f"The request is not JSON: {e}") from None
        return GivenRequest(_raw_request(raw), None)
    if not isinstance(value, dict):
        raise LocalError("The request is not a JSON object")
    return request_of(value)


def request_of(value: Mapping[str, Json]) -> GivenRequest:
    """A request from JSON. Raises LocalError."""
    method, path = value.get("method"), value.get("path")
    if not isinstance(method, str) or not isinstance(path, str):
        raise LocalError("The request needs method and path")
    headers = value.get("headers") or {}
    if not isinstance(headers, dict):
        raise LocalError("The headers of the request are not an object")
    body = _body(value)
    target = path if path.startswith("/") else "/" + path
    request = Request(method.upper(), target, {k: str(v) for k, v in headers.items()}, body)
    who = value.get("caller")
    caller = parse_caller({"policy": who} if isinstance(who, str) else who)
    return GivenRequest(request, caller and _with_envelope(caller, body))


def _body(value: Mapping[str, Json]) -> bytes:
    encoded = value.get("body_base64")
    if isinstance(encoded, str):
        try:
            return unb64(encoded)
        except ValueError as e:
            raise LocalError(f"body_base64 of the request is not base64: {e}") from None
    body = value.get("body", "")
    return body.encode() if isinstance(body, str) else dump_json(body)


def _with_envelope(caller: Caller, body: bytes) -> Caller:
    """The caller with what was signed, which is in the body."""
    if caller.all_of:
        parts = tuple(_with_envelope(part, body) for part in caller.all_of)
        return msgspec.structs.replace(caller, all_of=parts)
    if not caller.policy.endswith("_cose_sign1") or caller.cose is not None:
        return caller
    return msgspec.structs.replace(caller, cose=parse_envelope(body))


def parse_envelope(raw: bytes) -> Cose:
    """A signed request, its signature unchecked. Raises LocalError."""
    try:
        sign1 = parse_sign1(raw)
    except CoseError as e:
        raise LocalError(f"The signed request is malformed: {e}") from None
    return Cose(sign1.payload or b"", raw, sign1.signature, sign1.headers)


def _framed(name: bytes, text: bytes, body: bytes) -> bytes:
    """The body as a header frames it."""
    if name == b"transfer-encoding":
        raise LocalError(
            "The request's body is chunked", hint="Give the body whole, with its content-length."
        )
    if name != b"content-length":
        return body
    if not text.isdigit() or int(text) > len(body):
        told = text.decode("latin-1")
        raise LocalError(f"The request says {told} bytes of body, {len(body)} are there")
    return body[: int(text)]


def _raw_request(raw: bytes) -> Request:
    head, blank, body = raw.partition(b"\r\n\r\n")
    if not blank:
        head, blank, body = raw.partition(b"\n\n")
    lines = head.replace(b"\r\n", b"\n").split(b"\n")
    words = lines[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        raise LocalError(
            "The file holds neither JSON nor an HTTP/1.1 request",
            hint='Give {"method": ..., "path": ..., "body": ..., "caller": ...}.',
        )
    fields: list[bytes] = []
    for line in lines[1:]:
        name, colon, text = line.partition(b":")
        if not colon or not name.strip():
            raise LocalError(f"Malformed header line in the request: {line.decode('latin-1')!r}")
        fields += [name.strip(), text.strip()]
        body = _framed(name.strip().lower(), text.strip(), body)
    return Request.received(words[0].decode("latin-1"), words[1].decode("latin-1"), fields, body)
