"""What a transaction changed, and the few byte strings tables share.

A change to a map is a dict from key to new value, or to None for a removal. `Changes` is that for
several maps by name. Nothing here refuses anything: these are plain values, and one error.
(spec: kv-and-tables.md §1, §5)
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from pyccf.errors import Unavailable
from pyccf.types import SeqNo

MapChanges: TypeAlias = dict[bytes, bytes | None]
"""Key to new value, None for a removal."""

Changes: TypeAlias = dict[str, MapChanges]
"""Map name to its changes; only maps with at least one."""

UNIT = bytes(8)
"""The only key of single-value tables and the value of every member of a set table."""


class WriteSet(msgspec.Struct, frozen=True):
    """What one committed transaction wrote, maps in ascending order of name."""

    version: SeqNo
    maps: Changes

    def __repr__(self) -> str:
        """Names and counts only: private values must not reach a log."""
        counts = ", ".join(f"{name}: {len(changes)}" for name, changes in self.maps.items())
        return f"WriteSet(version={self.version}, changes={{{counts}}})"


class ViewChanged(Unavailable):
    """The view changed between reading and committing; nothing was written."""

    code = "TransactionReplicationFailed"
