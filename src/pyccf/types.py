"""The words every room shares: View, SeqNo, TxID, identifiers, units.

A transaction is named by the view (term of the primary that ordered it) and its seqno (position
in the ledger, first is 1). Text form is "<view>.<seqno>" in decimal (spec: ledger.md, TxID).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

View: TypeAlias = int
SeqNo: TypeAlias = int
Millis: TypeAlias = int
"""Milliseconds on a monotonic clock that the shell (or the simulator) provides."""
UnixSeconds: TypeAlias = int
"""Seconds since 1970-01-01 UTC, given by the shell where certificates and tokens need it."""

NodeId: TypeAlias = str
MemberId: TypeAlias = str
UserId: TypeAlias = str
ProposalId: TypeAlias = str

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

VIEW_MAX = 0x7FFF_FFFF
"""Views above this do not fit the ledger's initialisation vector (spec: ledger.md §4)."""

_U64 = 1 << 64


class TxID(NamedTuple):
    """Name of a transaction: the view it was ordered in and its position in the ledger."""

    view: View
    seqno: SeqNo

    def __str__(self) -> str:
        return f"{self.view}.{self.seqno}"

    @classmethod
    def parse(cls, text: str) -> TxID | None:
        """Read "<view>.<seqno>"; None when malformed.

        Both parts are decimal digits, non-zero, below 2^64; leading zeros are accepted
        (spec: http-api.md §8.2).
        """
        view, dot, seqno = text.partition(".")
        if not dot or not _digits(view) or not _digits(seqno):
            return None
        v, s = int(view), int(seqno)
        if not 0 < v < _U64 or not 0 < s < _U64:
            return None
        return cls(v, s)


new_tuple = tuple.__new__
"""Makes a named tuple without a call of Python code: `new_tuple(TxID, (view, seqno))`."""


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 64
