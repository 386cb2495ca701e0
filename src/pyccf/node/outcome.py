"""What an execution came to."""

from __future__ import annotations

import msgspec

from pyccf.types import TxID


class Outcome(msgspec.Struct):
    """What became of a request before it is turned into bytes."""

    status: int
    headers: dict[str, str]
    body: bytes
    txid: TxID | None = None
    close: bool = False
