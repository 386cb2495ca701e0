"""The servers under load, each a process of its own: a bare echo, and real one-node services."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, TextIO

from pyccf.client import Client
from pyccf.types import Json

BENCH = Path(__file__).parent
ROOT = BENCH.parent
STOP_TIMEOUT_S = 60
FILL_BATCH = 10_000
MESSAGE = "m" * 64
SETTLE_S = 1.0
"""After filling: time for the node to commit and to give back what it no longer needs."""


class Server(Protocol):
    """Something to send requests to."""

    @property
    def url(self) -> str: ...
    def cpu_s(self) -> float:
        """Processor time its process has used."""
        ...


class _Process:
    """A child that says one line of JSON when it is ready."""

    def __init__(self, command: list[str], errors: TextIO | None = None) -> None:
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("{"):
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"{' '.join(command)} did not start")
        self.said = json.loads(line)
        self.pid = self._process.pid

    def __enter__(self) -> _Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> str:
        """Stop it and wait; what it said last."""
        if self._process.returncode is not None:
            return ""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.communicate(timeout=STOP_TIMEOUT_S)[0]
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.communicate()[0]

    def cpu_s(self) -> float:
        return cpu_s(self.pid)


class Echo(_Process):
    """The same answer to everything, over the TLS and HTTP of a node."""

    def __init__(self, *options: str) -> None:
        super().__init__([sys.executable, "-m", "bench.echo", *options])
        self.url = f"https://{self.said['address']}"

    def __enter__(self) -> Echo:
        return self


class Service(_Process):
    """A governed one-node service with a benchmark application."""

    def __init__(self, app: str, workspace: Path) -> None:
        super().__init__(
            [
                *(sys.executable, "-m", "pyccf.cli.main", "sandbox", str(BENCH / app)),
                *("--json", "--workspace", str(workspace)),
            ]
        )
        node = self.said["nodes"][0]
        self.url = node["url"]
        self.pid = node["pid"]
        self.ledger = Path(self.said["ledgers"][0])

    def __enter__(self) -> Service:
        return self

    def client(self) -> Client:
        """A client without a certificate."""
        return Client(self.url, self.said["service_cert"], timeout_s=60)

    def fill(self, keys: int) -> None:
        """Have `keys` records in the table."""
        with self.client() as client:
            for first in range(0, keys, FILL_BATCH):
                count = min(FILL_BATCH, keys - first)
                body: Json = {"first": first, "count": count, "msg": MESSAGE}
                reply = client.post("/app/fill", json=body, wait="commit")
                size = reply.check().json()
            if size != keys:
                raise RuntimeError(f"{size} records instead of {keys}")
        time.sleep(SETTLE_S)

    def rss_bytes(self) -> int:
        """Memory of the node process that is in RAM."""
        return rss_bytes(self.pid)


def cpu_s(pid: int) -> float:
    """User and system time of a process, in seconds (proc(5))."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_cpu_s() -> float:
    """User, nice and system time of all processes on this machine, in seconds (proc(5))."""
    first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    return sum(int(word) for word in first.split()[1:4]) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    """Resident memory of a process, in bytes (proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "VmRSS":
            return int(value.split()[0]) * 1024
    raise RuntimeError(f"process {pid} has no memory")
