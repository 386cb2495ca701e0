"""X.509 certificates of services, nodes, members and users (crypto.md §7).

Issued certificates are v3, ECDSA with the digest of the issuer's curve, serial of 16 random
bytes, subject as UTF8String, notAfter = notBefore + days - 1 second, and extensions in the order
basicConstraints (critical; a CA has path length 1), keyUsage (critical, CA only: digitalSignature
and keyCertSign), subjectKeyIdentifier (SHA-1), authorityKeyIdentifier (key id),
subjectAltName (if any). Requests are signed with SHA-512.

A certificate argument is PEM text, PEM bytes or DER bytes. Members and users are named by the hex
SHA-256 of the DER bytes. Times are whole Unix seconds, UTC; the clock is always an argument.

Refuses (ValueError): what is no certificate, empty validity, requests whose signature is wrong,
subject attributes without a known name. Who issued what is judged by `chains`.
"""

from __future__ import annotations

import binascii
import hashlib
import ipaddress
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from pyccf.codec.text import b64
from pyccf.crypto.entropy import Entropy
from pyccf.crypto.keys import Curve, EcPublic, PrivateKey, PublicKey
from pyccf.types import UnixSeconds

Certificate: TypeAlias = str | bytes
"""PEM text, PEM bytes, or DER bytes."""

UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises when an extension of a certificate is asked for that is odd: it looks at
none before."""

DAY_S = 86_400
SERIAL_BYTES = 16
CA_PATH_LENGTH = 1

_PEM = serialization.Encoding.PEM
_DER = serialization.Encoding.DER
_DIGESTS: dict[Curve, hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
    Curve.P256: hashes.SHA256(),
    Curve.P384: hashes.SHA384(),
    Curve.P521: hashes.SHA512(),
}
_ATTRIBUTES = {
    "C": NameOID.COUNTRY_NAME,
    "CN": NameOID.COMMON_NAME,
    "DC": NameOID.DOMAIN_COMPONENT,
    "GN": NameOID.GIVEN_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "SN": NameOID.SURNAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "UID": NameOID.USER_ID,
    "emailAddress": NameOID.EMAIL_ADDRESS,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "street": NameOID.STREET_ADDRESS,
    "title": NameOID.TITLE,
}
_ATTRIBUTE_NAMES = {oid: name for name, oid in _ATTRIBUTES.items()}


# -- PEM and DER ------------------------------------------------------------------------------

# What was taken is never given back: the time is that of one look at each byte.
_PEM_BLOCK = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]++)-----END CERTIFICATE-----"
)


def pem_to_der(pem: Certificate) -> bytes:
    """DER bytes of the first certificate of a PEM text; DER bytes pass as they are.

    Raises ValueError when there is none. The DER content itself is not examined.
    """
    raw = pem.encode() if isinstance(pem, str) else bytes(pem)
    if raw[:1] == b"\x30":
        return raw
    match = _PEM_BLOCK.search(raw)
    if match is None:
        raise ValueError("not a certificate in PEM")
    try:
        return binascii.a2b_base64(b"".join(match.group(1).split()), strict_mode=True)
    except ValueError:
        raise ValueError("not a certificate in PEM") from None


def der_to_pem(der: bytes) -> str:
    """PEM text of DER bytes: 64 characters a line, newline at the end."""
    body = b64(der)
    lines = [body[i : i + 64] for i in range(0, len(body), 64)]
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""))


def is_canonical(pem: str) -> bool:
    """Whether a text is the one way to write its certificate down: as `der_to_pem` does, and with
    no bit that neither the signature covers nor anybody reads. ValueError when it is none."""
    der = pem_to_der(pem)
    # X.690 8.6.2: how many bits of the last byte do not count, none in a signature.
    ending = b"\0" + load(der).signature
    size = len(ending)
    length = bytes((size,)) if size < 0x80 else b"\x82" + size.to_bytes(2, "big")
    if 0x80 <= size < 0x100:
        length = bytes((0x81, size))
    return der_to_pem(der) == pem and der.endswith(b"\x03" + length + ending)


def split_pem(bundle: str | bytes) -> list[bytes]:
    """DER bytes of all certificates of a PEM bundle, in order; empty when there is none."""
    raw = bundle.encode() if isinstance(bundle, str) else bytes(bundle)
    return [pem_to_der(match.group(0)) for match in _PEM_BLOCK.finditer(raw)]


def fingerprint(certificate: Certificate) -> str:
    """Hex SHA-256 of the DER bytes: the id of the member or user (crypto.md §1)."""
    return hashlib.sha256(pem_to_der(certificate)).hexdigest()


def load(certificate: Certificate) -> x509.Certificate:
    """The certificate as the cryptography library holds it; ValueError when it is none."""
    der = pem_to_der(certificate)
    try:
        loaded = x509.load_der_x509_certificate(der)
        # The library reads names when they are asked for, and has other errors for odd ones.
        _ = loaded.subject, loaded.issuer
    except (ValueError, TypeError, x509.InvalidVersion):
        raise ValueError("not a certificate") from None
    return loaded


def validity(certificate: Certificate) -> tuple[UnixSeconds, UnixSeconds]:
    """notBefore and notAfter, both inclusive."""
    loaded = load(certificate)
    return _seconds(loaded.not_valid_before_utc), _seconds(loaded.not_valid_after_utc)


def public_key(certificate: Certificate) -> PublicKey:
    """The elliptic curve key of a certificate; ValueError when it holds another kind."""
    return PublicKey.from_certificate(pem_to_der(certificate))


def spki(certificate: Certificate) -> bytes:
    """DER SubjectPublicKeyInfo of a certificate, whatever the kind of key."""
    try:
        key = load(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("not a certificate with a supported public key") from None
    return key.public_bytes(_DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def subject(certificate: Certificate) -> str:
    """Subject as text `CN=...`; several attributes are joined by comma and blank (§7)."""
    parts: list[str] = []
    for attribute in load(certificate).subject:
        name = _ATTRIBUTE_NAMES.get(attribute.oid, attribute.oid.dotted_string)
        value = attribute.value
        parts.append(f"{name}={value if isinstance(value, str) else value.hex()}")
    return ", ".join(parts)


def basic_constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    """What a certificate says of its being an authority, None if nothing."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether a certificate is that of an authority."""
    constraints = basic_constraints(certificate)
    if constraints is None:
        # A self-signed version 1 certificate is its own authority.
        return certificate.version is x509.Version.v1 and certificate.issuer == certificate.subject
    return constraints.ca


