"""The HTTP/1.1 parser: what is a request, what is refused and in which words."""

from __future__ import annotations

import time

import pytest

from pyccf.http.h1 import BODY_PARTS_MAX, ParseFailure, Parser
from pyccf.http.limits import FRAMING_SIZE_MAX, HEAD_SIZE_MAX, HttpLimits
from pyccf.http.message import Request

SMALL = HttpLimits(max_body_size=1000, max_header_size=1000, max_headers_count=10)


def feed_all(parser: Parser, *pieces: bytes) -> list[Request]:
    return [request for piece in pieces for request in parser.feed(piece)]


def refused(*pieces: bytes, limits: HttpLimits = SMALL) -> ParseFailure:
    parser = Parser(limits)
    with pytest.raises(ParseFailure) as caught:
        feed_all(parser, *pieces)
    return caught.value


def test_a_request_with_a_body() -> None:
    parser = Parser(SMALL)
    (request,) = parser.feed(b"POST /a?b=%41 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
    assert (request.method, request.target, request.path, request.query, request.body) == (
        "POST",
        "/a?b=%41",
        "/a",
        "b=A",
        b"abc",
    )
    assert request.headers == {"host": "h", "content-length": "3"}
    assert parser.idle


def test_pipelined_requests_come_in_order_with_their_own_parts() -> None:
    parser = Parser(SMALL)
    data = (
        b"PUT /1 HTTP/1.1\r\nx-a: 1\r\ncontent-length: 1\r\n\r\nv"
        b"\r\nGET /2 HTTP/1.1\r\n\r\n"
        b"POST /3 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n0\r\nx-t: v\r\n\r\n"
        b"PROPFIND /4 HTTP/1.1\r\nx-b:\r\nx-c: 2\r\n\r\nGE"
    )
    requests = parser.feed(data)
    assert [(r.method, r.path, r.body, r.headers) for r in requests] == [
        ("PUT", "/1", b"v", {"x-a": "1", "content-length": "1"}),
        ("GET", "/2", b"", {}),
        ("POST", "/3", b"hi", {"transfer-encoding": "chunked"}),
        ("PROPFIND", "/4", b"", {"x-b": "", "x-c": "2"}),
    ]
    assert not parser.idle
    (last,) = parser.feed(b"T /5 HTTP/1.1\r\n\r\n")
    assert (last.method, last.path) == ("GET", "/5")


def test_a_request_may_come_byte_by_byte() -> None:
    data = (
        b"\r\nPOST /a HTTP/1.1\r\nhost: h\r\nx-empty:\r\ntransfer-encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-trailer: t\r\n\r\n"
    )
    parser = Parser(SMALL)
    (request,) = feed_all(parser, *(data[i : i + 1] for i in range(len(data))))
    assert request.body == b"hello world"
    assert request.headers == {"host": "h", "x-empty": "", "transfer-encoding": "chunked"}
    assert parser.idle


def test_many_small_pieces_of_a_body_are_joined() -> None:
    parser = Parser(SMALL)
    size = 10 * BODY_PARTS_MAX
    parser.feed(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % size)
    for _ in range(size - 1):
        assert parser.feed(b"x") == []
    assert len(parser._body) <= BODY_PARTS_MAX + 1
    (request,) = parser.feed(b"x")
    assert request.body == b"x" * size


def test_upgrade_is_ignored() -> None:
    head = b" HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
    body = b"GET /not-a-request HTTP/1.1\r\n\r\n"
    data = b"".join(
        [
            b"GET /1" + head + b"\r\n",
            b"POST /2" + head + b"content-length: %d\r\n\r\n" % len(body) + body,
            b"POST /3" + head + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            b"GET /4 HTTP/1.1\r\n\r\n",
        ]
    )
    for cut in (len(data), 1, 7, 30):
        parser = Parser(SMALL)
        requests = feed_all(parser, *(data[i : i + cut] for i in range(0, len(data), cut)))
        assert [(r.method, r.path, r.body) for r in requests] == [
            ("GET", "/1", b""),
            ("POST", "/2", body),
            ("POST", "/3", b"ab"),
            ("GET", "/4", b""),
        ]
        assert requests[1].headers["upgrade"] == "h2c"
        assert requests[2].headers["transfer-encoding"] == "chunked"


def test_the_end_of_a_connection_is_not_honoured_but_nothing_may_follow() -> None:
    for line in (b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        parser = Parser(SMALL)
        assert len(parser.feed(line)) == 1
        with pytest.raises(ParseFailure) as caught:
            parser.feed(b"GET / HTTP/1.1\r\n\r\n")
        assert b"(HPE_CLOSED_CONNECTION: Data after `Connection: close`) around byte 1\n" in (
            caught.value.body
        )
    parser = Parser(SMALL)
    assert len(parser.feed(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n" * 2)) == 2


MALFORMED = [
    (
        b"hello world\r\n\r\n",
        "HPE_INVALID_METHOD",
        "Invalid method encountered",
        0,
    ),
    (
        b"FOO / HTTP/1.1\r\n\r\n",
        "HPE_INVALID_METHOD",
        "Invalid method encountered",
        1,
    ),
    (
        b"get / HTTP/1.1\r\n\r\n",
        "HPE_INVALID_METHOD",
        "Invalid method encountered",
        0,
    ),
    (
        b"\x16\x03\x01\x00\x05\x01",
        "HPE_INVALID_METHOD",
        "Invalid method encountered",
        0,
    ),
    (
        b"GET\t/ HTTP/1.1\r\n\r\n",
        "HPE_INVALID_METHOD",
        "Expected space after method",
        3,
    ),
    (
        b"GET /\xff HTTP/1.1\r\n\r\n",
        "HPE_INVALID_URL",
        "Invalid char in url path",
        5,
    ),
    (
        b"GET a/b HTTP/1.1\r\n\r\n",
        "HPE_INVALID_URL",
        "Unexpected char in url schema",
        5,
    ),
    (
        b"GET / b HTTP/1.1\r\n\r\n",
        "HPE_INVALID_CONSTANT",
        "Expected HTTP/, RTSP/ or ICE/",
        6,
    ),
    (
        b"GET / HTTP/9.9\r\n\r\n",
        "HPE_INVALID_VERSION",
        "Invalid HTTP version",
        14,
    ),
    (
        b"GET / HTTP/1.1\nx: y\n\n",
        "HPE_INVALID_VERSION",
        "Expected CRLF after version",
        15,
    ),
    (
        b"GET / HTTP/1.12\r\n\r\n",
        "HPE_INVALID_VERSION",
        "Expected CRLF after version",
        14,
    ),
    (
        b"GET / HTTP/1.1\rx",
        "HPE_STRICT",
        "Expected CRLF after version",
        15,
    ),
    (
        b"GET / HTTP/1.1\r\nx\r\n\r\n",
        "HPE_INVALID_HEADER_TOKEN",
        "Invalid header token",
        17,
    ),
    (
        b"GET / HTTP/1.1\r\nx : y\r\n\r\n",
        "HPE_INVALID_HEADER_TOKEN",
        "Invalid header token",
        17,
    ),
    (
        b"GET / HTTP/1.1\r\nx: \0\r\n\r\n",
        "HPE_INVALID_HEADER_TOKEN",
        "Invalid header value char",
        19,
    ),
    (
        b"GET / HTTP/1.1\r\nx:\n y\r\n\r\n",
        "HPE_INVALID_HEADER_TOKEN",
        "Invalid header value char",
        19,
    ),
    (
        b"GET / HTTP/1.1\r\nx: a\r\n b\r\n\r\n",
        "HPE_INVALID_HEADER_TOKEN",
        "Unexpected whitespace after header value",
        22,
    ),
    (
        b"GET / HTTP/1.1\r\nx: a\rb\r\n\r\n",
        "HPE_LF_EXPECTED",
        "Missing expected LF after header value",
        21,
    ),
    (
        b"GET / HTTP/1.1\r\n x: a\r\n\r\n",
        "HPE_UNEXPECTED_SPACE",
        "Unexpected space after start line",
        17,
    ),
    (
        b"GET / HTTP/1.1\r\ncontent-length: +1\r\n\r\n",
        "HPE_INVALID_CONTENT_LENGTH",
        "Invalid character in Content-Length",
        32,
    ),
    (
        b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
        "HPE_UNEXPECTED_CONTENT_LENGTH",
        "Duplicate Content-Length",
        51,
    ),
    (
        b"GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "HPE_INVALID_TRANSFER_ENCODING",
        "Transfer-Encoding can't be present with Content-Length",
        53,
    ),
    (
        b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n",
        "HPE_INVALID_CONTENT_LENGTH",
        "Content-Length can't be present with Transfer-Encoding",
        59,
    ),
    (
        b"GET / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
        "HPE_INVALID_TRANSFER_ENCODING",
        "Request has invalid `Transfer-Encoding`",
        43,
    ),
    (
        b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1 \r\n",
        "HPE_INVALID_CHUNK_SIZE",
        "Invalid character in chunk size",
        48,
    ),
    (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HPE_PAUSED_H2_UPGRADE",
        "Pause on PRI/Upgrade",
        24,
    ),
]


@pytest.mark.parametrize(("data", "constant", "reason", "byte"), MALFORMED)
def test_malformed_requests(data: bytes, constant: str, reason: str, byte: int) -> None:
    failure = refused(data)
    assert (failure.status, failure.content_type, failure.metric) == (400, "text/plain", "parsing")
    words = (
        "Unable to parse data as a HTTP request. Error message is: "
        f"HTTP parsing failed ({constant}: {reason}) around byte {byte}\n"
        "Error occurred while parsing fragment:\n"
    )
    assert failure.body == words.encode() + data
    assert failure.encode() == (
        b"HTTP/1.1 400 BAD_REQUEST\r\ncontent-length: %d\r\ncontent-type: text/plain\r\n\r\n"
        % len(failure.body)
        + failure.body
    )


@pytest.mark.parametrize(
    ("before", "last", "byte"),
    [
        (b"GET / HT", b"TQ/1.1\r\n\r\n", 1),
        (b"GET / HTTP/1.1\r\nx-a: 1\r\nx", b" y: z\r\n\r\n", 0),
        (b"GET / HTTP/1.1\r\nx-a: 1\r\ncontent-length: 1\r\nx: y", b"\r\ncontent-length: 1", 18),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n", b"zz\r\n", 0),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\na", b"bcdefgh", 0),
        (b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nab", b"cdeGET\t", 0),
    ],
)
def test_the_place_is_counted_in_the_last_fragment(before: bytes, last: bytes, byte: int) -> None:
    body = refused(before, last).body
    assert b") around byte %d\n" % byte in body
    assert body.endswith(b"fragment:\n" + last)


HIDDEN = b"GET /hidden HTTP/1.1\r\n\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (CHUNKED + b"transfer-encoding: identity\r\n", b"0\r\n\r\n"),
        (b"transfer-encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
        (b"transfer-encoding: xchunked\r\n", b"0\r\n\r\n"),
        (b"transfer-encoding:\x0bchunked\r\n", b"0\r\n\r\n"),
        (b"transfer-encoding : chunked\r\n", b"0\r\n\r\n"),
        (b"x: y\r\n transfer-encoding: chunked\r\n", b"0\r\n\r\n"),
        (b"content-length: 5, 5\r\n", b"aaaaa"),
        (b"content-length: 0x5\r\n", b"aaaaa"),
        (b"content-length: 5 5\r\n", b"aaaaa"),
        (b"content-length: 18446744073709551621\r\n", b"aaaaa"),
        (CHUNKED, b"0x0\r\n\r\n"),
        (CHUNKED, b"-1\r\n\r\n"),
        (CHUNKED, b"0 \r\n\r\n"),
        (CHUNKED, b"0\n\n"),
        (CHUNKED, b"1\r\na0\r\n\r\n"),
        (CHUNKED, b'0;a="\r\n\r\n' + HIDDEN + b'"\r\n\r\n'),
        (CHUNKED, b"0;\n\r\n\r\n"),
        (CHUNKED, b"0\r\ncontent-length: 30\r\n\r\n"),
    ],
)
def test_no_two_readers_can_disagree_where_a_request_ends(head: bytes, body: bytes) -> None:
    """Whoever stands before a node may read these in another way: then nothing is read at all."""
    failure = refused(b"POST / HTTP/1.1\r\n" + head + b"\r\n" + body + HIDDEN)
    assert failure.status == 400
    assert failure.requests == []


def test_whichever_byte_is_damaged_all_of_them_are_quoted() -> None:
    good = b"GET /node/state HTTP/1.1\r\n\r\n"
    for at in range(len(good) - 1):
        for byte in (0, 1, good[at] ^ 0x80):
            bad = good[:at] + bytes([byte]) + good[at + 1 :]
            failure = refused(bad)
            assert (failure.status, failure.metric) == (400, "parsing")
            assert bad in failure.body


def test_finding_the_bad_byte_takes_no_longer_the_more_stands_before_it() -> None:
    """A client that sends nonsense must cost about what one costs that sends requests."""
    data = b"CONNECT a:1 HTTP/1.1\r\n\r\n" * 40_000
    began = time.monotonic()
    failure = refused(data + b"nonsense")
    assert len(failure.requests) == 40_000
    assert b"around byte %d\n" % len(data) in failure.body
    assert time.monotonic() - began < 5, "copying what is left for each request took 30 s"


def test_requests_before_the_bad_one_are_kept() -> None:
    failure = refused(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nnonsense")
    assert [request.path for request in failure.requests] == ["/1", "/2"]
    assert b"around byte 38\n" in failure.body


def too_large_header(message: str) -> tuple[int, bytes, str]:
    body = b'{"error":{"code":"RequestHeaderTooLarge","message":"%b"}}' % message.encode()
    return 431, body, "request_header_too_large"


def told(failure: ParseFailure) -> tuple[int, bytes, str]:
    return failure.status, failure.body, failure.metric


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_oversized_headers(cut: int) -> None:
    def pieces(data: bytes) -> list[bytes]:
        return [data[i : i + cut] for i in range(0, len(data), cut)]

    start = b"GET / HTTP/1.1\r\nhost: h\r\n"
    name, value = b"n" * 1001, b"v" * 1001
    assert told(refused(*pieces(start + b"x-a: " + value + b"\r\n\r\n"))) == too_large_header(
        "Header value for 'x-a' is too large (max size allowed: 1000)"
    )
    if cut > 1001:
        assert told(refused(*pieces(start + name + b": v\r\n\r\n"))) == too_large_header(
            f"Header key for '{name.decode()}' is too large (max size allowed: 1000)"
        )
    else:
        status, body, _ = told(refused(*pieces(start + name + b": v\r\n\r\n")))
        assert status == 431
        assert b"Header key for 'nnnn" in body
    many = b"".join(b"x-%d: v\r\n" % i for i in range(10))
    assert told(refused(*pieces(start + many + b"\r\n"))) == too_large_header(
        "Too many headers (max number allowed: 10)"
    )


def test_headers_at_their_limits_pass() -> None:
    start = b"GET /" + b"q" * 5000 + b" HTTP/1.1\r\n"
    lines = b"n" * 1000 + b": v\r\nx-a: " + b"v" * 1000 + b"\r\n" + b"x: y\r\n" * 8
    for cut in (1, 999, 100_000):
        data = start + lines + b"\r\n"
        parser = Parser(SMALL)
        (request,) = feed_all(parser, *(data[i : i + cut] for i in range(0, len(data), cut)))
        assert len(request.headers) == 3


def test_a_header_that_never_ends_is_refused_before_it_does() -> None:
    failure = refused(b"GET / HTTP/1.1\r\nx-a: ", *[b"v" * 100] * 20)
    assert told(failure) == too_large_header(
        "Header value for 'x-a' is too large (max size allowed: 1000)"
    )


@pytest.mark.parametrize(
    ("start", "more"), [(b"GET /", b"q"), (b"GET ", b" "), (b"GET http://h/", b"x")]
)
def test_a_head_that_never_ends_is_refused(start: bytes, more: bytes) -> None:
    pieces = [more * 10_000] * (HEAD_SIZE_MAX // 10_000 + 1)
    failure = refused(start, *pieces, limits=HttpLimits())
    assert told(failure) == too_large_header(
        f"Request head is too large (max size allowed: {HEAD_SIZE_MAX})"
    )


def test_oversized_bodies() -> None:
    expected = (
        413,
        b'{"error":{"code":"RequestBodyTooLarge","message":'
        b'"HTTP request body is too large (max size allowed: 1000)"}}',
        "request_payload_too_large",
    )
    head = b"POST / HTTP/1.1\r\ncontent-length: 1001\r\n\r\n"
    assert told(refused(head + b"x" * 1001)) == expected
    assert told(refused(head, b"x" * 500, b"x" * 501)) == expected
    large = b"POST / HTTP/1.1\r\ncontent-length: 999999\r\n\r\n"
    assert told(refused(large, b"x" * 500, b"x" * 501)) == expected
    chunked = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    assert told(refused(chunked, *[b"258\r\n" + b"y" * 600 + b"\r\n"] * 2)) == expected
    (request,) = Parser(SMALL).feed(head.replace(b"1001", b"1000") + b"x" * 1000)
    assert len(request.body) == 1000


def test_an_announced_size_alone_gets_no_answer() -> None:
    parser = Parser(SMALL)
    assert parser.feed(b"POST / HTTP/1.1\r\ncontent-length: 5000\r\n\r\nabc") == []
    assert not parser.idle


@pytest.mark.parametrize("what", [b"1;", b"0\r\nx-t: "])
def test_endless_chunk_extensions_and_trailers_are_refused(what: bytes) -> None:
    start = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n" + what
    pieces = [b"x" * 1000] * (FRAMING_SIZE_MAX // 1000 + 2)
    assert told(refused(start, *pieces, limits=HttpLimits())) == too_large_header(
        f"Chunk extension or trailer is too large (max size allowed: {FRAMING_SIZE_MAX})"
    )


def test_trailers_count_as_headers() -> None:
    trailers = b"".join(b"x-%d: v\r\n" % i for i in range(20))
    failure = refused(
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + trailers + b"\r\n"
    )
    assert told(failure) == too_large_header("Too many headers (max number allowed: 10)")


def test_a_line_that_comes_byte_by_byte_costs_what_its_bytes_cost() -> None:
    def cost(size: int) -> float:
        parser = Parser(HttpLimits())
        parser.feed(b"GET /")
        began = time.process_time()
        for _ in range(size):
            parser.feed(b"a")
        return time.process_time() - began

    assert cost(400_000) < 10 * cost(100_000)
