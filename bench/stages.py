"""`python -m bench.stages`: processor time of one request, stage by stage, in microseconds.

Each stage's own functions are called in a loop, with the bytes of the load (`records.lua`); the
figure is the best of several loops, in processor time of the thread. A stage that cannot run
without the one before it is measured together with it, and the other is taken off. What the whole
path costs beyond the sum of its stages is `rest`. Sockets and the event loop are not here: they are
the difference to the processor time that `python -m bench` sees in a running node.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from time import thread_time_ns

import msgspec
from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from bench.echo import certificate
from bench.memory_node import MemoryNode
from pyccf.apps.auth import authenticate
from pyccf.apps.context import Context
from pyccf.http.h1 import Parser
from pyccf.http.limits import HttpLimits
from pyccf.http.message import Request, encode_response
from pyccf.kv import wire
from pyccf.ledger.entry import Entry
from pyccf.ledger.history import History
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.tls import server_context
from pyccf.types import SeqNo, TxID, View

CALLS = 2000
"""Calls in one loop."""
LOOPS = 7
TLS_CALLS = 500
BUFFER = 64 * 1024
TABLE = "records"
KEY = b"00000042"
MESSAGE = b"m" * 64
SIGNATURE_EVERY = 5000
"""Transactions between two signatures under load (spec: config-and-cli.md, ledger_signatures)."""

Z32 = bytes(32)
HOST = b"host: 127.0.0.1:8000\r\n"


class Stages(msgspec.Struct, frozen=True):
    """Microseconds per request."""

    tls: float
    http: float
    route_auth: float
    app: float
    kv_encode: float
    encrypt_digest_merkle: float
    reply: float
    rest: float
    node: float
    """From the parsed request to the answer's bytes: all but TLS and HTTP."""
    signature_share: float
    """A signature transaction and the commit it brings, divided among what it covers."""
    ledger_file: float
    """Writing one entry alone; under load several share one write."""


def best_us(loop: Callable[[], object], between: Callable[[], object] | None = None) -> float:
    """Processor time of one of the CALLS that `loop` makes; `between` loops is not counted."""
    loop()
    taken = []
    for _ in range(LOOPS):
        if between is not None:
            between()
        start = thread_time_ns()
        loop()
        taken.append(thread_time_ns() - start)
    return min(taken) / CALLS / 1000


def write_request(path: str) -> bytes:
    """A request to write, as on the wire."""
    body = b'{"id":"%s","msg":"%s"}' % (KEY, MESSAGE)
    head = f"POST {path} HTTP/1.1\r\n".encode() + HOST
    head += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head + body


def read_request(path: str) -> bytes:
    """A request to read, as on the wire."""
    return f"GET {path}?id={KEY.decode()} HTTP/1.1\r\n".encode() + HOST + b"\r\n"


def parse(data: bytes) -> Request:
    """The request in some bytes."""
    (request,) = Parser(HttpLimits()).feed(data)
    return request


def measure_http(data: bytes) -> float:
    """Bytes to a request."""
    feed = Parser(HttpLimits()).feed

    def loop() -> None:
        for _ in range(CALLS):
            feed(data)

    return best_us(loop)


def measure_tls(data: bytes, answer: bytes) -> float:
    """Decrypt a request and encrypt its answer, as a connection of the listener does."""
    client, server = _connected()
    read_buffer, write_buffer = ffi.new("char[]", BUFFER), ffi.new("char[]", BUFFER)
    write_view = ffi.buffer(write_buffer)
    ssl, bio_in, bio_out = server._ssl, server._into_ssl, server._from_ssl
    bio_write, bio_read = lib.BIO_write, lib.BIO_read
    ssl_read, ssl_write = lib.SSL_read, lib.SSL_write
    size = len(answer)
    taken = []
    for _ in range(LOOPS):
        records = []
        for _ in range(TLS_CALLS):
            client.send(data)
            records.append(client.bio_read(BUFFER))
        start = thread_time_ns()
        for record in records:
            bio_write(bio_in, record, len(record))
            n = ssl_read(ssl, read_buffer, BUFFER)
            ssl_write(ssl, answer, size)
            m = bio_read(bio_out, write_buffer, BUFFER)
            write_view[:m]
        taken.append(thread_time_ns() - start)
        assert n == len(data), "every record is read whole"
    return min(taken) / TLS_CALLS / 1000


def _connected() -> tuple[SSL.Connection, SSL.Connection]:
    """A client and a server after their handshake, over memory."""
    server = SSL.Connection(server_context(*certificate()), None)
    server.set_accept_state()
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    client.set_connect_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):  # it has nothing to say
                other.bio_write(one.bio_read(BUFFER))
    return client, server


def measure_route(memory: MemoryNode, request: Request) -> tuple[float, Callable[[], Context]]:
    """Open a transaction, find the endpoint, judge the caller; and a function that does it."""
    node, app, session = memory.node, memory.app, memory.session()
    path = request.path.removeprefix("/app")
    verb = request.method

    def prepared() -> Context:
        tx = node.store.tx()
        found = app.lookup(tx, verb, path)
        assert found is not None, "the application has this endpoint"
        endpoint, params = found
        ctx = Context(request, session, tx, node, endpoint)
        ctx.params = params
        ctx.route = "/app" + endpoint.path
        ctx.caller = authenticate(ctx, endpoint.auth)
        return ctx

    def loop() -> None:
        for _ in range(CALLS):
            prepared()

    return best_us(loop), prepared


