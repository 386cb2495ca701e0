"""The past: receipts, ranges and an index of a ledger, one node with its files and without sockets.

`cold` is the first request for a transaction, which reads the ledger (from the page cache of the
machine) and verifies what it finds; `warm` is the same request again. An index is built over the
whole ledger, whose records are private. Everything is told in processor time: nobody else is waited
for, neither a disk nor the next tick of a node's clock.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.memory_node import INTERFACE, MemoryNode
from pyccf.api import common
from pyccf.apps.index import SeqnosByKey
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.node.create import Parts
from pyccf.node.outputs import Append, Committed, Fetch, Respond
from pyccf.shell.disk import LedgerDisk
from pyccf.types import SeqNo

ENTRIES = 100_000
SIGNED_EVERY = (100, 5000)
"""Transactions between two signatures: with little to do, and under full load."""
KEYS = 1000
RECORDS = "records"
MESSAGE = b'"' + b"m" * 64 + b'"'
QUERIES = 300
RANGE = 100
RANGES = 30
HANDLE = 1
EXPIRY_S = 1800
TURN_MS = 10
SEED = 4


class Cost(msgspec.Struct, frozen=True):
    """Milliseconds of processor time."""

    p50: float
    p95: float


class History(msgspec.Struct, frozen=True):
    """A ledger with a signature after so many transactions."""

    entries: int
    signed_every: int
    receipt_cold: Cost
    receipt_warm: Cost
    range_cold: Cost
    """Of RANGE transactions."""
    range_warm: Cost
    indexed_per_s: float
    """Entries of the ledger per second of processor time."""


class HistoryNode(MemoryNode):
    """A node in memory with its ledger in a folder."""

    def __init__(self, folder: Path) -> None:
        self.disk = LedgerDisk(folder)

        def install(parts: Parts) -> None:
            for endpoint in common.endpoints(parts.node, lambda ctx: {}):
                parts.node.node.add(endpoint)

        super().__init__("app-py", install=install)
        self.now = 0

    def pump(self) -> None:
        """Do what the node asks of its disk, and deliver."""
        node = self.node
        while node.has_outputs:
            for output in node.take_outputs():
                match output:
                    case Append():
                        self.disk.append(output.entries)
                        node.persisted(output.entries[-1].seqno)
                    case Committed():
                        self.disk.commit(output.seqno)
                    case Fetch():
                        read = self.disk.read(output.first, output.last)
                        node.fetched(output.first, output.last, read)
                    case Respond():
                        output.deliver(output.response)
                    case _:
                        pass

    def fill(self, entries: int, signed_every: int) -> None:
        """Write private records until there are so many entries."""
        node = self.node
        while node.store.version < entries:
            tx = node.store.tx()
            tx.map(RECORDS).set(b"%d" % (node.store.version % KEYS), MESSAGE)
            node.commit(tx)
            if node.store.version % signed_every == 0:
                self.sign()
        self.sign()

    def tick(self) -> None:
        """A turn of the node's clock."""
        self.now += TURN_MS
        self.node.tick(self.now, int(time.time()))
        self.pump()

    def receipt(self, seqno: SeqNo) -> None:
        """The receipt of a transaction. Raises RuntimeError when there is none."""
        target = f"/node/receipt?transaction_id={self.node.view_of(seqno)}.{seqno}"
        answers: list[bytes] = []
        session = Session(1, INTERFACE)
        session.deferrer = lambda: answers.append
        now = self.node.handle(session, Request("GET", target))
        if now is not None:
            answers.append(now)
        self._until(lambda: bool(answers))
        if not answers[0].startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"{target}: {answers[0]!r}")

    def range(self, first: SeqNo) -> None:
        """RANGE transactions from `first` on, and what they wrote."""
        last = SeqNo(first + RANGE - 1)

        def there() -> bool:
            states = self.node.historical_range(HANDLE, first, last, EXPIRY_S)
            for state in states or ():
                state.rows(RECORDS)
            return states is not None

        self._until(there)

    def _until(self, done: Callable[[], bool]) -> None:
        for _ in range(10_000):
            if done():
                return
            self.pump()
            if not self.node.has_outputs and not done():
                self.tick()
        raise RuntimeError("the past does not come back")


def measure(say: Callable[[str], None], entries: int = ENTRIES) -> list[History]:
    """The same ledger with few and with many signatures."""
    found = []
    for every in SIGNED_EVERY:
        say(f"history: {entries} entries, signed every {every} …")
        with tempfile.TemporaryDirectory() as folder:
            found.append(_measure(Path(folder) / "ledger", entries, every))
    return found


def _measure(folder: Path, entries: int, every: int) -> History:
    node = HistoryNode(folder)
    node.fill(entries, every)
    chance = random.Random(SEED)
    last = node.node.consensus.committed - RANGE
    seqnos = [SeqNo(chance.randrange(3, last)) for _ in range(QUERIES)]
    ranges = [SeqNo(chance.randrange(3, last)) for _ in range(RANGES)]
    cold = [_ms(node, lambda s=s: node.receipt(s)) for s in seqnos]  # type: ignore[misc]
    warm = [_ms(node, lambda s=s: node.receipt(s)) for s in seqnos]  # type: ignore[misc]
    ranges_cold, ranges_warm = [], []
    for first in ranges:
        ranges_cold.append(_ms(node, lambda f=first: node.range(f)))  # type: ignore[misc]
        ranges_warm.append(_ms(node, lambda f=first: node.range(f)))  # type: ignore[misc]
    return History(
        entries=entries,
        signed_every=every,
        receipt_cold=_cost(cold),
        receipt_warm=_cost(warm),
        range_cold=_cost(ranges_cold),
        range_warm=_cost(ranges_warm),
        indexed_per_s=_index(node),
    )


def _index(node: HistoryNode) -> float:
    """Entries per second of an index over everything."""
    index = SeqnosByKey(RECORDS)
    node.node.indexes.install(index)
    committed = node.node.consensus.committed
    start = time.process_time()
    while index.watermark.seqno < committed:
        node.tick()
    return round(committed / (time.process_time() - start), 1)


def _ms(node: HistoryNode, request: Callable[[], None]) -> float:
    """How long a request takes, at the beginning of a turn."""
    node.tick()
    start = time.process_time()
    request()
    return 1000 * (time.process_time() - start)


def _cost(taken: list[float]) -> Cost:
    ranks = statistics.quantiles(taken, n=20)
    return Cost(round(statistics.median(taken), 3), round(ranks[-1], 3))
