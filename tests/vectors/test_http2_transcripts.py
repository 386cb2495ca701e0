"""Requests recorded over HTTP/2: which the original reset, refused or closed, in what words."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pyccf.http.h2 import Server
from pyccf.http.limits import HttpLimits
from pyccf.http.message import encode_response
from support.h2_client import Pair
from support.vectors import vectors_dir

LIMITS = HttpLimits(max_body_size=1000, max_header_size=1000, max_headers_count=20)
FILES = ("http2", "extra", "forwarding", "failover")

ABBREVIATED = "multiplexed stream"
"""Recorded without what these requests had like all others: scheme and authority."""
QUOTED = "header value 1001", "HTTP/2 session: header too large"
"""The original quotes the value where it means to tell the name of the header."""

AFTER = "HTTP/2 session: after"
"""On a connection that is closed, because of the exchange before it."""


def exchanges() -> list[dict[str, Any]]:
    found = []
    for name in FILES:
        path = vectors_dir() / "ccf" / "transcripts" / f"{name}.jsonl"
        with path.open(encoding="utf-8") as lines:
            found += [json.loads(line) for line in lines]
    return [
        e for e in found if e["protocol"] == "HTTP/2 over TLS" and not e["name"].startswith(AFTER)
    ]


def content(part: dict[str, Any]) -> bytes:
    if "body_base64" in part:
        return base64.b64decode(part["body_base64"])
    return str(part.get("body", "")).encode()


def ask(made: Pair, exchange: dict[str, Any]) -> int:
    """Make a recorded request; its stream."""
    asked = exchange["request"]
    fields = [(name, value) for name, value in asked["headers"]]
    if exchange["name"].startswith(ABBREVIATED):
        fields += [(":scheme", "https"), (":authority", "h")]
    return made.talker.send(fields, content(asked) or None)


def test_the_same_requests_are_reset_refused_and_closed() -> None:
    counts = dict.fromkeys(("reset", "closed", "refused", "answered"), 0)
    for exchange in exchanges():
        name, wanted = exchange["name"], exchange["response"]
        made = Pair(Server(LIMITS))
        made.go()
        stream = ask(made, exchange)
        arrived = made.go()
        got = made.talker.got[stream]
        server = made.server
        if "stream reset" in wanted.get("error", ""):
            assert wanted["error"].endswith(f"error code {got.reset}"), name
            assert (arrived, server.closing) == ([], False), name
            counts["reset"] += 1
        elif wanted["status"] is None:
            assert (arrived, got.over, server.closing) == ([], False, True), name
            assert server.metric == "parsing"
            counts["closed"] += 1
        elif wanted["status"] in (413, 431):
            assert (arrived, got.status, server.closing) == ([], wanted["status"], True), name
            assert got.headers["content-type"] == wanted["headers"]["content-type"]
            if name not in QUOTED:
                assert got.body == content(wanted), name
            counts["refused"] += 1
        else:
            (one,) = arrived
            assert one.request.method == exchange["request"]["method"]
            assert one.request.target == exchange["request"]["path"]
            assert one.request.body == content(exchange["request"])
            headers = {**wanted["headers"]}
            body = content(wanted) if exchange["request"]["method"] != "HEAD" else b""
            headers.pop("content-length")
            server.answer(stream, encode_response(wanted["status"], headers, body))
            made.talker.hear(server.take())
            # What comes out is what was recorded, in this order of headers.
            if "body_sha256" not in wanted:
                assert list(got.headers.items()) == list(wanted["headers"].items()), name
                assert got.body == body
            counts["answered"] += 1
    assert counts["reset"] >= 6
    assert counts["closed"] >= 1
    assert counts["refused"] >= 4
    assert counts["answered"] >= 25


def test_the_same_settings_are_announced() -> None:
    path = vectors_dir() / "ccf" / "transcripts" / "http2.jsonl"
    with path.open(encoding="utf-8") as lines:
        recorded = [json.loads(line) for line in lines]
    (wanted,) = (e["response"]["settings"] for e in recorded if "settings" in e["response"])
    made = Pair(Server(LIMITS))
    made.go()
    assert made.talker.settings == {int(code): value for code, value in wanted.items()}


@pytest.mark.parametrize("name", ["HTTP/1.1 request on HTTP2 interface"])
def test_other_protocols_are_closed_without_an_answer(name: str) -> None:
    path = vectors_dir() / "ccf" / "transcripts" / "http2.jsonl"
    with path.open(encoding="utf-8") as lines:
        (exchange,) = (e for e in map(json.loads, lines) if e["name"] == name)
    asked = exchange["request"]
    head = "".join(f"{name}: {value}\r\n" for name, value in asked["headers"])
    server = Server(LIMITS)
    assert server.feed(f"{asked['method']} {asked['path']} HTTP/1.1\r\n{head}\r\n".encode()) == []
    assert (server.closing, server.take()) == (True, b"")
    assert exchange["response"]["connection_closed"]
