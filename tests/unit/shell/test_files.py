"""The thin layer over the operating system's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.shell.files import Files


def test_write_and_read_at_offsets(tmp_path: Path) -> None:
    files = Files()
    path = str(tmp_path / "f")
    fd = files.create(path)
    assert files.write(fd, 8, b"abc") == 3
    assert files.size(fd) == 11
    assert files.read(fd, 0, 11) == bytes(8) + b"abc"
    assert files.read(fd, 9, 100) == b"bc"
    assert files.read(fd, 11, 5) == b""
    files.truncate(fd, 9)
    files.sync(fd)
    files.close(fd)
    again = files.open(path)
    assert files.read(again, 8, 9) == b"a"
    files.close(again)
    reading = files.open_to_read(path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        files.write(reading, 0, b"x")
    files.close(reading)


def test_a_taken_name_is_not_created(tmp_path: Path) -> None:
    files = Files()
    (tmp_path / "f").touch()
    with pytest.raises(FileExistsError):
        files.create(str(tmp_path / "f"))
    with pytest.raises(FileNotFoundError):
        files.open(str(tmp_path / "g"))


def test_directories_and_names(tmp_path: Path) -> None:
    files = Files()
    directory = str(tmp_path / "d")
    files.make_directory(directory)
    files.make_directory(directory)
    assert files.is_directory(directory)
    for name in ("b", "a"):
        files.close(files.create(f"{directory}/{name}"))
    assert files.list(directory) == ["a", "b"]
    files.rename(f"{directory}/a", f"{directory}/c")
    files.remove(f"{directory}/b")
    files.sync_directory(directory)
    assert files.exists(f"{directory}/c")
    assert not files.exists(f"{directory}/a")
    (tmp_path / "f").touch()
    with pytest.raises(FileExistsError):
        files.make_directory(str(tmp_path / "f"))
    assert not files.is_directory(str(tmp_path / "f"))
