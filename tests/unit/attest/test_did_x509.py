"""Issuers named by an authority and a policy."""

from __future__ import annotations

import pytest

from pyccf.attest import did_x509
from pyccf.codec.text import b64url
from pyccf.crypto import certs
from pyccf.errors import InvalidEvidence
from support import snp as made
from support.snp import did


def chain() -> list[bytes]:
    return list(made.builder_chain()[1:])


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize(
    "policy",
    [
        f"eku:{made.EKU}",
        "subject:CN:Builder",
        "subject:CN:%42uilder",
        "san:dns:uvm.example",
        "san:email:a%40b.c",
        f"eku:{made.EKU}::subject:CN:Builder::san:dns:uvm.example",
    ],
)
def test_the_key_of_an_issuer(policy: str, digest: str) -> None:
    key = made.builder_chain()[0]
    assert did_x509.resolve(did(policy, digest), chain()) == key.public.der


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "Not a did:x509"),
        ("did:web:example.com", "Not a did:x509"),
        (did().replace(":0:", ":1:"), "Not a did:x509"),
        (did().replace("sha256", "md5"), "Not a did:x509"),
        (did().partition("::")[0], "Not a did:x509"),
        (did().replace("::", ":x::"), "Not a did:x509"),
        (did("subject:CN:" + "x" * 5000), "Not a did:x509"),
        (did().replace("sha256:", "sha256:A"), "No authority"),
        (did(""), "Policy  of"),
        (did("fulcio-issuer:example.com"), "Policy fulcio-issuer of"),
        (did("eku:1.2.3"), "does not fulfil policy eku:1.2.3"),
        (did("eku"), "does not fulfil"),
        (did(f"eku:{made.EKU}:1"), "does not fulfil"),
        (did("subject"), "does not fulfil"),
        (did("subject:CN"), "does not fulfil"),
        (did("subject:CN:Builder:O"), "does not fulfil"),
        (did("subject:CN:Builder:O:x"), "does not fulfil"),
        (did("subject:XX:Builder"), "does not fulfil"),
        (did("san:dns"), "does not fulfil"),
        (did("san:dns:other.example"), "does not fulfil"),
        (did("san:uri:uvm.example"), "does not fulfil"),
        (did("san:ip:uvm.example"), "does not fulfil"),
        (did(f"eku:{made.EKU}::subject:CN:Other"), "does not fulfil policy subject:CN:Other"),
    ],
)
def test_names_that_are_not_the_issuers(name: str, reason: str) -> None:
    with pytest.raises(InvalidEvidence, match=reason):
        did_x509.resolve(name, chain())


def test_the_certificate_itself_is_no_authority() -> None:
    leaf, root = chain()
    own = did().replace(did().split(":")[4], _fingerprint(leaf))
    with pytest.raises(InvalidEvidence, match="No authority"):
        did_x509.resolve(own, [leaf, root])
    with pytest.raises(InvalidEvidence, match="No authority"):
        did_x509.resolve(did(), [leaf])


def _fingerprint(certificate: bytes) -> str:
    return b64url(bytes.fromhex(certs.fingerprint(certificate)))


def test_chains_that_are_none() -> None:
    leaf, root = chain()
    foreign = certs.pem_to_der(made.authority("ARK").pem)
    for broken in ([], [b""], [leaf, leaf], [root, leaf], [leaf, foreign, root], [leaf] * 17):
        with pytest.raises(InvalidEvidence, match="do not form a chain"):
            did_x509.resolve(did(), broken)
