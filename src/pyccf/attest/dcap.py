"""Quotes of Intel's DCAP: reports of enclaves (SGX) or trust domains (TDX), signed by way of Intel.

A quoting enclave (QE) signs the report with a key it made; the processor's provisioning key (PCK)
signs the QE's own report, which names that key; and Intel's authority signed the PCK's certificate.
`parse` cuts a quote of version 3, 4 or 5; `check` follows the signatures and leaves the rest to
`collateral`: whether the processor, its firmware and the QE are up to date. Refused with
InvalidEvidence: other versions, other keys than ECDSA P-256, other quoting enclaves than Intel's,
certificates that do not come with the quote.
"""

from __future__ import annotations

import hashlib
import struct
from enum import Enum

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from pyccf.crypto import certs, chains
from pyccf.crypto.keys import Curve, PublicKey
from pyccf.errors import InvalidEvidence
from pyccf.types import UnixSeconds

QUOTE_MAX = 1 << 16
"""Bytes of a quote; real ones have some 5,000."""
INTEL_ROOT_KEY = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEC6nEwMDIYZOj/iPWsCzaEKi71OiO
SLRFhWGjbnBVJfVnkY4u3IjkDYYL0MxO4mqsyYjlBalTVYxFP2sJBK5zlA==
-----END PUBLIC KEY-----
"""
"""Of Intel's SGX root authority, which is that of TDX, too (PEM SubjectPublicKeyInfo)."""

ECDSA_P256 = 2
INTEL_QE = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
ENCLAVE_SIZE = 384
TD_SIZE = 584
TD_15_SIZE = 648
_HEADER = struct.Struct("<HHI4x16s20x")
_KEY_SIZE = _SIGNATURE_SIZE = 64
_PCK_CHAIN = 5
_QE_DATA = 6


class Tee(Enum):
    """What a quote is about, as its header says."""

    SGX = 0x00
    TDX = 0x81


_BODIES = {1: (Tee.SGX, ENCLAVE_SIZE), 2: (Tee.TDX, TD_SIZE), 3: (Tee.TDX, TD_15_SIZE)}
"""Types of bodies in version 5."""


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a quote; nothing is believed yet."""

    version: int
    tee: Tee
    body: bytes
    signed: bytes
    """What the signature covers: header and body."""
    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_signature: bytes
    qe_auth: bytes
    certificates: bytes
    """Of the PCK, its authority and the root, in PEM."""


class Checked(msgspec.Struct, frozen=True):
    """A quote whose signatures are in order, and the chain (DER) they come from."""

    quote: Quote
    chain: list[bytes]


class _Reader:
    """Takes bytes from the front; InvalidEvidence when there are too few."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        found = self.data[self.at : self.at + size]
        if len(found) != size:
            raise InvalidEvidence(f"The quote ends after {len(self.data)} bytes")
        self.at += size
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def sized(self, size: int) -> _Reader:
        """A part that begins with its length, of so many bytes."""
        return _Reader(self.take(self.number(size)))

    def end(self) -> None:
        if self.at != len(self.data):
            raise InvalidEvidence("Bytes of the quote's signature are left over")


