"""Which of the snapshots on disk a node starts from.

The newest that the service vouches for. Nothing is passed over in silence: a damaged file is set
aside under the name `….ignored` (in the main directory; the read-only one is never touched), one
that another service signed stays where it is, since the certificate may be the wrong one; both are
logged by name with the reason (spec: node-lifecycle.md §8.4-8.5).
"""

from __future__ import annotations

from collections.abc import Callable

from pyccf.errors import InvalidLedger, InvalidReceipt, StorageError
from pyccf.ledger.snapshot import parse_name
from pyccf.node.restore import Restorable, judge
from pyccf.shell.snapshot_files import SnapshotFile, SnapshotFiles


def choose(
    files: SnapshotFiles, service_cert_pem: str, log: Callable[[str, str], None]
) -> Restorable | None:
    """The snapshot to start from, None when there is none that can be used."""
    for name in files.removed:
        log("info", f"Removed snapshot file {name}, whose writing was interrupted")
    for name in files.empty():
        log("info", f"Ignoring empty snapshot file {name}")
    for file in files.candidates():
        found = _judge(files, file, service_cert_pem, log)
        if found is not None:
            log("info", f"Found snapshot {file.path}")
            return found
    return None


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
    except StorageError as e:
        log("fail", f"Snapshot {file.path} is not used: {e.message}")
    except InvalidReceipt as e:
        log("fail", f"Snapshot {file.path} is not used: {e.message}")
    except InvalidLedger as e:
        log("fail", f"Snapshot {file.path} is not used: {e.message}")
        if file.main:
            log("fail", f"Snapshot {file.path} is set aside as {files.set_aside(file)}")
    return None
