"""A fault at one call while files of before are given up: by a recovery, by a node that joins anew.

As `crash_points`, but what must not be lost is what was there. `power` and `half` are crashes of
the machine: names that were not synced are as they were, all of them or those of new files, and new
files whose content was not are empty, while every cut of an older file has reached the disk. Run as
a program it prints the tables of `docs/results`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pyccf.audit.verify import verify
from pyccf.errors import StorageError
from pyccf.ledger.entry import FORCE_CHUNK_AFTER, Entry
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.files import Files
from support.crash_points import FAULTS_MAX, Outcome, summary, table
from support.failing import FailingFiles
from support.ledgers import Service

WAYS = ("error", "short", "crash", "power", "half")
MACHINE = ("power", "half")
ACTS = ("recover", "recover late", "join")
"""What is done: a recovery that cuts a committed chunk, one that cuts an open one, joining anew."""
CHUNK = 1500


class PowerFiles(FailingFiles):
    """The machine dies at one call.

    Names since the last time they were synced are as they were before; with `renamed`, only those
    of new files are, and what was renamed or removed stays so.
    """

    def __init__(self, fail_at: int, *, renamed: bool) -> None:
        super().__init__(fail_at, "crash")
        self._renamed = renamed
        self._undo: list[Callable[[], object]] = []
        """How to take back what was done to names since they were synced."""
        self._unsynced: dict[int, Path] = {}
        """New files whose content the disk has not got, by inode."""
        self._new: dict[int, Path] = {}
        """New files whose name it has not got."""

    def _count(self, name: str) -> bool:
        try:
            return super()._count(name)
        except OSError:
            self._die()
            raise

    def _die(self) -> None:
        for path in self._unsynced.values():
            os.truncate(path, 0)
        if self._renamed:
            for path in self._new.values():
                path.unlink()
        else:
            for undo in reversed(self._undo):
                undo()
        self._undo.clear()
        self._unsynced.clear()
        self._new.clear()

    def create(self, path: str) -> int:
        fd = super().create(path)
        self._unsynced[os.fstat(fd).st_ino] = self._new[os.fstat(fd).st_ino] = Path(path)
        self._undo.append(Path(path).unlink)
        return fd

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        inode = os.stat(new).st_ino
        for known in (self._unsynced, self._new):
            if inode in known:
                known[inode] = Path(new)
        self._undo.append(lambda: os.rename(new, old))

    def remove(self, path: str) -> None:
        data, inode = Path(path).read_bytes(), os.stat(path).st_ino
        super().remove(path)
        self._unsynced.pop(inode, None)
        self._new.pop(inode, None)
        self._undo.append(lambda: Path(path).write_bytes(data))

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self._unsynced.pop(os.fstat(fd).st_ino, None)

    def sync_directory(self, path: str) -> None:
        super().sync_directory(path)
        self._undo.clear()
        self._new.clear()


LAST = 71
"""Of what was there."""


class Scene(NamedTuple):
    """What was there, and how a node goes on from it."""

    before: list[Entry]
    committed: int
    """Complete files hold the entries up to there."""
    end: int
    """Where the ledger goes on otherwise."""
    after: list[Entry]
    """All entries of the ledger that goes on."""


def _story(first: int, seed: str) -> Scene:
    """A service, and one that goes on with the first of its entries."""
    services: list[Service] = []
    for end in (LAST, first):
        service = Service(chunk_size=CHUNK)
        service.genesis()
        service.sign()
        service.open()
        for i in range(4, end + 1):
            if i % 4:
                service.record(b"value %d" % i, private=i % 3 == 0)
            else:
                service.sign()
                service.commit()
        services.append(service)
    before, after = services
    assert after.entries[-1].committable
    complete = max(e.seqno for e in before.entries if e.flags & FORCE_CHUNK_AFTER)
    end = after.last
    after.recover(seed)
    after.sign()
    after.commit()
    for i in range(24):
        after.record(b"anew %d" % i)
        if i % 4 == 3:
            after.sign()
            after.commit()
    return Scene(before.entries, complete, end, after.entries)


def _write(folder: Path, scene: Scene) -> None:
    disk = LedgerDisk(folder)
    disk.append(scene.before)
    disk.commit(scene.before[-1].seqno)
    disk.close()


class _Run:
    """One attempt."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.folder = folder
        self.scene = scene
        self.over = False
        """The service that goes on is open, and said so."""

    def recover(self, files: Files) -> None:
        """As the first node of a service that is recovered."""
        scene = self.scene
        disk = LedgerDisk(self.folder, keep=True, files=files)
        if disk.last > scene.end:
            disk.begin_recovery(scene.end, "no signature covers it")
        else:
            disk.begin_recovery(disk.last, "it ends there")
        self._append(disk, scene.after[disk.last : -1])
        disk.complete_recovery()
        self.over = True
        self._append(disk, scene.after[-1:])
        disk.close()

    def join(self, files: Files) -> None:
        """As a node that joins the service which went on elsewhere."""
        disk = LedgerDisk(self.folder, files=files)
        disk.initialise(0)
        self._append(disk, self.scene.after)
        self.over = True
        disk.close()

    def _append(self, disk: LedgerDisk, entries: list[Entry]) -> None:
        pending: list[Entry] = []
        for entry in entries:
            pending.append(entry)
            if entry.committable:
                disk.append(pending)
                disk.commit(entry.seqno)
                pending = []
        disk.append(pending)


