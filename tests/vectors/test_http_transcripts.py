"""Raw requests recorded with the original: which it refused, and with exactly which bytes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pyccf.http.h1 import ParseFailure, Parser
from pyccf.http.limits import HttpLimits
from pyccf.http.message import REASONS, encode_response
from support.vectors import vectors_dir

FILES = ("errors", "common", "interfaces", "sessions", "node", "auth", "opening")
LIMITS = {"small_limits": HttpLimits(1000, 1000, 10)}


def exchanges(name: str) -> list[dict[str, Any]]:
    path = vectors_dir() / "ccf" / "transcripts" / f"{name}.jsonl"
    with path.open() as lines:
        found = [json.loads(line) for line in lines]
    return [
        exchange
        for exchange in found
        if exchange["protocol"].startswith("HTTP/1.1") and exchange["response"].get("status")
    ]


def content(part: dict[str, Any]) -> bytes:
    if "body_base64" in part:
        return base64.b64decode(part["body_base64"])
    if "body_length" in part:
        return b"x" * int(part["body_length"])
    return str(part.get("body", "")).encode()


def sent(request: dict[str, Any]) -> bytes:
    if "raw_base64" in request:
        return base64.b64decode(request["raw_base64"])
    lines = [f"{request['method']} {request['path']} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request["headers"]]
    return "\r\n".join([*lines, "", ""]).encode() + content(request)


def is_refusal(response: dict[str, Any]) -> bool:
    return response["status"] in (413, 431) or content(response).startswith(b"Unable to parse")


@pytest.mark.parametrize("name", FILES)
def test_the_same_requests_are_refused_with_the_same_words(name: str) -> None:
    refused = accepted = 0
    for exchange in exchanges(name):
        response = exchange["response"]
        parser = Parser(LIMITS.get(exchange["interface"], HttpLimits()))
        data = sent(exchange["request"])
        if not is_refusal(response):
            (request,) = parser.feed(data)
            assert parser.idle, exchange["name"]
            if "raw_base64" not in exchange["request"]:
                assert request.target == exchange["request"]["path"]
                assert request.body == content(exchange["request"])
            accepted += 1
            continue
        with pytest.raises(ParseFailure) as caught:
            parser.feed(data)
        failure = caught.value
        assert failure.status == response["status"], exchange["name"]
        assert failure.content_type == response["headers"]["content-type"]
        if "body_sha256" not in response:
            assert failure.body == content(response), exchange["name"]
        assert response.get("connection_closed", True), "the original closes where we do"
        refused += 1
    assert accepted > 0
    assert refused > 0 or name not in ("errors", "common", "interfaces")


@pytest.mark.parametrize("name", FILES)
def test_status_lines_carry_the_same_reason(name: str) -> None:
    checked = 0
    for exchange in exchanges(name):
        response = exchange["response"]
        if "reason" in response:
            assert REASONS[response["status"]] == response["reason"]
            checked += 1
        # We send no body with these, whatever the application says.
        bodiless = exchange["request"].get("method") == "HEAD" or response["status"] in (204, 304)
        if "body" in response and not bodiless:
            # Headers were recorded as a sorted object; encoding them changes nothing.
            data = encode_response(response["status"], response["headers"], content(response))
            assert data.endswith(b"\r\n\r\n" + content(response))
    assert checked > 0
