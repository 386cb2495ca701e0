"""Requests and responses as values, and response bytes."""

from __future__ import annotations

import pytest

from pyccf.http.message import (
    REASONS,
    Request,
    Response,
    encode_error,
    encode_response,
    error_body,
    query_parameters,
    split_target,
)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/app/x", "/app/x", ""),
        ("/app/x?", "/app/x", ""),
        ("/app/x?a=1&b=2", "/app/x", "a=1&b=2"),
        ("/app/x?a=1#top", "/app/x", "a=1"),
        ("/app/x#top", "/app/x#top", ""),
        ("/a%20b?c%20d", "/a%20b", "c d"),
        ("/x?a+b", "/x", "a b"),
        ("/x?a%2Bb", "/x", "a+b"),
        ("/x?a%26b%3Dc", "/x", "a&b=c"),
        ("/x?a%zz%4", "/x", "a%zz%4"),
        ("/x?%ff%C3%A9", "/x", "\ufffd\u00e9"),
        ("/x?a?b", "/x", "a?b"),
        ("http://h/x?y", "http://h/x", "y"),
        ("*", "*", ""),
    ],
)
def test_a_target_is_split_as_ccf_does(target: str, path: str, query: str) -> None:
    assert split_target(target) == (path, query)
    for request in (Request("GET", target), Request.received("GET", target, [], b"")):
        assert (request.target, request.path, request.query) == (target, path, query)


def test_query_parameters_take_the_first_of_each() -> None:
    assert query_parameters("a=1&a=2&b&c=&=d&e=f=g") == {
        "a": "1",
        "b": "",
        "c": "",
        "": "d",
        "e": "f=g",
    }
    assert query_parameters("") == {}


def test_headers_are_lower_case_and_the_first_wins() -> None:
    fields = [b"Host", b"h", b"X-A", b"1 ", b"x-a", b"2", b"x-e", b"", b"X-U", b"\xc3\xa9\xff"]
    request = Request.received("GET", "/", fields, b"")
    expected = {"host": "h", "x-a": "1 ", "x-e": "", "x-u": "\u00e9\ufffd"}
    assert request.headers == expected
    assert list(request.headers) == list(expected)
    assert request.headers is request.headers
    assert Request("GET", "/", {"X-A": "1", "x-a": "2"}).headers == {"x-a": "1"}


def test_a_request_does_not_show_its_content() -> None:
    assert repr(Request("PUT", "/a", {"authorization": "Bearer s3"}, b"secret")) == (
        "Request(PUT '/a', 6 bytes)"
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ms-ccf-transaction-id": "2.5", "content-type": "application/json"},
        {"content-type": "application/json", "x-ms-ccf-transaction-id": "2.5"},
    ],
)
def test_a_response_has_its_headers_sorted(headers: dict[str, str]) -> None:
    assert encode_response(200, headers, b"true") == (
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-type: application/json\r\n"
        b"x-ms-ccf-transaction-id: 2.5\r\n\r\ntrue"
    )


def test_response_forms() -> None:
    assert encode_response(204, {}, b"") == (
        b"HTTP/1.1 204 NO_CONTENT\r\ncontent-length: 0\r\n\r\n"
    )
    assert encode_response(405, {"allow": "OPTIONS, GET"}, b"body", head=True) == (
        b"HTTP/1.1 405 METHOD_NOT_ALLOWED\r\nallow: OPTIONS, GET\r\ncontent-length: 4\r\n\r\n"
    )
    assert encode_response(200, {"x-b": "\u00e9", "a": ""}, b"") == (
        b"HTTP/1.1 200 OK\r\na: \r\ncontent-length: 0\r\nx-b: \xc3\xa9\r\n\r\n"
    )
    assert Response(200, {"a": "b"}, b"x").encode(head=True) == (
        b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 1\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("told", "head", "length", "body"),
    [
        ("3", False, b"3", b"abc"),
        ("5", False, b"5", b"abcde"),
        ("9", False, b"5", b"abcde"),  # would swallow the next answer
        ("9", True, b"9", b""),  # what GET would give
        ("x", False, b"5", b"abcde"),
        ("-1", False, b"5", b"abcde"),
        ("\u0663", False, b"5", b"abcde"),
    ],
)
def test_a_given_content_length(told: str, head: bool, length: bytes, body: bytes) -> None:
    data = encode_response(200, {"content-length": told}, b"abcde", head)
    assert data == b"HTTP/1.1 200 OK\r\ncontent-length: " + length + b"\r\n\r\n" + body


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_that_have_no_body(status: int) -> None:
    for headers in ({"x-a": "1"}, {"content-length": "3", "x-a": "1"}):
        data = encode_response(status, headers, b"abc")
        line = f"HTTP/1.1 {status} {REASONS[status]}\r\n".encode()
        assert data == line + b"content-length: 0\r\nx-a: 1\r\n\r\n"
    usual = {"content-type": "application/json", "x-ms-ccf-transaction-id": "2.3"}
    assert encode_response(status, usual, b"abc").endswith(b": 2.3\r\n\r\n")


