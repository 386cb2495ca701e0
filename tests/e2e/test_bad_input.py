"""What a client or an app can do wrong, against a node in a process over TLS.

Each row of the tables below is sent to a running node. It gets the status and the error code it
deserves; afterwards a good request is answered, and its transaction id shows that nothing was
written. In the end the node stops cleanly, has said nothing on stderr, and its ledger verifies.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from pyccf.audit.verify import verify
from pyccf.codec import cose
from pyccf.crypto import cosesign
from support.transcripts import load
from support.vectors import find_vectors
from support.wire import ANSWER_S, TXID, VERSION, World, encode_header, request

MB = 1 << 20
KB = 1 << 10
TIME_LIMIT_MS = 1000
HEAP_LIMIT = 20 * MB

PROBE = """
const key = ccf.strToBuf("k");
export function good() { ccf.kv["public:bad"].has(key); return { body: "good" }; }
export function run(r) {
  ccf.kv["public:bad"].set(key, key);
  return new Function("r", r.body.text())(r);
}
export function look(r) { return new Function("r", r.body.text())(r); }
export function parse(r) { ccf.kv["public:bad"].set(key, key); return { body: r.body.json() }; }
"""
MODULES = {
    "probe.js": PROBE,
    "thrower.js": 'export function f() { return { body: late }; }\nthrow 1;\nconst late = "x";',
    "looper.js": "export function f() { return {}; }\nwhile (true) {}",
    "importer.js": 'import { x } from "./nowhere.js";\nexport function f() { return { body: x }; }',
    "misser.js": 'import { nope } from "./probe.js";\nexport function f() { return {}; }',
    "value.js": "export const f = 5;",
}


def endpoint(module: str, function: str, mode: str, *auth: object) -> dict[str, Any]:
    return {
        "js_module": module,
        "js_function": function,
        "forwarding_required": "always",
        "redirection_strategy": "to_primary",
        "authn_policies": list(auth),
        "mode": mode,
        "openapi": {},
    }


ENDPOINTS = {
    "/good": {"get": endpoint("probe.js", "good", "readonly")},
    "/run": {"post": endpoint("probe.js", "run", "readwrite")},
    "/look": {"post": endpoint("probe.js", "look", "readonly")},
    "/json": {"post": endpoint("probe.js", "parse", "readwrite")},
    "/one/{a}": {"get": endpoint("probe.js", "good", "readonly")},
    "/{b}/two": {"get": endpoint("probe.js", "good", "readonly")},
    "/user": {"get": endpoint("probe.js", "good", "readonly", "user_cert")},
    "/signed": {"post": endpoint("probe.js", "good", "readonly", "user_cose_sign1")},
    "/thrower": {"get": endpoint("thrower.js", "f", "readwrite")},
    "/looper": {"get": endpoint("looper.js", "f", "readwrite")},
    "/importer": {"get": endpoint("importer.js", "f", "readwrite")},
    "/misser": {"get": endpoint("misser.js", "f", "readwrite")},
    "/value": {"get": endpoint("value.js", "f", "readwrite")},
    "/absent": {"get": endpoint("probe.js", "absent", "readwrite")},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("bad_input")
    small = {"max_body_size": "1000", "max_header_size": "1000", "max_headers_count": 10}
    interfaces = {
        "main": {"bind_address": "127.0.0.1:0"},
        "small": {"bind_address": "127.0.0.1:0", "http_configuration": small},
    }
    modules = [{"name": name, "module": text} for name, text in MODULES.items()]
    bundle = {"metadata": {"endpoints": ENDPOINTS}, "modules": modules}
    options = {
        "max_heap_bytes": HEAP_LIMIT,
        "max_stack_bytes": MB,
        "max_execution_time_ms": TIME_LIMIT_MS,
        "log_exception_details": True,
        "return_exception_details": True,
    }
    made = World(
        folder,
        actions=[
            {
                "name": "set_js_app",
                "args": {"bundle": bundle, "disable_bytecode_cache": True},
            },
            {"name": "set_js_runtime_options", "args": options},
        ],
        network={
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": interfaces,
        },
    )
    with made.node:
        yield made
        assert made.node.stop() == 0
        assert made.node.err.read_text() == ""
        report = verify([folder / "ledger"])
        assert report.ok, report


@pytest.fixture
def unharmed(world: World) -> Iterator[World]:
    """The node, which must be none the worse afterwards."""
    before = world.settled("/app/good")
    yield world
    assert world.node.process.poll() is None
    after = world.get("/app/good")
    assert (after.status, after.body) == (200, b"good")
    assert after.headers[TXID] == before, "something was written"


# -- malformed HTTP -----------------------------------------------------------------------------

REFUSED: dict[str, bytes] = {
    "garbage": b"\x00\x01\x02\xff\xfe\r\n\r\n",
    "wrong version": b"GET /app/good HTTP/9.9\r\n\r\n",
    "no space": b"GET/app/goodHTTP/1.1\r\n\r\n",
    "lower-case method": b"get /app/good HTTP/1.1\r\n\r\n",
    "unknown method": b"FETCH /app/good HTTP/1.1\r\n\r\n",
    "endless method": b"A" * 100_000,
    "relative target": b"GET app/good HTTP/1.1\r\n\r\n",
    "blank in target": b"GET /app/go od HTTP/1.1\r\n\r\n",
    "NUL in target": b"GET /app/\0good HTTP/1.1\r\n\r\n",
    "bytes above 127 in target": "GET /app/goöd HTTP/1.1\r\n\r\n".encode(),
    "bare LF": b"GET /app/good HTTP/1.1\nhost: h\n\n",
    "bare CR": b"GET /app/good HTTP/1.1\rhost: h\r\r",
    "header without colon": b"GET /app/good HTTP/1.1\r\nhost\r\n\r\n",
    "blank before colon": b"GET /app/good HTTP/1.1\r\nhost : h\r\n\r\n",
    "folded header": b"GET /app/good HTTP/1.1\r\nx: a\r\n b\r\n\r\n",
    "NUL in header": b"GET /app/good HTTP/1.1\r\nx: a\0b\r\n\r\n",
    "empty header name": b"GET /app/good HTTP/1.1\r\n: v\r\n\r\n",
    "length not a number": b"POST /app/run HTTP/1.1\r\ncontent-length: x\r\n\r\nabc",
    "length negative": b"POST /app/run HTTP/1.1\r\ncontent-length: -1\r\n\r\nabc",
    "length with sign": b"POST /app/run HTTP/1.1\r\ncontent-length: +3\r\n\r\nabc",
    "length hexadecimal": b"POST /app/run HTTP/1.1\r\ncontent-length: 0x3\r\n\r\nabc",
    "length beyond 64 bits": (
        b"POST /app/run HTTP/1.1\r\ncontent-length: 18446744073709551616\r\n\r\n"
    ),
    "two lengths": b"POST /app/run HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "length and chunks": (
        b"POST /app/run HTTP/1.1\r\ncontent-length: 5\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "chunks and length": (
        b"POST /app/run HTTP/1.1\r\ntransfer-encoding: chunked\r\n"
        b"content-length: 5\r\n\r\n0\r\n\r\n"
    ),
    "unknown encoding": b"POST /app/run HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\nabc",
    "encoding not last": (
        b"POST /app/run HTTP/1.1\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n"
    ),
    "bad chunk size": b"POST /app/run HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "negative chunk size": (
        b"POST /app/run HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n-1\r\nabc\r\n"
    ),
    "chunk size beyond 64 bits": (
        b"POST /app/run HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n"
    ),
    "chunk longer than said": (
        b"POST /app/run HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcdef\r\n0\r\n\r\n"
    ),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a response": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "TLS in TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "a body after GET without length": b"GET /app/good HTTP/1.1\r\n\r\n{}",
}
"""Bytes that are no request: 400, and the connection is closed."""


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_requests_are_refused_and_the_connection_closed(
    unharmed: World, name: str
) -> None:
    data = REFUSED[name]
    with unharmed.connect() as wire:
        wire.send(data)
        answer = wire.answer()
        if name == "a body after GET without length":
            # The request before the garbage is a good one.
            assert (answer.status, answer.body) == (200, b"good")
            answer = wire.answer()
        assert answer.status == 400
        assert answer.reason == "BAD_REQUEST"
        assert answer.headers["content-type"] == "text/plain"
        assert answer.body.startswith(b"Unable to parse data as a HTTP request.")
        assert wire.closes()


def recorded_raw() -> list[Any]:
    folder = find_vectors()
    if folder is None or not folder.is_dir():
        return [pytest.param({}, marks=pytest.mark.skip(reason="recorded data not found"))]
    exchanges = load(folder / "ccf" / "transcripts", "errors")
    return [
        pytest.param(e, id=e["name"])
        for e in exchanges
        if "raw_base64" in e["request"]
        and e["interface"] in ("primary_rpc_interface", "small_limits")
    ]


@pytest.mark.parametrize("exchange", recorded_raw())
def test_recorded_bytes_get_the_recorded_answer(unharmed: World, exchange: dict[str, Any]) -> None:
    data = base64.b64decode(exchange["request"]["raw_base64"])
    data = data.replace(b"/app/echo", b"/app/look")
    interface = "small" if exchange["interface"] == "small_limits" else "main"
    wanted = exchange["response"]
    with unharmed.connect(interface) as wire:
        wire.send(data)
        if wanted["status"] is None:
            assert wire.silent()
            return
        answer = wire.answer()
        if wanted["status"] == 400:
            assert (answer.status, answer.body) == (400, recorded_body(wanted))
        else:
            # Another app answers; that the request is one is what counts.
            assert answer.status in (200, 405, 413, 500)
        if "connection_closed" in wanted:
            assert wire.closes() if wanted["connection_closed"] else wire.silent()


def recorded_body(wanted: dict[str, Any]) -> bytes:
    if "body" in wanted:
        body: bytes = wanted["body"].encode()
    else:
        body = base64.b64decode(wanted["body_base64"])
    return body.replace(b"/app/echo", b"/app/look")


UNFINISHED: dict[str, bytes] = {
    "nothing": b"",
    "empty lines": b"\r\n\r\n",
    "half a request line": b"GET /app/go",
    "no end of headers": b"GET /app/good HTTP/1.1\r\nhost: h\r\n",
    "less body than said": b"POST /app/run HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc",
    "a chunk without end": b"POST /app/run HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
    "a huge length and no body": b"POST /app/run HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_unfinished_requests_get_no_answer(unharmed: World, name: str) -> None:
    with unharmed.connect() as wire:
        wire.send(UNFINISHED[name])
        assert wire.silent()


def test_plain_http_to_a_tls_port_is_not_answered(unharmed: World) -> None:
    import socket

    with socket.create_connection(unharmed.node.address(), timeout=ANSWER_S) as plain:
        plain.sendall(b"GET /app/good HTTP/1.1\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")


# -- too much -----------------------------------------------------------------------------------


class Large(NamedTuple):
    """More than an interface takes."""

    data: bytes
    status: int
    code: str
    interface: str = "main"


def chunked(size: int, piece: int) -> bytes:
    head = b"POST /app/run HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + (b"%x\r\n%b\r\n" % (piece, b"a" * piece)) * (size // piece)


BODY, HEADER = "RequestBodyTooLarge", "RequestHeaderTooLarge"
OVERSIZED: dict[str, Large] = {
    "body": Large(request("POST", "/app/run", b"a" * (MB + 1)), 413, BODY),
    "body in chunks": Large(chunked(2 * MB, 64 * KB), 413, BODY),
    "small body": Large(request("POST", "/app/run", b"a" * 1001), 413, BODY, "small"),
    "small body in chunks": Large(chunked(2000, 100), 413, BODY, "small"),
    "header value": Large(request("GET", "/app/good", b"", {"x": "v" * 16385}), 431, HEADER),
    "header name": Large(request("GET", "/app/good", b"", {"x" * 16385: "v"}), 431, HEADER),
    "small header": Large(
        request("GET", "/app/good", b"", {"x": "v" * 1001}), 431, HEADER, "small"
    ),
    "headers": Large(
        request("GET", "/app/good", b"", {f"x{i}": "v" for i in range(257)}), 431, HEADER
    ),
    "small headers": Large(
        request("GET", "/app/good", b"", {f"x{i}": "v" for i in range(10)}), 431, HEADER, "small"
    ),
    "header without end": Large(b"GET /app/good HTTP/1.1\r\nx: " + b"v" * MB, 431, HEADER),
    "headers without end": Large(
        b"GET /app/good HTTP/1.1\r\n" + b"x: v\r\n" * 300_000, 431, HEADER
    ),
    "target without end": Large(b"GET /" + b"a" * (3 * MB), 431, HEADER),
    "trailers without end": Large(chunked(10, 10) + b"0\r\n" + b"x: v\r\n" * 300_000, 431, HEADER),
    "chunk extension without end": Large(chunked(10, 10) + b"5;" + b"x" * MB, 431, HEADER),
}


@pytest.mark.parametrize("name", OVERSIZED)
def test_too_much_is_refused_and_the_connection_closed(unharmed: World, name: str) -> None:
    large = OVERSIZED[name]
    with unharmed.connect(large.interface) as wire:
        wire.send(large.data)
        answer = wire.answer()
        assert (answer.status, answer.code) == (large.status, large.code)
        assert wire.closes()


def test_as_much_as_allowed_is_taken(unharmed: World) -> None:
    padding = b"//" + b"a" * (MB - 20) + b"\n"
    for data, interface in (
        (request("POST", "/app/look", padding + b"return {};"), "main"),
        (request("GET", "/app/good", b"", {"x": "v" * 16384}), "main"),
        (request("GET", "/app/good", b"", {f"x{i}": "v" for i in range(254)}), "main"),
        (request("GET", "/app/good?" + "q" * 200_000), "main"),
        (request("POST", "/app/look", b"return {};".ljust(1000)), "small"),
    ):
        assert unharmed.exchange(data, interface).status == 200


def test_errors_of_the_parser_are_counted(world: World) -> None:
    sessions = json.loads(world.get("/node/metrics").body)["sessions"]["interfaces"]
    errors = sessions["main"]["errors"]
    assert errors["parsing"] >= len(REFUSED)
    assert errors["request_header_too_large"] >= 5
    assert errors["request_payload_too_large"] >= 2
    assert sessions["small"]["errors"]["request_payload_too_large"] >= 2


# -- paths, verbs, headers, versions ------------------------------------------------------------


class Asked(NamedTuple):
    """A well-formed request for something that is not to be had."""

    data: bytes
    status: int
    code: str | None
    says: str = ""


def get(target: str, **headers: str) -> bytes:
    return request("GET", target, b"", headers)


WRONG: dict[str, Asked] = {
    "unknown path": Asked(get("/app/nothing"), 404, "ResourceNotFound", "/nothing"),
    "unknown prefix": Asked(get("/elsewhere/good"), 404, "ResourceNotFound"),
    "root": Asked(get("/"), 404, "ResourceNotFound"),
    "dots": Asked(get("/app/../node/state"), 404, "ResourceNotFound"),
    "encoded path": Asked(get("/app/%67ood"), 404, "ResourceNotFound"),
    "wrong verb": Asked(request("DELETE", "/app/good"), 405, "UnsupportedHttpVerb"),
    "trace": Asked(request("TRACE", "/app/good"), 405, "UnsupportedHttpVerb"),
    "ambiguous path": Asked(get("/app/one/two"), 500, "InternalError", "Multiple potential"),
    "no version": Asked(get("/gov/service/info"), 400, "MissingApiVersionParameter"),
    "unknown version": Asked(
        get("/gov/service/info?api-version=2099-01-01"), 400, "UnsupportedApiVersionValue"
    ),
    "empty version": Asked(
        get("/gov/service/info?api-version="), 400, "UnsupportedApiVersionValue"
    ),
    "old version": Asked(
        get("/gov/service/javascript-app?api-version=2023-06-01-preview"),
        400,
        "UnsupportedApiVersionValue",
    ),
    "transaction id": Asked(get("/node/tx?transaction_id=2.x"), 400, "InvalidQueryParameterValue"),
    "huge transaction id": Asked(
        get("/node/tx?transaction_id=2." + "9" * 10_000), 400, "InvalidQueryParameterValue"
    ),
    "no transaction id": Asked(get("/node/tx"), 400, "InvalidQueryParameterValue"),
    "future receipt": Asked(
        get("/node/receipt?transaction_id=2.999999"), 404, "TransactionPendingOrUnknown"
    ),
    "negative view": Asked(
        get("/node/commit?view_history_since=0"), 400, "InvalidQueryParameterValue"
    ),
    "nothing acceptable": Asked(
        get("/node/commit", accept="text/html"), 406, "UnsupportedContentType"
    ),
    "accept nonsense": Asked(get("/node/commit", accept="nonsense"), 400, "InvalidHeaderValue"),
    "accept bad q": Asked(
        get("/node/commit", accept="application/json;q=x"), 400, "InvalidHeaderValue"
    ),
    "bad member id": Asked(get(f"/gov/service/members/xyz?{VERSION}"), 400, "InvalidResourceName"),
    "unknown member": Asked(
        get(f"/gov/service/members/{'0' * 64}?{VERSION}"), 404, "ResourceNotFound"
    ),
    "unknown proposal": Asked(
        get(f"/gov/members/proposals/{'0' * 64}?{VERSION}"), 404, "ProposalNotFound"
    ),
    "bad wish": Asked(
        request("POST", "/app/run", b"", {"x-pyccf-wait": "forever"}), 400, "InvalidHeaderValue"
    ),
    "bad patience": Asked(
        request(
            "POST",
            "/app/run",
            b"",
            {"x-pyccf-wait": "commit", "x-pyccf-wait-timeout-ms": "1e9"},
        ),
        400,
        "InvalidHeaderValue",
    ),
    "no certificate": Asked(get("/app/user"), 401, "InvalidAuthenticationInfo"),
    "missing export": Asked(get("/app/absent"), 500, "InternalError", "Failed to find export"),
    "export is no function": Asked(get("/app/value"), 500, "InternalError", "is not a function"),
    "missing module": Asked(get("/app/importer"), 500, "InternalError"),
    "missing import": Asked(get("/app/misser"), 500, "InternalError"),
    "module that throws": Asked(get("/app/thrower"), 500, "InternalError"),
    "module that loops": Asked(get("/app/looper"), 500, "InternalError", "took too long"),
    "bad JSON": Asked(request("POST", "/app/json", b"{"), 500, "InternalError"),
    "empty JSON": Asked(request("POST", "/app/json", b""), 500, "InternalError"),
    "JSON that is not UTF-8": Asked(request("POST", "/app/json", b'"\xff"'), 500, "InternalError"),
    "deep JSON": Asked(request("POST", "/app/json", b"[" * 500_000), 500, "InternalError"),
    "JSON of another alphabet": Asked(
        request("POST", "/app/json", '{"a":1}'.encode("utf-16")), 500, "InternalError"
    ),
    "ill-typed COSE": Asked(
        request("POST", "/app/signed", b"{}", {"content-type": "application/json"}),
        401,
        "InvalidAuthenticationInfo",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests_are_told_what_is_wrong(unharmed: World, name: str) -> None:
    wrong = WRONG[name]
    answer = unharmed.exchange(wrong.data)
    assert (answer.status, answer.code) == (wrong.status, wrong.code), answer.body
    assert wrong.says.encode() in answer.body


def test_unknown_certificates_are_no_users(unharmed: World) -> None:
    for who, status in ((unharmed.stranger, 401), (unharmed.member, 401), (unharmed.user, 200)):
        with unharmed.connect("main", who.path) as wire:
            wire.send(get("/app/user"))
            assert wire.answer().status == status


# -- bad COSE -----------------------------------------------------------------------------------


class Signed(NamedTuple):
    """A governance request: its body, what it deserves, and where it goes."""

    body: Callable[[World], bytes]
    status: int
    code: str
    path: str = "/gov/members/proposals:create"
    query: str = VERSION
    content_type: str = "application/cose"


NOTHING: dict[str, Any] = {"actions": []}


def changed(**changes: Any) -> Callable[[World], bytes]:
    return lambda world: world.member.sign(NOTHING, world.member.header(**changes))


def cut(world: World) -> bytes:
    return world.member.sign(NOTHING)[:-10]


def flipped(world: World) -> bytes:
    body = bytearray(world.member.sign(NOTHING))
    body[-1] ^= 1
    return bytes(body)


def by_stranger(world: World) -> bytes:
    return world.stranger.sign(NOTHING)


def in_the_name_of_the_member(world: World) -> bytes:
    header = world.stranger.header(kid=world.member.id.encode())
    return world.stranger.sign(NOTHING, header)


def other_payload(world: World) -> bytes:
    good = cose.parse_sign1(world.member.sign(NOTHING))
    return cose.encode_sign1(good.protected, b'{"actions":[{}]}', good.signature)


def without_header(world: World) -> bytes:
    return cosesign.sign1(world.member.key, b"", b"{}", detached=False)


def header_twice(world: World) -> bytes:
    pairs = encode_header(world.member.header())[1:]
    assert len(world.member.header()) == 4
    return cosesign.sign1(world.member.key, b"\xa8" + pairs * 2, b"{}", detached=False)


def payload(raw: bytes) -> Callable[[World], bytes]:
    return lambda world: world.member.sign(raw)


def action(name: object, args: object) -> Callable[[World], bytes]:
    return lambda world: world.member.sign({"actions": [{"name": name, "args": args}]})


AUTH = "InvalidAuthenticationInfo"
INTERNAL = "InternalError"
SIGNED: dict[str, Signed] = {
    "empty": Signed(lambda _: b"", 500, INTERNAL),
    "garbage": Signed(lambda _: b"\xff" * 100, 500, INTERNAL),
    "JSON": Signed(lambda _: b'{"actions": []}', 500, INTERNAL),
    "untagged": Signed(lambda world: world.member.sign(NOTHING)[1:], 500, INTERNAL),
    "another tag": Signed(lambda world: b"\xd1" + world.member.sign(NOTHING)[1:], 500, INTERNAL),
    "truncated": Signed(cut, 500, INTERNAL),
    "followed by more": Signed(lambda world: world.member.sign(NOTHING) + b"\0", 500, INTERNAL),
    "deeply nested": Signed(lambda _: b"\xd2" + b"\x84" * 100_000, 500, INTERNAL),
    "lengths that lie": Signed(lambda _: b"\xd2\x84\x5b" + b"\xff" * 8, 500, INTERNAL),
    "no header": Signed(without_header, 500, INTERNAL),
    "header twice": Signed(header_twice, 500, INTERNAL),
    "no algorithm": Signed(changed(alg=None), 500, INTERNAL),
    "no key id": Signed(changed(kid=None), 500, INTERNAL),
    "no time": Signed(changed(created_at=None), 500, INTERNAL),
    "time is text": Signed(changed(created_at="now"), 500, INTERNAL),
    "time before 1970": Signed(changed(created_at=-1), 500, INTERNAL),
    "unknown algorithm": Signed(changed(alg=99), 401, AUTH),
    "algorithm of another curve": Signed(changed(alg=-7), 401, AUTH),
    "EdDSA": Signed(changed(alg=-8), 401, AUTH),
    "wrong key id": Signed(changed(kid=b"0" * 64), 401, AUTH),
    "raw key id": Signed(changed(kid=b"\x80" * 32), 401, AUTH),
    "detached": Signed(lambda w: w.member.sign(NOTHING, detached=True), 401, AUTH),
    "bad signature": Signed(flipped, 401, AUTH),
    "other payload": Signed(other_payload, 401, AUTH),
    "stranger": Signed(by_stranger, 401, AUTH),
    "stranger as member": Signed(in_the_name_of_the_member, 401, AUTH),
    "wrong message type": Signed(changed(kind="ballot"), 401, AUTH),
    "no message type": Signed(changed(kind=None), 401, AUTH),
    "wrong content type": Signed(
        lambda w: w.member.sign(NOTHING), 401, AUTH, content_type="application/json"
    ),
    "content type with parameter": Signed(
        lambda w: w.member.sign(NOTHING), 401, AUTH, content_type="application/cose; a=b"
    ),
    "replayed": Signed(lambda world: world.proposal, 400, "ProposalReplay"),
    "too old": Signed(changed(created_at=1), 400, "ProposalCreatedTooLongAgo"),
    "too far in the future": Signed(changed(created_at=10**18), 400, "InvalidCreatedAt"),
    "time beyond 63 bits": Signed(changed(created_at=2**63), 500, INTERNAL),
    "no version": Signed(
        lambda w: w.member.sign(NOTHING), 400, "MissingApiVersionParameter", query=""
    ),
    "unknown version": Signed(
        lambda w: w.member.sign(NOTHING), 400, "UnsupportedApiVersionValue", query="api-version=1"
    ),
    "payload is no JSON": Signed(payload(b"{"), 500, INTERNAL),
    "payload is empty": Signed(payload(b""), 500, INTERNAL),
    "payload is a list": Signed(payload(b"[]"), 500, INTERNAL),
    "payload is deep": Signed(payload(b"[" * 100_000), 500, INTERNAL),
    "payload is not UTF-8": Signed(
        payload(b'{"actions": "\xff"}'), 400, "ProposalFailedToValidate"
    ),
    "unknown action": Signed(action("open_sesame", {}), 400, "ProposalFailedToValidate"),
    "action without name": Signed(action(None, {}), 400, "ProposalFailedToValidate"),
    "inherited action": Signed(action("constructor", {}), 400, "ProposalFailedToValidate"),
    "action with wrong arguments": Signed(
        action("set_user", {"cert": 5}), 400, "ProposalFailedToValidate"
    ),
    "app with a bad module": Signed(
        action(
            "set_js_app",
            {
                "bundle": {
                    "metadata": {"endpoints": {"/good": ENDPOINTS["/good"]}},
                    "modules": [{"name": "probe.js", "module": "not javascript ("}],
                }
            },
        ),
        500,
        INTERNAL,
    ),
    "bad constitution": Signed(
        action("set_constitution", {"constitution": "while (true) {}"}),
        400,
        "ProposalFailedToValidate",
    ),
    "ballot for nothing": Signed(
        lambda w: w.member.sign({"ballot": "x"}, w.member.header("ballot", proposal_id="0" * 64)),
        404,
        "ProposalNotFound",
        path="/gov/members/proposals/" + "0" * 64 + "/ballots/MEMBER:submit",
    ),
    "ballot for another": Signed(
        lambda w: w.member.sign({"ballot": "x"}, w.member.header("ballot", proposal_id="0" * 64)),
        400,
        "InvalidResourceName",
        path="/gov/members/proposals/" + "0" * 64 + "/ballots/" + "1" * 64 + ":submit",
    ),
    "withdrawal without proposal": Signed(
        changed(kind="withdrawal"),
        400,
        "InvalidResourceName",
        path="/gov/members/proposals/" + "0" * 64 + ":withdraw",
    ),
    "ack of another state": Signed(
        lambda w: w.member.sign({"stateDigest": "0" * 64}, w.member.header("ack")),
        400,
        "StateDigestMismatch",
        path="/gov/members/state-digests/MEMBER:ack",
    ),
    "ack that says nothing": Signed(
        lambda w: w.member.sign({}, w.member.header("ack")),
        400,
        "InvalidInput",
        path="/gov/members/state-digests/MEMBER:ack",
    ),
    "member as user": Signed(
        lambda w: w.member.sign(b"x"), 401, AUTH, path="/app/signed", query=""
    ),
    "user with bad signature": Signed(
        lambda w: w.user.sign(b"x")[:-1] + b"\0", 401, AUTH, path="/app/signed", query=""
    ),
}


@pytest.mark.parametrize("name", SIGNED)
def test_badly_signed_requests_change_nothing(unharmed: World, name: str) -> None:
    signed = SIGNED[name]
    path = signed.path.replace("MEMBER", unharmed.member.id)
    target = f"{path}?{signed.query}" if signed.query else path
    headers = {"content-type": signed.content_type}
    answer = unharmed.exchange(request("POST", target, signed.body(unharmed), headers))
    assert (answer.status, answer.code) == (signed.status, signed.code), answer.body


# -- JavaScript ---------------------------------------------------------------------------------

THREW = "Exception thrown while executing."
SLOW = "Operation took too long to complete."
STOPPED_S = 20
"""What loops is stopped within its limit; so long after, if the machine has much else to do."""

HOSTILE: dict[str, tuple[str, str]] = {
    # loops
    "loop": ("while (true) {}", SLOW),
    "loop that catches": ("for (;;) { try { for (;;) {} } catch (e) {} finally { } }", SLOW),
    "loop in a generator": ("function* g() { for (;;) yield 1; } for (const x of g()) {}", SLOW),
    "loop in a getter": ("return { get body() { for (;;) {} } }.body;", SLOW),
    "loop in a sort": ("[3, 1, 2].sort(() => { for (;;) {} });", SLOW),
    "loop in a replacer": ("JSON.stringify({ toJSON() { for (;;) {} } });", SLOW),
    "loop in native code": ("[].indexOf.call({ length: 2 ** 53 - 1 }, 1);", SLOW),
    "regular expression": ("/^(a+)+$/.test('a'.repeat(40) + 'b');", ""),
    "loop in table order": ("ccf.kv['public:bad'].forEach(() => { for (;;) {} });", SLOW),
    # recursion
    "recursion": ("const f = () => f() + 1; f();", THREW),
    "mutual recursion": ("const f = () => g() + 1, g = () => f() + 1; f();", THREW),
    "recursion in toString": ("const o = { toString() { return `${o}`; } }; `${o}`;", THREW),
    "recursion in a proxy": ("const p = new Proxy({}, { get: (t, k) => p[k] }); p.x;", THREW),
    "recursion in native code": (
        "let a = []; for (let i = 0; i < 200000; i++) a = [a]; JSON.stringify(a);",
        THREW,
    ),
    "recursion in source": ("return eval('('.repeat(100000));", THREW),
    "recursion in a pattern": ("new RegExp('('.repeat(100000) + ')'.repeat(100000));", THREW),
    # memory
    "list without end": ("const a = []; for (;;) a.push(new Array(1000).fill(0));", THREW),
    "buffers without end": ("const a = []; for (;;) a.push(new Uint8Array(1 << 20));", THREW),
    "text without end": ("let s = 'x'; for (;;) s = s + s + 'y'.repeat(10000);", THREW),
    "map without end": ("const m = new Map(); for (let i = 0; ; i++) m.set(i, [i]);", ""),
    "huge buffer": ("new ArrayBuffer(2 ** 40);", THREW),
    "huge array": ("new Array(4294967295).fill(0);", THREW),
    "huge text": ("'x'.repeat(2 ** 30);", THREW),
    "huge number": ("let n = 2n; for (;;) n = n * n;", ""),
    "memory given back by nobody": (
        "globalThis.keep = []; for (;;) globalThis.keep.push({ a: 'x'.repeat(100) });",
        THREW,
    ),
    # thrown values
    "throws an error": ("throw new Error('e');", THREW),
    "throws null": ("throw null;", THREW),
    "throws undefined": ("throw undefined;", THREW),
    "throws a number": ("throw 5;", THREW),
    "throws a text": ("throw 'text';", THREW),
    "throws a huge text": ("throw 'x'.repeat(5e6);", THREW),
    "throws a Symbol": ("throw Symbol('s');", THREW),
    "throws a big integer": ("throw 5n;", THREW),
    "throws a function": ("throw () => 1;", THREW),
    "throws a proxy": ("throw new Proxy({}, {});", THREW),
    "throws a proxy of traps": (
        "throw new Proxy({}, new Proxy({}, { get() { throw new Error('trap'); } }));",
        THREW,
    ),
    "throws a revoked proxy": (
        "const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); throw proxy;",
        THREW,
    ),
    "throws what throws as text": ("throw { toString() { throw new Error('again'); } };", THREW),
    "throws what throws as JSON": ("throw { toJSON() { throw new Error('again'); } };", THREW),
    "throws a cycle": ("const o = {}; o.o = o; throw o;", THREW),
    "throws an error that throws": (
        "throw Object.defineProperty(new Error(), 'message', { get() { throw 1; } });",
        THREW,
    ),
    "throws an error with an odd stack": (
        "throw Object.defineProperty(new Error('e'), 'stack', { get() { throw 1; } });",
        THREW,
    ),
    "throws an error named oddly": (
        "const e = new Error('e'); e.name = Symbol('n'); throw e;",
        THREW,
    ),
    "throws a promise": ("throw Promise.reject(1);", THREW),
    "throws lone surrogates": ("throw '\\ud800';", THREW),
    "throws controls": ("throw 'a\\u0000b\\u0001\\u007f\\r\\n';", THREW),
    "syntax error": ("return eval('][');", THREW),
    "reference error": ("return undefinedName;", THREW),
    # results that are none
    "returns nothing": ("", "(not an object)"),
    "returns null": ("return null;", "(not an object)"),
    "returns a number": ("return 42;", "(not an object)"),
    "returns a text": ("return 'text';", "(not an object)"),
    "returns a Symbol": ("return Symbol();", "(not an object)"),
    "returns a big integer": ("return 5n;", "(not an object)"),
    "returns true": ("return true;", "(not an object)"),
    "status is a text": ("return { statusCode: '200' };", "(status code type)"),
    "status is a fraction": ("return { statusCode: 200.5 };", "(status code type)"),
    "status is NaN": ("return { statusCode: NaN };", "(status code type)"),
    "status is a big integer": ("return { statusCode: 200n };", "(status code type)"),
    "status is an object": ("return { statusCode: {} };", "(status code type)"),
    "status is negative": ("return { statusCode: -1 };", "(status code type)"),
    "status announces another": ("return { statusCode: 103 };", "(status code type)"),
    "status is unknown": ("return { statusCode: 99999 };", "(status code type)"),
    "status throws": ("return { get statusCode() { throw 1; } };", "(status code type)"),
    "status is a revoked proxy": (
        "const p = Proxy.revocable({}, {}); p.revoke(); return { statusCode: p.proxy };",
        "(status code type)",
    ),
    "body is a cycle": ("const o = {}; o.o = o; return { body: o };", "JSON conversion"),
    "body has a big integer": ("return { body: { n: 1n } };", "JSON conversion"),
    "body throws": ("return { get body() { throw new Error('b'); } };", "JSON conversion"),
    "body throws as JSON": ("return { body: { toJSON() { throw 1; } } };", "JSON conversion"),
    "body is a revoked proxy": (
        "const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); return { body: proxy };",
        "JSON conversion",
    ),
    "body is deep": (
        "let a = []; for (let i = 0; i < 50000; i++) a = [a]; return { body: a };",
        "JSON conversion",
    ),
    "header is a Symbol": ("return { headers: { x: Symbol() } };", "(header value type)"),
    "header throws": ("return { headers: { get x() { throw 1; } } };", "(header"),
    "header throws as text": (
        "return { headers: { x: { toString() { throw 1; } } } };",
        "(header value type)",
    ),
    "header name is none": ("return { headers: { 'a b': 'c' } };", "(header type)"),
    "header name with line": ("return { headers: { 'a\\r\\nb': 'c' } };", "(header type)"),
    # tables
    "governance table": ("ccf.kv['public:ccf.gov.members.info'].clear();", THREW),
    "internal table": ("ccf.kv['public:ccf.internal.signatures'].clear();", THREW),
    "key is a text": ("ccf.kv['public:bad'].set('a', new ArrayBuffer(1));", THREW),
    "value is a text": ("ccf.kv['public:bad'].set(new ArrayBuffer(1), 'a');", THREW),
    "value is missing": ("ccf.kv['public:bad'].set(new ArrayBuffer(1));", THREW),
    "iteration throws": ("ccf.kv['public:bad'].forEach(() => { throw new Error('f'); });", THREW),
    "bad claims": ("ccf.rpc.setClaimsDigest(new ArrayBuffer(31));", THREW),
    "bad key size": ("ccf.crypto.generateAesKey(7);", THREW),
    "huge random": ("ccf.crypto.generateRsaKeyPair(1 << 30);", THREW),
}
"""Scripts that write a row and then do this: 500 InternalError with these words."""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_scripts_fail_alone(unharmed: World, name: str) -> None:
    script, says = HOSTILE[name]
    started = time.monotonic()
    answer = unharmed.exchange(request("POST", "/app/run", script.encode()))
    assert (answer.status, answer.code) == (500, INTERNAL), answer.body
    message = json.loads(answer.body)["error"]["message"]
    assert says in message
    if says == SLOW:
        assert time.monotonic() - started < STOPPED_S


SLOW_RESULTS = {
    "body loops as JSON": "return { body: { toJSON() { for (;;) {} } } };",
    "header loops as text": "return { headers: { x: { toString() { for (;;) {} } } } };",
}
"""Converting a result has the default time limit at least, 5 s."""


@pytest.mark.parametrize("name", SLOW_RESULTS)
def test_results_that_loop_are_stopped(unharmed: World, name: str) -> None:
    answer = unharmed.exchange(request("POST", "/app/run", SLOW_RESULTS[name].encode()))
    assert (answer.status, answer.code) == (500, INTERNAL), answer.body


ODD: dict[str, tuple[str, bytes]] = {
    "promise": ("return Promise.resolve({ body: 1 });", b""),
    "rejected promise": ("return (async () => { throw new Error('a'); })();", b""),
    "promise that never ends": ("return new Promise(() => {});", b""),
    "list": ("return [1, 2];", b""),
    "function": ("return () => 1;", b""),
    "error": ("return new Error('e');", b""),
    "proxy": ("return new Proxy({ body: 'p' }, {});", b"p"),
    "null body": ("return { body: null };", b"null"),
    "function body": ("return { body: () => 1 };", b"undefined"),
    "Symbol body": ("return { body: Symbol() };", b"undefined"),
    "NaN body": ("return { body: NaN };", b"null"),
    "headers are a text": ("return { headers: 'x', body: 'b' };", b"b"),
    "throwing headers": ("return { get headers() { throw 1; }, body: 'b' };", b"b"),
    "body cut at NUL": ("return { body: 'a\\u0000b' };", b"a"),
    "own transaction id": ("return { headers: { 'x-ms-ccf-transaction-id': '9.9' } };", b""),
}
"""Results that are odd but taken: 200 with this body."""


@pytest.mark.parametrize("name", ODD)
def test_odd_results_are_taken_as_the_original_does(unharmed: World, name: str) -> None:
    script, body = ODD[name]
    answer = unharmed.exchange(request("POST", "/app/look", script.encode()))
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers.get(TXID) != "9.9"


def test_no_script_writes_a_header_of_its_own_making(unharmed: World) -> None:
    script = b"return { headers: { x: 'a\\r\\nset-cookie: stolen\\r\\n\\r\\nHTTP/1.1 200 OK' } };"
    with unharmed.connect() as wire:
        wire.send(request("POST", "/app/look", script))
        answer = wire.answer()
        assert "set-cookie" not in answer.headers
        wire.send(get("/app/good"))
        assert wire.answer().body == b"good"


def test_a_script_cannot_write_where_it_may_only_read(unharmed: World) -> None:
    script = b"ccf.kv['public:bad'].set(new ArrayBuffer(1), new ArrayBuffer(1)); return {};"
    answer = unharmed.exchange(request("POST", "/app/look", script))
    assert (answer.status, answer.code) == (500, INTERNAL)


def test_nothing_outlives_a_request(unharmed: World) -> None:
    """What one script does to its globals the next does not see."""
    for script in (
        b"globalThis.left = 1; Array.prototype.left = 1; delete globalThis.ccf; return {};",
        b"Object.freeze(Object.prototype); JSON.stringify = () => 'owned'; return {};",
    ):
        assert unharmed.exchange(request("POST", "/app/look", script)).status == 200
    script = b"return { body: [typeof left, [].left ?? 0, typeof ccf, JSON.stringify(1)] };"
    answer = unharmed.exchange(request("POST", "/app/look", script))
    assert json.loads(answer.body) == ["undefined", 0, "object", "1"]


def test_many_bad_requests_on_one_connection(unharmed: World) -> None:
    """Refusals that do not close the connection leave it in order."""
    with unharmed.connect() as wire:
        for _ in range(20):
            wire.send(request("POST", "/app/run", b"throw null;"))
            wire.send(get("/app/nothing"))
            wire.send(get("/app/good"))
        statuses = [wire.answer().status for _ in range(60)]
    assert statuses == [500, 404, 200] * 20


def test_connections_that_end_in_the_middle_leave_nothing(unharmed: World) -> None:
    for _ in range(20):
        with unharmed.connect() as wire:
            wire.send(request("POST", "/app/run", b"return {};" + b" " * 1000)[:-1])
    for _ in range(5):
        with unharmed.connect() as wire:
            wire.send(get("/app/good") * 50)
