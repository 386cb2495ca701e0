"""No application stops or blocks a node: what ended or blocked the original, against a process.

Every recorded snippet is sent to a running node, which must answer it and go on answering others,
while it works on it as well as afterwards.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pyccf.client import Client
from support.sandbox import Sandbox
from support.vectors import vectors_dir

LIMIT_MS = 500
SLACK_S = 10.0
"""How much longer than its limit an answer may take, on a busy machine."""
OPTIONS = {
    "max_heap_bytes": 50 * 1024 * 1024,
    "max_stack_bytes": 1024 * 1024,
    "max_execution_time_ms": LIMIT_MS,
}


def snippets() -> list[dict[str, Any]]:
    path = vectors_dir() / "ccf" / "js" / "crashes.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    with Sandbox(vectors_dir() / "ccf" / "js" / "app", folder / "workspace") as made:
        made.govern("set_js_runtime_options", dict(OPTIONS))
        yield made


PLACES = {
    ("run", "rw"): "/app/probe",
    ("run", "ro"): "/app/probe_ro",
    ("raw", "rw"): "/app/raw",
    ("raw", "ro"): "/app/raw_ro",
}


def send(client: Client, probe: dict[str, Any]) -> tuple[int, float]:
    """Status and seconds of a snippet."""
    path = probe.get("endpoint") or PLACES[probe["harness"], probe["mode"]]
    path = path if path.startswith("/app") else f"/app{path}"
    started = time.monotonic()
    status = client.request("POST", path, json={"snippet": probe["snippet"]}).status
    return status, time.monotonic() - started


def test_a_node_survives_what_ended_or_blocked_the_original(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(1) as pool:
        for probe in snippets():
            with sandbox.client() as client, sandbox.client() as other:
                answer = pool.submit(send, client, probe)
                asked = time.monotonic()
                assert other.request("GET", "/node/version").status == 200
                waited = time.monotonic() - asked
                status, seconds = answer.result(60)
            name = probe["name"]
            assert status in (200, 500), name
            assert max(seconds, waited) < LIMIT_MS / 1000 + SLACK_S, name
            assert sandbox.process.poll() is None, f"{name}\n{sandbox.log()}"
    with sandbox.client() as client:
        assert client.request("GET", "/node/ready/app").status == 204
