"""Certificates in which anybody may have changed a byte."""

from __future__ import annotations

import pytest

from pyccf.crypto import certs
from pyccf.ledger.certchain import endorsed_by, key_of
from support.ledgers import NOW, Identity

ME = Identity("me")
OTHER = Identity("other")
DAY = 86_400


def test_key_and_issuer() -> None:
    assert key_of(ME.node_cert) == ME.node_key.public
    assert endorsed_by(ME.node_cert, ME.service_cert)
    assert not endorsed_by(ME.node_cert, OTHER.service_cert)
    assert not endorsed_by(ME.service_cert, ME.node_cert)


def test_dates_count_only_when_given() -> None:
    assert endorsed_by(ME.node_cert, ME.service_cert, NOW + DAY)
    assert not endorsed_by(ME.node_cert, ME.service_cert, NOW + 1000 * DAY)
    assert not endorsed_by(ME.node_cert, ME.service_cert, NOW - DAY)


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate(text: str) -> None:
    with pytest.raises(ValueError):
        key_of(text)
    assert not endorsed_by(text, ME.service_cert)
    assert not endorsed_by(ME.node_cert, text)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_any_changed_byte_is_answered_not_raised() -> None:
    der = certs.pem_to_der(ME.node_cert)
    loaded = certs.load(ME.node_cert)
    signed = der.index(loaded.tbs_certificate_bytes)
    signed_end = signed + len(loaded.tbs_certificate_bytes)
    for at in range(len(der)):
        for bit in (0, 3, 7):
            changed = bytearray(der)
            changed[at] ^= 1 << bit
            pem = certs.der_to_pem(bytes(changed))
            answer = endorsed_by(pem, ME.service_cert)
            # Behind the signed part one signature can be written in more than one way.
            assert not (answer and signed <= at < signed_end), (at, bit)
            try:
                key_of(pem)
            except ValueError:
                continue
