"""What indexes put on disk: sealed with a key of this process, so that it is worth nothing after.

Names are part of what is sealed, so a file that stands for another is refused like one that was
changed.
"""

from __future__ import annotations

from collections.abc import Callable

from pyccf.crypto import aead
from pyccf.crypto.entropy import Entropy
from pyccf.node.outputs import LoadSpilled, StoreSpilled

KEY_SIZE = 32


class Spill:
    """Storage of one node's indexes."""

    def __init__(self, entropy: Entropy, put: Callable[[StoreSpilled | LoadSpilled], None]) -> None:
        """`put` has the shell do something."""
        self._entropy = entropy
        self._put = put
        self._key = b""

    def store(self, name: str, data: bytes, refused: Callable[[], None] | None = None) -> None:
        """Keep bytes under a name; `refused` is called if that cannot be."""
        if not self._key:
            self._key = self._entropy.bytes(KEY_SIZE)
        iv = self._entropy.bytes(aead.IV_SIZE)
        self._put(StoreSpilled(name, aead.seal(self._key, iv, data, name.encode()), refused))

    def load(self, name: str, reply: Callable[[bytes | None], None]) -> None:
        """Read them back; None if they are not there or were changed."""

        def opened(record: bytes | None) -> None:
            data: bytes | None = None
            if record is not None and self._key:
                try:
                    data = aead.open_(self._key, record, name.encode())
                except aead.InvalidTag:
                    data = None
            reply(data)

        self._put(LoadSpilled(name, opened))
