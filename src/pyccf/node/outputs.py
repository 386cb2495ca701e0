"""What a node asks its shell to do. Executed in order; nothing here acts by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from pyccf.ledger.entry import Entry
from pyccf.types import SeqNo


class Append(msgspec.Struct, frozen=True):
    """Write these entries to the ledger, then tell the node `persisted`."""

    entries: list[Entry]


class Committed(msgspec.Struct, frozen=True):
    """Everything up to `seqno` is committed; completed chunks may take their final names."""

    seqno: SeqNo


class Fetch(msgspec.Struct, frozen=True):
    """Read entries first..last from the ledger, then tell the node `fetched`."""

    first: SeqNo
    last: SeqNo


class Respond(msgspec.Struct, frozen=True):
    """Deliver the response of a request that had been put off."""

    deliver: Callable[[bytes], None]
    response: bytes


class Certificate(msgspec.Struct, frozen=True):
    """Present this certificate on interfaces whose endorsement authority is `authority`."""

    authority: str
    """Node or Service."""
    cert_pem: str


class Log(msgspec.Struct, frozen=True):
    """Report something that happened (levels: debug, info, fail, fatal)."""

    level: str
    tag: str
    text: str


Output: TypeAlias = Append | Committed | Fetch | Respond | Certificate | Log
