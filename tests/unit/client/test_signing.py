"""pyccf.client.signing: governance envelopes, equal to recorded ones but for the signature."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from pyccf.client.signing import (
    Identity,
    MessageType,
    governance_header,
    sign_governance,
    sign_user,
)
from pyccf.codec import cose
from pyccf.crypto import certs, cosesign
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.errors import LocalError
from support.vectors import vectors_dir

NOW = 1_795_258_291


def identity(folder: Path, curve: Curve = Curve.P384) -> Identity:
    key = PrivateKey.generate(curve, SeededEntropy(curve.name))
    cert = certs.self_signed(
        key, "CN=m", not_before=NOW, days=1, ca=False, entropy=SeededEntropy(1)
    )
    (folder / "cert.pem").write_text(cert)
    (folder / "key.pem").write_text(key.pem())
    return Identity.load(folder / "cert.pem", folder / "key.pem")


@pytest.mark.parametrize(("curve", "alg"), [(Curve.P256, -7), (Curve.P384, -35), (Curve.P521, -36)])
def test_an_envelope_verifies_and_says_what_it_is(tmp_path: Path, curve: Curve, alg: int) -> None:
    signer = identity(tmp_path, curve)
    body = sign_governance(signer, MessageType.BALLOT, b'{"ballot": "x"}', NOW, "ab" * 32)
    parsed = cose.parse_sign1(body, rules=cose.MEMBER)
    assert parsed.payload == b'{"ballot": "x"}'
    assert parsed.headers == {
        1: alg,
        4: signer.id.encode(),
        "ccf.gov.msg.type": "ballot",
        "ccf.gov.msg.created_at": NOW,
        "ccf.gov.msg.proposal_id": "ab" * 32,
    }
    assert cosesign.verify1(parsed, signer.key.public)


def test_ed25519_cannot_sign_governance(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="Ed25519"):
        sign_governance(identity(tmp_path, Curve.ED25519), MessageType.ACK, b"", NOW)


def test_user_envelopes(tmp_path: Path) -> None:
    signer = identity(tmp_path, Curve.P256)
    parsed = cose.parse_sign1(sign_user(signer, b"x", NOW, "greeting"), rules=cose.USER)
    assert parsed.headers["ccf.msg.type"] == "greeting"
    assert parsed.headers["ccf.msg.created_at"] == NOW
    assert cosesign.verify1(parsed, signer.key.public)
    assert "ccf.msg.type" not in cose.parse_sign1(sign_user(signer, b"x", NOW)).headers


def test_headers_are_those_of_the_recorded_requests() -> None:
    """Every well-formed signed request of the recording has exactly the header we would write."""
    folder = vectors_dir() / "ccf" / "transcripts"
    compared = 0
    for line in (folder / "opening.jsonl").read_text().splitlines():
        request = json.loads(line)["request"]
        if "cose" not in request or "body_base64" not in request:
            continue
        fields = request["cose"]["protected"]
        header = governance_header(
            Curve.P384,
            fields["4"].removeprefix("bstr:"),
            MessageType(fields["ccf.gov.msg.type"]),
            fields["ccf.gov.msg.created_at"],
            fields.get("ccf.gov.msg.proposal_id"),
        )
        envelope = cose.parse_sign1(base64.b64decode(request["body_base64"]))
        if envelope.alg == -35:
            assert envelope.protected == header
            compared += 1
    assert compared > 15


def test_identity_names_the_file_that_is_no_good(tmp_path: Path) -> None:
    good = identity(tmp_path)
    with pytest.raises(LocalError, match=r"Could not read .*none\.pem"):
        Identity.load(tmp_path / "none.pem", good.key_path)
    with pytest.raises(LocalError, match=r"key\.pem is not a PEM certificate"):
        Identity.load(good.key_path, good.key_path)
    with pytest.raises(LocalError, match=r"cert\.pem is not a PEM private key"):
        Identity.load(good.cert_path, good.cert_path)
    (tmp_path / "bytes.pem").write_bytes(b"\xff\xfe")
    with pytest.raises(LocalError, match=r"bytes\.pem is not a PEM file"):
        Identity.load(tmp_path / "bytes.pem", good.key_path)


def test_identity_refuses_the_key_of_another(tmp_path: Path) -> None:
    good = identity(tmp_path)
    other = PrivateKey.generate(Curve.P384, SeededEntropy("other"))
    (tmp_path / "other.pem").write_text(other.pem())
    with pytest.raises(LocalError, match="does not hold the key of"):
        Identity.load(good.cert_path, tmp_path / "other.pem")


def test_identity_shows_no_key(tmp_path: Path) -> None:
    who = identity(tmp_path)
    assert repr(who) == f"Identity(id={who.id})"
    assert who.id == certs.fingerprint(who.cert_pem)