def parse(raw: bytes) -> Quote:
    """Cut a quote into its parts. What follows it is not looked at."""
    if len(raw) > QUOTE_MAX:
        raise InvalidEvidence(f"A quote of {len(raw)} bytes, expected at most {QUOTE_MAX}")
    reader = _Reader(raw)
    version, key_type, kind, vendor = _HEADER.unpack(reader.take(_HEADER.size))
    if version not in (3, 4, 5):
        raise InvalidEvidence(f"Quote version {version} is not one of 3, 4, 5")
    if key_type != ECDSA_P256:
        raise InvalidEvidence(f"Attestation key type {key_type} of the quote is not supported")
    if vendor != INTEL_QE:
        raise InvalidEvidence(f"Quoting enclave of an unknown vendor: {vendor.hex()}")
    if kind not in (Tee.SGX.value, Tee.TDX.value) or (version == 3 and kind):
        raise InvalidEvidence(f"Quotes of version {version} are not of kind {kind}")
    tee = Tee(kind)
    size = ENCLAVE_SIZE if tee is Tee.SGX else TD_SIZE
    if version == 5:
        declared = (reader.number(2), reader.number(4))
        if _BODIES.get(declared[0]) != (tee, declared[1]):
            raise InvalidEvidence(f"Body of type {declared[0]} and {declared[1]} bytes")
        size = declared[1]
    body = reader.take(size)
    signed = raw[: reader.at]
    signing = reader.sized(4)
    signature, key = signing.take(_SIGNATURE_SIZE), signing.take(_KEY_SIZE)
    inner = signing
    if version > 3:
        _expect(signing.number(2), _QE_DATA)
        inner = signing.sized(4)
        signing.end()
    qe_report, qe_signature = inner.take(ENCLAVE_SIZE), inner.take(_SIGNATURE_SIZE)
    qe_auth = inner.sized(2).data
    _expect(inner.number(2), _PCK_CHAIN)
    certificates = inner.sized(4).data
    inner.end()
    return Quote(
        version=version,
        tee=tee,
        body=body,
        signed=signed,
        signature=signature,
        attestation_key=key,
        qe_report=qe_report,
        qe_signature=qe_signature,
        qe_auth=qe_auth,
        certificates=certificates,
    )


def _expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise InvalidEvidence(f"Certification data of type {found}, expected {wanted}")


def check(quote: Quote, now: UnixSeconds, root_key: str) -> Checked:
    """The quote, if it was signed by way of the authority with this key (PEM)."""
    try:
        chain = certs.split_pem(quote.certificates)
    except ValueError as e:
        raise InvalidEvidence(f"Certificates of the quote: {e}") from None
    pck = check_chain(chain, 3, now, root_key)
    if not pck.verify_raw(quote.qe_signature, quote.qe_report):
        raise InvalidEvidence("The report of the quoting enclave is not signed by the processor")
    named = hashlib.sha256(quote.attestation_key + quote.qe_auth).digest()
    if Enclave.parse(quote.qe_report).report_data != named + bytes(len(named)):
        raise InvalidEvidence("The quoting enclave reports another key")
    if not _attestation_key(quote).verify_raw(quote.signature, quote.signed):
        raise InvalidEvidence("The quote is not signed by the key of its quoting enclave")
    return Checked(quote, chain)


def check_chain(chain: list[bytes], size: int, now: UnixSeconds, root_key: str) -> PublicKey:
    """The key of the first of so many certificates, which chain to the authority."""
    if len(chain) != size:
        raise InvalidEvidence(f"Expected {size} certificates of Intel but got {len(chain)}")
    try:
        root, first = certs.public_key(chain[-1]), certs.public_key(chain[0])
    except ValueError as e:
        raise InvalidEvidence(f"Certificates of Intel: {e}") from None
    if root.pem() != root_key:
        raise InvalidEvidence("Certificates of Intel end at another root than Intel's")
    if not chains.issued_in_order(chain, now=now, to_root=True) or first.curve is not Curve.P256:
        raise InvalidEvidence("Certificates of Intel do not form a chain that is valid now")
    return first


def _attestation_key(quote: Quote) -> PublicKey:
    try:
        point = b"\x04" + quote.attestation_key
        return PublicKey(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point))
    except ValueError:
        raise InvalidEvidence("The key of the quoting enclave is none") from None


# --- reports of enclaves --------------------------------------------------------------------------

_ENCLAVE = struct.Struct("<16s4s28x16s32s32x32s96xHH60x64s")
assert _ENCLAVE.size == ENCLAVE_SIZE


class Enclave(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an enclave's report, as in Intel's manual (SDM, table 40-21)."""

    cpu_svn: bytes
    misc_select: bytes
    attributes: bytes
    mr_enclave: bytes
    mr_signer: bytes
    isv_prod_id: int
    isv_svn: int
    report_data: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Enclave:
        """The fields as they stand there."""
        values = _ENCLAVE.unpack(raw)
        return cls(**dict(zip(cls.__struct_fields__, values, strict=True)))
