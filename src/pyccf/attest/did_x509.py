"""did:x509: an issuer named by an authority and by what a certificate of that authority says.

`did:x509:0:<digest>:<fingerprint>::<policy>[::<policy>...]` stands for whoever has a certificate
that chains to the authority with this fingerprint and fulfils every policy: `eku:<oid>`,
`subject:<attribute>:<value>[:...]` or `san:<kind>:<name>`. `resolve` finds the key for it in a
chain. Dates are not looked at: what was signed once stays signed. Refused with InvalidEvidence:
names of another form, policies not named here, and chains that are not of this issuer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from urllib.parse import unquote

from cryptography import x509
from cryptography.x509.oid import NameOID

from pyccf.codec.text import b64url
from pyccf.crypto import certs, chains
from pyccf.errors import InvalidEvidence

DID_MAX = 4096
"""Characters of an issuer's name."""
_PREFIX = "did:x509:0:"
_DIGESTS = ("sha256", "sha384", "sha512")
_ATTRIBUTES = {
    "CN": NameOID.COMMON_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "C": NameOID.COUNTRY_NAME,
    "STREET": NameOID.STREET_ADDRESS,
}
_NAMES: dict[str, type[x509.RFC822Name | x509.DNSName | x509.UniformResourceIdentifier]] = {
    "email": x509.RFC822Name,
    "dns": x509.DNSName,
    "uri": x509.UniformResourceIdentifier,
}


def resolve(did: str, chain: Sequence[bytes]) -> bytes:
    """DER SubjectPublicKeyInfo of the first certificate of a chain (DER), if it is the issuer's."""
    authority, *policies = did.split("::")
    parts = authority.removeprefix(_PREFIX).split(":")
    known = did.startswith(_PREFIX) and len(did) <= DID_MAX
    if not known or len(parts) != 2 or parts[0] not in _DIGESTS or not policies:
        raise InvalidEvidence(f"Not a did:x509 of version 0: {did[:DID_MAX]}")
    digest, fingerprint = parts
    if not chains.issued_in_order(chain, now=None):
        raise InvalidEvidence("Certificates of the issuer do not form a chain")
    found = [b64url(hashlib.new(digest, certificate).digest()) for certificate in chain[1:]]
    if fingerprint not in found:
        raise InvalidEvidence(f"No authority of the chain has the fingerprint of {did}")
    leaf = certs.load(chain[0])
    for policy in policies:
        kind, *arguments = policy.split(":")
        fulfils = _POLICIES.get(kind)
        if fulfils is None:
            raise InvalidEvidence(f"Policy {kind} of {did} is not supported")
        if not fulfils(leaf, [unquote(argument) for argument in arguments]):
            raise InvalidEvidence(f"The certificate does not fulfil policy {policy} of {did}")
    try:
        return certs.spki(chain[0])
    except ValueError as e:
        raise InvalidEvidence(f"Key of {did}: {e}") from None


def _eku(leaf: x509.Certificate, arguments: list[str]) -> bool:
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return len(arguments) == 1 and arguments[0] in [usage.dotted_string for usage in usages]


def _subject(leaf: x509.Certificate, arguments: list[str]) -> bool:
    pairs = list(zip(arguments[::2], arguments[1::2], strict=False))
    if not pairs or len(arguments) % 2:
        return False
    found = {(attribute.oid, attribute.value) for attribute in leaf.subject}
    return all((_ATTRIBUTES.get(name), value) in found for name, value in pairs)


def _san(leaf: x509.Certificate, arguments: list[str]) -> bool:
    if len(arguments) != 2 or arguments[0] not in _NAMES:
        return False
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return arguments[1] in names.get_values_for_type(_NAMES[arguments[0]])


_POLICIES: dict[str, Callable[[x509.Certificate, list[str]], bool]] = {
    "eku": _eku,
    "subject": _subject,
    "san": _san,
}