# -- time -------------------------------------------------------------------------------------


def _seconds(moment: datetime) -> UnixSeconds:
    return int(moment.timestamp())


def _moment(seconds: UnixSeconds) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{seconds} s is not a time a certificate can hold") from None


def time_text(seconds: UnixSeconds) -> str:
    """ASN.1 text `YYYYMMDDHHMMSSZ`."""
    return _moment(seconds).strftime("%Y%m%d%H%M%SZ")


def end_of_validity(not_before: UnixSeconds, days: int) -> UnixSeconds:
    """notAfter of a period of so many days; ValueError when it is not after notBefore."""
    not_after = not_before + days * DAY_S - 1
    if not_after <= not_before:
        raise ValueError(
            f"Certificate cannot be created with not_before date {time_text(not_before)}"
            f" > not_after date {time_text(not_after)}"
        )
    return not_after


_DATE = r"(?P<mo>\d{2})(?P<d>\d{2})(?P<h>\d{2})(?P<mi>\d{2})(?P<s>\d{2})"
_ISO = r"(?P<y>\d{4})-(?P<mo>\d{2})-(?P<d>\d{2})[T ](?P<h>\d{2}):(?P<mi>\d{2}):(?P<s>\d{2})"
_FRACTION = r"(?:\.\d+)?"
_OFFSET = r"\s*(?P<sign>[+-])(?P<oh>\d{1,2})"
_TIME_FORMATS = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        rf"(?P<yy>\d{{2}}){_DATE}Z",
        rf"(?P<y>\d{{4}}){_DATE}Z",
        rf"{_ISO}{_FRACTION}Z?(?:{_OFFSET}(?::|\s)\s*(?P<om>\d{{2}}))?",
        rf"(?P<y>\d{{4}}){_DATE}{_FRACTION}{_OFFSET}(?P<om>\d{{2}})",
        rf"(?P<yy>\d{{2}}){_DATE}{_FRACTION}{_OFFSET}(?P<om>\d{{2}})",
    )
)


def parse_validity_text(text: str) -> UnixSeconds:
    """Seconds of a time text of an action or a configuration (js-runtime.md §4.10).

    `YYMMDDHHMMSSZ` (years from 50 are 19xx), `YYYYMMDDHHMMSSZ`, `YYYY-MM-DD HH:MM:SS` with blank
    or T, optional fraction (cut off), optional offset ` ±HH:MM` or ` ±HH MM`, and the compact
    forms with `±HHMM`. UTC unless an offset is given. Raises ValueError with CCF's text.
    """
    for pattern in _TIME_FORMATS:
        match = pattern.fullmatch(text)
        if match is None:
            continue
        part = match.groupdict()
        if part.get("yy"):
            short = int(part["yy"])
            year = 1900 + short if short >= 50 else 2000 + short
        else:
            year = int(part["y"])
        zone: timezone = UTC
        if part.get("sign"):
            offset = timedelta(hours=int(part["oh"]), minutes=int(part["om"]))
            if offset >= timedelta(hours=24):
                break
            zone = timezone(-offset if part["sign"] == "-" else offset)
        try:
            moment = datetime(
                year,
                int(part["mo"]),
                int(part["d"]),
                int(part["h"]),
                int(part["mi"]),
                int(part["s"]),
                tzinfo=zone,
            )
        except ValueError:
            break
        return _seconds(moment)
    raise ValueError(f"'{text}' does not match any accepted time format")


