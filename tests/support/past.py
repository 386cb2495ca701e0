"""History read from a list of entries: what is asked for is given at once, and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyccf.errors import PyccfError
from pyccf.ledger.entry import parse
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.node.historical import Handle, Historical, State
from pyccf.types import SeqNo


class Past:
    """A `Historical` over entries 1 to `len(entries)`, all committed."""

    def __init__(
        self,
        entries: Sequence[bytes],
        secrets: LedgerSecrets,
        *,
        endorse: Callable[[str], str] | None = None,
        bytes_max: int = 512 << 20,
    ) -> None:
        self.entries = list(entries)
        self.reads: list[tuple[SeqNo, SeqNo]] = []
        """Asked for and not given yet."""
        self.read_in_all: list[tuple[SeqNo, SeqNo]] = []
        self.logs: list[str] = []
        self.now = 0
        self.committed = len(self.entries)
        self.rows: dict[tuple[str, bytes], bytes | None] = {}
        """The public tables as the last entry leaves them."""
        for data in entries:
            for table, rows in parse(data).public_maps().items():
                self.rows.update({(table, key): value for key, value in rows.items()})
        self.historical = Historical(
            secrets,
            lambda table, key: self.rows.get((table, key)),
            committed=lambda: self.committed,
            fetch=self._fetch,
            log=lambda level, tag, text: self.logs.append(text),
            endorse=endorse,
            bytes_max=bytes_max,
        )

    def _fetch(self, first: SeqNo, last: SeqNo) -> None:
        self.reads.append((first, last))
        self.read_in_all.append((first, last))

    def give(self, damage: PyccfError | None = None) -> None:
        """Give what was asked for last."""
        first, last = self.reads.pop(0)
        entries = [] if damage is not None else self.entries[first - 1 : last]
        self.historical.fetched(first, last, entries, damage)

    def settle(self, ticks: int = 100) -> None:
        """Give everything asked for, letting time pass where it must."""
        for _ in range(ticks):
            while self.reads:
                self.give()
            self.tick()
            if not self.reads:
                return

    def tick(self, ms: int = 10) -> None:
        self.now += ms
        self.historical.tick(self.now)

    def states(self, seqnos: Sequence[SeqNo], handle: Handle = ("app", 1)) -> list[State]:
        """These states, read as far as need be."""
        for _ in range(1000):
            found = self.historical.request(handle, seqnos)
            if found is not None:
                return found
            self.settle(1)
        raise AssertionError(f"never got {seqnos}: {self.logs}")
