"""Which of the snapshots on disk a node starts from.

The newest that the service vouches for. Where none is and entries are missing, a node that recovers
may try one of an earlier service: the ledger will say whether it is true.

Nothing is passed over in silence: a damaged file is set aside under the name `….ignored` (in the
main directory; the read-only one is never touched), one that another service signed stays where it
is, since the certificate may be the wrong one; both are logged by name with the reason
(spec: node-lifecycle.md §8.4-8.5).
"""

from __future__ import annotations

from collections.abc import Callable

from pyccf.errors import InvalidLedger, InvalidReceipt, StorageError
from pyccf.ledger.snapshot import parse_name
from pyccf.node.restore import Restorable, judge, judge_by_itself
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.snapshot_files import SnapshotFile, SnapshotFiles
from pyccf.types import SeqNo


def choose(
    files: SnapshotFiles, service_cert_pem: str, log: Callable[[str, str], None]
) -> Restorable | None:
    """The snapshot to start from, None when there is none that can be used."""
    return _choose(files, service_cert_pem, log)[0]


def _choose(
    files: SnapshotFiles, service_cert_pem: str, log: Callable[[str, str], None]
) -> tuple[Restorable | None, SnapshotFile | None]:
    for name in files.removed:
        log("info", f"Removed snapshot file {name}, whose writing was interrupted")
    for name in files.empty():
        log("info", f"Ignoring empty snapshot file {name}")
    for file in files.candidates():
        found = _judge(files, file, service_cert_pem, log)
        if found is not None:
            log("info", f"Found snapshot {file.path}")
            return found, file
        if file.main:
            files.refused.add(file.name)
    return None, None


def choose_to_recover(
    disk: LedgerDisk,
    files: SnapshotFiles,
    previous_cert_pem: str,
    log: Callable[[str, str], None],
) -> tuple[Restorable | None, bool]:
    """The snapshot to recover from, and whether the ledger is there from its first entry on."""
    whole = _whole_until(disk)
    found, file = _choose(files, previous_cert_pem, log)
    if found is None:
        found, file = _choose_earlier(files, whole, disk.last, log)
    if found is None or whole >= found.seqno:
        return found, True
    files.begun = file
    return found, False


def _choose_earlier(
    files: SnapshotFiles, whole: SeqNo, last: SeqNo, log: Callable[[str, str], None]
) -> tuple[Restorable | None, SnapshotFile | None]:
    """The newest snapshot of whatever service that leads further, and that entries go on with."""
    for file in files.candidates():
        name = parse_name(file.name)
        if name is None or not whole < name.seqno < last:
            continue
        try:
            found = judge_by_itself(files.load(file), name)
        except (StorageError, InvalidReceipt, InvalidLedger):
            continue  # `choose` said why
        log("info", f"Snapshot {file.path} is tried: the ledger must record it")
        return found, file
    return None, None


def _whole_until(disk: LedgerDisk) -> SeqNo:
    """How far the ledger is there without a gap, from its first entry on."""
    at: SeqNo = 0
    while at < disk.last:
        try:
            last = disk.end_of_chunk(at + 1)
        except InvalidLedger:
            break  # who reads it will say why it cannot be read
        if last <= at:
            break
        at = last
    return at


def _judge(
    files: SnapshotFiles,
    file: SnapshotFile,
    service_cert_pem: str,
    log: Callable[[str, str], None],
) -> Restorable | None:
    name = parse_name(file.name)
    if name is None:
        log("fail", f"Snapshot {file.path} is not used: it is of a version that is too old")
        return None
    try:
        return judge(files.load(file), name, service_cert_pem)
    except (StorageError, InvalidReceipt) as e:
        log("fail", f"Snapshot {file.path} is not used: {e.message}")
    except InvalidLedger as e:
        log("fail", f"Snapshot {file.path} is not used: {e.message}")
        if file.main:
            log("fail", f"Snapshot {file.path} is set aside as {files.set_aside(file)}")
    return None
