"""Server contexts."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pyccf.errors import LocalError
from pyccf.shell.tls import server_context
from support.listening import certificate


def test_certificate_and_key_must_belong_together() -> None:
    cert_pem, key_pem, _ = certificate("a")
    server_context(cert_pem, key_pem)
    _, other_key, _ = certificate("b")
    with pytest.raises(LocalError, match="cannot serve TLS: "):
        server_context(cert_pem, other_key)
    for bad_cert, bad_key in (("", key_pem), (cert_pem, ""), (key_pem, cert_pem)):
        with pytest.raises(LocalError) as caught:
            server_context(bad_cert, bad_key)
        assert "PRIVATE KEY" not in str(caught.value)


def test_a_key_that_tls_cannot_serve() -> None:
    cert_pem, _, _ = certificate("a")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(LocalError, match="needs an elliptic curve or RSA key"):
        server_context(cert_pem, pem)
