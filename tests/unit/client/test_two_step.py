"""pyccf.client.two_step: what is prepared, what a vault may answer, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pyccf.client.signing import Identity, MessageType, sign_governance
from pyccf.client.two_step import finish, prepare, read_prepared, read_signature, request_path
from pyccf.codec import cose
from pyccf.crypto import cosesign
from pyccf.crypto.keys import Curve
from pyccf.errors import LocalError
from support.fake_service import NOW, make_identity

CURVES = (Curve.P256, Curve.P384, Curve.P521)
DIGESTS = {Curve.P256: "sha256", Curve.P384: "sha384", Curve.P521: "sha512"}
ID = "ab" * 32
PAYLOAD = b'{"ballot":"x"}'


def to_sign(body: bytes) -> bytes:
    parsed = cose.parse_sign1(body, rules=cose.MEMBER)
    return cose.sig_structure(parsed.protected, parsed.payload or b"")


def raw(who: Identity, digest: str) -> bytes:
    """What an HSM does with the digest."""
    der = who.key.sign_digest(base64.b64decode(digest))
    return read_signature(der, who.key.curve)


def url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda s: s,
    "base64": lambda s: base64.b64encode(s) + b"\n",
    "base64url without padding": lambda s: url(s).rstrip("=").encode(),
    "value": lambda s: json.dumps({"alg": "x", "value": url(s)}).encode(),
    "answer of a vault": lambda s: json.dumps({"kid": "k", "signature": url(s)}).encode(),
    "result": lambda s: json.dumps({"result": url(s).rstrip("=")}).encode(),
    "JSON text": lambda s: json.dumps(url(s)).encode(),
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("form", FORMS)
def test_finished_as_if_signed_at_once(tmp_path: Path, curve: Curve, form: str) -> None:
    who = make_identity(tmp_path, "m", curve)
    prepared = prepare(who.cert_pem, MessageType.BALLOT, PAYLOAD, NOW, ID)
    at_once = sign_governance(who, MessageType.BALLOT, PAYLOAD, NOW, ID)
    body = finish(read_prepared(prepared.encode()), FORMS[form](raw(who, prepared.value)))
    parsed, expected = (cose.parse_sign1(b, rules=cose.MEMBER) for b in (body, at_once))
    assert (parsed.headers, parsed.payload) == (expected.headers, expected.payload)
    digest = hashlib.new(DIGESTS[curve], to_sign(body)).digest()
    assert base64.b64decode(prepared.value) == digest
    # A digest over the header in its other order can be finished too.
    assert finish(prepared, expected.signature) == at_once
    assert cosesign.verify1(parsed, who.key.public)
    assert prepared.path() == f"/gov/members/proposals/{ID}/ballots/{who.id}:submit"


@pytest.mark.parametrize("curve", CURVES)
def test_signatures_in_der(tmp_path: Path, curve: Curve) -> None:
    who = make_identity(tmp_path, "m", curve)
    prepared = prepare(who.cert_pem, MessageType.PROPOSAL, b"{}", NOW)
    der = who.key.sign_digest(base64.b64decode(prepared.value))
    assert finish(prepared, der)
    assert finish(prepared, base64.b64encode(der))


def test_the_file_names_algorithm_and_digest_first(tmp_path: Path) -> None:
    who = make_identity(tmp_path, "m")
    encoded = prepare(who.cert_pem, MessageType.WITHDRAWAL, b"", NOW, ID).encode()
    value = json.loads(encoded)
    assert list(value)[:2] == ["alg", "value"]
    assert value["alg"] == "ES384"
    assert (value["type"], value["proposal_id"], value["content"]) == ("withdrawal", ID, "")
    assert "proposal_id" not in json.loads(
        prepare(who.cert_pem, MessageType.PROPOSAL, b"", NOW).encode()
    )


def test_paths() -> None:
    who = "cd" * 32
    assert {request_path(message, who, ID) for message in MessageType} == {
        "/gov/members/proposals:create",
        f"/gov/members/proposals/{ID}:withdraw",
        f"/gov/members/proposals/{ID}/ballots/{who}:submit",
        f"/gov/members/state-digests/{who}:ack",
        f"/gov/members/state-digests/{who}:update",
        f"/gov/recovery/members/{who}:recover",
    }


def test_signature_by_another_key_or_of_another_message(tmp_path: Path) -> None:
    who, other = make_identity(tmp_path, "m"), make_identity(tmp_path, "other")
    prepared = prepare(who.cert_pem, MessageType.PROPOSAL, b"{}", NOW)
    with pytest.raises(LocalError, match="not one of this message"):
        finish(prepared, raw(other, prepared.value))
    later = prepare(who.cert_pem, MessageType.PROPOSAL, b"{}", NOW + 1)
    with pytest.raises(LocalError, match="not one of this message"):
        finish(prepared, raw(who, later.value))


def test_a_prepared_message_that_was_changed(tmp_path: Path) -> None:
    who = make_identity(tmp_path, "m")
    prepared = prepare(who.cert_pem, MessageType.PROPOSAL, b"{}", NOW)
    signature = raw(who, prepared.value)
    changed = msgspec.structs.replace(prepared, content=base64.b64encode(b"[]").decode())
    with pytest.raises(LocalError, match="was changed"):
        finish(changed, signature)
    spoiled = msgspec.structs.replace(prepared, content="?")
    with pytest.raises(LocalError, match="content is not base64"):
        finish(spoiled, signature)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "has 0 bytes"),
        (b"?", "not base64"),
        (b"AAAA", "has 3 bytes; one with P-384 has 96"),
        (b"\xff" * 5, "has 5 bytes"),
        (b"0" + b"\xff" * 70, "has 71 bytes"),
        (b"{", "not JSON"),
        (b"{}", "no text named value or signature or result"),
        (b'{"value": 5}', "no text named"),
    ],
)
def test_what_is_no_signature(tmp_path: Path, given: bytes, words: str) -> None:
    who = make_identity(tmp_path, "m")
    prepared = prepare(who.cert_pem, MessageType.ACK, b"{}", NOW)
    with pytest.raises(LocalError, match=words.replace("(", "\\(")):
        finish(prepared, given)


def test_what_cannot_be_prepared(tmp_path: Path) -> None:
    who, ed = make_identity(tmp_path, "m"), make_identity(tmp_path, "e", Curve.ED25519)
    with pytest.raises(LocalError, match="must be named"):
        prepare(who.cert_pem, MessageType.BALLOT, b"", NOW)
    with pytest.raises(LocalError, match="about no proposal"):
        prepare(who.cert_pem, MessageType.ACK, b"", NOW, ID)
    with pytest.raises(LocalError, match="Ed25519"):
        prepare(ed.cert_pem, MessageType.ACK, b"", NOW)
    with pytest.raises(LocalError, match="cannot be used"):
        prepare("nonsense", MessageType.ACK, b"", NOW)
    for time in (-1, 1 << 63):
        with pytest.raises(LocalError, match="cannot be made at"):
            prepare(who.cert_pem, MessageType.ACK, b"", time)


@pytest.mark.parametrize("given", [b"", b"{}", b'{"alg": "ES384", "value": "AA=="}'])
def test_files_that_are_something_else(given: bytes) -> None:
    with pytest.raises(LocalError, match="not a message prepared"):
        read_prepared(given)
