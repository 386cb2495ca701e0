"""Past ledger secrets: rows, and the way back through them."""

from __future__ import annotations

import pytest

from pyccf.codec.text import b64, dump_json
from pyccf.crypto import aead
from pyccf.errors import InvalidLedger
from pyccf.ledger.past_secrets import parse, walk_back

KEYS = [bytes([i]) * 32 for i in range(4)]


def row(key: bytes, previous: bytes | None, version: int, following: int | None) -> bytes:
    value: dict[str, object] = {}
    if previous is not None:
        sealed = aead.seal(key, bytes(12), previous)
        value["previous_ledger_secret"] = {"encrypted_data": b64(sealed), "version": version}
    if following is not None:
        value["next_version"] = following
    return dump_json(value)  # type: ignore[arg-type]


def chain() -> list[bytes]:
    """First opened, rekeyed at 10, recovered at 20 and opened at 25."""
    return [
        row(KEYS[0], None, 0, 1),
        row(KEYS[1], KEYS[0], 1, None),
        row(KEYS[2], KEYS[1], 11, 20),
    ]


def test_all_follow_from_the_latest() -> None:
    rows = [parse(seqno, raw) for seqno, raw in zip((3, 10, 25), chain(), strict=True)]
    found = walk_back(rows, KEYS[2])
    assert [(s.version, s.key) for s in found] == [(1, KEYS[0]), (11, KEYS[1]), (20, KEYS[2])]
    assert found[-1].previous_stored_version == 25
    # From a snapshot on only the last row is known: it leads one step back.
    assert [s.version for s in walk_back(rows[-1:], KEYS[2])] == [11, 20]


def test_stored_twice_counts_once() -> None:
    rows = [parse(seqno, raw) for seqno, raw in zip((3, 10, 25), chain(), strict=True)]
    again = parse(30, row(KEYS[2], KEYS[1], 11, 20))
    assert len(walk_back([*rows, again], KEYS[2])) == 3


def test_a_wrong_key_opens_nothing() -> None:
    rows = [parse(seqno, raw) for seqno, raw in zip((3, 10, 25), chain(), strict=True)]
    with pytest.raises(InvalidLedger, match="stored at 25 does not open"):
        walk_back(rows, KEYS[3])
    with pytest.raises(InvalidLedger, match="does not say from where on"):
        walk_back([], KEYS[3])
    short = parse(40, row(KEYS[3], b"short", 20, 31))
    with pytest.raises(InvalidLedger, match="has a wrong size"):
        walk_back([*rows, short], KEYS[3])


@pytest.mark.parametrize(
    "raw",
    [
        b"no json",
        b"[]",
        b'{"next_version":"1"}',
        b'{"next_version":0}',
        b'{"previous_ledger_secret":{"encrypted_data":"AAAA"}}',
        b'{"previous_ledger_secret":{"encrypted_data":5,"version":1}}',
        b'{"previous_ledger_secret":{"encrypted_data":"AAAA","version":true}}',
    ],
)
def test_what_is_no_row_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidLedger, match="Entry 7 has a malformed row") as refused:
        parse(7, raw)
    assert refused.value.seqno == 7
