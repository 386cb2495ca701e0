"""Evidence of SEV-SNP made up: a root, a processor and a builder of our own, in AMD's shapes.

The layout of a report is written down here a second time, by offsets, so that a mistake in the
parser shows. `real` are recorded reports of real processors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from pyccf.attest import tcb
from pyccf.attest.evidence import Format, QuoteInfo, report_data
from pyccf.attest.tcb import Product
from pyccf.codec import cose
from pyccf.codec.text import b64url
from pyccf.crypto import certs, cosesign
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from support.vectors import vectors_dir

NOW = 1_795_260_000
"""November 2026, when all the real certificates are valid."""
HOST_DATA = "ab" * 32
MEASUREMENT = "cd" * 48
CHIP_ID = bytes(range(1, 65))

OFFSETS = {
    "version": (0x000, 4),
    "guest_svn": (0x004, 4),
    "policy": (0x008, 8),
    "family_id": (0x010, 16),
    "image_id": (0x020, 16),
    "vmpl": (0x030, 4),
    "signature_algo": (0x034, 4),
    "platform_version": (0x038, 8),
    "platform_info": (0x040, 8),
    "flags": (0x048, 4),
    "report_data": (0x050, 64),
    "measurement": (0x090, 48),
    "host_data": (0x0C0, 32),
    "id_key_digest": (0x0E0, 48),
    "author_key_digest": (0x110, 48),
    "report_id": (0x140, 32),
    "report_id_ma": (0x160, 32),
    "reported_tcb": (0x180, 8),
    "cpuid_fam_id": (0x188, 1),
    "cpuid_mod_id": (0x189, 1),
    "cpuid_step": (0x18A, 1),
    "chip_id": (0x1A0, 64),
    "committed_tcb": (0x1E0, 8),
    "current_minor": (0x1E8, 1),
    "current_build": (0x1E9, 1),
    "current_major": (0x1EA, 1),
    "committed_build": (0x1EC, 1),
    "committed_minor": (0x1ED, 1),
    "committed_major": (0x1EE, 1),
    "launch_tcb": (0x1F0, 8),
}
SIGNATURE = 0x2A0
DEBUG, MIGRATE_MA = 1 << 19, 1 << 18

CPUS = {
    Product.MILAN: (0x19, 0x01, 1),
    Product.GENOA: (0x19, 0x11, 1),
    Product.TURIN: (0x1A, 0x02, 1),
}
CPUID_HEX = {
    Product.MILAN: "00a00f11",
    Product.GENOA: "00a10f11",
    Product.TURIN: "00b00f21",
}
LEVELS = {"microcode": 219, "snp": 24, "tee": 2, "boot_loader": 4}
"""Of the firmware; the certificate vouches for one less of each."""
_OID = "1.3.6.1.4.1.3704.1."
_OIDS = {"boot_loader": "3.1", "tee": "3.2", "snp": "3.3", "microcode": "3.8", "fmc": "3.9"}
_BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
_YEARS = timedelta(days=3650)
_PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)


def levels(product: Product) -> dict[str, int]:
    """The firmware of the processor."""
    return {**LEVELS, "fmc": 1} if product is Product.TURIN else LEVELS


class Authority(NamedTuple):
    key: rsa.RSAPrivateKey
    pem: bytes


@cache
def _rsa(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@cache
def authority(name: str, issuer: str | None = None) -> Authority:
    """A root, or what it endorses."""
    above = _rsa(issuer or name)
    builder = _builder(name, issuer or name, _rsa(name).public_key())
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    made = builder.sign(above, hashes.SHA384(), rsa_padding=_PSS)
    return Authority(_rsa(name), made.public_bytes(serialization.Encoding.PEM))


def _builder(
    name: str, issuer: str, key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    def called(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called(issuer))
        .public_key(key)
        .serial_number(1)
        .not_valid_before(_BEGIN)
        .not_valid_after(_BEGIN + _YEARS)
    )


@cache
def chip_key(curve: Curve = Curve.P384) -> ec.EllipticCurvePrivateKey:
    native = PrivateKey.generate(curve, SeededEntropy("chip")).native
    assert isinstance(native, ec.EllipticCurvePrivateKey)
    return native


def vcek(
    product: Product = Product.MILAN,
    *,
    issuer: Authority | None = None,
    curve: Curve = Curve.P384,
    changes: Mapping[str, bytes | None] | None = None,
) -> bytes:
    """The certificate of the processor, PEM; `changes` are extensions by the end of their number,
    None leaves one out."""
    found = {_OIDS[name]: bytes((2, 1, n - 1)) for name, n in levels(product).items()}
    # More than 127 needs another byte, as a number is signed.
    found["3.8"] = bytes((2, 2, 0, LEVELS["microcode"] - 1))
    found["4"] = CHIP_ID[:8] if product is Product.TURIN else CHIP_ID
    builder = _builder("VCEK", "ASK", chip_key(curve).public_key())
    for number, value in {**found, **(changes or {})}.items():
        if value is not None:
            oid = x509.ObjectIdentifier(_OID + number)
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), False)
    above = issuer or authority("ASK", "ARK")
    made = builder.sign(above.key, hashes.SHA384(), rsa_padding=_PSS)
    return made.public_bytes(serialization.Encoding.PEM)


def chain(product: Product = Product.MILAN, **arguments: object) -> bytes:
    """A PEM bundle: processor, product, root."""
    above = authority("ASK", "ARK").pem + authority("ARK").pem
    return vcek(product, **arguments) + above  # type: ignore[arg-type]


def roots() -> dict[Product, str]:
    """Our root, as that of every product."""
    key = authority("ARK").key.public_key()
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return dict.fromkeys(Product, pem.decode())


def report(
    product: Product = Product.MILAN, curve: Curve = Curve.P384, **fields: int | bytes
) -> bytes:
    """A report signed by the processor; fields are numbers, or bytes as they stand there."""
    family, model, stepping = CPUS[product]
    values: dict[str, int | bytes] = {
        "version": 3,
        "policy": 0x3001F,
        "signature_algo": 1,
        "reported_tcb": tcb.assemble(levels(product), product),
        "cpuid_fam_id": family,
        "cpuid_mod_id": model,
        "cpuid_step": stepping,
        "chip_id": CHIP_ID,
        "host_data": bytes.fromhex(HOST_DATA),
        "measurement": bytes.fromhex(MEASUREMENT),
        **fields,
    }
    raw = bytearray(1184)
    for name, value in values.items():
        at, size = OFFSETS[name]
        raw[at : at + size] = (
            value.to_bytes(size, "little") if isinstance(value, int) else value.ljust(size, b"\0")
        )
    digest = hashes.SHA384() if curve is Curve.P384 else hashes.SHA256()
    der = chip_key(curve).sign(bytes(raw[:SIGNATURE]), ec.ECDSA(digest))
    for i, half in enumerate(decode_dss_signature(der)):
        at = SIGNATURE + 72 * i
        raw[at : at + 72] = half.to_bytes(72, "little")
    return bytes(raw)


def evidence(
    product: Product = Product.MILAN, key_der: bytes = b"key", **fields: int | bytes
) -> QuoteInfo:
    """Evidence that binds to a node's key."""
    raw = report(product, **{"report_data": report_data(key_der), **fields})  # type: ignore[arg-type]
    return QuoteInfo(Format.SNP, raw, chain(product))