def measure_app(prepared: Callable[[], Context]) -> float:
    """Run the handler, with what `prepared` costs."""

    def loop() -> None:
        for _ in range(CALLS):
            ctx = prepared()
            ctx.endpoint.execute(ctx)

    return best_us(loop)


def measure_commit(memory: MemoryNode, request: Request) -> float:
    """Apply what the handler wrote to the store, and encode it.

    The store runs ahead of the node's history: the node is of no use afterwards.
    """
    route, prepared = measure_route(memory, request)
    handler = measure_app(prepared) - route
    store = memory.node.store

    def loop() -> None:
        for _ in range(CALLS):
            ctx = prepared()
            ctx.endpoint.execute(ctx)
            written = store.commit(ctx.tx)
            if written is not None:
                wire.encode(written.maps)

    return best_us(loop, lambda: store.compact(store.version)) - route - handler


def measure_append(memory: MemoryNode) -> tuple[float, Entry]:
    """Encrypt, digest, put into the Merkle tree; and the last entry made."""
    history = History(memory.parts.secrets)
    public, private = wire.encode({TABLE: {KEY: MESSAGE}})
    entry: Entry | None = None
    seqno = 0

    def loop() -> None:
        nonlocal entry, seqno
        for _ in range(CALLS):
            seqno += 1
            entry = history.append(TxID(View(2), SeqNo(seqno)), public, private, claims=Z32)

    taken = best_us(loop)
    assert entry is not None, "the loop made entries"
    return taken, entry


def measure_reply(status: int, headers: dict[str, str], body: bytes) -> float:
    """The answer's bytes, with its transaction id."""

    def loop() -> None:
        for seqno in range(CALLS):
            encode_response(
                status, {**headers, "x-ms-ccf-transaction-id": f"2.{seqno}"}, body, False
            )

    return best_us(loop)


def measure_node(memory: MemoryNode, request: Request) -> float:
    """Everything between parser and TLS, but for signatures."""
    handle, session, pump = memory.node.handle, memory.session(), memory.pump

    def loop() -> None:
        for _ in range(CALLS):
            handle(session, request)
        pump()

    return best_us(loop, memory.sign)


def measure_signature(memory: MemoryNode) -> float:
    """A signature transaction and the commit it brings, for each transaction it covers."""
    node = memory.node
    taken = []
    for _ in range(LOOPS):
        for _ in range(SIGNATURE_EVERY):
            tx = node.store.tx()
            tx.map(TABLE).set(KEY, MESSAGE)
            node.commit(tx)
        memory.pump()
        start = thread_time_ns()
        memory.sign()
        taken.append(thread_time_ns() - start)
    return min(taken) / SIGNATURE_EVERY / 1000


def measure_ledger_file(entry: Entry) -> float:
    """Append one entry with a write of its own."""
    with tempfile.TemporaryDirectory() as folder:
        disk = LedgerDisk(f"{folder}/ledger")
        seqno = 0

        def loop() -> None:
            nonlocal seqno
            for _ in range(CALLS):
                seqno += 1
                disk.append([msgspec.structs.replace(entry, seqno=seqno)])

        def make() -> None:
            for number in range(CALLS):
                msgspec.structs.replace(entry, seqno=number)

        taken = best_us(loop) - best_us(make)
        disk.close()
    return taken


def measure(app: str, path: str, kind: str) -> Stages:
    """All stages of one kind of request (`write` or `read`) to one application."""
    memory, used_up = MemoryNode(app), MemoryNode(app)
    for each in (memory, used_up):
        each.call(parse(write_request(path)))
    data = (write_request if kind == "write" else read_request)(path)
    request = parse(data)
    answer = memory.call(request)
    head, _, body = answer.partition(b"\r\n\r\n")
    headers = dict(line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:])
    own = {name: value for name, value in headers.items() if name == "content-type"}
    route, prepared = measure_route(memory, request)
    handler = measure_app(prepared) - route
    writes = kind == "write"
    append, entry = measure_append(memory)
    commit = measure_commit(used_up, request)
    append = append if writes else 0.0
    reply = measure_reply(200, own, body)
    node = measure_node(memory, request)
    figures = {
        "tls": measure_tls(data, answer),
        "http": measure_http(data),
        "route_auth": route,
        "app": handler,
        "kv_encode": commit,
        "encrypt_digest_merkle": append,
        "reply": reply,
        "rest": node - route - handler - commit - append - reply,
        "node": node,
        "signature_share": measure_signature(memory) if writes else 0.0,
        "ledger_file": measure_ledger_file(entry) if writes else 0.0,
    }
    return Stages(**{name: round(value, 2) for name, value in figures.items()})


KINDS = {
    "js write": ("app-js", "/app/records", "write"),
    "js read": ("app-js", "/app/records", "read"),
    "js write, fresh interpreter": ("app-js", "/app/fresh/records", "write"),
    "js read, fresh interpreter": ("app-js", "/app/fresh/records", "read"),
    "python write": ("app-py", "/app/records", "write"),
    "python read": ("app-py", "/app/records", "read"),
}


def main() -> None:
    """Print one line of JSON: the stages of each kind of request."""
    found = {name: msgspec.to_builtins(measure(*kind)) for name, kind in KINDS.items()}
    json.dump(found, sys.stdout)
    print()


if __name__ == "__main__":
    main()
