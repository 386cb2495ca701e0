"""A heap of ledger and snapshot files from several hosts: what can be recovered from it.

After a disaster files come from wherever something was left: copies of the same chunk, an open
chunk that one host wrote further than another, ends that were cut off, entries a deposed primary
signed that were never committed, files of another service. `inspect` tries what fits after what,
with the auditor as the judge, and finds the chain that the service itself would have preferred: the
last provable signature of the greatest view, and there the furthest. Whatever was committed and is
in the heap at all, with everything before it, is in that chain. A snapshot stands for everything
before it: where entries are missing, the chain goes on from one that the service vouches for.

Nothing is passed over in silence: every file gets a verdict and the reason for it. Nothing is ever
changed. Memory grows with the number of entries (32 bytes each), not with their size.
Raises LocalError for a directory that cannot be read. (spec: ledger.md §2-3, §12)
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from pyccf.audit.auditor import Auditor, Identity
from pyccf.audit.files import ChunkFile, ChunkReader, StrPath
from pyccf.audit.pieces import FileReport, Gap, Link, Piece, Verdict, entries_of
from pyccf.audit.snapshots import Beginning, begin_after, vouch
from pyccf.codec.text import load_json
from pyccf.errors import InvalidLedger, InvalidReceipt, LocalError
from pyccf.kv.changes import UNIT
from pyccf.ledger import chunk, snapshot
from pyccf.ledger.certchain import key_of
from pyccf.ledger.entry import parse
from pyccf.ledger.snapshot import Snapshot, SnapshotName
from pyccf.service.tables import SNAPSHOT_EVIDENCE
from pyccf.types import SeqNo, TxID

HASH_BYTES = 32
PATCHES_MAX = 100
"""Damaged entries of one file that are looked for in others."""
NEVER: SeqNo = 1 << 63
CHAINS_MAX = 10_000
"""Places in a chain from which continuations are tried."""


class HeapReport(msgspec.Struct, frozen=True, rename="camel"):
    """What is in the heap."""

    recoverable: str | None
    """Transaction id of the last signature that can be recovered."""
    entries: int
    unsigned: int
    """Entries that follow it in the files of the chain and cannot be proven."""
    identity: str
    """Certificate of the service that the chain ends with."""
    services: tuple[str, ...]
    """Ids of the keys of all services of the chain, which recovered each other."""
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


class _Chain(msgspec.Struct):
    """Files that fit, up to a signature that holds."""

    auditor: Auditor
    files: tuple[Piece, ...] = ()
    links: tuple[Link, ...] = ()
    begin: SeqNo = 0
    """The snapshot it begins after; 0: it begins with the first entry."""
    recoveries: int = 0
    """How often the service was recovered before that."""
    digests: bytearray = msgspec.field(default_factory=bytearray)
    """SHA-256 of each entry, end to end, once it is complete."""

    @property
    def rank(self) -> tuple[int, int]:
        last = self.auditor.last_signed
        return (0, 0) if last is None else (last.view, last.seqno)

    @property
    def end(self) -> SeqNo:
        return self.rank[1]

    def digest(self) -> None:
        """Take down the digests of all entries."""
        for link in self.links:
            for data in entries_of(link):
                self.digests += hashlib.sha256(data).digest()

    def holds(self, seqno: SeqNo, data: bytes) -> bool:
        """Whether this is the entry of that number."""
        at = HASH_BYTES * (seqno - 1 - self.begin)
        return self.digests[at : at + HASH_BYTES] == hashlib.sha256(data).digest()


def inspect(
    directories: Sequence[StrPath],
    progress: Callable[[str], object] | None = None,
    service_cert_pem: str | None = None,
) -> HeapReport:
    """Look at all files in these directories and below. Raises LocalError.

    With any certificate that a service ever had, its ledger is preferred to all others.
    """
    wanted = None
    if service_cert_pem is not None:
        try:
            wanted = key_of(service_cert_pem).id
        except ValueError as error:
            raise LocalError(f"The service certificate cannot be read: {error}.") from None
    heap = _Heap(progress or _silent, wanted)
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
            yield from (Path(folder) / file for file in sorted(files, key=_order))


def _order(name: str) -> tuple[bool, SeqNo, str]:
    """Ledger files by their first entry, snapshots by theirs, then whatever else there is."""
    one, two = chunk.parse_name(name), snapshot.parse_name(name)
    first = one.first if one else two.seqno if two else 0
    return two is not None, first, name


class _SnapshotFile(msgspec.Struct):
    """A snapshot that can be read; what is in it is read anew whenever it is needed."""

    path: Path
    name: SnapshotName
    seqno: SeqNo
    report: FileReport

    def load(self) -> Snapshot:
        """Raises InvalidLedger."""
        try:
            return snapshot.parse(self.path.read_bytes())
        except OSError as error:
            raise InvalidLedger(f"it cannot be read: {error.strerror}") from None


class _Heap:
    """The files, and what is found out about them."""

    def __init__(self, progress: Callable[[str], object], wanted: str | None) -> None:
        self._progress = progress
        self._wanted = wanted
        """Id of a key of the service whose ledger is looked for."""
        self._reports: list[FileReport] = []
        self._chunks: list[Piece] = []
        self._unfinished: list[Piece] = []
        """Those that a recovery wrote and did not give their last names."""
        self._snapshots: list[_SnapshotFile] = []
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
        if not path.is_file():
            report.verdict, report.reason = Verdict.DAMAGED, "it is no file that can be read"
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
            self._take_snapshot(path, report)
        else:
            self._take_chunk(Piece(path, name, digest), report)

    def _take_snapshot(self, path: Path, report: FileReport) -> None:
        name = snapshot.parse_name(path.name)
        if name is None or not name.committed:
            report.verdict = Verdict.SET_ASIDE
            report.reason = "it was not completely written, or somebody took it out"
            return
        one = _SnapshotFile(path, name, name.seqno, report)
        try:
            one.seqno = one.load().seqno
        except InvalidLedger as error:
            report.verdict, report.reason = Verdict.DAMAGED, error.message
            return
        report.first = report.last = one.seqno
        self._snapshots.append(one)

    def _take_chunk(self, one: Piece, report: FileReport) -> None:
        one.report = report
        self._progress(f"reading {one.path}")
        self._scan(one)
        if one.name.ignored:
            report.verdict, report.reason = Verdict.SET_ASIDE, "its name ends with .ignored"
        elif one.name.recovery:
            report.verdict = Verdict.UNFINISHED
            report.reason = "a recovery that was not completed wrote it"
            self._unfinished.append(one)
        elif one.end < one.first:
            report.verdict = Verdict.DAMAGED
            report.reason = one.fault or "it holds no complete entry"
        else:
            self._chunks.append(one)

    def _scan(self, one: Piece) -> None:
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

    def _complete_recoveries(self) -> None:
        """Count the last files of a recovery that was complete when its host ended.

        As a node does that starts there (`shell.resuming`): its files get their last names in
        order, and the first of them begins with an entry that forces a chunk.
        """
        for one in sorted(self._unfinished, key=lambda piece: piece.first):
            before = [
                piece
                for piece in self._chunks
                if piece.path.parent == one.path.parent and piece.first < one.first
            ]
            follows = any(piece.name.committed and piece.end == one.first - 1 for piece in before)
            begun = any(piece.begins_service() for piece in before)
            if one.end >= one.first and follows and begun and not one.begins_service():
                one.report.verdict, one.report.reason = Verdict.UNKNOWN, ""
                self._chunks.append(one)

    # --- chains -------------------------------------------------------------------------------

    def _best(self, beginnings: list[_Chain]) -> _Chain:
        """The chain that the service would have preferred."""
        # Of two that lead to the same place, the one that begins earlier has more of the past.
        waiting = sorted(beginnings, key=lambda chain: -chain.begin)
        best = waiting[-1]
        known: set[tuple[SeqNo, bytes]] = set()
        while waiting and len(known) < CHAINS_MAX:
            chain = waiting.pop()
            best = max(best, chain, key=self._preference)
            for longer in self._continued(chain):
                at = (longer.end, longer.auditor.root)
                if at not in known:
                    known.add(at)
                    waiting.append(longer)
        return best

    def _preference(self, chain: _Chain) -> tuple[bool, tuple[int, int], int]:
        services = {identity.key_id for identity in chain.auditor.identities}
        return self._wanted in services, chain.rank, -chain.begin

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

    def _extend(self, chain: _Chain, one: Piece) -> _Chain | None:
        """The chain up to the last signature in a file that holds; None if there is none.

        An entry that a signature shows to be damaged is taken from another file, if one has it.
        """
        self._faults.pop(str(one.path), None)
        others: dict[SeqNo, Piece] = {}
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
        return msgspec.structs.replace(
            chain, auditor=auditor, files=(*chain.files, one), links=(*chain.links, link)
        )

    def _feed(
        self, chain: _Chain, one: Piece, others: dict[SeqNo, Piece], until: SeqNo = 0
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
        self, one: Piece, seqno: SeqNo, end: SeqNo, others: dict[SeqNo, Piece]
    ) -> Piece | None:
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
        self._complete_recoveries()
        chain = self._best([_Chain(Auditor())])
        after = self._after_snapshots(chain)
        last = chain if after is None else after
        identities = [*chain.auditor.identities, *(after.auditor.identities if after else ())]
        for each in (chain, last):
            if not each.digests:
                each.digest()
        for one in self._chunks:
            self._judge(one, chain, after)
        newest = self._newest(chain, after, identities)
        return HeapReport(
            recoverable=None if last.auditor.last_signed is None else str(last.auditor.last_signed),
            entries=last.end,
            unsigned=self._unproven(last),
            identity=identities[-1].cert if identities else "",
            services=tuple(dict.fromkeys(identity.key_id for identity in identities)),
            recovery_count=last.recoveries + max(0, len(last.auditor.identities) - 1),
            chain=chain.links + (after.links if after else ()),
            snapshot=newest,
            missing=self._missing(chain, after),
            files=tuple(self._reports),
        )

    def _after_snapshots(self, chain: _Chain) -> _Chain | None:
        """A chain that begins with a snapshot and leads further than one without."""
        known = {identity.key_id for identity in chain.auditor.identities}
        made: list[tuple[SeqNo, Beginning]] = []
        for one in self._snapshots:
            with suppress(InvalidLedger, InvalidReceipt):  # `_judge_snapshot` says why
                if one.seqno > chain.end:
                    made.append((one.seqno, begin_after(one.load(), one.name)))
        # Services that recovered each other belong together, by way of any of the snapshots.
        for _ in made if known else ():
            known |= {key for _, one in made if known & one.keys for key in one.keys}
        beginnings = [
            _Chain(one.auditor, begin=begin, recoveries=one.recoveries)
            for begin, one in made
            if not known or known & one.keys
        ]
        if not beginnings:
            return None
        best = self._best(beginnings)
        return best if best.rank > chain.rank else None

    def _judge(self, one: Piece, chain: _Chain, after: _Chain | None) -> None:
        if after is not None and one in after.files:
            self._judge_used(one, after)
        elif one in chain.files:
            self._judge_used(one, chain)
        elif after is not None and (one.first > chain.end + 1 or one.end > after.begin):
            self._judge_other(one, after)
        else:
            self._judge_other(one, chain)

    def _judge_used(self, one: Piece, chain: _Chain) -> None:
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

    def _judge_other(self, one: Piece, chain: _Chain) -> None:
        report = one.report
        if one.first > chain.end + 1:
            report.verdict = Verdict.UNREACHABLE
            report.reason = f"entries {chain.end + 1} to {one.first - 1} are missing"
            return
        if one.end <= chain.begin:
            report.verdict = Verdict.UNREACHABLE
            report.reason = f"entries before it are missing; the snapshot at {chain.begin} is used"
            return
        same, different, first = self._compare(one, chain)
        if one.end > chain.end and not different:
            report.verdict = Verdict.DAMAGED if one.fault else Verdict.UNPROVEN
            why = self._faults.get(str(one.path)) or one.fault or "no signature follows them"
            report.reason = f"entries after {chain.end} do not count: {why}"
        elif not different:
            report.verdict = Verdict.DAMAGED if one.fault else Verdict.SUPERSEDED
            report.reason = one.fault or "its entries are in files that are used"
        elif same and self._continues(one, first, chain):
            report.verdict = Verdict.DAMAGED
            report.reason = f"entry {first} is not the one that was signed"
        elif same:
            report.verdict = Verdict.FORKED
            report.reason = f"from entry {first} on it holds what was never committed"
        else:
            report.verdict = Verdict.FOREIGN
            why = self._faults.get(str(one.path), "")
            report.reason = "it does not belong to this ledger" + (f": {why}" if why else "")

    def _compare(self, one: Piece, chain: _Chain) -> tuple[int, int, SeqNo]:
        """How many entries are those of the chain, how many not, and the first that is not."""
        same = different = 0
        first: SeqNo = 0
        start = max(one.first, chain.begin + 1)
        for seqno, data in enumerate(one.entries(start), start):
            if seqno > chain.end:
                break
            if chain.holds(seqno, data):
                same += 1
            else:
                different += 1
                first = first or seqno
        return same, different, first

    def _continues(self, one: Piece, first: SeqNo, chain: _Chain) -> bool:
        """Whether entries after the first different one are those of the chain again."""
        for seqno, data in enumerate(one.entries(first + 1), first + 1):
            if seqno > chain.end:
                break
            if chain.holds(seqno, data):
                return True
        return False

    def _unproven(self, chain: _Chain) -> int:
        """Entries that follow the chain without a signature that holds."""
        ends = [one.end for one in self._chunks if one.report.verdict is Verdict.UNPROVEN]
        ends += [one.end for one in chain.files[-1:]]
        return max([0, *(end - chain.end for end in ends)])

    def _missing(self, chain: _Chain, after: _Chain | None) -> tuple[Gap, ...]:
        """What no file holds that is used, or that is not reached."""
        spans = [(one.first, one.end) for one in self._chunks if _is_beyond(one)]
        if after is not None:
            spans.append((after.begin + 1, after.end))
        gaps: list[Gap] = []
        reached = chain.end
        for first, end in sorted(spans):
            if first > reached + 1:
                gaps.append(Gap(reached + 1, first - 1))
            reached = max(reached, end)
        return tuple(gaps)

    # --- snapshots ----------------------------------------------------------------------------

    def _newest(
        self, chain: _Chain, after: _Chain | None, identities: list[Identity]
    ) -> str | None:
        """Where to begin to read: the newest snapshot that the ledger is seen to record. Another
        one must do where entries before it are missing."""
        usable: dict[tuple[bool, SeqNo], str] = {}
        for one in self._snapshots:
            needed = after is not None and one.seqno >= after.begin
            recorded = self._judge_snapshot(one, [chain, after or chain], identities, needed)
            wanted = recorded if after is None else needed
            if one.report.verdict is Verdict.USABLE and wanted:
                usable[recorded, one.seqno] = one.report.path
        return usable[max(usable)] if usable else None

    def _judge_snapshot(
        self,
        one: _SnapshotFile,
        chains: list[_Chain],
        identities: list[Identity],
        needed: bool,
    ) -> bool:
        """Whether the ledger is seen to record a snapshot; the verdict is in its report."""
        report = one.report
        try:
            found = one.load()
            if not identities:
                begin_after(found, one.name)
            identity, evidence = vouch(found, one.name, identities)
        except InvalidReceipt as error:
            report.verdict, report.reason = Verdict.FOREIGN, error.message
            return False
        except InvalidLedger as error:
            report.verdict, report.reason = Verdict.DAMAGED, error.message
            return False
        ended = _ended(identity, identities)
        recorded, lost = False, evidence > ended
        for chain in chains:
            if chain.begin < evidence <= chain.end and not lost:
                recorded = _records(chain, evidence, found)
                if not recorded:
                    report.verdict = Verdict.FORKED
                    report.reason = f"entry {evidence} of the ledger does not record it"
                    return False
        if ended < NEVER and not (needed and (recorded or lost)):
            report.verdict, report.reason = Verdict.SUPERSEDED, "an earlier service took it"
            return False
        report.verdict = Verdict.USABLE
        report.reason = "" if recorded else f"entry {evidence}, which records it, is missing"
        return recorded


def _ended(identity: Identity, identities: list[Identity]) -> SeqNo:
    """The last entry of a service, where another one follows."""
    later = identities[identities.index(identity) + 1 :]
    return min((i.since - 1 for i in later if i.key_id != identity.key_id), default=NEVER)


def _is_beyond(one: Piece) -> bool:
    return one.report.verdict in (Verdict.UNREACHABLE, Verdict.USED)


def _records(chain: _Chain, seqno: SeqNo, found: Snapshot) -> bool:
    """Whether an entry of the chain records a snapshot."""
    link = next(link for link in chain.links if link.first <= seqno <= link.last)
    data = next(itertools.islice(entries_of(link), seqno - link.first, None))
    raw = parse(data).public_maps().get(SNAPSHOT_EVIDENCE, {}).get(UNIT)
    try:
        return load_json(raw or b"") == snapshot.record_of(found.digest, found.seqno)
    except ValueError:
        return False


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
