"""The test files of an application's folder, and whether something in it changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pyccf.errors import LocalError

SUFFIXES: Final = (".test.js", ".test.mjs")
SOURCES: Final = (".test.ts", ".test.mts")
WATCHED: Final = (".js", ".mjs", ".json", ".map")
SKIPPED: Final = "node_modules"


def test_files(folder: Path) -> list[str]:
    """Paths from the folder, in order. Raises LocalError if there are none."""
    found, unbuilt = [], []
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if name.endswith(SUFFIXES):
            found.append(name)
        elif name.endswith(SOURCES):
            unbuilt.append(name)
    if found:
        return found
    if unbuilt:
        raise LocalError(
            f"The tests in {folder} are not built yet ({unbuilt[0]})",
            hint="Build them to *.test.js beside the application, with @pyccf/test left external.",
        )
    raise LocalError(
        f"There are no tests in {folder}",
        hint="Tests are in files named *.test.js or *.test.mjs.",
    )


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if n != SKIPPED and not n.startswith("."))
        for name in sorted(names):
            yield Path(here, name)


def fingerprint(folder: Path) -> dict[str, tuple[int, int]]:
    """What a change of would make another run worthwhile: sizes and times of files by path."""
    told = {}
    for path in _files(folder):
        if path.suffix in WATCHED:
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue  # gone since it was listed
            told[str(path)] = (stat.st_mtime_ns, stat.st_size)
    return told
