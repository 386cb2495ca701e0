"""What a person gave, read; and what is written for a person."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pyccf.cli.reading import parse_json, read_bytes, read_text, write_bytes
from pyccf.errors import LocalError


def test_files_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes(str(tmp_path / "f"), "ä".encode())
    assert read_text(str(tmp_path / "f")) == "ä"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"given")))
    assert read_bytes("-") == b"given"


def test_secrets_are_for_their_owner(tmp_path: Path) -> None:
    write_bytes(str(tmp_path / "share"), b"x", secret=True)
    write_bytes(str(tmp_path / "other"), b"x")
    assert (tmp_path / "share").stat().st_mode & 0o077 == 0
    assert (tmp_path / "other").stat().st_mode & 0o200


def test_standard_output(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    write_bytes("-", b"\xff\x00")
    assert capsysbinary.readouterr().out == b"\xff\x00"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    none = str(tmp_path / "none")
    with pytest.raises(LocalError, match=r"Could not read .*none: No such file"):
        read_bytes(none)
    with pytest.raises(LocalError, match=r"Could not write .*: No such file"):
        write_bytes(f"{none}/f", b"")
    (tmp_path / "f").write_bytes(b"\xff")
    with pytest.raises(LocalError, match="is not UTF-8 text"):
        read_text(str(tmp_path / "f"))
    with pytest.raises(LocalError, match="--args is not JSON"):
        parse_json("{", "--args")
    assert parse_json(b'{"a": 1}', "p.json") == {"a": 1}
