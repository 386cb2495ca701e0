"""Finding chunks, and naming the entry that is not as the layout wants it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.audit.files import ChunkReader, find_chunks
from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger import chunk
from pyccf.shell.disk import LedgerDisk
from support.ledgers import Service, small_service


@pytest.fixture(scope="module")
def service() -> Service:
    return small_service(12)


@pytest.fixture
def ledger(tmp_path: Path, service: Service) -> Path:
    disk = LedgerDisk(tmp_path / "ledger")
    disk.append(service.entries)
    disk.commit(service.signed)
    disk.close()
    return tmp_path / "ledger"


@pytest.fixture
def open_chunk(tmp_path: Path, service: Service) -> Path:
    """One incomplete chunk with the first seven entries."""
    path = tmp_path / "ledger_1"
    path.write_bytes(bytes(8) + b"".join(e.data for e in service.entries[:7]))
    return path


def names(directory: Path, **options: bool) -> list[str]:
    return [one.path.name for one in find_chunks(directory, **options).chunks]


def walked(path: Path) -> list[bytes]:
    one = find_chunks(path.parent).chunks
    with ChunkReader(next(c for c in one if c.path == path)) as reader:
        return list(reader.entries())


def fault(path: Path) -> InvalidLedger:
    with pytest.raises(InvalidLedger) as caught:
        walked(path)
    assert caught.value.file == path.name
    return caught.value


def offsets(service: Service, first: int = 1) -> list[int]:
    found = [8]
    for entry in service.entries[first - 1 :]:
        found.append(found[-1] + len(entry.data))
    return found


def change(path: Path, offset: int, data: bytes) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset : offset + len(data)] = data
    path.write_bytes(raw)


def test_chunks_in_order_and_what_is_left_out(ledger: Path) -> None:
    (ledger / "ledger_999.recovery").touch()
    (ledger / "ledger_5.ignored").touch()
    (ledger / "readme").touch()
    (ledger / "ledger_2").touch()
    found = find_chunks(ledger)
    firsts = [one.name.first for one in found.chunks]
    assert firsts == sorted(firsts)
    assert firsts[0] == 1
    assert sorted(found.left_out) == ["ledger_2", "ledger_5.ignored", "ledger_999.recovery"]
    assert "ledger_999.recovery" in names(ledger, include_recovery=True)


def test_files_with_holes_are_not_read_into_memory(tmp_path: Path) -> None:
    """A few bytes may say that they are more than any memory holds."""
    path = tmp_path / "ledger_1"
    claimed = 1 << 32
    header = (1 | claimed << 16).to_bytes(8, "little")
    iv = (1).to_bytes(8, "little") + (2).to_bytes(4, "little")
    path.write_bytes(bytes(8) + header + bytes(16) + iv + (9).to_bytes(8, "little"))
    with path.open("r+b") as file:
        file.truncate(claimed + 1000)
    assert "more than an entry can have" in fault(path).message
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    assert "more than a chunk can have" in fault(path).message
    path = path.rename(tmp_path / f"ledger_1-{1 << 38}.committed")
    with ChunkReader(find_chunks(tmp_path).chunks[0]) as reader:
        assert list(reader.by_table()) == []


def test_several_directories_are_one_ledger(ledger: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    files = sorted(ledger.iterdir())
    (other / files[0].name).write_bytes(files[0].read_bytes())
    files[1].rename(other / files[1].name)
    both = find_chunks([ledger, str(other)]).chunks
    assert len(both) == len(files)
    with pytest.raises(LocalError, match="cannot be listed: No such file"):
        find_chunks(tmp_path / "nowhere")


def test_a_chunk_gives_its_entries(ledger: Path, service: Service) -> None:
    data = [entry for path in names(ledger) for entry in walked(ledger / path)]
    assert data == [e.data for e in service.entries]


@pytest.mark.parametrize("cut", [1, 5, 20, 50, 150])
def test_a_partial_tail_is_torn(open_chunk: Path, service: Service, cut: int) -> None:
    whole = offsets(service)[7]
    open_chunk.write_bytes(open_chunk.read_bytes()[: whole - cut])
    with ChunkReader(find_chunks(open_chunk.parent).chunks[0]) as reader:
        assert list(reader.entries()) == [e.data for e in service.entries[:6]]
        assert reader.torn == whole - cut - offsets(service)[6]


def test_space_never_written_is_torn(open_chunk: Path) -> None:
    open_chunk.write_bytes(open_chunk.read_bytes() + bytes(4096))
    with ChunkReader(find_chunks(open_chunk.parent).chunks[0]) as reader:
        assert len(list(reader.entries())) == 7
        assert reader.torn == 4096


@pytest.mark.parametrize("size", [0, 3, 7])
def test_a_file_that_was_only_created(tmp_path: Path, size: int) -> None:
    path = tmp_path / "ledger_1"
    path.write_bytes(bytes(size))
    assert walked(path) == []
    committed = tmp_path / "ledger_1-2.committed"
    committed.write_bytes(bytes(size))
    assert "less than its header" in fault(committed).message


@pytest.mark.parametrize("entry", [1, 3, 6])
@pytest.mark.parametrize("delta", [-1, 1, 256, 1 << 20])
def test_a_wrong_length_is_that_entry_s_fault(
    open_chunk: Path, service: Service, entry: int, delta: int
) -> None:
    at = offsets(service)[entry - 1]
    size = len(service.entries[entry - 1].data) - 8
    change(open_chunk, at + 2, (size + delta).to_bytes(6, "little"))
    found = fault(open_chunk)
    assert found.seqno == entry
    assert "length is wrong" in found.message


def test_the_last_signature_s_length(tmp_path: Path, service: Service) -> None:
    path = tmp_path / "ledger_1"
    path.write_bytes(bytes(8) + b"".join(e.data for e in service.entries[:2]))
    at = offsets(service)[1]
    change(path, at + 2, (len(service.entries[1].data) + 500).to_bytes(6, "little"))
    assert fault(path).seqno == 2


@pytest.mark.parametrize("entry", [1, 2, 5])
def test_a_wrong_header_is_that_entry_s_fault(
    open_chunk: Path, service: Service, entry: int
) -> None:
    change(open_chunk, offsets(service)[entry - 1], b"\x03")
    found = fault(open_chunk)
    assert (found.seqno, "format version 3" in found.message) == (entry, True)


def test_a_dropped_entry_is_missed(open_chunk: Path, service: Service) -> None:
    kept = [e.data for e in service.entries[:7] if e.seqno != 4]
    open_chunk.write_bytes(bytes(8) + b"".join(kept))
    found = fault(open_chunk)
    assert found.seqno == 4
    assert found.message == "Found entry 5 where entry 4 must be."


def test_an_entry_dropped_from_a_committed_chunk(ledger: Path, service: Service) -> None:
    path = ledger / names(ledger)[0]
    at = offsets(service)
    raw = path.read_bytes()
    path.write_bytes(raw[: at[3]] + raw[at[4] :])
    assert fault(path).seqno == 4


def test_a_cut_committed_chunk(ledger: Path, service: Service) -> None:
    path = ledger / names(ledger)[0]
    path.write_bytes(path.read_bytes()[: offsets(service)[4] + 10])
    assert fault(path).seqno == 5


def test_a_wrong_table(ledger: Path) -> None:
    path = ledger / names(ledger)[0]
    raw = path.read_bytes()
    table = int.from_bytes(raw[:8], "little")
    for index in (0, 2):
        changed = bytearray(raw)
        changed[table + 4 * index] ^= 1
        path.write_bytes(changed)
        found = fault(path)
        assert found.seqno == index + 1
        assert "positions table does not say" in found.message
    path.write_bytes(raw + b"more")
    assert "4 bytes follow the positions table" in fault(path).message
    path.write_bytes(raw[:-4])
    assert "positions table" in fault(path).message


def test_a_wrong_header_of_the_file(ledger: Path) -> None:
    path = ledger / names(ledger)[0]
    raw = path.read_bytes()
    for offset in range(8):
        for bit in (1, 0x80):
            changed = bytearray(raw)
            changed[offset] ^= bit
            path.write_bytes(changed)
            found = fault(path)
            assert found.seqno == 1
            assert "header" in found.message
    path.write_bytes(bytes(8) + raw[8:])
    assert "says that it is incomplete" in fault(path).message


def test_a_table_where_there_is_none(open_chunk: Path) -> None:
    change(open_chunk, 0, (300).to_bytes(8, "little"))
    found = fault(open_chunk)
    assert (found.seqno, "where there is none" in found.message) == (1, True)


def test_a_completed_chunk_that_is_not_committed(tmp_path: Path, service: Service) -> None:
    disk = LedgerDisk(tmp_path / "l")
    disk.append(service.entries)
    disk.close()
    path = tmp_path / "l" / "ledger_1"
    with ChunkReader(find_chunks(tmp_path / "l").chunks[0]) as reader:
        found = list(reader.entries())
        assert reader.completed
    assert found == [e.data for e in service.entries[: len(found)]]
    raw = path.read_bytes()
    change(path, len(raw) - 4, b"\xff")
    assert fault(path).seqno == len(found)


def test_a_name_without_a_range(tmp_path: Path) -> None:
    for name in ("ledger_5.committed", "ledger_5-4.committed"):
        path = tmp_path / name
        path.write_bytes(bytes(16))
        assert "no range of entries" in fault(path).message
        path.unlink()


def test_entries_by_table(ledger: Path, service: Service) -> None:
    one = find_chunks(ledger).chunks[0]
    with ChunkReader(one) as reader:
        assert dict(reader.by_table()) == {
            e.seqno: e.data for e in service.entries[: one.name.last]
        }
    one.path.write_bytes(bytes(20))
    with ChunkReader(one) as reader:
        assert list(reader.by_table()) == []
    path = ledger / chunk.open_name(99)
    path.write_bytes(bytes(20))
    with ChunkReader(find_chunks(ledger).chunks[-1]) as reader:
        assert list(reader.by_table()) == []


def test_a_file_that_cannot_be_opened(ledger: Path) -> None:
    one = find_chunks(ledger).chunks[0]
    one.path.unlink()
    with pytest.raises(LocalError, match="cannot be opened: No such file"):
        ChunkReader(one)
