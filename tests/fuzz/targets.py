"""What is fuzzed: for each target a function of bytes, sound samples, and what it may raise.

The targets named here are whole ways in, as a client has them; every reader of the table in
`tests/property/test_fuzz.py` is a target too, under its own name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

from property.test_fuzz import READERS, Reader, certificates, documents, envelopes, keys_pem
from property.test_js_calls import _bench as calls_bench
from pyccf.api.gov.scripts import Scripts
from pyccf.apps.python import App, AppContext
from pyccf.codec.text import dump_json, unb64url
from pyccf.constitutions import text as constitution_text
from pyccf.http.h1 import ParseFailure, Parser
from pyccf.http.h2 import Server
from pyccf.http.limits import HttpLimits
from pyccf.http.message import Request, encode_error, query_parameters
from pyccf.service import jwt as keys
from pyccf.service.proposals import ScriptFailure, ScriptUnusable
from support.h2_client import Talker, head
from support.js_app import JsBench
from support.node import Person, Service
from support.tokens import Issuer
from support.transcripts import make_service

LIMITS = HttpLimits(max_body_size=400, max_header_size=120, max_headers_count=12)
OUTPUT_MAX = 64 * 1024
"""Bytes that HTTP/2 may answer to one input: many times what any of the samples gets."""


class Target(NamedTuple):
    """One way in."""

    name: str
    run: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    samples: Callable[[], Iterable[bytes]]


def _pieces(data: bytes) -> list[bytes]:
    """The bytes as they may arrive: whole, or cut at a place that they name themselves."""
    if not data:
        return [b""]
    cut = data[0] % (len(data) + 1)
    return [data] if data[0] & 1 else [data[:cut], data[cut:]]


# --- HTTP -------------------------------------------------------------------------------------


def http1(data: bytes) -> None:
    """Requests in pieces; whatever comes out is within the limits."""
    parser = Parser(LIMITS)
    for piece in _pieces(data):
        for request in _fed(parser, piece):
            assert len(request.body) <= LIMITS.max_body_size
            query_parameters(request.query)
            assert repr(request.headers)


def _fed(parser: Parser, piece: bytes) -> list[Request]:
    """The requests that are complete now, those before a malformed one too."""
    try:
        return parser.feed(piece)
    except ParseFailure as failure:
        answer = failure.encode()
    assert answer.startswith(b"HTTP/1.1 4")
    return []


def http1_samples() -> list[bytes]:
    whole = next(reader for reader in READERS if reader.name == "HTTP requests")
    return list(whole.samples())


def http2(data: bytes) -> None:
    """A connection: every request is answered, what it may hold and send is bounded."""
    server = Server(LIMITS)
    sent = 0
    for piece in _pieces(data):
        for arrived in server.feed(piece):
            assert len(arrived.request.body) <= LIMITS.max_body_size
            assert repr(arrived.request.headers)
            server.answer(arrived.stream, encode_error(404, "ResourceNotFound", "No."))
            server.release(arrived)
        server.cancelled()
        while out := server.take():
            sent += len(out)
            if not server.more:
                break
    assert sent <= OUTPUT_MAX + 4 * len(data)


def http2_samples() -> list[bytes]:
    plain, posting = Talker(), Talker()
    plain.ask("GET", "/app/commit")
    posting.send(head("POST", "/app/log/private", ("x", "y")), b"hello")
    both = Talker()
    both.ask("GET", "/a")
    both.ask("DELETE", "/b")
    return [talker.data() for talker in (plain, posting, both)]


# --- who calls --------------------------------------------------------------------------------


class _Bearers:
    """A service that knows one issuer, and the only tokens it may believe."""

    def __init__(self) -> None:
        app = App()

        @app.get("/who", auth=["jwt"])
        def who(ctx: AppContext) -> str:
            assert ctx.caller is not None
            return ctx.caller.policy

        self.service = Service(app=app)
        self.service.open_app()
        self.service.tick()
        issuer = Issuer("https://issuer.example.com", ec=True)
        tx = self.service.node.store.tx()
        keys.set_keys(tx, issuer.name, [issuer.jwk()])
        self.service.node.commit(tx)
        claims: list[dict[str, Any]] = [{}, {"exp": 1}, {"nbf": 2**40}, {"tid": "t"}]
        self.tokens = [issuer.token(**claim) for claim in claims]
        self.content = {_content(token) for token in self.tokens}


def _content(token: str) -> tuple[str, str, bytes]:
    """What is signed, as it is written, and the signature: its last digit has bits that say
    nothing."""
    header, payload, signature = token.strip(" ").split(".")
    return header, payload, unb64url(signature)


@cache
def _bearers() -> _Bearers:
    return _Bearers()


def jwt(data: bytes) -> None:
    """A token in a request: nothing but the issuer's own tokens names a caller."""
    known = _bearers()
    text = data.decode("latin-1")
    answer = known.service.call("GET", "/app/who", headers={"authorization": f"Bearer {text}"})
    if answer.status == 200:
        assert _content(text) in known.content, text
    else:
        assert answer.status in (401, 500), answer.status


def jwt_samples() -> list[bytes]:
    return [token.encode() for token in _bearers().tokens]


@cache
def _service() -> Service:
    return make_service(members=1)


# --- governance -------------------------------------------------------------------------------


