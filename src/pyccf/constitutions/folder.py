"""A constitution in a folder: which files are its parts, in which order, and where its tests are.

Refused with LocalError, naming the file: what cannot be read, is not UTF-8 text, or not JSON where
JSON must be; folders that hold no constitution or no tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from pyccf.codec.text import load_json
from pyccf.errors import LocalError
from pyccf.types import Json

FILES = "constitution.json"
"""Lists the parts of a constitution, where their names do not tell the order."""
TESTS = "tests"
"""Folder of the test files; `*.test.json` beside the constitution are tests as well."""

Parts: TypeAlias = list[tuple[Path, str]]


def load(folder: Path) -> str:
    """The constitution in a folder: the files `constitution.json` lists, or all *.js by name."""
    return join(parts(folder))


def join(files: Parts) -> str:
    """One script of all parts."""
    return "\n".join(text for _, text in files)


def locate(files: Parts, line: int) -> str:
    """Where a line of the whole stands, as FILE:LINE."""
    for path, text in files:
        lines = text.count("\n") + 1
        if line <= lines:
            return f"{path}:{line}"
        line -= lines
    return f"beyond {files[-1][0]}"


def parts(folder: Path) -> Parts:
    """Files of the constitution in a folder, with their texts, in order."""
    if not folder.is_dir():
        raise LocalError(f"There is no folder {folder}", hint="Give the folder of a constitution.")
    listed = folder / FILES
    if listed.is_file():
        value = read_json(listed)
        names = value.get("files") if isinstance(value, dict) else None
        if not isinstance(names, list) or not names:
            raise LocalError(f'{listed} does not list files: {{"files": ["actions.js", ...]}}')
        paths = [folder / str(name) for name in names]
    else:
        paths = sorted(folder.glob("*.js"))
    if not paths:
        raise LocalError(
            f"There is no constitution in {folder}",
            hint=f"Expected *.js files, or {FILES} that lists them.",
        )
    return [(path, read_text(path)) for path in paths]


def test_files(folder: Path) -> list[Path]:
    """The test files of a constitution, in order of their names."""
    found = [*sorted(folder.glob("*.test.json")), *sorted((folder / TESTS).glob("*.json"))]
    if not found:
        raise LocalError(
            f"There are no tests in {folder}",
            hint=f"Put them beside the constitution: {TESTS}/NAME.json or NAME.test.json.",
        )
    return found


def read_json(path: Path) -> Json:
    """The JSON in a file."""
    try:
        return load_json(read_text(path))
    except ValueError as error:
        raise LocalError(f"{path} is not JSON: {error}") from error


def read_text(path: Path) -> str:
    """The text in a file."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LocalError(f"{path} is not UTF-8 text") from error
    except OSError as error:
        raise LocalError(f"Could not read {path}: {error.strerror}") from error