def survey(folder: Path, act: str) -> Iterator[Outcome]:
    """Every point of one of `ACTS`. Raises AssertionError where something is lost."""
    scene = _story(68 if act == "recover late" else 44, "second")
    assert scene.committed < len(scene.before)
    assert (scene.committed < scene.end) == (act == "recover late")
    whole = folder / "whole"
    _write(whole, scene)
    counting = FailingFiles()
    _play(_Run(folder / "rehearsal", scene), act, whole, counting)
    for way in WAYS:
        for at, call in enumerate(counting.calls, 1):
            if way == "short" and call != "write":
                continue
            files: Files = FailingFiles(at, way)
            if way in MACHINE:
                files = PowerFiles(at, renamed=way == "half")
            run = _Run(folder / f"{way} {at}", scene)
            try:
                _play(run, act, whole, files)
            except StorageError:
                struck = True
            else:
                struck = False
            # That half a copy cannot be removed, or a file closed, is nobody's concern.
            assert struck, f"the fault at call {at} ({call}) was not noticed"
            yield Outcome(call, way, 0, _judge(run, act))
            shutil.rmtree(run.folder)


def _play(run: _Run, act: str, whole: Path, files: Files) -> None:
    shutil.copytree(whole, run.folder)
    (run.join if act == "join" else run.recover)(files)


def _judge(run: _Run, act: str) -> int:
    """What is left, and whether the same succeeds now; faults while opening."""
    scene = run.scene
    faults = _reopen(run.folder, keep=act != "join")
    _nothing_lost(run, act)
    disk = LedgerDisk(run.folder, keep=act != "join")
    found = disk.read(1, disk.last) if disk.last else []
    disk.close()
    if act != "join":
        before = [e.data for e in scene.before]
        after = [e.data for e in scene.after]
        assert len(found) >= scene.end, "the ledger ends before the one that was there"
        assert found in (before[: len(found)], after[: len(found)]), "neither the old nor the new"
        if run.over:
            assert len(found) >= len(after) - 1, "the service is open, and its entries are gone"
        if len(found) > scene.end and found == after[: len(found)]:
            assert len(found) >= len(after) - 2, "half of a recovery"
    again = _Run(run.folder, scene)
    if act == "join" or len(found) == scene.end or found[-1] != scene.after[len(found) - 1].data:
        (again.join if act == "join" else again.recover)(Files())
        _nothing_lost(run, act)
    checked = verify(run.folder)
    assert checked.ok, checked
    return faults


def _nothing_lost(run: _Run, act: str) -> None:
    """What is there no more in the ledger is there in some file."""
    scene = run.scene
    there = b"".join(file.read_bytes() for file in sorted(run.folder.iterdir()))
    kept = scene.before if act != "join" else scene.before[: scene.committed]
    gone = [entry.seqno for entry in kept if entry.data not in there]
    assert not gone, f"entries {gone} are lost"


def _reopen(folder: Path, *, keep: bool) -> int:
    faults = 0
    while True:
        try:
            LedgerDisk(folder, keep=keep, files=FailingFiles(faults + 1, "crash")).close()
        except StorageError:
            faults += 1
            assert faults < FAULTS_MAX, "it does not come to an end"
        else:
            return faults


def main() -> int:
    for act in ACTS:
        with tempfile.TemporaryDirectory() as folder:
            outcomes = list(survey(Path(folder), act))
        print(f"{act}\n\n{table(outcomes, WAYS)}\n\n{summary(outcomes)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
