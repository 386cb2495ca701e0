"""Constitutions in folders: by the names of their files, or as listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.constitutions.folder import FILES, load, locate, parts
from pyccf.constitutions.folder import test_files as files
from pyccf.errors import LocalError


def test_files_by_name_or_by_list(tmp_path: Path) -> None:
    (tmp_path / "20.js").write_text("two")
    (tmp_path / "10.js").write_text("one")
    assert load(tmp_path) == "one\ntwo"
    (tmp_path / FILES).write_text('{"files": ["20.js"]}')
    assert load(tmp_path) == "two"
    for text, problem in (
        ("{", "is not JSON"),
        ('{"files": []}', "does not list files"),
        ('{"files": ["none.js"]}', "Could not read"),
    ):
        (tmp_path / FILES).write_text(text)
        with pytest.raises(LocalError, match=problem):
            load(tmp_path)


def test_folders_without(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="There is no folder"):
        load(tmp_path / "none")
    with pytest.raises(LocalError, match="There is no constitution"):
        load(tmp_path)
    with pytest.raises(LocalError, match="There are no tests"):
        files(tmp_path)
    (tmp_path / "b.js").write_bytes(b"\xff")
    with pytest.raises(LocalError, match="not UTF-8"):
        load(tmp_path)


def test_a_line_of_the_whole_is_one_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("one\ntwo\n")
    (tmp_path / "b.js").write_text("three")
    (tmp_path / "c.js").write_text("four\n")
    found = parts(tmp_path)
    lines = load(tmp_path).split("\n")
    for number, text in enumerate(lines, 1):
        path, _, line = locate(found, number).rpartition(":")
        assert Path(path).read_text().split("\n")[int(line) - 1] == text
    assert locate(found, len(lines) + 1) == f"beyond {tmp_path / 'c.js'}"
