"""Names and layout of chunk files."""

from __future__ import annotations

import pytest

from pyccf.errors import InvalidLedger
from pyccf.ledger import chunk
from pyccf.ledger.chunk import ChunkName, parse_name
from support.ledgers import small_service


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ledger_1", ChunkName(1, None, False, False, False)),
        ("ledger_1-2.committed", ChunkName(1, 2, True, False, False)),
        ("ledger_15.recovery", ChunkName(15, None, False, True, False)),
        ("ledger_15-99.committed.recovery", ChunkName(15, 99, True, True, False)),
        ("ledger_15.recovery.ignored", ChunkName(15, None, False, False, True)),
        ("ledger_15-99.committed.ignored", ChunkName(15, 99, False, False, True)),
        ("ledger_7x", ChunkName(7, None, False, False, False)),
        ("ledger_7-8", ChunkName(7, 8, False, False, False)),
    ],
)
def test_names(name: str, expected: ChunkName) -> None:
    assert parse_name(name) == expected
    assert expected.set_aside == (expected.recovery or expected.ignored)


@pytest.mark.parametrize(
    "name", ["", "ledger", "ledger_", "ledger_x", "snapshot_1_2.committed", "5", "ledger_1-x"]
)
def test_not_a_chunk(name: str) -> None:
    assert parse_name(name) is None


def test_names_are_made_as_they_are_read() -> None:
    assert chunk.open_name(5) == "ledger_5"
    assert chunk.open_name(5, recovery=True) == "ledger_5.recovery"
    assert chunk.committed_name(5, 9) == "ledger_5-9.committed"
    assert chunk.committed_name(5, 9, recovery=True) == "ledger_5-9.committed.recovery"


def test_the_worked_header_and_table() -> None:
    # spec: ledger.md §3
    table = 8 + 66093 + 2008
    assert chunk.encode_header(table) == bytes.fromhex("0d0a010000000000")
    assert chunk.encode_table([8, 66101]) == bytes.fromhex("0800000035020100")
    assert chunk.parse_table_offset(bytes.fromhex("0d0a010000000000"), 68117) == table
    assert list(chunk.parse_table(bytes.fromhex("0800000035020100"))) == [8, 66101]
    assert chunk.end_of([8, 66101], 0, table) == 66101
    assert chunk.end_of([8, 66101], 1, table) == table


@pytest.mark.parametrize(
    ("header", "size", "why"),
    [
        (b"\0" * 7, 7, "less than its header"),
        (chunk.encode_header(101), 100, "at 101 of 100"),
        (chunk.encode_header(7), 100, "at 7 of 100"),
        (chunk.encode_header(50), 101, "not a multiple of 4"),
    ],
)
def test_wrong_headers(header: bytes, size: int, why: str) -> None:
    with pytest.raises(InvalidLedger, match=why):
        chunk.parse_table_offset(header, size)


@pytest.mark.parametrize("positions", [[9], [8, 8], [8, 100, 50]])
def test_wrong_tables(positions: list[int]) -> None:
    with pytest.raises(InvalidLedger, match="Positions table names"):
        chunk.parse_table(chunk.encode_table(positions))


def test_scanning_finds_complete_entries_only() -> None:
    entries = [e.data for e in small_service(3).entries]
    data = bytes(8) + b"".join(entries)

    def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    positions = [8]
    for one in entries[:-1]:
        positions.append(positions[-1] + len(one))
    whole = chunk.scan(read, len(data))
    assert (list(whole.positions), whole.end) == (positions, len(data))
    for cut in (1, 7, 8, 9, len(entries[-1]) - 1, len(entries[-1])):
        found = chunk.scan(read, len(data) - cut)
        assert list(found.positions) == positions[:-1]
        assert found.end == positions[-1]


def test_scanning_stops_at_space_never_written() -> None:
    entry = small_service(1).entries[0].data
    data = bytes(8) + entry + bytes(4096)
    found = chunk.scan(lambda o, n: data[o : o + n], len(data))
    assert (list(found.positions), found.end) == ([8], 8 + len(entry))


@pytest.mark.parametrize("written", [8, 5, 12])
def test_scanning_stops_at_a_table_that_nobody_points_to(written: int) -> None:
    """The chunk was completed up to its header: entries first, then the table, cut or whole."""
    entries = [e.data for e in small_service(3).entries[:3]]
    body = bytes(8) + b"".join(entries)
    positions = [8, 8 + len(entries[0]), 8 + len(entries[0]) + len(entries[1])]
    data = body + chunk.encode_table(positions)[:written]
    found = chunk.scan(lambda o, n: data[o : o + n], len(data))
    assert (list(found.positions), found.end) == (positions, len(body))
    other = body + b"\7" * 12
    with pytest.raises(InvalidLedger, match="format version 7"):
        chunk.scan(lambda o, n: other[o : o + n], len(other))


def test_scanning_refuses_what_is_no_entry() -> None:
    data = bytes(8) + b"\x07" * 100
    with pytest.raises(InvalidLedger, match="format version 7"):
        chunk.scan(lambda o, n: data[o : o + n], len(data))
