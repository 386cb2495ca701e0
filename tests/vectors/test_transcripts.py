"""The recorded exchanges of opening.jsonl and common.jsonl, replayed against a node of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pyccf.apps.js.registry import JsApp

from pyccf.constitutions import text
from pyccf.node.create import Parts
from pyccf.shell.install import LoadedApp, install_endpoints
from support.node import Service
from support.transcripts import Replay, load
from support.vectors import vectors_dir

THREE_NODES = "recorded on a backup of a three-node network; this node is alone"

EXPECTED: dict[str, str] = {
    "ack without stateDigest": "text is undefined behaviour of the original",
    "ack with number": "text is the original's JSON library's",
    "ack with empty payload": "text is the original's JSON library's",
    "ack with bad JSON": "text is the original's JSON library's",
    "open with wrong identity: vote member1": "stack trace names lines of the constitution's text",
    "receipt first request": "we read our own ledger at once instead of answering 202 first",
    "app api": "descriptions are in our own words",
    "app api bare": "descriptions are in our own words",
    "gov api generated": "descriptions are in our own words",
    "gov api 2024-07-01": "the document is our own",
    "gov api preview": "the document is our own",
}
"""Exchanges of which only the status is compared, and why."""


@pytest.fixture(scope="module")
def replay() -> Replay:
    folder = vectors_dir() / "ccf" / "transcripts"
    app = JsApp()

    def install(parts: Parts) -> list[Any]:
        install_endpoints(parts, LoadedApp(None, app), parts.entropy, dict, dict)
        return []

    service = Service(app=app, install=install, constitution=text("test", "virtual"), members=3)
    service.tick()
    symbols = json.loads((folder / "symbols.json").read_text(encoding="utf-8"))
    return Replay(service, symbols)


def exchanges() -> list[Any]:
    try:
        folder = vectors_dir() / "ccf" / "transcripts"
    except pytest.skip.Exception:
        return []
    return [*load(folder, "opening"), *load(folder, "common")]


def test_every_exchange_is_answered_as_the_original_does(replay: Replay) -> None:
    """In order and in one test: each exchange needs what those before it did."""
    wrong: list[str] = []
    compared = 0
    for exchange in exchanges():
        name = exchange["name"]
        if exchange["node"] != "primary":
            continue
        if "pending" not in name and "right after write" not in name:
            replay.service.tick()
        reply, differences = replay.play(exchange)
        compared += 1
        if name in EXPECTED and reply.status in (exchange["response"]["status"], 200):
            continue
        wrong += [f"{name}: {d}" for d in differences]
    assert not wrong, "\n".join(wrong)
    assert compared > 110
