"""Snapshots beside a ledger: each is one that the service recorded, and nothing else.

A snapshot carries a receipt. That proves that the service ordered a transaction which claims the
snapshot's digest, and no more: what users claim is the application's affair. With the ledger at
hand the transaction itself can be read. A snapshot counts as good if a service identity of the
ledger vouches for its receipt, and the ledger holds at that seqno the record of just this snapshot.

`SnapshotAudit` is shown the entries while the ledger is verified, and judges the files afterwards.
Raises LocalError for a folder that cannot be listed; what is wrong with a file is its finding.
(spec: kv-and-tables.md, snapshots; node-lifecycle.md)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from pyccf.audit.auditor import PREVIOUS_IDENTITY, SERVICE_INFO, Auditor, Identity
from pyccf.audit.files import ChunkFile, StrPath, last_of
from pyccf.codec.text import load_json
from pyccf.errors import InvalidLedger, InvalidReceipt, LocalError
from pyccf.kv.changes import UNIT
from pyccf.ledger import snapshot
from pyccf.ledger.certchain import key_of
from pyccf.ledger.entry import ParsedEntry
from pyccf.service.tables import SNAPSHOT_EVIDENCE
from pyccf.types import Json, SeqNo

Rows = Mapping[bytes, bytes]


class SnapshotFinding(msgspec.Struct, frozen=True):
    """What a snapshot file is worth; `reason` says why it is not good, empty when it is.

    `seqno` is None for a file that does not claim to be a snapshot one can start from.
    """

    file: str
    seqno: SeqNo | None
    reason: str

    @property
    def ok(self) -> bool:
        return not self.reason


class SnapshotAudit:
    """The snapshots of some folders, and what the ledger says of them."""

    def __init__(self, directories: Sequence[StrPath]) -> None:
        self._files: list[Path] = []
        for directory in directories:
            try:
                found = sorted(Path(directory).iterdir())
            except OSError as error:
                raise LocalError(
                    f"Snapshot directory {directory} cannot be listed: {error.strerror}."
                ) from None
            self._files += [path for path in found if path.name.startswith("snapshot_")]
        self._recorded: dict[SeqNo, object] = {}

    def feed(self, entry: ParsedEntry) -> None:
        """The next entry of the ledger."""
        rows = entry.public_maps().get(SNAPSHOT_EVIDENCE)
        if rows is not None:
            try:
                self._recorded[entry.seqno] = load_json(rows.get(UNIT) or b"")
            except ValueError:
                self._recorded[entry.seqno] = None

    def judge(self, identities: Sequence[Identity], begin: SeqNo = 0) -> list[SnapshotFinding]:
        """All files, judged by the services of the ledger that was shown, which began after
        `begin`."""
        return [self._judge(path, identities, begin) for path in self._files]

    def beginning(self, chunks: Sequence[ChunkFile]) -> Beginning | None:
        """What a ledger that lacks entries begins with: the earliest sound snapshot that it goes on
        after. None for one that lacks none, or when there is no such snapshot."""
        first = _goes_on_at(chunks)
        names = [(name, path) for path in self._files if (name := snapshot.parse_name(path.name))]
        for name, path in sorted(names, key=lambda one: one[0].seqno):
            if first > 1 and name.committed and name.seqno >= first - 1:
                with suppress(OSError, InvalidLedger, InvalidReceipt):  # `judge` says why not
                    return begin_after(snapshot.parse(path.read_bytes()), name)
        return None

    def _judge(self, path: Path, identities: Sequence[Identity], begin: SeqNo) -> SnapshotFinding:
        name = snapshot.parse_name(path.name)
        if name is None or not name.committed:
            return SnapshotFinding(path.name, None, "it was not completed, or was set aside")
        if name.evidence <= begin:
            return SnapshotFinding(path.name, None, "the entry that records it is missing")
        try:
            found = snapshot.parse(path.read_bytes())
        except OSError as error:
            return SnapshotFinding(path.name, name.seqno, f"it cannot be read: {error.strerror}")
        except InvalidLedger as error:
            return SnapshotFinding(path.name, name.seqno, error.message)
        return SnapshotFinding(path.name, found.seqno, self._fault(found, name, identities))

    def _fault(
        self,
        found: snapshot.Snapshot,
        name: snapshot.SnapshotName,
        identities: Sequence[Identity],
    ) -> str:
        try:
            _, evidence = vouch(found, name, identities)
        except (InvalidLedger, InvalidReceipt) as error:
            return error.message
        if self._recorded.get(evidence) != snapshot.record_of(found.digest, found.seqno):
            return f"transaction {evidence} of the ledger does not record it"
        return ""


def _goes_on_at(chunks: Sequence[ChunkFile]) -> SeqNo:
    """The first entry after everything that is missing, as far as the files tell before they are
    looked into; what an open one holds that others follow is counted."""
    first: SeqNo = 1
    covered: SeqNo = 0
    for one in chunks:
        if one.name.first > covered + 1:
            first = one.name.first
        if one is not chunks[-1]:
            covered = max(covered, last_of(one) or 0)
    return first


def vouch(
    found: snapshot.Snapshot, name: snapshot.SnapshotName, identities: Sequence[Identity]
) -> tuple[Identity, SeqNo]:
    """Which of the services of a ledger recorded a snapshot, and in which transaction.

    Raises InvalidReceipt when none did, InvalidLedger when the file's name says something else.
    """
    why = InvalidReceipt("the ledger knows no service")
    for identity in reversed(identities):
        try:
            proven = snapshot.verify(found, identity.cert)
        except InvalidReceipt as error:
            why = error
            continue
        assert proven.txid is not None, "`verify` saw to it"
        evidence = proven.txid.seqno
        if (name.seqno, name.evidence) != (found.seqno, evidence):
            # A node refuses it, too.
            raise InvalidLedger(
                f"it is of {found.seqno} with evidence at {evidence}, unlike its name"
            )
        return identity, evidence
    raise why


class Beginning(msgspec.Struct, frozen=True):
    """A snapshot to go on from."""

    auditor: Auditor
    """To be fed with what comes after the snapshot."""
    keys: set[str]
    """Ids of the keys of the service that took it, and of the service before that."""
    recoveries: int


def begin_after(found: snapshot.Snapshot, name: snapshot.SnapshotName) -> Beginning:
    """Go on from a snapshot that the service in it vouches for, without the ledger before it.

    Raises InvalidReceipt when it does not, InvalidLedger when the snapshot does not add up.
    """
    public = found.public_maps()
    rows = {one.name: {key: pair.value for key, pair in one.pairs.items()} for one in public}
    service = _row(found, rows, SERVICE_INFO)
    cert, recoveries = service.get("cert"), service.get("recovery_count")
    previous = rows.get(PREVIOUS_IDENTITY, {}).get(UNIT)
    try:
        identity = Identity(found.seqno, key_of(str(cert)).id, str(cert))
        before = {key_of(str(load_json(previous))).id} if previous is not None else set()
    except ValueError:
        raise InvalidLedger("a service identity in it cannot be read") from None
    vouch(found, name, [identity])
    signed, _ = snapshot.history_of(found, public)
    return Beginning(
        Auditor.after(found.txid, signed, found.leaf, identity, rows),
        {identity.key_id, *before},
        recoveries if isinstance(recoveries, int) else 0,
    )


def _row(found: snapshot.Snapshot, rows: Mapping[str, Rows], table: str) -> dict[str, Json]:
    try:
        value = load_json(rows.get(table, {}).get(UNIT) or b"")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidLedger(f"the snapshot at {found.seqno} does not say which service it is of")
    return value
