"""Ledger and snapshots written with a fault at one call; then the directory is opened again.

`survey` plays one script, every entry and file of which is known beforehand, once for each call
that changes something and for each way in which that can go wrong. After the fault the program is
taken to have ended. What is found then must be a beginning of what was written, with everything
that had been acknowledged; opening it may fail on the way, at each of its own calls, and must
succeed in the end; and the node must be able to go on. Run as a program it prints the table of
`docs/results`.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pyccf.audit.verify import verify
from pyccf.errors import StorageError
from pyccf.ledger.entry import Entry
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.files import Files
from pyccf.shell.snapshot_files import SnapshotFiles
from support.failing import FailingFiles
from support.ledgers import Service, small_service

WAYS = ("error", "short", "crash")
CUT_BACK = 3
"""Entries that are rolled back in the middle and written again."""
FAULTS_MAX = 50
"""More calls than opening ever takes."""
PIECES = [b"s" * 700, b"n" * 300]


class Outcome(NamedTuple):
    """What became of one fault."""

    call: str
    way: str
    lost: int
    """Entries that were not acknowledged and are not there."""
    reopened: int
    """Faults while opening again, each survived."""


class Run:
    """The script, as far as it got."""

    def __init__(self, folder: Path, files: Files) -> None:
        self.folder = folder
        self.files = files
        self.acknowledged = 0
        """Entries that the ledger said it has."""
        self.at_least = 0
        """Entries that no roll-back under way may take."""
        self.saved: list[str] = []

    def play(self, service: Service) -> None:
        """Raises StorageError where the fault strikes."""
        disk = LedgerDisk(self.folder / "ledger", fsync=True, files=self.files)
        snapshots = SnapshotFiles(self.folder / "snapshots", kept=1, files=self.files)
        entries = service.entries
        middle = len(entries) // 2
        pending: list[Entry] = []
        for entry in entries:
            pending.append(entry)
            if entry.committable:
                self._append(disk, pending)
                pending = []
                disk.commit(entry.seqno)
            elif entry.seqno == middle:
                self._append(disk, pending)
                back = max(entry.seqno - CUT_BACK, disk.committed)
                self.at_least = self.acknowledged = back
                disk.truncate(back)
                pending = list(entries[back:middle])
            if entry.seqno % 5 == 0:
                name = f"snapshot_{entry.seqno}_{entry.seqno + 1}"
                self.saved.append(snapshots.save(name, PIECES))
                snapshots.prune()
        self._append(disk, pending)
        disk.close()

    def _append(self, disk: LedgerDisk, entries: list[Entry]) -> None:
        if entries:
            disk.append(entries)
            self.acknowledged = self.at_least = entries[-1].seqno


def survey(folder: Path) -> Iterator[Outcome]:
    """Every point. Raises AssertionError where something is lost or cannot be opened."""
    service = small_service(20, chunk_size=1500)
    counting = FailingFiles()
    whole = Run(folder / "whole", counting)
    whole.folder.mkdir()
    whole.play(service)
    assert len(whole.saved) > 3
    for way in WAYS:
        for at, call in enumerate(counting.calls, 1):
            if way == "short" and call != "write":
                continue
            run = Run(folder / f"{way} {at}", FailingFiles(at, way))
            run.folder.mkdir()
            struck = False
            try:
                run.play(service)
            except StorageError:
                struck = True
            assert struck, f"the fault at call {at} ({call}) was not noticed"
            faults = _reopen(run)
            yield Outcome(call, way, _judge(run, service), faults)


def _reopen(run: Run) -> int:
    """Open the directories, with a fault at each of the calls that takes; how many there were."""
    faults = 0
    while True:
        try:
            _open(run, FailingFiles(faults + 1, "crash"))
        except StorageError:
            faults += 1
            assert faults < FAULTS_MAX, "it does not come to an end"
        else:
            return faults


def _open(run: Run, files: Files) -> None:
    LedgerDisk(run.folder / "ledger", files=files).close()
    SnapshotFiles(run.folder / "snapshots", files=files)


def _judge(run: Run, service: Service) -> int:
    """What is there after the fault; entries lost that nobody was told of."""
    disk = LedgerDisk(run.folder / "ledger")
    expected = [entry.data for entry in service.entries]
    found = disk.read(1, disk.last)
    assert found == expected[: len(found)], "something else than what was written"
    assert disk.last == len(found), "not everything can be read"
    assert len(found) >= run.at_least, "what was acknowledged is gone"
    snapshots = SnapshotFiles(run.folder / "snapshots")
    for one in snapshots.candidates():
        assert snapshots.load(one) == b"".join(PIECES), "half a snapshot"
    if run.saved:
        assert snapshots.newest() is not None, "all snapshots are gone"
    lost = len(expected) - len(found)
    # The node goes on where it is, and another one starts over and is sent everything again.
    if lost:
        disk.append(service.entries[len(found) :])
    disk.close()
    assert verify(run.folder / "ledger").ok
    again = LedgerDisk(run.folder / "ledger")
    again.initialise(0)
    again.append(service.entries)
    again.close()
    assert verify(run.folder / "ledger").ok
    return lost


def table(outcomes: list[Outcome], ways: tuple[str, ...] = WAYS) -> str:
    """The outcomes by call, as Markdown."""
    rows = Counter((o.call, o.way) for o in outcomes)
    lines = [
        "| call | " + " | ".join(ways) + " | opened again through |",
        "| --- |" + " --- |" * (len(ways) + 1),
    ]
    for call in sorted({o.call for o in outcomes}):
        faults = sum(o.reopened for o in outcomes if o.call == call)
        counts = " | ".join(str(rows[call, way] or "–") for way in ways)
        lines.append(f"| `{call}` | {counts} | {faults} faults |")
    return "\n".join(lines)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        outcomes = list(survey(Path(folder)))
    print(table(outcomes))
    print(f"\n{summary(outcomes)}")
    return 0


def summary(outcomes: list[Outcome]) -> str:
    return f"{len(outcomes)} points, {sum(o.reopened for o in outcomes)} faults while opening"


if __name__ == "__main__":
    sys.exit(main())
