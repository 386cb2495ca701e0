"""What members do to bring a service back, by commands, in tests with real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyccf.client import Client
from support.process import NodeProcess

PATIENCE_S = 60.0


def client(node: NodeProcess, keys: Path) -> Client:
    host, port = node.address()
    return Client(
        [f"https://{host}:{port}"],
        str(node.folder / "service_cert.pem"),
        cert=str(keys / "member0_cert.pem"),
        key=str(keys / "member0_privk.pem"),
    )


def until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def pyccf(
    node: NodeProcess, keys: Path, *words: str, status: int = 0, member: str = "member0"
) -> Any:
    """What a command of a member prints; its error text when it is to fail."""
    host, port = node.address()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pyccf.cli.main", *words, "--json"),
            *("--url", f"https://{host}:{port}"),
            *("--service-cert", str(node.folder / "service_cert.pem")),
            *("--cert", str(keys / f"{member}_cert.pem")),
            *("--key", str(keys / f"{member}_privk.pem")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout) if status == 0 else done.stderr


def bring_back(node: NodeProcess, keys: Path, previous: Path) -> None:
    """Accept a recovered service, hand in the share of its only member, and wait."""
    pyccf(node, keys, "recover", "accept", "--previous-identity", str(previous))
    pyccf(node, keys, "member", "recover", "--enc-key", str(keys / "member0_enc_privk.pem"))
    until(lambda: node.get("/node/ready/app")[0] == 204, "the service to open again")
