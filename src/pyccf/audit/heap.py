"""A heap of ledger and snapshot files from several hosts: what can be recovered from it.

After a disaster files come from wherever something was left: copies of the same chunk, an open
chunk that one host wrote further than another, ends that were cut off, entries a deposed primary
signed that were never committed, files of another service. `inspect` tries what fits after what,
with the auditor as the judge, and finds the chain that the service itself would have preferred: the
last provable signature of the greatest view, and there the furthest. Whatever was committed and is
in the heap at all, with everything before it, is in that chain.

Nothing is passed over in silence: every file gets a verdict and the reason for it. Nothing is ever
changed. Memory grows with the number of entries (32 bytes each), not with their size.
Raises LocalError for a directory that cannot be read. (spec: ledger.md §2-3, §12)
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import BinaryIO

import msgspec

from pyccf.audit.auditor import Auditor
from pyccf.audit.files import ChunkFile, ChunkReader, StrPath
from pyccf.audit.snapshots import vouch
from pyccf.codec.text import load_json
from pyccf.errors import InvalidLedger, InvalidReceipt, LocalError
from pyccf.kv.changes import UNIT
from pyccf.ledger import chunk, snapshot
from pyccf.ledger.entry import HEADER_SIZE, PREFIX_SIZE, parse, parse_header
from pyccf.service.tables import SNAPSHOT_EVIDENCE
from pyccf.types import SeqNo, TxID

HASH_BYTES = 32
ENTRY_BYTES_MAX = 1 << 30
"""Longer than any entry; what claims more is not looked for."""
PATCHES_MAX = 100
"""Damaged entries of one file that are looked for in others."""
CHAINS_MAX = 10_000
"""Places in a chain from which continuations are tried."""


class Verdict(Enum):
    """What a file is worth."""

    USED = "used"
    """Part of the chain."""
    COPY = "copy"
    """The same bytes as another file."""
    SUPERSEDED = "superseded"
    """All its entries are in a file that is used."""
    FORKED = "forked"
    """It leaves the chain for entries that were never committed."""
    UNPROVEN = "unproven"
    """It goes on with the chain, but no signature that holds covers it."""
    DAMAGED = "damaged"
    FOREIGN = "foreign"
    """Of another ledger."""
    UNREACHABLE = "unreachable"
    """Entries between the chain and this file are missing."""
    UNFINISHED = "unfinished recovery"
    """Left by a recovery that was not completed."""
    SET_ASIDE = "set aside"
    """Somebody took it out before."""
    USABLE = "usable"
    """A snapshot that can be started from."""
    UNKNOWN = "not a ledger file"


class FileReport(msgspec.Struct, rename="camel", omit_defaults=True):
    """One file."""

    path: str
    verdict: Verdict
    reason: str = ""
    first: SeqNo | None = None
    last: SeqNo | None = None
    """Of the entries that can be read in it."""
    torn_bytes: int = 0
    """Bytes at its end that are no complete entry."""


class Gap(msgspec.Struct, frozen=True):
    """Entries that no usable file holds."""

    first: SeqNo
    last: SeqNo


class Link(msgspec.Struct, frozen=True):
    """What of a file is part of the chain."""

    path: str
    first: SeqNo
    last: SeqNo
    others: dict[SeqNo, str] = {}
    """Entries that are damaged in this file, and the files they are taken from instead."""


class HeapReport(msgspec.Struct, frozen=True, rename="camel"):
    """What is in the heap."""

    recoverable: str | None
    """Transaction id of the last signature that can be recovered."""
    entries: int
    unsigned: int
    """Entries that follow it in the files of the chain and cannot be proven."""
    identity: str
    """Certificate of the service that the chain ends with."""
    recovery_count: int
    chain: tuple[Link, ...]
    """Files to recover from, in order."""
    snapshot: str | None
    """The newest snapshot that fits."""
    missing: tuple[Gap, ...]
    files: tuple[FileReport, ...]

    @property
    def last(self) -> TxID | None:
        return None if self.recoverable is None else TxID.parse(self.recoverable)


class _Chunk:
    """A chunk file that was read through once."""

    __slots__ = ("digest", "end", "fault", "name", "path", "report")

    def __init__(self, path: Path, name: chunk.ChunkName, digest: bytes) -> None:
        self.path = path
        self.name = name
        self.digest = digest
        self.end: SeqNo = name.first - 1
        """The last entry that can be read."""
        self.fault = ""
        self.report = FileReport(str(path), Verdict.UNKNOWN)

    @property
    def first(self) -> SeqNo:
        return self.name.first

    def entry(self, seqno: SeqNo) -> bytes:
        """One entry, which is there."""
        return next(self.entries(seqno))

    def entries(self, start: SeqNo) -> Iterator[bytes]:
        """Entries from `start` on, as far as they follow each other, whatever the table says."""
        with self.path.open("rb") as file:
            file.seek(chunk.FIRST_OFFSET)
            seqno = self.name.first
            while (data := _next_entry(file, seqno)) is not None:
                if seqno >= start:
                    yield data
                seqno += 1


def _next_entry(file: BinaryIO, seqno: SeqNo) -> bytes | None:
    """The entry that begins here if it is whole and of this seqno."""
    prefix = file.read(PREFIX_SIZE)
    if len(prefix) < PREFIX_SIZE or int.from_bytes(prefix[24:32], "little") != seqno:
        return None
    try:
        _, length = parse_header(prefix[:HEADER_SIZE])
    except InvalidLedger:
        return None
    data = prefix + file.read(min(length, ENTRY_BYTES_MAX) - PREFIX_SIZE)
    return data if len(data) == length else None


class _Chain(msgspec.Struct):
    """Files that fit, up to a signature that holds."""

    auditor: Auditor
    files: tuple[_Chunk, ...]
    links: tuple[Link, ...] = ()

    @property
    def rank(self) -> tuple[int, int]:
        last = self.auditor.last_signed
        return (0, 0) if last is None else (last.view, last.seqno)

    @property
    def end(self) -> SeqNo:
        return self.rank[1]


def inspect(
    directories: Sequence[StrPath], progress: Callable[[str], object] | None = None
) -> HeapReport:
    """Look at all files in these directories and below. Raises LocalError."""
    heap = _Heap(progress or _silent)
    for path in _walk(directories):
        heap.take(path)
    return heap.report()


def _silent(text: str) -> None:
    """Nobody wants to know."""


def _walk(directories: Sequence[StrPath]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise LocalError(f"Directory {error.filename} cannot be read: {error.strerror}.")

    for directory in directories:
        if not os.path.isdir(directory):
            raise LocalError(f"{os.fspath(directory)} is not a directory.")
        for folder, names, files in os.walk(directory, onerror=refuse):
            names.sort()
            yield from (Path(folder) / file for file in sorted(files))


class _Heap:
    """The files, and what is found out about them."""

    def __init__(self, progress: Callable[[str], object]) -> None:
        self._progress = progress
        self._reports: list[FileReport] = []
        self._chunks: list[_Chunk] = []
        self._snapshots: list[tuple[Path, FileReport]] = []
        self._seen: dict[tuple[bytes, str], str] = {}
        """Files by digest and name: a name says what must be in a file."""
        self._faults: dict[str, str] = {}
        """Why a file did not go on with a chain, by path; the last reason counts."""

    # --- files --------------------------------------------------------------------------------

    def take(self, path: Path) -> None:
        """Look at one file by itself."""
        name = chunk.parse_name(path.name)
        taken = name is None and path.name.startswith("snapshot_")
        report = FileReport(str(path), Verdict.UNKNOWN)
        self._reports.append(report)
        if name is None and not taken:
            report.reason = "its name is not that of a ledger or snapshot file"
            return
        try:
            digest = _digest(path)
        except OSError as error:
            report.verdict = Verdict.DAMAGED
            report.reason = f"it cannot be read: {error.strerror}"
            return
        before = self._seen.setdefault((digest, path.name), str(path))
        if before != str(path):
            report.verdict, report.reason = Verdict.COPY, f"the same as {before}"
            return
        if name is None:
            self._snapshots.append((path, report))
        else:
            self._take_chunk(_Chunk(path, name, digest), report)

    def _take_chunk(self, one: _Chunk, report: FileReport) -> None:
        one.report = report
        self._progress(f"reading {one.path}")
        self._scan(one)
        if one.name.ignored:
            report.verdict, report.reason = Verdict.SET_ASIDE, "its name ends with .ignored"
        elif one.name.recovery:
            report.verdict = Verdict.UNFINISHED
            report.reason = "a recovery that was not completed wrote it"
        elif one.end < one.first:
            report.verdict = Verdict.DAMAGED
            report.reason = one.fault or "it holds no complete entry"
        else:
            self._chunks.append(one)

    def _scan(self, one: _Chunk) -> None:
        """How far a file can be read."""
        report = one.report
        one.end += sum(1 for _ in one.entries(one.first))
        with ChunkReader(ChunkFile(one.path, one.name)) as reader:
            try:
                for _ in reader.entries():
                    pass
            except InvalidLedger as error:
                one.fault = error.message
            report.torn_bytes = reader.torn
        if one.end >= one.first:
            report.first, report.last = one.first, one.end

    # --- chains -------------------------------------------------------------------------------

    def _best(self) -> _Chain:
        """The chain that the service would have preferred."""
        best = _Chain(Auditor(), ())
        waiting = [best]
        known: set[tuple[SeqNo, bytes]] = set()
        while waiting and len(known) < CHAINS_MAX:
            chain = waiting.pop()
            best = max(best, chain, key=lambda found: found.rank)
            for longer in self._continued(chain):
                at = (longer.end, longer.auditor.root)
                if at not in known:
                    known.add(at)
                    waiting.append(longer)
        return best

    def _continued(self, chain: _Chain) -> list[_Chain]:
        """The chain with each file that goes on with it."""
        following = chain.end + 1
        found: list[_Chain] = []
        for one in self._chunks:
            if one.first <= following <= one.end:
                self._progress(f"checking {one.path} from entry {following}")
                longer = self._extend(chain, one)
                if longer is not None:
                    found.append(longer)
        # Of two that lead to the same place, a file of which nothing is left over is taken first.
        return sorted(found, key=lambda longer: (longer.rank, longer.files[-1].end > longer.end))

    def _extend(self, chain: _Chain, one: _Chunk) -> _Chain | None:
        """The chain up to the last signature in a file that holds; None if there is none.

        An entry that a signature shows to be damaged is taken from another file, if one has it.
        """
        self._faults.pop(str(one.path), None)
        others: dict[SeqNo, _Chunk] = {}
        while True:
            auditor, fault = self._feed(chain, one, others)
            if fault is None or len(others) >= PATCHES_MAX:
                break
            better = self._another(one, fault.seqno or 0, chain.end, others)
            if better is None:
                break
            others[fault.seqno or 0] = better
        if fault is not None:
            self._faults[str(one.path)] = fault.message
        proven = 0 if auditor.last_signed is None else auditor.last_signed.seqno
        if proven <= chain.end:
            return None
        if proven < auditor.entries or fault is not None:
            # Entries after that signature left traces: once more, only so far.
            auditor, _ = self._feed(chain, one, others, proven)
        link = Link(
            str(one.path),
            chain.end + 1,
            proven,
            {n: str(other.path) for n, other in others.items() if n <= proven},
        )
        return _Chain(auditor, (*chain.files, one), (*chain.links, link))

    def _feed(
        self, chain: _Chain, one: _Chunk, others: dict[SeqNo, _Chunk], until: SeqNo = 0
    ) -> tuple[Auditor, InvalidLedger | None]:
        """Have the entries of a file judged, up to the first that is not good."""
        auditor = copy.deepcopy(chain.auditor)
        for seqno, data in enumerate(one.entries(chain.end + 1), chain.end + 1):
            other = others.get(seqno)
            try:
                auditor.feed(parse(data if other is None else other.entry(seqno)))
            except InvalidLedger as error:
                return auditor, error
            if seqno == until:
                break
        return auditor, None

    def _another(
        self, one: _Chunk, seqno: SeqNo, end: SeqNo, others: dict[SeqNo, _Chunk]
    ) -> _Chunk | None:
        """Another file with another version of an entry; None when there is none to be tried."""
        if seqno <= end or seqno in others or not one.first <= seqno <= one.end:
            return None
        bad = one.entry(seqno)
        for other in self._chunks:
            has_it = other is not one and other.first <= seqno <= other.end
            if has_it and other.entry(seqno) != bad:
                return other
        return None

    # --- verdicts -----------------------------------------------------------------------------

    def report(self) -> HeapReport:
        """Everything, once all files were taken."""
        chain = self._best()
        digests = self._digests_of(chain)
        for one in self._chunks:
            if one in chain.files:
                self._judge_used(one, chain)
            else:
                self._judge_other(one, chain, digests)
        usable = {
            txid: report
            for path, report in self._snapshots
            if (txid := self._judge_snapshot(path, report, chain)) is not None
        }
        newest = usable[max(usable)] if usable else None
        last = chain.auditor.last_signed
        links = chain.links
        if usable and max(usable).seqno > chain.end:
            last = max(usable)
            links += self._after_snapshot(last.seqno)
        identities = chain.auditor.identities
        return HeapReport(
            recoverable=None if last is None else str(last),
            entries=chain.end,
            unsigned=self._unproven(chain),
            identity=identities[-1].cert if identities else "",
            recovery_count=max(0, len(identities) - 1),
            chain=links,
            snapshot=None if newest is None else newest.path,
            missing=self._missing(chain),
            files=tuple(self._reports),
        )

    def _digests_of(self, chain: _Chain) -> bytearray:
        """SHA-256 of each entry of the chain, end to end."""
        digests = bytearray()
        for link in chain.links:
            for data in _entries_of(link):
                digests += hashlib.sha256(data).digest()
        return digests

    def _judge_used(self, one: _Chunk, chain: _Chain) -> None:
        report = one.report
        report.verdict = Verdict.USED
        if one is not chain.files[-1] or one.end <= chain.end:
            patched = [n for link in chain.links if link.path == report.path for n in link.others]
            if patched:
                report.reason = f"but for entries {patched}, which are damaged and taken elsewhere"
            elif one.fault:
                report.reason = f"its entries are good: {one.fault}"
            return
        why = self._faults.get(str(one.path)) or one.fault or "no signature follows them"
        report.reason = f"entries {chain.end + 1} to {one.end} do not count: {why}"

    def _judge_other(self, one: _Chunk, chain: _Chain, digests: bytearray) -> None:
        report = one.report
        if one.first > chain.end + 1:
            report.verdict = Verdict.UNREACHABLE
            report.reason = f"entries {chain.end + 1} to {one.first - 1} are missing"
            return
        same, different, first = self._compare(one, chain.end, digests)
        if one.end > chain.end and not different:
            report.verdict = Verdict.DAMAGED if one.fault else Verdict.UNPROVEN
            why = self._faults.get(str(one.path)) or one.fault or "no signature follows them"
            report.reason = f"entries after {chain.end} do not count: {why}"
        elif not different:
            report.verdict = Verdict.DAMAGED if one.fault else Verdict.SUPERSEDED
            report.reason = one.fault or "its entries are in files that are used"
        elif same and self._continues(one, first, chain.end, digests):
            report.verdict = Verdict.DAMAGED
            report.reason = f"entry {first} is not the one that was signed"
        elif same:
            report.verdict = Verdict.FORKED
            report.reason = f"from entry {first} on it holds what was never committed"
        else:
            report.verdict = Verdict.FOREIGN
            why = self._faults.get(str(one.path), "")
            report.reason = "it does not belong to this ledger" + (f": {why}" if why else "")

    def _compare(self, one: _Chunk, end: SeqNo, digests: bytearray) -> tuple[int, int, SeqNo]:
        """How many entries are those of the chain, how many not, and the first that is not."""
        same = different = 0
        first: SeqNo = 0
        for seqno, data in enumerate(one.entries(one.first), one.first):
            if seqno > end:
                break
            at = HASH_BYTES * (seqno - 1)
            if digests[at : at + HASH_BYTES] == hashlib.sha256(data).digest():
                same += 1
            else:
                different += 1
                first = first or seqno
        return same, different, first

    def _continues(self, one: _Chunk, first: SeqNo, end: SeqNo, digests: bytearray) -> bool:
        """Whether entries after the first different one are those of the chain again."""
        for seqno, data in enumerate(one.entries(first + 1), first + 1):
            at = HASH_BYTES * (seqno - 1)
            if seqno > end:
                break
            if digests[at : at + HASH_BYTES] == hashlib.sha256(data).digest():
                return True
        return False

    def _unproven(self, chain: _Chain) -> int:
        """Entries that follow the chain without a signature that holds."""
        ends = [one.end for one in self._chunks if one.report.verdict is Verdict.UNPROVEN]
        ends += [one.end for one in chain.files[-1:]]
        return max([0, *(end - chain.end for end in ends)])

    def _missing(self, chain: _Chain) -> tuple[Gap, ...]:
        """What lies between the chain and the files that it does not reach."""
        gaps: list[Gap] = []
        reached = chain.end
        for one in sorted(self._chunks, key=lambda one: one.first):
            if one.first > reached + 1:
                gaps.append(Gap(reached + 1, one.first - 1))
            if one.report.verdict in (Verdict.UNREACHABLE, Verdict.USED):
                reached = max(reached, one.end if one not in chain.files else reached)
        return tuple(gaps)

    # --- snapshots ----------------------------------------------------------------------------

    def _after_snapshot(self, seqno: SeqNo) -> tuple[Link, ...]:
        """Files that go on after a snapshot which the chain does not reach. The node that recovers
        from it is who proves them."""
        links: list[Link] = []
        for one in sorted(self._chunks, key=lambda one: (one.first, -one.end)):
            if one.first <= seqno + 1 <= one.end:
                one.report.verdict = Verdict.USED
                one.report.reason = f"it goes on after the snapshot at {seqno}"
                links.append(Link(str(one.path), seqno + 1, one.end))
                seqno = one.end
        return tuple(links)

    def _judge_snapshot(self, path: Path, report: FileReport, chain: _Chain) -> TxID | None:
        """Where a snapshot was taken, if the present service of the chain vouches for it."""
        name = snapshot.parse_name(path.name)
        if name is None or not name.committed:
            report.verdict = Verdict.SET_ASIDE
            report.reason = "it was not completely written, or somebody took it out"
            return None
        try:
            found = snapshot.parse(path.read_bytes())
            report.first = report.last = found.seqno
        except (OSError, InvalidLedger) as error:
            report.verdict = Verdict.DAMAGED
            report.reason = error.message if isinstance(error, InvalidLedger) else str(error)
            return None
        identities = chain.auditor.identities
        if not identities:
            report.verdict = Verdict.UNREACHABLE
            report.reason = "no ledger file says which service it is of"
            return None
        try:
            identity, evidence = vouch(found, name, identities)
        except InvalidReceipt as error:
            report.verdict, report.reason = Verdict.FOREIGN, error.message
        except InvalidLedger as error:
            report.verdict, report.reason = Verdict.DAMAGED, error.message
        else:
            if identity is not identities[-1]:
                report.verdict = Verdict.SUPERSEDED
                report.reason = "an earlier service took it"
            elif evidence <= chain.end and not _records(chain, evidence, found):
                report.verdict = Verdict.FORKED
                report.reason = f"entry {evidence} of the ledger does not record it"
            else:
                report.verdict, report.reason = Verdict.USABLE, ""
                return found.txid
        return None


def _records(chain: _Chain, seqno: SeqNo, found: snapshot.Snapshot) -> bool:
    """Whether an entry of the chain records a snapshot."""
    link = next(link for link in chain.links if link.first <= seqno <= link.last)
    data = next(itertools.islice(_entries_of(link), seqno - link.first, None))
    raw = parse(data).public_maps().get(SNAPSHOT_EVIDENCE, {}).get(UNIT)
    try:
        return load_json(raw or b"") == snapshot.record_of(found)
    except ValueError:
        return False


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


# --- taking what is good ----------------------------------------------------------------------


def collect(report: HeapReport, folder: StrPath) -> list[str]:
    """Write the ledger files of the chain, and nothing else, into a new folder; their names.

    A file that belongs to the chain as a whole is copied, of any other the entries that do are
    written. Raises LocalError when the folder holds anything, or the disk refuses.
    """
    target = Path(folder)
    names: list[str] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise LocalError(
                f"{target} is not empty.", hint="Nothing is ever written over: name another place."
            )
        for link in report.chain:
            names.append(_collect(link, target, last=link is report.chain[-1]))
    except OSError as error:
        raise LocalError(f"{error.filename or target}: {error.strerror}.") from None
    return names


def _entries_of(link: Link) -> Iterator[bytes]:
    """The entries that a file gives to the chain."""
    one = _chunk_at(link.path)
    for seqno, data in enumerate(one.entries(link.first), link.first):
        if seqno > link.last:
            break
        other = link.others.get(seqno)
        yield data if other is None else _chunk_at(other).entry(seqno)


def _chunk_at(path: str) -> _Chunk:
    name = chunk.parse_name(Path(path).name)
    assert name is not None, "only ledger files are part of a chain"
    return _Chunk(Path(path), name, b"")


def _is_sound(one: _Chunk) -> bool:
    """Whether a file is a committed chunk as it should be, table and all."""
    with ChunkReader(ChunkFile(one.path, one.name)) as reader:
        try:
            return one.name.committed and sum(1 for _ in reader.entries()) > 0
        except InvalidLedger:
            return False


def _collect(link: Link, folder: Path, *, last: bool) -> str:
    one = _chunk_at(link.path)
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
        for data in _entries_of(link):
            positions.append(at)
            at += file.write(data)
        if not last:
            file.write(chunk.encode_table(positions))
            file.seek(0)
            file.write(chunk.encode_header(at))
    return made.name
