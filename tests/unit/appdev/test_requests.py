"""pyccf.appdev.requests and callers: what a person may write, and what is refused."""

from __future__ import annotations

import pytest

from pyccf.appdev.callers import parse_caller
from pyccf.appdev.requests import parse_request
from pyccf.errors import LocalError


def test_a_request_as_it_was_sent() -> None:
    raw = b"PUT /app/x?a=%20b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi\n"
    given = parse_request(raw)
    request = given.request
    assert (request.method, request.path, request.query) == ("PUT", "/app/x", "a= b")
    assert request.headers == {"host": "h", "content-length": "2"}
    assert request.body == b"hi"
    assert given.caller is None


def test_line_ends_of_an_editor() -> None:
    assert parse_request(b"GET /x HTTP/1.1\na: b\n\n").request.headers == {"a": "b"}


def test_callers_in_the_form_of_requests() -> None:
    jwt = {"keyIssuer": "i", "header": {"kid": "1"}, "payload": {"sub": "s"}}
    whole = {"policy": ["jwt", "user_cert"], "jwt": {"jwt": jwt}, "user_cert": {"id": "u"}}
    caller = parse_caller(whole)  # type: ignore[arg-type]
    assert caller is not None
    assert caller.policy == "jwt+user_cert"
    first, second = caller.all_of
    assert first.jwt is not None
    assert first.jwt.payload == {"sub": "s"}
    assert second.id == "u"
    signed = parse_caller({"policy": "user_cose_sign1", "id": "u", "cose": {"content": "c"}})
    assert signed is not None
    assert signed.cose is not None
    assert signed.cose.content == b"c"
    assert parse_caller(None) is None


@pytest.mark.parametrize(
    ("caller", "told"),
    [
        ("user_cert", "name of a policy"),
        ({}, "caller.policy"),
        ({"policy": "user_cert", "id": 1}, "caller.id must be a text"),
    ],
)
def test_callers_that_are_none(caller: object, told: str) -> None:
    with pytest.raises(LocalError, match=told):
        parse_caller(caller)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"{nope", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "needs method and path"),
        (b'{"method": "GET", "path": "/x", "headers": 1}', "headers"),
        (b'{"method": "GET", "path": "/x", "body_base64": "!"}', "not base64"),
        (b'{"method": "GET", "path": "/x", "caller": 1}', "caller must be"),
        (b'{"method": "GET", "path": "/x", "caller": "user_cose_sign1"}', "malformed"),
        (b"hello", "neither JSON nor"),
        (b"GET /x HTTP/1.1\r\nbroken\r\n\r\n", "Malformed header"),
        (b"GET /x HTTP/1.1\r\ncontent-length: 3\r\n\r\nhi", "says 3 bytes"),
        (b"GET /x HTTP/1.1\r\ncontent-length: x\r\n\r\nhi", "says x bytes"),
        (b"GET /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0", "is chunked"),
    ],
)
def test_requests_that_are_none(raw: bytes, told: str) -> None:
    with pytest.raises(LocalError, match=told):
        parse_request(raw)
