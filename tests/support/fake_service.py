"""A service in a dictionary: it answers by method and path and remembers what it was asked.

A path may be a whole address, for answers that only one of several nodes gives.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import httpx2

from pyccf.client import Identity
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey

NOW = 1_795_258_291
URL = "https://service.test:8000"
URLS = (URL, "https://second.test:8000", "https://third.test:8000")

Answer = Callable[[httpx2.Request], httpx2.Response]


class FakeService:
    """Answers each (method, path) with the next of its answers; the last one stays."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[Answer]] = {}
        self.requests: list[httpx2.Request] = []
        self.down: set[str] = set()
        """Nodes (`host:port`) to which no connection comes about."""
        self.slept: list[float] = []
        self.clock = 100.0

    def on(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Add an answer: JSON of `body`, or the bytes or text themselves."""
        content = body if isinstance(body, (bytes, str)) else json.dumps(body)
        if body is None:
            content = b""

        def answer(_: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(status, headers=headers or {}, content=content)

        self.do(method, path, answer)

    def do(self, method: str, path: str, answer: Answer) -> None:
        """Add an answer made by a function."""
        self.answers.setdefault((method, path), []).append(answer)

    def refuse(self, method: str, path: str, status: int, code: str, message: str) -> None:
        """Add an answer with CCF's error body."""
        self.on(method, path, {"error": {"code": code, "message": message}}, status=status)

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        node = request.url.netloc.decode()
        if node in self.down:
            raise httpx2.ConnectError("Connection refused", request=request)
        self.requests.append(request)
        path = request.url.path
        answers = self.answers.get((request.method, f"https://{node}{path}"))
        answers = answers or self.answers.get((request.method, path))
        if not answers:
            return httpx2.Response(
                404,
                content=json.dumps(
                    {
                        "error": {
                            "code": "ResourceNotFound",
                            "message": f"Unknown path: {request.url.path}.",
                        }
                    }
                ),
            )
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer(request)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock += seconds


def make_identity(folder: Path, name: str, curve: Curve = Curve.P384) -> Identity:
    key = PrivateKey.generate(curve, SeededEntropy(name))
    cert = certs.self_signed(
        key, f"CN={name}", not_before=NOW - 60, days=30, ca=False, entropy=SeededEntropy(name)
    )
    (folder / f"{name}_cert.pem").write_text(cert)
    (folder / f"{name}_privk.pem").touch(mode=0o600)
    (folder / f"{name}_privk.pem").write_text(key.pem())
    assert os.stat(folder / f"{name}_privk.pem").st_mode & 0o077 == 0
    return Identity.load(folder / f"{name}_cert.pem", folder / f"{name}_privk.pem")
