"""What a map holds for a key, and how to take back a change of it.

Millions of these are alive: they are small, never changed in place and not known to the garbage
collector. They stand apart from `state` because that is compiled, which structures like these must
not be: their options would be lost (docs/adr/0007-compiled-hot-path.md).

(spec: kv-and-tables.md §1, §3)
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from pyccf.types import SeqNo

if TYPE_CHECKING:
    from pyccf.kv.state import MapState


class Pair(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A value and the seqno that wrote it.

    Not known to the garbage collector, and so neither is a dict of them: a collection costs the
    same with a million keys as with none.
    """

    value: bytes
    version: SeqNo

    def __repr__(self) -> str:
        """Without the value, which may be private."""
        return f"Pair({len(self.value)} bytes, version={self.version})"


class Undo(msgspec.Struct, frozen=True, eq=False, gc=False):
    """How to take back one change of one key."""

    seqno: SeqNo
    """Of the change."""
    map: MapState
    map_version: SeqNo
    """Of the map, before."""
    key: bytes
    pair: Pair | None
    """Before; None when the key was not there."""

    def __repr__(self) -> str:
        """Without key and value, which may be private."""
        return f"Undo(seqno={self.seqno}, map={self.map.name})"


undo_seqno = attrgetter("seqno")
"""Sort key of the undo log."""
