"""The recorded exchanges about snapshots, replayed; the file served is the recorded snapshot."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from pyccf.api import snapshot
from pyccf.http.h1 import Parser
from pyccf.http.limits import HttpLimits
from support.node import Service
from support.shelf import Shelf
from support.told import Network
from support.transcripts import load, make_service
from support.vectors import vectors_dir
from vectors.test_backup_transcripts import make_network

NAME = "snapshot_27_30.committed"

DIFFERENT = {
    "snapshot range bytes=-99999999": "the original breaks the connection: a suffix longer than the"
    " file is all of the file",
}

AS_TEXT = ("snapshot range bytes=-16",)
"""Bodies that the recording does not give byte for byte."""


def exchanges() -> list[dict[str, Any]]:
    found = [
        e
        for file in ("node", "extra")
        for e in load(vectors_dir() / "ccf" / "transcripts", file)
        if e["request"]["path"].startswith("/node/snapshot")
    ]
    assert len(found) > 40
    return found


def body_of(exchange: dict[str, Any]) -> bytes:
    response = exchange["response"]
    if "body_base64" in response:
        return base64.b64decode(response["body_base64"])
    text: str = response["body"]
    return text.encode()


@pytest.fixture(scope="module")
def network() -> Network:
    (recorded,) = (body_of(e) for e in exchanges() if e["name"] == "snapshot whole")
    made = make_network(make_service())
    for member in made.members:
        shelf = Shelf({NAME: recorded} if member is made.primary else {})
        for endpoint in snapshot.endpoints(member.node, shelf):
            member.node.node.add(endpoint)
    made.replicate()
    return made


def ask(at: Service, exchange: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    request = exchange["request"]
    head = f"{request['method']} {request['path']} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in request["headers"])
    (parsed,) = Parser(HttpLimits()).feed(f"{head}\r\n".encode())
    session = at.session()
    session.interface = exchange["interface"]
    raw = at.node.handle(session, parsed)
    assert raw is not None
    answer, _, body = raw.partition(b"\r\n\r\n")
    lines = answer.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split(" ")[1]), headers, body


def test_every_exchange_is_answered_as_the_original_does(network: Network) -> None:
    wrong = []
    for exchange in exchanges():
        backup = exchange["node"].startswith("backup")
        at = network.backups[0] if backup else network.primary
        status, headers, body = ask(at, exchange)
        response = exchange["response"]
        if exchange["name"] in DIFFERENT:
            assert status == 206
            assert headers["content-range"] == "bytes 0-128852/128852"
            continue
        headers.pop("x-ms-ccf-transaction-id", None)
        if (status, headers) != (response["status"], response["headers"]):
            wrong.append(f"{exchange['name']}: {status} {headers}, not {response}"[:600])
        expected = body_of(exchange)
        if body != expected and exchange["name"] not in AS_TEXT:
            wrong.append(f"{exchange['name']}: {body[:100]!r}, not {expected[:100]!r}")
    assert not wrong, "\n".join(wrong)
