"""pyccf.cli.keys and `pyccf key new`: files that only their owner reads."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pyccf.client import Identity
from pyccf.crypto import certs
from pyccf.crypto.keys import Curve, RsaPrivateKey, RsaPublicKey
from support.cli import Run


@pytest.mark.parametrize("curve", [Curve.P256, Curve.P384, Curve.P521])
def test_new(run: Run, tmp_path: Path, curve: Curve) -> None:
    result = run("key", "new", "alice", "--out", tmp_path / "deep", "--curve", curve.name, "--json")
    files = result.json
    identity = Identity.load(files["cert"], files["key"])
    assert identity.id == files["id"]
    assert identity.key.curve is curve
    assert set(files) == {"id", "cert", "key"}
    assert stat.S_IMODE(Path(files["key"]).stat().st_mode) == 0o600
    assert certs.subject(identity.cert_pem) == "CN=alice"
    begin, end = certs.validity(identity.cert_pem)
    assert 364 * 86_400 <= end - begin <= 366 * 86_400


def test_new_member(run: Run, tmp_path: Path) -> None:
    files = run("key", "new", "m", "--out", tmp_path, "--member", "--days", 5, "--json").json
    private = RsaPrivateKey.from_pem(Path(files["enc_key"]).read_text())
    public = RsaPublicKey.from_pem(Path(files["enc_pub_key"]).read_text())
    assert private.decrypt_oaep(public.encrypt_oaep(b"share")) == b"share"
    assert stat.S_IMODE(Path(files["enc_key"]).stat().st_mode) == 0o600


def test_new_for_a_person(run: Run, tmp_path: Path) -> None:
    code, out, err = run("key", "new", "m", "--out", tmp_path, "--member")
    assert (code, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "id",
        "certificate",
        "private key",
        "encryption key",
        "its public part",
    ]
    assert "PRIVATE" not in out


@pytest.mark.parametrize("name", ["Smith, Bob", "", "x" * 65, "\udcff"])
def test_names_that_certificates_cannot_have(run: Run, tmp_path: Path, name: str) -> None:
    code, _, err = run("key", "new", name, "--out", tmp_path)
    assert (code, "cannot be the name in a certificate" in err) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_all_files_or_none(run: Run, tmp_path: Path) -> None:
    """What is left of a key must not be taken for one, nor be in the way of the next try."""
    last = tmp_path / "m_enc_pubk.pem"
    last.write_text("mine")
    code, _, err = run("key", "new", "m", "--out", tmp_path, "--member")
    assert (code, "m_enc_pubk.pem exists already" in err) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == [last.name]
    assert last.read_text() == "mine"


def test_a_folder_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run("key", "new", "m", "--out", tmp_path / "file" / "x")
    assert code == 1
    assert "Could not write" in err
