"""Committed snapshots in memory."""

from __future__ import annotations

from pyccf.ledger.snapshot import parse_name


class Shelf:
    """Committed snapshots in memory, as a node's endpoints ask for them."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = {} if files is None else files
        self.reads = 0

    def newest(self, since: int = 0) -> str | None:
        found = [(n.seqno, name) for name in self.files if (n := parse_name(name)) is not None]
        seqno, name = max(found, default=(0, ""))
        return name if seqno > since else None

    def size(self, name: str) -> int | None:
        return len(self.files[name]) if name in self.files else None

    def read(self, name: str, start: int, end: int) -> bytes:
        self.reads += 1
        return self.files[name][start:end]