# -- names ------------------------------------------------------------------------------------


def parse_subject(text: str) -> x509.Name:
    """A name from `CN=...[,O=...]`: components sorted by attribute, values UTF8String (§7).

    Raises ValueError for a component without `=` or an unknown attribute.
    """
    parts: dict[str, str] = {}
    for component in text.split(","):
        name, equals, value = component.partition("=")
        name = name.strip()
        if not equals or name not in _ATTRIBUTES:
            raise ValueError(f"subject {text!r}: {component!r} is not <known attribute>=<value>")
        if not value:
            raise ValueError(f"subject {text!r}: {name} is empty")
        parts[name] = value
    return x509.Name(
        [
            x509.NameAttribute(_ATTRIBUTES[name], value, _type=_ASN1Type.UTF8String)
            for name, value in sorted(parts.items())
        ]
    )


def san_of_host(host: str) -> str:
    """Alternative name for a host: `iPAddress:` if its last part is all digits (§7).

    Parts are separated by dots or colons.
    """
    last = re.split(r"[.:]", host)[-1]
    return f"iPAddress:{host}" if last.isascii() and last.isdigit() else f"dNSName:{host}"


def alternative_name(text: str) -> x509.GeneralName:
    """What `iPAddress:<address>` or `dNSName:<name>` stands for. Raises ValueError."""
    kind, colon, value = text.partition(":")
    if colon and kind in ("iPAddress", "IP"):
        try:
            return x509.IPAddress(ipaddress.ip_address(value))
        except ValueError:
            raise ValueError(f"alternative name {text!r}: not an IP address") from None
    if colon and kind in ("dNSName", "DNS") and value:
        try:
            return x509.DNSName(value)
        except ValueError:
            raise ValueError(f"alternative name {text!r}: not a name in ASCII") from None
    raise ValueError(f"alternative name {text!r}: expected iPAddress:<address> or dNSName:<name>")


def _alternative_names(sans: Iterable[str]) -> x509.SubjectAlternativeName | None:
    names = [alternative_name(san) for san in sans]
    return x509.SubjectAlternativeName(names) if names else None


def _sans_of(
    source: x509.Certificate | x509.CertificateSigningRequest,
) -> x509.SubjectAlternativeName | None:
    try:
        extension = source.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    return extension.value


# -- issuing ----------------------------------------------------------------------------------


def _issue(
    *,
    name: x509.Name,
    key: EcPublic,
    issuer_name: x509.Name,
    issuer_key: PrivateKey,
    not_before: UnixSeconds,
    not_after: UnixSeconds,
    ca: bool,
    sans: x509.SubjectAlternativeName | None,
    entropy: Entropy,
) -> str:
    serial = 0
    while serial == 0:
        serial = int.from_bytes(entropy.bytes(SERIAL_BYTES), "big")
    issuer_id = x509.SubjectKeyIdentifier.from_public_key(issuer_key.public.native)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(_moment(not_before))
        .not_valid_after(_moment(not_after))
        .add_extension(
            x509.BasicConstraints(ca=ca, path_length=CA_PATH_LENGTH if ca else None),
            critical=True,
        )
    )
    if ca:
        builder = builder.add_extension(_CA_USAGE, critical=True)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key), critical=False
    ).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False
    )
    if sans is not None:
        builder = builder.add_extension(sans, critical=False)
    native = issuer_key.native
    if isinstance(native, ed25519.Ed25519PrivateKey):
        certificate = builder.sign(native, None)
    else:
        certificate = builder.sign(
            native,
            _DIGESTS[issuer_key.curve],
            ecdsa_deterministic=issuer_key.deterministic or None,
        )
    return certificate.public_bytes(_PEM).decode()


_CA_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def self_signed(
    key: PrivateKey,
    subject: str,
    *,
    not_before: UnixSeconds,
    days: int,
    sans: Sequence[str] = (),
    ca: bool = True,
    entropy: Entropy,
) -> str:
    """A certificate of a key by itself, PEM: services and fresh nodes (§7).

    `sans` are `iPAddress:<address>` or `dNSName:<name>`, kept in order.
    """
    name = parse_subject(subject)
    return _issue(
        name=name,
        key=key.public.native,
        issuer_name=name,
        issuer_key=key,
        not_before=not_before,
        not_after=end_of_validity(not_before, days),
        ca=ca,
        sans=_alternative_names(sans),
        entropy=entropy,
    )