# --- UVM endorsements -----------------------------------------------------------------------------

EKU = "1.3.6.1.4.1.99999.1"
FEED = "Test-UVM"


@cache
def builder_chain() -> tuple[PrivateKey, bytes, bytes]:
    """The key of who builds utility VMs, its certificate and its authority's (DER)."""
    above = PrivateKey.generate(Curve.P384, SeededEntropy("authority"))
    key = PrivateKey.generate(Curve.P384, SeededEntropy("builder"))
    assert isinstance(above.native, ec.EllipticCurvePrivateKey)
    root = _builder("Root", "Root", above.native.public_key())  # type: ignore[arg-type]
    root = root.add_extension(x509.BasicConstraints(True, None), True)
    leaf = _builder("Builder", "Root", key.native.public_key())  # type: ignore[arg-type]
    usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(EKU)])
    names = x509.SubjectAlternativeName([x509.DNSName("uvm.example"), x509.RFC822Name("a@b.c")])
    leaf = leaf.add_extension(usage, False).add_extension(names, False)
    der = [
        made.sign(above.native, hashes.SHA384()).public_bytes(serialization.Encoding.DER)
        for made in (leaf, root)
    ]
    return key, der[0], der[1]


def did(policy: str = f"eku:{EKU}", digest: str = "sha256") -> str:
    """The name of the builder."""
    fingerprint = b64url(hashlib.new(digest, builder_chain()[2]).digest())
    return f"did:x509:0:{digest}:{fingerprint}::{policy}"


def uvm_endorsements(
    svn: object = "7",
    measurement: str = MEASUREMENT,
    payload: bytes | None = None,
    without: str | int | None = None,
    **changes: object,
) -> bytes:
    """An envelope of the builder; `changes` are header parameters (`alg`, `content_type`, ...)."""
    key, leaf, root = builder_chain()
    if payload is None:
        content = {"x-ms-sevsnpvm-guestsvn": svn, "x-ms-sevsnpvm-launchmeasurement": measurement}
        payload = json.dumps(content).encode()
    headers: dict[int | str, object] = {
        1: changes.get("alg", cosesign.ES384),
        3: changes.get("content_type", "application/json"),
        cose.X5CHAIN: changes.get("x5chain", [leaf, root]),
        "iss": changes.get("iss", did()),
        "feed": changes.get("feed", FEED),
    }
    headers.pop(without, None)  # type: ignore[arg-type]
    return cosesign.sign1(key, cbor2.dumps(headers), payload)


# --- recorded -------------------------------------------------------------------------------------


def real(name: str) -> QuoteInfo:
    """Evidence of a real processor: milan, genoa or turin."""
    folder = vectors_dir() / "snp" / name
    pem = b"".join((folder / f"{part}.pem").read_bytes() for part in ("vcek", "ask", "ark"))
    return QuoteInfo(Format.SNP, (folder / "report.bin").read_bytes(), pem)


def recorded(path: str) -> bytes:
    """A file of the recordings."""
    return (vectors_dir() / path).read_bytes()


def to_pem(path: str) -> bytes:
    """A recorded certificate in DER, as PEM."""
    return certs.der_to_pem(recorded(path)).encode()
