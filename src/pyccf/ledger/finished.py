"""An entry that is finished: on its way to disk and peers."""

from __future__ import annotations

import msgspec

from pyccf.types import SeqNo, View


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One finished entry on its way to disk and peers.

    `data` are its complete bytes, `leaf` its hash in the Merkle tree; `committable` entries are
    the signatures, the only ones that can be committed.
    """

    view: View
    seqno: SeqNo
    data: bytes
    committable: bool
    leaf: bytes

    @property
    def flags(self) -> int:
        return self.data[1]
