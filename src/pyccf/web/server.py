"""Serves the pages over a ledger on the loopback interface, to this machine alone.

Other users of it can connect, too: where private tables are shown, the address begins with a secret
path. Requests name this host and port or are refused, so that no page from elsewhere can read
through the browser's back door (DNS rebinding); answers forbid every script, style or connection
but our own. Only GET and HEAD are answered, only a fixed list of files, only seqnos that are
numbers.
"""

from __future__ import annotations

import secrets as chance
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from hmac import compare_digest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from pyccf.audit.files import StrPath
from pyccf.audit.verify import Progress, verify
from pyccf.errors import InvalidLedger, LocalError, PyccfError
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.types import Json, SeqNo
from pyccf.web import views
from pyccf.web.book import Book

HOST = "127.0.0.1"
SECRET_BYTES = 16
REQUEST_TIMEOUT_S = 30
"""How long a browser may take to say what it wants."""

STATIC = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/dom.js": ("dom.js", "text/javascript; charset=utf-8"),
    "/proof.js": ("proof.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Verification:
    """What `audit.verify` says about the ledger, as far as it is."""

    def __init__(self) -> None:
        self.state = "waiting"
        """waiting, running, valid, invalid."""
        self.seqno: SeqNo = 0
        self.proven: str | None = None
        self.fault = ""
        self.fault_seqno: SeqNo | None = None

    def run(self, directories: StrPath | Sequence[StrPath], stop: threading.Event) -> None:
        """Verify everything; ends early when `stop` is set."""
        self.state = "running"

        def report(progress: Progress) -> None:
            self.seqno = progress.seqno
            if stop.is_set():
                raise _Stopped

        try:
            found = verify(directories, progress=report)
        except _Stopped:
            return
        except LocalError as error:
            self.state, self.fault = "invalid", error.message
            return
        self.proven = None if found.last_valid is None else str(found.last_valid)
        if found.error is None:
            self.state = "valid"
        else:
            self.state = "invalid"
            self.fault, self.fault_seqno = found.error.reason, found.error.seqno

    def shown(self) -> Json:
        return {
            "state": self.state,
            "seqno": self.seqno,
            "proven": self.proven,
            "fault": self.fault,
            "fault_seqno": self.fault_seqno,
        }


class _Stopped(Exception):
    """The page is being closed."""


class Explorer:
    """The server and the threads that read ahead; a context manager."""

    def __init__(
        self,
        directories: Sequence[StrPath],
        *,
        port: int = 0,
        secrets: LedgerSecrets | None = None,
    ) -> None:
        """Raises LocalError when there is no ledger, or the port is taken."""
        self.book = Book(directories, secrets)
        self.verification = Verification()
        self._directories = directories
        self._stop = threading.Event()
        self.path = "" if secrets is None else f"/{chance.token_urlsafe(SECRET_BYTES)}"
        """What paths of requests begin with."""
        handler = type("Handler", (_Handler,), {"explorer": self})
        try:
            self._server = _Server((HOST, port), handler)
        except OSError as error:
            raise LocalError(
                f"Port {port} on {HOST} cannot be used: {error.strerror}.",
                hint="Choose another one with --port.",
            ) from None
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._threads = [
            threading.Thread(target=self._server.serve_forever, name="explorer", daemon=True),
            threading.Thread(target=self._read, name="explorer-reader", daemon=True),
        ]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}{self.path}/"

    def __enter__(self) -> Explorer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def _read(self) -> None:
        self.book.read()
        if not self._stop.is_set():
            self.verification.run(self._directories, self._stop)


class _Server(ThreadingHTTPServer):
    """Says nothing when a browser no longer wants its answer."""

    def handle_error(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


Query = dict[str, list[str]]


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    explorer: ClassVar[Explorer]
    timeout = REQUEST_TIMEOUT_S
    server_version = "pyccf"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        port = self.explorer.port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._send(403, b"This page is for this machine only.", "text/plain")
            return
        given = len(self.explorer.path)
        if not compare_digest(self.path[:given].encode(), self.explorer.path.encode()):
            self._send(403, b"Take the address that was printed, all of it.", "text/plain")
            return
        try:
            target = urlsplit("http:" + self.path[given:])
            if target.path in STATIC:
                file, kind = STATIC[target.path]
                self._send(200, files("pyccf.web").joinpath("static", file).read_bytes(), kind)
                return
            query = parse_qs(target.query, max_num_fields=10)
            answer = self._api(target.path, query)
        except (LocalError, InvalidLedger, PyccfError) as error:
            answer = 422, msgspec.json.encode({"error": error.message, "hint": error.hint})
        except ValueError as error:
            answer = 400, msgspec.json.encode({"error": str(error)})
        status, body = answer
        self._send(status, body, "application/json")

    def _api(self, path: str, query: Query) -> tuple[int, bytes]:
        book = self.explorer.book
        if path == "/api/overview":
            shown = {**views.overview(book), "verification": self.explorer.verification.shown()}
            return 200, msgspec.json.encode(shown)
        if path == "/api/entries":
            found = views.entries(
                book,
                _text(query, "map"),
                _text(query, "key"),
                _number(query, "before"),
                _number(query, "count") or views.PAGE_MAX,
            )
            return 200, msgspec.json.encode(found)
        if path == "/api/governance":
            count = _number(query, "count") or views.PAGE_MAX
            return 200, msgspec.json.encode(views.governance(book, _number(query, "before"), count))
        if path in _PLAIN:
            return 200, msgspec.json.encode(_PLAIN[path](book))
        for prefix, view in _OF_ENTRY.items():
            if path.startswith(prefix):
                return 200, view(book, _seqno(path.removeprefix(prefix)))
        return 404, msgspec.json.encode({"error": "There is no such page."})

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a person looks at the page, not at requests."""


_PLAIN: dict[str, Callable[[Book], dict[str, Json]]] = {
    "/api/maps": views.maps,
    "/api/people": views.people,
}
_OF_ENTRY: dict[str, Callable[[Book, SeqNo], bytes]] = {
    "/api/entry/": lambda book, seqno: msgspec.json.encode(views.entry(book, seqno)),
    "/api/proof/": lambda book, seqno: msgspec.json.encode(views.proof(book, seqno)),
    "/api/receipt/": views.receipt,
}


def _text(query: Query, name: str) -> str | None:
    found = query.get(name)
    return found[0] if found and found[0] else None


def _number(query: Query, name: str) -> int | None:
    text = _text(query, name)
    return None if text is None else _seqno(text)


def _seqno(text: str) -> SeqNo:
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise ValueError(f"{text[:40]!r} is no number")
    return int(text)
