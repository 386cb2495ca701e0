"""Certificates as they stand in ledgers and receipts, where anybody may have changed a byte.

Three questions only: which key is in it, did that one issue it, and is this how it is written.
Whatever cannot be read is
answered, never raised as an error of the certificate library, which has others than ValueError for
certificates that can be read but not understood. (spec: crypto.md §1)
"""

from __future__ import annotations

from cryptography import x509

from pyccf.crypto import certs, chains
from pyccf.crypto.keys import PublicKey
from pyccf.types import UnixSeconds

_ODD = (x509.InvalidVersion, TypeError)
"""An X.509 version that does not exist; a name attribute of a type it cannot have."""


def key_of(certificate: str) -> PublicKey:
    """The public key of a PEM certificate. ValueError when it cannot be read."""
    try:
        return certs.public_key(certificate)
    except _ODD:
        raise ValueError("not a certificate") from None


def is_canonical(certificate: str) -> bool:
    """Whether a PEM certificate is written in the one way that nobody can change unnoticed."""
    try:
        return certs.is_canonical(certificate)
    except (ValueError, *_ODD):
        return False


def endorsed_by(certificate: str, issuer: str, now: UnixSeconds | None = None) -> bool:
    """Whether `issuer`, a CA, issued `certificate` or is it; dates count only when `now` is given.

    False when either cannot be read.
    """
    try:
        return chains.check_endorsed(
            certificate, issuer, ignore_time=now is None, now=0 if now is None else now
        )
    except _ODD:
        return False