def csr(key: PrivateKey, subject: str, sans: Sequence[str] = ()) -> str:
    """A signing request, PEM: ECDSA with SHA-512, all alternative names in one extension (§7)."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(parse_subject(subject))
    names = _alternative_names(sans)
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    native = key.native
    if isinstance(native, ed25519.Ed25519PrivateKey):
        request = builder.sign(native, None)
    else:
        request = builder.sign(
            native, hashes.SHA512(), ecdsa_deterministic=key.deterministic or None
        )
    return request.public_bytes(_PEM).decode()


def load_csr(csr_pem: str | bytes) -> x509.CertificateSigningRequest:
    """The request, its signature checked and its key elliptic; ValueError otherwise."""
    raw = csr_pem.encode() if isinstance(csr_pem, str) else bytes(csr_pem)
    try:
        request = x509.load_pem_x509_csr(raw)
        sound = request.is_signature_valid
        # Read by the library when they are asked for, as names of certificates are.
        _ = request.subject, request.extensions
    except (*UNREADABLE, InvalidSignature, x509.InvalidVersion):
        raise ValueError("not a certificate signing request") from None
    if not sound:
        raise ValueError("the signature of the certificate signing request is wrong")
    return request


def csr_public_key(csr_pem: str | bytes) -> PublicKey:
    """The elliptic curve key that a request is for."""
    return _csr_key(load_csr(csr_pem))


def _csr_key(request: x509.CertificateSigningRequest) -> PublicKey:
    key = request.public_key()
    if not isinstance(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)):
        raise ValueError("the certificate signing request is not for an elliptic curve key")
    return PublicKey(key)


def endorse(
    csr_pem: str | bytes,
    issuer_key: PrivateKey,
    issuer_cert: Certificate,
    not_before: UnixSeconds,
    days: int | None,
    entropy: Entropy,
    *,
    not_after: UnixSeconds | None = None,
    ca: bool = False,
) -> str:
    """A certificate for a request, signed by the service, PEM (§7: node endorsed).

    Subject and alternative names are the request's. Give either `days` or, to copy the period of
    another certificate, `not_after` with `days=None`.
    """
    request = load_csr(csr_pem)
    issuer = load(issuer_cert)
    return _issue(
        name=request.subject,
        key=_csr_key(request).native,
        issuer_name=issuer.subject,
        issuer_key=issuer_key,
        not_before=not_before,
        not_after=_not_after(not_before, days, not_after),
        ca=ca,
        sans=_sans_of(request),
        entropy=entropy,
    )


def renew(
    certificate: Certificate,
    key: PrivateKey,
    *,
    not_before: UnixSeconds,
    days: int | None = None,
    not_after: UnixSeconds | None = None,
    entropy: Entropy,
) -> str:
    """The same self-signed certificate (subject, names, key) for another period, PEM (§7)."""
    old = load(certificate)
    if public_key(certificate) != key.public:
        raise ValueError("the certificate to renew holds another key")
    return _issue(
        name=old.subject,
        key=key.public.native,
        issuer_name=old.subject,
        issuer_key=key,
        not_before=not_before,
        not_after=_not_after(not_before, days, not_after),
        ca=is_ca(old),
        sans=_sans_of(old),
        entropy=entropy,
    )


def endorse_service(
    old_cert: Certificate, issuer_key: PrivateKey, issuer_cert: Certificate, entropy: Entropy
) -> str:
    """A CA certificate of an older service's key by the current service, PEM.

    For receipts (merkle-and-receipts.md §5.3): subject of the old certificate, no alternative
    names, period of the current service certificate.
    """
    issuer = load(issuer_cert)
    not_before, not_after = validity(issuer_cert)
    return _issue(
        name=load(old_cert).subject,
        key=public_key(old_cert).native,
        issuer_name=issuer.subject,
        issuer_key=issuer_key,
        not_before=not_before,
        not_after=not_after,
        ca=True,
        sans=None,
        entropy=entropy,
    )


def _not_after(
    not_before: UnixSeconds, days: int | None, not_after: UnixSeconds | None
) -> UnixSeconds:
    assert (days is None) != (not_after is None), "either days or not_after"
    if days is not None:
        return end_of_validity(not_before, days)
    assert not_after is not None
    if not_after <= not_before:
        raise ValueError("notAfter must be later than notBefore")
    return not_after
