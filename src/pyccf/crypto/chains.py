"""Whether one certificate leads to another that is trusted (crypto.md §7).

Names, key ids, rights to sign, path lengths, signatures and, where asked, dates are checked.
Answers False for whatever is odd or cannot be read; says nothing of why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID

from pyccf.crypto.certs import UNREADABLE, Certificate, basic_constraints, is_ca, load
from pyccf.types import UnixSeconds

CHAIN_MAX = 16
"""Certificates of a chain that is checked, the trusted ones not counted."""
TRUSTED_MAX = 512
"""Certificates that a chain may end at: the common bundles have some 150."""
PATHS_MAX = 32
"""Ways through a chain that are tried: of certificates of one name and key there are too many."""


def _extension_sound(certificate: x509.Certificate) -> bool:
    """Whether all critical extensions are ones that are looked at here."""
    return all(
        not extension.critical or extension.oid in _UNDERSTOOD
        for extension in certificate.extensions
    )


_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
)


def _may_sign(certificate: x509.Certificate) -> bool:
    if not is_ca(certificate):
        return False
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return usage.key_cert_sign


def _key_ids_match(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's key id is the one named; True when either names none."""
    try:
        named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return True
    return named.key_identifier is None or named.key_identifier == own.digest


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether names, key ids, rights and signature say that `issuer` issued `certificate`."""
    if certificate.issuer != issuer.subject or not _may_sign(issuer):
        return False
    if not _key_ids_match(certificate, issuer):
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _in_time(certificate: x509.Certificate, now: UnixSeconds) -> bool:
    return (
        certificate.not_valid_before_utc.timestamp()
        <= now
        <= certificate.not_valid_after_utc.timestamp()
    )


def check_endorsed(
    certificate: Certificate,
    issuer_cert: Certificate,
    *,
    ignore_time: bool,
    now: UnixSeconds = 0,
) -> bool:
    """Whether `issuer_cert`, which must be a CA, directly issued `certificate` or is it (§1).

    With `ignore_time` dates are not looked at; otherwise both must be valid at `now`. Answers
    False for what cannot be read.
    """
    try:
        leaf, trusted = load(certificate), load(issuer_cert)
        return _chains([leaf], [trusted], None if ignore_time else now)
    except UNREADABLE:
        return False


def check_chain(
    chain: Sequence[Certificate], trusted: Sequence[Certificate], *, now: UnixSeconds
) -> bool:
    """Whether the first of `chain` chains to one of `trusted`, the rest being intermediates.

    Trusted certificates must be CAs but need not be roots. Dates, path lengths, key usage and
    signatures are checked. False for what cannot be read, for more than `CHAIN_MAX` or
    `TRUSTED_MAX`, and when no path is found among the first `PATHS_MAX`.
    """
    if not chain or not trusted or len(chain) > CHAIN_MAX or len(trusted) > TRUSTED_MAX:
        return False
    try:
        return _chains([load(c) for c in chain], [load(c) for c in trusted], now)
    except UNREADABLE:
        return False


def is_pinned(certificate: Certificate, pinned: Sequence[Certificate], *, now: UnixSeconds) -> bool:
    """Whether a certificate in date is one of these itself, be they authorities or not."""
    try:
        wanted = load(certificate)
        return _in_time(wanted, now) and any(wanted == load(one) for one in pinned[:TRUSTED_MAX])
    except UNREADABLE:
        return False


def issued_in_order(
    chain: Sequence[Certificate], *, now: UnixSeconds | None, to_root: bool = False
) -> bool:
    """Whether each certificate was issued by the one after it, and with `to_root` the last by
    itself.

    Checked as by `check_chain`, but there is one way only and nobody is trusted: whether the last
    certificate is, the caller knows. Dates are not looked at without `now`.
    """
    if not 0 < len(chain) <= CHAIN_MAX:
        return False
    try:
        path = [load(certificate) for certificate in chain]
        issuers = [*path[1:], path[-1]] if to_root else path[1:]
        return (
            all(_extension_sound(c) and (now is None or _in_time(c, now)) for c in path)
            and all(map(_issued_by, path, issuers))
            and all(_may_stand_above(issuer, path[1:at]) for at, issuer in enumerate(path) if at)
        )
    except UNREADABLE:
        return False


def _chains(
    chain: Sequence[x509.Certificate],
    trusted: Sequence[x509.Certificate],
    now: UnixSeconds | None,
) -> bool:
    """Depth-first search for a path from chain[0] to a trusted CA."""
    leaf = chain[0]
    if not _extension_sound(leaf) or (now is not None and not _in_time(leaf, now)):
        return False
    if any(leaf == anchor and is_ca(anchor) for anchor in trusted):
        return True
    paths = [[leaf]]
    for _ in range(PATHS_MAX):
        if not paths:
            break
        path = paths.pop()
        if any(True for _ in _issuers(path, trusted, now)):
            return True
        paths.extend([*path, issuer] for issuer in _issuers(path, chain[1:], now))
    return False


def _issuers(
    path: list[x509.Certificate], candidates: Sequence[x509.Certificate], now: UnixSeconds | None
) -> Iterator[x509.Certificate]:
    """Candidates that issued the last certificate of the path and may stand at its height."""
    for candidate in candidates:
        if candidate in path or not _extension_sound(candidate):
            continue
        if now is not None and not _in_time(candidate, now):
            continue
        if _may_stand_above(candidate, path[1:]) and _issued_by(path[-1], candidate):
            yield candidate


def _may_stand_above(issuer: x509.Certificate, between: Sequence[x509.Certificate]) -> bool:
    """Whether its path length allows these between the issuer and the leaf."""
    constraints = basic_constraints(issuer)
    limit = None if constraints is None else constraints.path_length
    # Certificates that are issued by themselves do not count.
    return limit is None or sum(1 for c in between if c.issuer != c.subject) <= limit