def proposal(data: bytes) -> None:
    """A proposal's text before the default constitution, with real scripts."""
    service = _service()
    tx = service.node.store.tx()
    scripts = Scripts(service.node, _NO_OPERATIONS)
    verdict = scripts.validate(tx, _constitution(), data.decode("utf-8", "replace"))
    assert isinstance(verdict.valid, bool)
    tx.close()


_NO_OPERATIONS: Any = None
"""`validate` may not have the node do anything."""


@cache
def _constitution() -> str:
    return constitution_text("default", "virtual")


def proposals() -> list[bytes]:
    member: Person = _service().members[0]
    actions: list[tuple[str, Any]] = [
        ("set_user", {"cert": member.cert, "user_data": {"a": [1, None]}}),
        ("set_member", {"cert": member.cert, "member_data": None, "recovery_role": "Owner"}),
        ("remove_user", {"user_id": member.id}),
        ("set_constitution", {"constitution": "export function validate() {}"}),
        ("set_js_runtime_options", {"max_heap_bytes": 1, "max_stack_bytes": 1}),
        ("set_recovery_threshold", {"recovery_threshold": 1}),
        ("transition_service_to_open", {"next_service_identity": member.cert}),
        (
            "set_js_app",
            {"bundle": {"metadata": {"endpoints": {"/a": {"get": {}}}}, "modules": []}},
        ),
        ("set_jwt_issuer", {"issuer": "https://a", "jwks": {"keys": [{"kty": "RSA"}]}}),
        ("set_node_certificate_validity", {"node_id": "x", "valid_from": "211019154318Z"}),
        ("trigger_ledger_rekey", None),
    ]
    return [dump_json({"actions": [{"name": n, "args": a}]}) for n, a in actions]


# --- JavaScript values ------------------------------------------------------------------------

_CONVERT = r"""
export function convert(request) {
  const raw = request.body.arrayBuffer();
  const text = request.body.text();
  const out = [raw.byteLength, ccf.bufToStr(raw).length, ccf.strToBuf(text).byteLength];
  const kept = ccf.kv["t"];
  const key = raw.slice(0, 1);  // few of them: what is stored stays
  kept.set(key, raw);
  out.push(kept.has(key), kept.get(key).byteLength, kept.size);
  const attempts = [
    () => ccf.bufToJsonCompatible(raw), () => request.body.json(), () => JSON.parse(text),
    () => ccf.jsonCompatibleToBuf(JSON.parse(text)), () => ccf.pemToId(text),
    () => ccf.crypto.digest("SHA-256", raw), () => ccf.crypto.pubPemToJwk(text),
    () => ccf.crypto.isValidX509CertBundle(text),
    () => ccf.crypto.verifySignature(text, raw, raw, raw),
    () => ({headers: {[text]: text}}), () => ccf.kv[text].get(raw), () => new TextDecoder(),
  ];
  const made = attempts.map((f) => { try { return f(); } catch (e) { return String(e); } });
  const last = new Uint8Array(raw).at(-1) ?? 0;
  return [
    {body: made}, {body: raw}, {body: text, headers: {"x-a": text}}, {statusCode: made[2]},
    {body: out}, made[1], {body: made[1], headers: made[1]},
  ][last % 7];
}
"""


@cache
def _convert_bench() -> JsBench:
    made = JsBench()
    made.install(
        {"c.js": _CONVERT}, {"POST /convert": {"js_module": "c.js", "js_function": "convert"}}
    )
    return made


@cache
def _calls_bench() -> JsBench:
    return calls_bench(reuse=True)


def js_values(data: bytes) -> None:
    """Bytes through every conversion, and calls with strange values that they choose."""
    converting = _convert_bench()
    answer = converting.call("POST", "/convert", data, {"host": "h"})
    assert isinstance(answer.body, bytes)
    converting.forget()
    bench = _calls_bench()
    bench.options(max_execution_time_ms=300, max_heap_bytes=800_000, max_stack_bytes=200_000)
    seed = int.from_bytes(data[:3], "little")
    body = json.dumps({"seed": seed, "calls": len(data) % 40, "result": True}).encode()
    answer = bench.call("POST", "/run/7", body, {"host": "h", "x-a": "b"})
    assert isinstance(answer.body, bytes)


# --- the table --------------------------------------------------------------------------------


def _together(name: str, readers: Iterable[str], samples: Callable[[], list[bytes]]) -> Target:
    """Several readers of the same bytes."""
    found = [reader for reader in READERS if reader.name in set(readers)]

    def run(data: bytes) -> None:
        for reader in found:
            try:
                reader.read(data)
            except reader.errors:
                continue

    return Target(name, run, (), samples)


def _target(reader: Reader) -> Target:
    return Target(reader.name.replace(" ", "-"), reader.read, reader.errors, reader.samples)


MAIN = [
    Target("http1", http1, (), http1_samples),
    Target("http2", http2, (), http2_samples),
    _together("cose", ["COSE", "COSE of members", "COSE of users", "COSE receipts"], envelopes),
    next(_target(r) for r in READERS if r.name == "CBOR"),
    Target("jwt", jwt, (), jwt_samples),
    _together("pem", ["certificates", "endorsements", "keys", "JWK"], lambda: [
        *certificates(), *keys_pem(),
    ]),
    Target("proposal", proposal, (ScriptFailure, ScriptUnusable), proposals),
    Target("js-values", js_values, (), documents),
]  # fmt: skip
"""The ways in of clients and members."""

ALL = {
    target.name: target for target in [*(_target(r) for r in READERS if r.name != "CBOR"), *MAIN]
}
