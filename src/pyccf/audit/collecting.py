"""Taking what is good out of a heap: the ledger files of a chain, written into a new folder.

Refused with LocalError: a folder that holds anything, or a disk that refuses. What is read is never
changed.
"""

from __future__ import annotations

from array import array
from pathlib import Path

from pyccf.audit.files import ChunkFile, ChunkReader, StrPath
from pyccf.audit.heap import HeapReport
from pyccf.audit.pieces import Link, Piece, entries_of, piece_at
from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger import chunk


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
            names.append(_collect(link, target, last=link is report.chain[-1]))
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


def _collect(link: Link, folder: Path, *, last: bool) -> str:
    one = piece_at(link.path)
    path, name = one.path, one.name
    whole = (name.first, name.last) == (link.first, link.last) and not link.others
    if whole and _is_sound(one):
        (folder / path.name).write_bytes(path.read_bytes())
        return path.name
    positions = array("I")
    at = chunk.FIRST_OFFSET
    made = folder / (
        chunk.open_name(link.first) if last else chunk.committed_name(link.first, link.last)
    )
    with made.open("xb") as file:
        file.write(chunk.encode_header(0))
        for data in entries_of(link):
            positions.append(at)
            at += file.write(data)
        if not last:
            file.write(chunk.encode_table(positions))
            file.seek(0)
            file.write(chunk.encode_header(at))
    return made.name
