"""`python -m bench.snapshots`: what a snapshot of many keys costs, and joining from it.

One node with many private records and a client that writes, one request after the other, all the
time. Told are the worst of its waits while nothing else happens, and while a snapshot is cut; how
long it takes from governance's decision until the file is there; and how long from the start of a
new node until the primary knows that it has everything. No other load: the figures are those of the
work itself, on one machine that also runs the client.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.__main__ import positive
from bench.network_nodes import Network, Settings
from bench.report import machine
from bench.servers import FILL_BATCH, MESSAGE
from pyccf.client.types import Action
from pyccf.types import Json

KEYS = 1_000_000
QUIET_S = 5.0
PATIENCE_S = 600.0
POLL_S = 0.01
WORST_MS = 50.0
JOIN_S = 60.0
SETTINGS = Settings(signature_tx_count=5000, signature_delay_ms=100)


class Waits(msgspec.Struct, frozen=True):
    """Milliseconds from request to answer."""

    requests: int
    p50: float
    p99: float
    worst: float


class Figures(msgspec.Struct, frozen=True):
    """One run."""

    keys: int
    quiet: Waits
    cutting: Waits
    snapshot_s: float
    """From the decision to the committed file."""
    bytes: int
    join_s: float
    """From the start of the process to having everything."""


class Writer(threading.Thread):
    """A client that writes one record after the other and notes how long each takes."""

    def __init__(self, network: Network) -> None:
        super().__init__(daemon=True)
        self._network = network
        self._over = threading.Event()
        self.waits: list[float] = []

    def run(self) -> None:
        with self._network.client() as client:
            number = 0
            while not self._over.is_set():
                body: Json = {"id": f"{number % 1000:08d}", "msg": MESSAGE}
                begin = time.perf_counter()
                client.post("/app/records", json=body).check()
                self.waits.append((time.perf_counter() - begin) * 1000)
                number += 1

    def stop(self) -> None:
        self._over.set()
        self.join()

    def take(self) -> Waits:
        """What it waited since the last time."""
        waits, self.waits = self.waits, []
        ordered = sorted(waits)
        return Waits(
            len(waits),
            round(statistics.median(ordered), 2),
            round(ordered[len(ordered) * 99 // 100], 2),
            round(ordered[-1], 2),
        )


def measure(keys: int, say: Callable[[str], None]) -> Figures:
    """Fill, cut, join."""
    with tempfile.TemporaryDirectory() as folder, Network(1, SETTINGS, Path(folder)) as network:
        say(f"filling {keys} keys …")
        with network.client() as client:
            for first in range(0, keys, FILL_BATCH):
                body: Json = {
                    "first": first,
                    "count": min(FILL_BATCH, keys - first),
                    "msg": MESSAGE,
                }
                client.post("/app/fill", json=body, wait="commit").check()
        directory = network.primary.folder / "snapshots"
        network.settle()
        before = set(directory.glob("*.committed"))
        writer = Writer(network)
        writer.start()
        time.sleep(1)
        writer.take()
        say("quiet …")
        time.sleep(QUIET_S)
        quiet = writer.take()
        say("cutting …")
        begin = time.monotonic()
        network.govern(Action("trigger_snapshot", None))
        found: set[Path] = set()
        while not found:
            if time.monotonic() - begin > PATIENCE_S:
                raise RuntimeError("no snapshot was written")
            time.sleep(POLL_S)
            found = set(directory.glob("*.committed")) - before
        snapshot_s = time.monotonic() - begin
        cutting = writer.take()
        writer.stop()
        size = max(path.stat().st_size for path in found)
        say("joining …")
        begin = time.monotonic()
        target = network.committed()
        _, node_id = network.join(fetch=True)
        while network.ack(node_id) < target:
            if time.monotonic() - begin > PATIENCE_S:
                raise RuntimeError("the new node does not catch up")
            time.sleep(POLL_S)
        join_s = time.monotonic() - begin
    return Figures(keys, quiet, cutting, round(snapshot_s, 2), size, round(join_s, 2))


def main(given: list[str]) -> int:
    """Measure; the exit code says whether the aims were reached."""
    parser = argparse.ArgumentParser(prog="python -m bench.snapshots", description=__doc__)
    parser.add_argument("--keys", type=positive, default=KEYS)
    chosen = parser.parse_args(given)
    found = measure(chosen.keys, lambda words: print(words, file=sys.stderr, flush=True))
    here = machine()
    print(f"{here}")
    print(f"{found.keys} keys, a snapshot of {found.bytes / 1e6:.1f} MB in {found.snapshot_s} s")
    for name, waits in (("quiet", found.quiet), ("while it is cut", found.cutting)):
        print(
            f"{name:>16}: {waits.requests} writes, p50 {waits.p50} ms, p99 {waits.p99} ms,"
            f" worst {waits.worst} ms"
        )
    print(f"joining from it: {found.join_s} s")
    print(msgspec.json.encode(found).decode())
    return 0 if found.cutting.worst <= WORST_MS and found.join_s <= JOIN_S else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
