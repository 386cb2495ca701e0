"""Identities of nodes and services."""

from __future__ import annotations

import hashlib

import pytest

from pyccf.crypto import certs, chains
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve
from pyccf.service.identity import ServiceIdentity, make_node, make_service
from support.service import NOW, node_identity, service_identity


def test_node() -> None:
    node = node_identity()
    assert node.node_id == hashlib.sha256(node.key.public.der).hexdigest()
    assert certs.public_key(node.self_signed_pem) == node.key.public
    assert certs.csr_public_key(node.csr_pem) == node.key.public
    begin, end = certs.validity(node.self_signed_pem)
    assert (begin, end) == (NOW, NOW + 90 * 86400 - 1)
    assert certs.subject(node.self_signed_pem) == "CN=CCF Node"
    assert node.encryption_key.public.bits == 2048


def test_service() -> None:
    service = service_identity()
    assert service.fingerprint == hashlib.sha256(service.key_der).hexdigest()
    assert service.owns(service.cert_pem)
    assert not service.owns(node_identity().self_signed_pem)
    assert chains.check_endorsed(service.cert_pem, service.cert_pem, ignore_time=True, now=NOW)


def test_renewed_certificate_is_of_the_same_key() -> None:
    service = service_identity()
    renewed = service.certificate(NOW + 5, 3, SeededEntropy(1))
    assert service.owns(renewed)
    assert renewed != service.cert_pem
    assert certs.validity(renewed) == (NOW + 5, NOW + 5 + 3 * 86400 - 1)


def test_same_seed_same_identity() -> None:
    def make(seed: int) -> tuple[str, str, str]:
        entropy = SeededEntropy(seed)
        node = make_node(
            entropy=entropy, not_before=NOW, days=1, sans=["dNSName:a"], curve=Curve.P256
        )
        service = make_service(entropy=entropy, not_before=NOW, days=1, curve=Curve.P256)
        return node.self_signed_pem, node.encryption_key.pem(), service.cert_pem

    assert make(1) == make(1)
    assert make(1) != make(2)


def test_a_service_known_by_its_certificate_has_no_key_until_it_is_handed_over() -> None:
    service = service_identity()
    known = ServiceIdentity.known_by(service.cert_pem)
    assert known.fingerprint == service.fingerprint
    assert known.subject == service.subject
    assert known.owns(service.cert_pem)
    with pytest.raises(AssertionError):
        known.key.sign(b"")
    renewed = service.certificate(NOW + 5, 3, SeededEntropy(1))
    known.adopt(service.key, renewed)
    assert known.key is service.key
    assert known.cert_pem == renewed
    with pytest.raises(ValueError, match="not a certificate"):
        ServiceIdentity.known_by("nonsense")


def test_a_service_never_changes_its_key() -> None:
    service = service_identity()
    other = make_service(entropy=SeededEntropy(3), not_before=NOW, days=1, curve=Curve.P256)
    known = ServiceIdentity.known_by(service.cert_pem)
    with pytest.raises(AssertionError):
        known.adopt(other.key, service.cert_pem)
    with pytest.raises(AssertionError):
        known.adopt(service.key, other.cert_pem)


def test_a_certificate_for_the_period_of_another() -> None:
    service, node = service_identity(), node_identity()
    pem = service.endorse_as(node.csr_pem, node.self_signed_pem, SeededEntropy(4))
    assert certs.validity(pem) == certs.validity(node.self_signed_pem)
    assert chains.check_endorsed(pem, service.cert_pem, ignore_time=True)
