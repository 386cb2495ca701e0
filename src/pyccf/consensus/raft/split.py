"""The entries that follow a message, cut by the size in their headers and not looked into."""

from __future__ import annotations

HEADER_SIZE = 8
"""Version, flags and 48-bit size in front of every ledger entry (spec: ledger.md §4)."""


def split(data: bytes, at: int, count: int) -> list[bytes]:
    """The entries in data[at:]; fewer than `count` if bytes are missing.

    One more, empty, when bytes are left over, so that the number is always wrong if anything is.
    """
    out: list[bytes] = []
    end = len(data)
    header_size = HEADER_SIZE
    while at < end:
        if len(out) == count:
            out.append(b"")
            break
        if at + header_size > end:
            break
        # Most entries are short; of others the high bytes count too.
        size = data[at + 2] | data[at + 3] << 8
        if data[at + 4] or data[at + 5] or data[at + 6] or data[at + 7]:
            size = int.from_bytes(data[at + 2 : at + header_size], "little")
        upto = at + header_size + size
        if upto > end:
            break
        out.append(data[at:upto])
        at = upto
    return out
