from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from pyccf.errors import ConfigError
from pyccf.shell.package import digest_of_code, digest_of_file


def test_a_package_is_the_digest_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"program")
    assert digest_of_file(tmp_path / "p") == sha256(b"program").hexdigest()
    with pytest.raises(ConfigError, match="Cannot read package"):
        digest_of_file(tmp_path / "missing")


def test_code_is_names_and_contents_wherever_it_lies(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place / "sub").mkdir(parents=True)
        (tmp_path / place / "sub" / "m.py").write_text("x = 1")
        (tmp_path / place / "notes.txt").write_text(place)
    first = digest_of_code([tmp_path / "a"])
    assert first == digest_of_code([tmp_path / "b"])
    (tmp_path / "b" / "sub" / "m.py").write_text("x = 2")
    assert first != digest_of_code([tmp_path / "b"])
    (tmp_path / "a" / "sub" / "m.py").rename(tmp_path / "a" / "sub" / "n.py")
    assert first != digest_of_code([tmp_path / "a"])


def test_a_single_file_counts_too(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("y = 1")
    assert digest_of_code([tmp_path / "app.py"]) != digest_of_code([])
