"""Verify a ledger directory: files, entries, Merkle roots, signatures and identities.

`verify` walks through the chunks in order, one entry in memory at a time, and reports how far the
ledger is good. It never raises for what is wrong with the ledger: the report's `error` names the
first bad entry, the file and the reason. LocalError is for directories that cannot be read.

Entries after the last signature are checked as far as they can be without one and counted as
`unsigned`; entries in files that are not committed are where `uncommitted_from` says. A partial
entry at the end of the last file is what a crash leaves behind, not an error: `torn_bytes`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from pyccf.audit.auditor import Auditor, Identity
from pyccf.audit.files import ChunkFile, ChunkReader, StrPath, find_chunks, last_of
from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger.certchain import key_of
from pyccf.ledger.entry import FORCE_CHUNK_AFTER, FORCE_CHUNK_BEFORE, ParsedEntry, parse
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.ledger.signature import is_signature
from pyccf.types import SeqNo, TxID

PROGRESS_EVERY = 1000
"""Entries between two calls of `progress`."""
LOOK_AHEAD_MAX = 20_000
"""Entries after a broken one that are searched for a signature that tells whether it is the
first."""


class Progress(msgspec.Struct, frozen=True):
    """How far `verify` is."""

    seqno: SeqNo
    bytes_done: int
    bytes_total: int


ProgressCallback: TypeAlias = Callable[[Progress], object]


class VerifyError(msgspec.Struct, frozen=True):
    """The first bad entry: its seqno, the file it is or should be in, and what is wrong."""

    seqno: SeqNo
    file: str
    reason: str


MISSING = "Missing from the ledger"
"""How the reason begins where files do not follow each other."""


class VerifyReport(msgspec.Struct, frozen=True):
    """What `verify` found.

    `last_valid` is the last signature transaction that holds: everything up to it is proven.
    `last` is the last entry that was looked at and found to be well-formed.
    """

    ok: bool
    last_valid: TxID | None
    last: TxID | None
    entries: int
    signatures: int
    cose_signatures: int
    files: int
    bytes: int
    unsigned: int
    uncommitted_from: SeqNo | None
    torn_bytes: int
    identities: list[Identity]
    left_out: list[str]
    notes: list[str]
    error: VerifyError | None


def verify(
    directories: StrPath | Sequence[StrPath],
    *,
    progress: ProgressCallback | None = None,
    until: SeqNo | None = None,
    secrets: LedgerSecrets | None = None,
    service_cert_pem: str | None = None,
    include_recovery: bool = False,
    observer: Callable[[ParsedEntry], object] | None = None,
    beginning: Auditor | None = None,
) -> VerifyReport:
    """Check the ledger in one or several directories, which together hold it from entry 1 on.

    With `beginning`, which knows a snapshot, they need hold only what comes after that.
    `until` stops at the first signature at or after that seqno. `secrets` make every entry be
    decrypted as well. `service_cert_pem` is the certificate the caller knows the service by; a
    ledger whose present identity has another key is not that service's. `observer` is shown every
    entry after it was found to be well-formed, before a signature vouches for it. Raises LocalError
    when there is nothing to read.
    """
    expected_key = None
    if service_cert_pem is not None:
        try:
            expected_key = key_of(service_cert_pem).id
        except ValueError as error:
            raise LocalError(f"The service certificate cannot be read: {error}.") from None
    found = find_chunks(directories, include_recovery=include_recovery)
    if not found.chunks:
        raise LocalError("There are no ledger files in the directory.")
    auditor = Auditor(secrets) if beginning is None else beginning
    begin = auditor.entries
    chunks = [one for one in found.chunks if _goes_beyond(one, begin)]
    run = _Run(chunks, progress, until, auditor, observer)
    worst: VerifyError | None = None
    try:
        run.walk()
        if expected_key is not None:
            run.check_identity(expected_key)
    except InvalidLedger as fault:
        first = run.earlier(fault)
        worst = VerifyError(first.seqno, first.file or run.file_of(first.seqno), first.message)
    return VerifyReport(
        ok=worst is None,
        last_valid=auditor.last_signed,
        last=auditor.last,
        entries=auditor.entries,
        signatures=auditor.signatures,
        cose_signatures=auditor.cose_signatures,
        files=run.files,
        bytes=run.bytes_done,
        unsigned=auditor.unsigned,
        uncommitted_from=run.uncommitted_from,
        torn_bytes=run.torn_bytes,
        identities=auditor.identities,
        left_out=found.left_out,
        notes=auditor.notes,
        error=worst,
    )


class _Run:
    """One verification."""

    def __init__(
        self,
        chunks: list[ChunkFile],
        progress: ProgressCallback | None,
        until: SeqNo | None,
        auditor: Auditor,
        observer: Callable[[ParsedEntry], object] | None,
    ) -> None:
        self.auditor = auditor
        self._begin = auditor.entries
        self._observer = observer
        self.files = 0
        self.bytes_done = 0
        self.uncommitted_from: SeqNo | None = None
        self.torn_bytes = 0
        self._chunks = chunks
        self._progress = progress
        self._until = until
        self._bytes_total = sum(one.path.stat().st_size for one in chunks)
        self._committed_to: SeqNo = 0

    def walk(self) -> None:
        """Feed all entries to the auditor. Raises InvalidLedger."""
        for number, one in enumerate(self._chunks):
            self._check_contiguous(one)
            with ChunkReader(one) as reader:
                done = self._walk_chunk(reader, is_last=number == len(self._chunks) - 1)
                self.files += 1
                self.bytes_done += reader.size
            if done:
                self._report_progress(self.bytes_done)
                return
        self.auditor.finish()
        last_signed = self.auditor.last_signed
        signed = last_signed.seqno if last_signed is not None else 0
        if self._committed_to > signed:
            raise InvalidLedger(
                f"Entries {signed + 1} to {self._committed_to} are in a committed file, "
                "but no signature covers them.",
                seqno=signed + 1,
            )
        self._report_progress(self.bytes_done)

    def _check_contiguous(self, one: ChunkFile) -> None:
        expected = self.auditor.entries + 1
        first = one.name.first
        if first > expected:
            missing = f"{expected} to {first - 1}" if first - 1 > expected else f"{expected}"
            raise InvalidLedger(
                f"{MISSING}: {missing}. The next file begins with {first}.",
                seqno=expected,
                file=one.path.name,
            )
        if first < expected and self.auditor.entries > self._begin:
            raise InvalidLedger(
                f"The file begins with entry {first}, which an earlier file holds already.",
                seqno=expected,
                file=one.path.name,
            )

    def _walk_chunk(self, reader: ChunkReader, *, is_last: bool) -> bool:
        """Feed the entries of a chunk; True when `until` is reached. Raises InvalidLedger."""
        auditor = self.auditor
        feed = auditor.feed
        observer = self._observer
        name = reader.name
        before = self.bytes_done
        ends_with_flag = False
        for data in itertools.islice(reader.entries(), auditor.entries + 1 - name.first, None):
            seqno = auditor.entries + 1
            try:
                entry = parse(data)
                if ends_with_flag:
                    raise InvalidLedger(
                        "Flagged as the last of its chunk, but more entries follow.",
                        seqno=seqno - 1,
                    )
                if entry.flags:
                    ends_with_flag = bool(entry.flags & FORCE_CHUNK_AFTER)
                    if entry.flags & FORCE_CHUNK_BEFORE and seqno != name.first:
                        raise InvalidLedger(
                            "Flagged as the first of a chunk, but it is not.", seqno=seqno
                        )
                feed(entry)
                if observer is not None:
                    observer(entry)
            except InvalidLedger as error:
                raise InvalidLedger(
                    error.message, seqno=error.seqno or seqno, file=error.file
                ) from None
            if not seqno % PROGRESS_EVERY:
                self._report_progress(before + reader.at)
            if self._until is not None and seqno >= self._until and auditor.unsigned == 0:
                return True
        if name.committed:
            self._committed_to = auditor.entries
        elif self.uncommitted_from is None and auditor.entries >= name.first:
            self.uncommitted_from = name.first
        self.torn_bytes = reader.torn
        if reader.torn and not is_last:
            raise InvalidLedger(
                "The entry is cut off, but another file follows.",
                seqno=auditor.entries + 1,
                file=reader.path.name,
            )
        return False

    def _report_progress(self, bytes_done: int) -> None:
        if self._progress is not None:
            self._progress(Progress(self.auditor.entries, bytes_done, self._bytes_total))

    def check_identity(self, expected_key: str) -> None:
        """The present service identity must be the one the caller knows, and have signed: its
        certificate alone anybody can write into a ledger."""
        if not self.auditor.identities:
            raise InvalidLedger("No entry says which service this is.", seqno=1)
        present = self.auditor.identities[-1]
        if present.key_id != expected_key:
            raise InvalidLedger(
                f"The service identity is {present.key_id}, not {expected_key}.",
                seqno=present.since,
            )
        signed = self.auditor.last_signed
        if signed is None or signed.seqno < present.since:
            raise InvalidLedger(
                "The service identity is the one that is known, but nothing is signed under it.",
                seqno=present.since,
            )

    def file_of(self, seqno: SeqNo) -> str:
        """Name of the file that holds an entry, "" when none does."""
        holding = ""
        for one in self._chunks:
            if one.name.first > seqno:
                break
            holding = one.path.name
        return holding

    def earlier(self, fault: InvalidLedger) -> InvalidLedger:
        """The first fault: this one, or one before it that only a later signature shows.

        A broken entry ends the walk before the signature that covers it. The signature may still
        be readable by the positions of its chunk, and then tells about the entries before.
        """
        if fault.seqno <= self.auditor.entries:
            return fault
        for one in self._chunks:
            if one.name.last is not None and one.name.last > fault.seqno:
                with ChunkReader(one) as reader:
                    signature = _next_signature(reader, fault.seqno)
                if signature is not None:
                    return self.auditor.earlier_fault(signature) or fault
        return fault


def _goes_beyond(one: ChunkFile, begin: SeqNo) -> bool:
    """Whether a chunk holds entries after `begin`, or nobody knows."""
    last = last_of(one) if begin else None
    return last is None or last > begin


def _next_signature(reader: ChunkReader, after: SeqNo) -> ParsedEntry | None:
    """The first signature after a seqno that can be read where the table says it is."""
    for seqno, data in reader.by_table():
        if not after < seqno <= after + LOOK_AHEAD_MAX:
            continue
        try:
            entry = parse(data)
            if entry.seqno == seqno and is_signature(entry):
                return entry
        except InvalidLedger:
            continue
    return None
