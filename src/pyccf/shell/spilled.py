"""The `.index` directory: what indexes of this process put on disk, sealed by the node.

Emptied when the program starts: nobody could read what an earlier process left. A file that cannot
be written or read is not there; the index that wanted it is told, and the log says why.
(spec: historical-and-indexing.md §6.2)
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

DIRECTORY = ".index"

_NAME = re.compile(r"[0-9a-f]{64}").fullmatch


class SpillDirectory:
    """The directory, made when something is put there."""

    def __init__(self, log: Callable[[str, str], None], directory: str = DIRECTORY) -> None:
        """Removes what an earlier process left. `log` takes level and text."""
        self._log = log
        self._directory = Path(directory)
        self._complained = False
        if self._directory.is_dir() and not self._directory.is_symlink():
            shutil.rmtree(self._directory, ignore_errors=True)

    def store(self, name: str, data: bytes) -> bool:
        """Keep bytes under a name; False if the disk does not take them."""
        assert _NAME(name), "names of buckets are digests"
        path = self._directory / name
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
        except OSError as e:
            self._complain(path, "written", e)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)  # half of it is of no use
            return False
        return True

    def load(self, name: str) -> bytes | None:
        """Read them back; None if they are not there."""
        assert _NAME(name), "names of buckets are digests"
        path = self._directory / name
        try:
            return path.read_bytes()
        except OSError as e:
            self._complain(path, "read", e)
            return None

    def _complain(self, path: Path, what: str, error: OSError) -> None:
        """Say it once: an index may want thousands of files."""
        if not self._complained:
            self._complained = True
            cause = error.strerror or str(error)
            self._log("fail", f"Index file {path} cannot be {what}: {cause}.")
