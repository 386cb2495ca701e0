"""Ledger secrets in files that only the same program opens."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pyccf.crypto.entropy import SeededEntropy
from pyccf.errors import LocalError
from pyccf.ledger.secrets import LedgerSecret
from pyccf.shell.sealing import PLATFORM, seal, unseal

PROGRAM = "ab" * 32
SECRET = LedgerSecret(7, bytes(range(32)))
ENTROPY = SeededEntropy("sealing")


def opened(folder: Path, program: str = PROGRAM) -> tuple[dict[int, bytes], list[str]]:
    lines: list[str] = []
    return unseal(str(folder), program, lambda level, text: lines.append(text)), lines


def test_there_and_back(tmp_path: Path) -> None:
    folder = tmp_path / "sealed"
    path = Path(seal(str(folder), SECRET, PROGRAM, ENTROPY))
    seal(str(folder), LedgerSecret(20, bytes(32)), PROGRAM, ENTROPY)
    assert path.name == "7.sealed.json"
    assert path.stat().st_mode & 0o077 == 0
    assert SECRET.key not in path.read_bytes()
    assert json.loads(json.loads(path.read_bytes())["aad_text"])["platform"] == PLATFORM
    assert opened(folder) == ({7: SECRET.key, 20: bytes(32)}, [])


def test_what_does_not_open_is_named(tmp_path: Path) -> None:
    good = Path(seal(str(tmp_path), SECRET, PROGRAM, ENTROPY))
    value = json.loads(good.read_bytes())
    changed = "A" + value["ciphertext"][1:]
    for name, content, why in (
        ("8", good.read_text(), "for another version"),
        ("x", good.read_text(), "does not say a version"),
        ("9", "{", ""),
        ("10", "[]", "no JSON object"),
        ("11", "{}", "lacks aad_text"),
    ):
        (tmp_path / f"{name}.sealed.json").write_text(content)
        found, lines = opened(tmp_path)
        assert found == {7: SECRET.key}
        assert any(f"{name}.sealed.json is not used" in x and why in x for x in lines)
    good.write_text(json.dumps({**value, "ciphertext": changed}))
    with pytest.raises(LocalError, match="can be opened by this program") as refused:
        opened(tmp_path)
    assert "members' shares" in refused.value.explain()


def test_another_program_opens_nothing(tmp_path: Path) -> None:
    seal(str(tmp_path), SECRET, PROGRAM, ENTROPY)
    with pytest.raises(LocalError, match="can be opened by this program"):
        opened(tmp_path, "cd" * 32)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LocalError, match="Permission denied"):
        seal(str(tmp_path / "sealed"), SECRET, PROGRAM, ENTROPY)


def test_no_place_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match="Cannot write"):
        seal(str(tmp_path / "file" / "sealed"), SECRET, PROGRAM, ENTROPY)


def test_the_secret_of_another_service_is_set_aside(tmp_path: Path) -> None:
    """The folder was used before: what is in it may be all that is left of that service."""
    first = Path(seal(str(tmp_path), SECRET, PROGRAM, ENTROPY))
    before = first.read_bytes()
    assert seal(str(tmp_path), SECRET, PROGRAM, ENTROPY) == str(first)
    assert first.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
    for number in (1, 2):
        seal(str(tmp_path), LedgerSecret(7, bytes([number]) * 32), PROGRAM, ENTROPY)
    aside = tmp_path / "7.sealed.json.1.replaced"
    assert aside.read_bytes() == before
    assert (tmp_path / "7.sealed.json.2.replaced").exists()
    assert opened(tmp_path) == ({7: b"\2" * 32}, [])
    # Under its old name it opens again.
    os.replace(aside, first)
    assert opened(tmp_path) == ({7: SECRET.key}, [])
