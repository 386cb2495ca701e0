"""Cutting a snapshot: the maps frozen at one seqno become bytes, a little at a time.

`step` does a slice of the work, a few milliseconds of it, and is called until it says that nothing
is left; between two calls the store goes on. The bytes are kept in pieces: what there is of them is
what the file will hold, so one needs as much memory as the snapshot is large.
(spec: kv-and-tables.md §7; the format is described in `ledger.snapshot`)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from pyccf.kv import content
from pyccf.kv.frozen import Frozen
from pyccf.ledger.entry import FORMAT_VERSION, HEADER_SIZE, PREFIX_SIZE, EntryType
from pyccf.ledger.snapshot import IV_MARK, PREFIX, PUBLIC_START
from pyccf.types import SeqNo

STEP_COST = 2048
"""Keys handled in one step; about five milliseconds of them."""


class Cut:
    """One snapshot in the making."""

    def __init__(self, frozen: Frozen, leaf: bytes, starts: Sequence[SeqNo], key: bytes) -> None:
        """Given the frozen seqno's Merkle leaf, history of views and ledger secret."""
        self.frozen = frozen
        self.seqno = frozen.seqno
        self.pieces: list[bytes] = []
        """The block, complete when `step` said so."""
        self.digest = b""
        self._leaf = leaf
        self._starts = starts
        self._key = key
        self._work = self._run()

    @property
    def size(self) -> int:
        """Bytes made so far."""
        return sum(map(len, self.pieces))

    def step(self, cost: int = STEP_COST) -> bool:
        """Do so much of the work, counted in keys; whether all of it is done."""
        while cost > 0:
            spent = next(self._work, None)
            if spent is None:
                return True
            cost -= spent
        return False

    def _run(self) -> Iterator[int]:
        """Does all of the work, and tells what each part of it cost."""
        maps = self.frozen.maps()
        iv = self.seqno.to_bytes(8, "little") + IV_MARK.to_bytes(4, "little")
        sealer = Cipher(AES(self._key), GCM(iv)).encryptor()
        pieces = self.pieces
        pieces.append(b"")
        start = self._public_start()
        pieces.append(start)
        sealer.authenticate_additional_data(start)
        for cost, piece in content.sections([m for m in maps if content.is_public(m.name)]):
            if piece:
                pieces.append(piece)
                sealer.authenticate_additional_data(piece)
            yield cost
        public_size = self.size
        for cost, piece in content.sections([m for m in maps if not content.is_public(m.name)]):
            if piece:
                pieces.append(sealer.update(piece))
            yield cost
        sealer.finalize()
        size = self.size + PREFIX_SIZE - HEADER_SIZE
        pieces[0] = PREFIX.pack(
            FORMAT_VERSION | size << 16, sealer.tag, self.seqno, IV_MARK, public_size
        )
        hashed = sha256()
        for piece in pieces:
            hashed.update(piece)
            yield len(piece) // content.BYTES_PER_KEY
        self.digest = hashed.digest()

    def _public_start(self) -> bytes:
        starts = b"".join(start.to_bytes(8, "little") for start in self._starts)
        return b"".join(
            (
                PUBLIC_START.pack(EntryType.SNAPSHOT, self.seqno, 0),
                len(self._leaf).to_bytes(8, "little"),
                self._leaf,
                len(starts).to_bytes(8, "little"),
                starts,
            )
        )
