"""The directory of what indexes spill: private, emptied at the start, never in the way."""

from __future__ import annotations

from pathlib import Path

from pyccf.shell.spilled import SpillDirectory

NAME = "ab" * 32


def test_kept_until_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / ".index"
    first = SpillDirectory(lambda level, text: None, str(path))
    assert not path.exists()
    first.store(NAME, b"data")
    first.store(NAME, b"other")
    assert first.load(NAME) == b"other"
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / NAME).stat().st_mode & 0o777 == 0o600
    second = SpillDirectory(lambda level, text: None, str(path))
    assert not path.exists()
    assert second.load(NAME) is None


def test_a_disk_that_refuses_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / ".index"
    path.write_text("a file in the way")
    logs: list[str] = []
    spilled = SpillDirectory(lambda level, text: logs.append(f"{level}: {text}"), str(path))
    assert not spilled.store(NAME, b"data")
    assert not spilled.store(NAME, b"data")
    assert spilled.load(NAME) is None
    assert len(logs) == 1
    assert "cannot be written" in logs[0]
