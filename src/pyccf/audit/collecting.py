"""Taking what is good out of a heap: the ledger files of a chain, written into a new folder.

Refused with LocalError: a folder that holds anything, or a disk that refuses. What is read is never
changed.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

from pyccf.audit.files import ChunkFile, ChunkReader, StrPath
from pyccf.audit.heap import HeapReport
from pyccf.audit.pieces import Link, Piece, entries_of, piece_at
from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger import chunk
from pyccf.ledger.entry import FORCE_CHUNK_AFTER, FORCE_CHUNK_BEFORE


def collect(report: HeapReport, folder: StrPath) -> list[str]:
    """Write the ledger files of the chain, and nothing else, into a new folder; their names.

    A file that belongs to the chain as a whole is copied, of any other the entries that do are
    written. Raises LocalError when the folder holds anything, or the disk refuses.
    """
    target = Path(folder)
    names: list[str] = []
    at = ""
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise LocalError(
                f"{target} is not empty.", hint="Nothing is ever written over: name another place."
            )
        for link in report.chain:
            at = link.path
            names += _collect(link, target, last=link is report.chain[-1])
    except OSError as error:
        where = error.filename or f"{target}, copying {at}"
        raise LocalError(
            f"{where}: {error.strerror}.",
            hint="Remove what was copied so far before you try again.",
        ) from None
    return names


def _is_sound(one: Piece) -> bool:
    """Whether a file is a committed chunk as it should be, table and all."""
    with ChunkReader(ChunkFile(one.path, one.name)) as reader:
        try:
            return one.name.committed and sum(1 for _ in reader.entries()) > 0
        except InvalidLedger:
            return False


def _collect(link: Link, folder: Path, *, last: bool) -> list[str]:
    """Write what a file gives to the chain; the names of the files that it became."""
    one = piece_at(link.path)
    path, name = one.path, one.name
    whole = (name.first, name.last) == (link.first, link.last) and not link.others
    if whole and _is_sound(one):
        kept = path.name.removesuffix(chunk.RECOVERY)
        (folder / kept).write_bytes(path.read_bytes())
        return [kept]
    made: list[str] = []
    entries = list(_chunks(entries_of(link)))
    first = link.first
    for number, chunk_entries in enumerate(entries, 1):
        end = first + len(chunk_entries) - 1
        is_open = last and number == len(entries)
        made.append(chunk.open_name(first) if is_open else chunk.committed_name(first, end))
        _write(folder / made[-1], chunk_entries, complete=not is_open)
        first = end + 1
    return made


def _chunks(entries: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Entries as they belong into chunks: entries of other files may end one where this did not."""
    found: list[bytes] = []
    for data in entries:
        if found and data[1] & FORCE_CHUNK_BEFORE:
            yield found
            found = []
        found.append(data)
        if data[1] & FORCE_CHUNK_AFTER:
            yield found
            found = []
    if found:
        yield found


def _write(path: Path, entries: list[bytes], *, complete: bool) -> None:
    positions = array("I")
    at = chunk.FIRST_OFFSET
    with path.open("xb") as file:
        file.write(chunk.encode_header(0))
        for data in entries:
            positions.append(at)
            at += file.write(data)
        if complete:
            file.write(chunk.encode_table(positions))
            file.seek(0)
            file.write(chunk.encode_header(at))