@pytest.mark.parametrize("head", [False, True])
def test_a_body_that_is_not_encoded_is_not_called_so(head: bool) -> None:
    headers = {"transfer-encoding": "chunked", "x-a": "1"}
    data = encode_response(200, headers, b"abc", head)
    body = b"" if head else b"abc"
    assert data == b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx-a: 1\r\n\r\n" + body


@pytest.mark.parametrize(
    "headers",
    [
        {"x-a": "b\r\nx-evil: 1"},
        {"x-a": "b\nx-evil: 1"},
        {"x-a\r\nx-evil": "1"},
        {"x-a": "b\r\n\r\nHTTP/1.1 200 OK"},
        {"content-type": "application/json", "x-ms-ccf-transaction-id": "2.5\r\nx-evil: 1"},
        {"content-type": "text/plain\r\nx-evil: 1", "x-ms-ccf-transaction-id": "2.5"},
        {"x-a": "b\0"},
    ],
)
def test_no_header_ends_its_line_early(headers: dict[str, str]) -> None:
    data = encode_response(200, headers, b"")
    lines = data.split(b"\r\n")
    assert len(lines) == 1 + len(headers) + 1 + 2
    assert not any(b"\n" in line or b"\r" in line or b"\0" in line for line in lines)
    assert not any(line.startswith(b"x-evil") for line in lines)


def test_reasons_are_those_of_llhttp() -> None:
    ranges = [(100, 103), (110, 113), (199, 208), (214, 214), (226, 226), (299, 308), (400, 426)]
    ranges += [(428, 431), (440, 440), (444, 444), (449, 451), (460, 460), (463, 463), (494, 511)]
    ranges += [(520, 527), (529, 530), (561, 561), (598, 599)]
    assert sorted(REASONS) == [code for low, high in ranges for code in range(low, high + 1)]
    assert REASONS[418] == "IM_A_TEAPOT"
    with pytest.raises(KeyError):
        encode_response(999, {}, b"")


def test_error_documents() -> None:
    assert error_body("A", 'b \u00e9 "c"') == (
        '{"error":{"code":"A","message":"b \u00e9 \\"c\\""}}'.encode()
    )
    assert error_body("A", "b", [{"x": 1}]) == (
        b'{"error":{"code":"A","details":[{"x":1}],"message":"b"}}'
    )
    assert encode_error(503, "A", "b") == (
        b"HTTP/1.1 503 SERVICE_UNAVAILABLE\r\ncontent-length: 36\r\n"
        b'content-type: application/json\r\n\r\n{"error":{"code":"A","message":"b"}}'
    )


def test_a_header_is_found_without_decoding_all() -> None:
    request = Request.received("GET", "/x", [b"X-Pyccf-Wait", b"commit", b"a", b"x-b"], b"")
    assert request.has_header(b"x-pyccf-wait")
    assert not request.has_header(b"x-b")
    assert request.headers["x-pyccf-wait"] == "commit"
    assert request.has_header(b"x-pyccf-wait")
    assert not request.has_header(b"x-b")
