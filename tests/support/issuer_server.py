"""A token issuer's HTTPS server on loopback, well behaved or not."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from pyccf.crypto import certs
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.shell.hardware import SystemEntropy

DAYS = 2
ENTROPY = SystemEntropy()
BEGAN = int(time.time()) - 60

Page = bytes | Callable[[BaseHTTPRequestHandler], None]


class Authority:
    """Signs certificates of servers."""

    def __init__(self, name: str) -> None:
        self.key = PrivateKey.generate(Curve.P256, ENTROPY)
        self.cert = certs.self_signed(
            self.key, f"CN={name}", not_before=BEGAN, days=DAYS, entropy=ENTROPY
        )

    def endorse(self, key: PrivateKey, san: str) -> str:
        csr = certs.csr(key, "CN=issuer", [san])
        return certs.endorse(csr, self.key, self.cert, BEGAN, DAYS, ENTROPY)


class IssuerServer:
    """`with IssuerServer(folder, authority) as server:` serves `server.pages` at `server.url`."""

    def __init__(self, folder: Path, authority: Authority, san: str = "IP:127.0.0.1") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        key = PrivateKey.generate(Curve.P256, ENTROPY)
        (folder / "cert.pem").write_text(authority.endorse(key, san))
        (folder / "key.pem").write_text(key.pem())
        self.pages: dict[str, Page] = {}
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def publish(self, jwks: object) -> None:
        """Serve a description, and a key set in another place."""
        described = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.pages["/.well-known/openid-configuration"] = json.dumps(described).encode()
        self.pages["/keys"] = json.dumps(jwks).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                page = outer.pages.get(self.path)
                if callable(page):
                    page(self)
                    return
                self.send_response(404 if page is None else 200)
                self.send_header("content-length", str(len(page or b"")))
                self.end_headers()
                self.wfile.write(page or b"")

            def log_message(self, format: str, *args: object) -> None:
                """Tests print nothing."""

        return Handler

    def __enter__(self) -> IssuerServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def endless(handler: BaseHTTPRequestHandler) -> None:
    """An answer that is far too long."""
    handler.send_response(200)
    handler.send_header("content-length", str(1 << 40))
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" " * (1 << 16))
    except OSError:
        handler.close_connection = True


def elsewhere(handler: BaseHTTPRequestHandler) -> None:
    """Sends the caller to another page of the same server."""
    handler.send_response(302)
    handler.send_header("location", "/moved")
    handler.send_header("content-length", "0")
    handler.end_headers()
