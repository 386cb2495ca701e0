"""Ledger files that are taken out of use: nothing of them is lost, and each says why.

A file is renamed to `….ignored`, or copied there before it is cut; a name that is taken is never
overwritten. Copy and new name are on the disk, whatever becomes of the machine, before anything
else is done. Beside it `why_….ignored` holds the reason, named so that tools which pass over
`.ignored` files pass over both. (spec: ledger.md §2, §10)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from pyccf.ledger import chunk
from pyccf.shell.files import Files

WHY = "why_"
COPY_BYTES = 1 << 20
"""Bytes of a file that are copied at once."""

Guard = Callable[[str, str], AbstractContextManager[None]]
"""Turns a refusal of the operating system, while doing something to a file, into StorageError."""


class SetAside:
    """What was set aside in one directory."""

    def __init__(self, directory: str, files: Files, guard: Guard, notes: list[str]) -> None:
        """`notes` gets a line for the operator about each file."""
        self.renamed: list[str] = []
        """Names that files had before, in order."""
        self._directory = directory
        self._files = files
        self._guard = guard
        self._notes = notes

    def rename(self, file: str, reason: str) -> None:
        """Set a file aside."""
        path = os.path.join(self._directory, file)
        target = self._free_name(file)
        with self._guard(path, "rename"):
            self._files.rename(path, os.path.join(self._directory, target))
            self._files.sync_directory(self._directory)
        self.renamed.append(file)
        self._explain(target, reason)

    def copy(self, file: str, reason: str) -> None:
        """Keep a file as it is, before it is cut."""
        path = os.path.join(self._directory, file)
        target = self._free_name(file)
        copy = os.path.join(self._directory, target)
        with self._guard(copy, "copy"):
            source = self._files.open_to_read(path)
            try:
                self._make(copy, source)
            finally:
                self._files.close(source)
            self._files.sync_directory(self._directory)
        self._explain(target, reason)

    def _make(self, copy: str, source: int) -> None:
        made = self._files.create(copy)
        try:
            self._pour(source, made)
        except OSError:
            # Half a copy is worth nothing, and the disk may be full.
            with suppress(OSError):
                self._files.remove(copy)
            raise
        finally:
            self._files.close(made)

    def _pour(self, source: int, target: int) -> None:
        at = 0
        while data := self._files.read(source, at, COPY_BYTES):
            self._write(target, at, data)
            at += len(data)
        # What it is a copy of is cut next.
        self._files.sync(target)

    def _write(self, target: int, at: int, data: bytes) -> None:
        taken = self._files.write(target, at, data)
        if taken != len(data):
            raise OSError(f"only {taken} of {len(data)} bytes were taken")

    def _free_name(self, file: str) -> str:
        target, n = file + chunk.IGNORED, 1
        while self._is_taken(target) or self._is_taken(WHY + target):
            target, n = f"{file}.{n}{chunk.IGNORED}", n + 1
        return target

    def _is_taken(self, name: str) -> bool:
        return self._files.exists(os.path.join(self._directory, name))

    def _explain(self, target: str, reason: str) -> None:
        path = os.path.join(self._directory, WHY + target)
        with self._guard(path, "write"):
            fd = self._files.create(path)
            try:
                self._write(fd, 0, f"{target}: {reason}\n".encode())
            finally:
                self._files.close(fd)
        self._notes.append(f"Ledger file {target} was set aside: {reason}")
