"""SEV-SNP: an attestation report, and whether a processor of AMD made it.

A report states what was launched as a guest (measurement), what its launcher said about it (host
data) and what the guest said itself (report data). The processor signs it with its own key (VCEK),
whose certificate is endorsed by AMD's key for the product (ASK), and that by AMD's root (ARK),
which is known here by its public key (spec: attestation.md §3).

`verify` promises that such a chain signed the report, that nobody can look into the guest (debug)
or copy it (migration agent), and that the firmware is at least what the certificate vouches for.
Which guests are trusted is not decided here. Refused with InvalidEvidence, besides what is broken:
reports made before version 3, for the host, or signed by a key that a provider loaded (VLEK).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import msgspec
from cryptography import x509

from pyccf.attest import amd, tcb
from pyccf.attest.evidence import Claims, Format, QuoteInfo
from pyccf.attest.tcb import CpuId, Product
from pyccf.codec.text import dump_json
from pyccf.crypto import certs, chains
from pyccf.crypto.keys import Curve, PublicKey, RsaPublicKey
from pyccf.errors import InvalidEvidence
from pyccf.types import UnixSeconds

REPORT_SIZE = 1184
SIGNED_SIZE = 0x2A0
"""How much of a report the signature covers; the rest is the signature."""
VERSION_MIN = 3
ECDSA_P384_SHA384 = 1
SIGNED_BY_VCEK = 0
VMPL_MAX = 3
"""Of what a guest may ask for; reports for the host have more."""
ENDORSEMENTS_MAX = 1 << 16
"""Bytes of a certificate chain; AMD's have some 6,500."""
CHIP_ID_SIZES = {Product.MILAN: 64, Product.GENOA: 64, Product.TURIN: 8}
"""Bytes of a chip's id that are in use."""
_R_SIZE = 72

_OID = "1.3.6.1.4.1.3704.1."
_TCB_OIDS = {"boot_loader": "3.1", "tee": "3.2", "snp": "3.3", "microcode": "3.8", "fmc": "3.9"}
_CHIP_ID_OID = "4"
_INTEGER = 0x02
_OCTET_STRING = 0x04

_LAYOUT = struct.Struct(
    "<II BBB5x 16s16s II 8s Q I4x 64s48s32s 48s48s 32s32s 8s BBB21x 64s 8s BBBx BBBx 8s168x"
)
assert _LAYOUT.size == SIGNED_SIZE


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a report, named and cut as in AMD's specification (56860, table 23).

    TCB versions are the raw 8 bytes; `signature_r` and `signature_s` are little-endian.
    """

    version: int
    guest_svn: int
    policy_abi_minor: int
    policy_abi_major: int
    policy_flags: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algo: int
    platform_version: bytes
    platform_info: int
    flags: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid_fam_id: int
    cpuid_mod_id: int
    cpuid_step: int
    chip_id: bytes
    committed_tcb: bytes
    current_minor: int
    current_build: int
    current_major: int
    committed_build: int
    committed_minor: int
    committed_major: int
    launch_tcb: bytes
    signature_r: bytes
    signature_s: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Report:
        """The fields as they stand there; nothing is believed yet."""
        if len(raw) != REPORT_SIZE:
            raise InvalidEvidence(
                f"Input SEV-SNP attestation report is not of expected size {REPORT_SIZE}:"
                f" {len(raw)}"
            )
        signature = raw[SIGNED_SIZE:]
        values = (*_LAYOUT.unpack_from(raw), signature[:_R_SIZE], signature[_R_SIZE : 2 * _R_SIZE])
        if any(signature[2 * _R_SIZE :]):
            raise InvalidEvidence("SEV-SNP: Bytes follow the signature of the attestation report")
        return cls(**dict(zip(cls.__struct_fields__, values, strict=True)))

    @property
    def smt(self) -> int:
        return self.policy_flags & 1

    @property
    def migrate_ma(self) -> int:
        return self.policy_flags >> 2 & 1

    @property
    def debug(self) -> int:
        return self.policy_flags >> 3 & 1

    @property
    def single_socket(self) -> int:
        return self.policy_flags >> 4 & 1

    @property
    def author_key_en(self) -> int:
        return self.flags & 1

    @property
    def mask_chip_key(self) -> int:
        return self.flags >> 1 & 1

    @property
    def signing_key(self) -> int:
        return self.flags >> 2 & 7

    @property
    def cpuid(self) -> CpuId:
        return CpuId(self.cpuid_fam_id, self.cpuid_mod_id, self.cpuid_step)

    @property
    def product(self) -> Product:
        """Raises InvalidEvidence when it is none that is known."""
        return tcb.product(self.cpuid_fam_id, self.cpuid_mod_id)

    @property
    def claims(self) -> Claims:
        """What counts for whether a program is trusted."""
        return Claims(self.measurement, self.host_data.hex(), self.report_data)


def verify(
    evidence: QuoteInfo, now: UnixSeconds, roots: Mapping[Product, str] = amd.ROOT_KEYS
) -> Report:
    """The report, if it is one by a processor of AMD, in the order and words of the original.

    `roots` are the keys that are believed, in PEM.
    """
    if evidence.format is not Format.SNP:
        raise InvalidEvidence(
            f"Unexpected attestation report to verify for SEV-SNP: {evidence.format.value}"
        )
    report = Report.parse(evidence.quote)
    if report.version < VERSION_MIN:
        raise InvalidEvidence(
            f"SEV-SNP: Attestation version is {report.version} not >= expected minimum"
            f" {VERSION_MIN}"
        )
    vcek = _endorsed(report, evidence.endorsements, now, roots)
    _check_signature(report, evidence.quote, vcek)
    _check_policy(report)
    _check_chip(report, vcek)
    if evidence.endorsed_tcb is not None:
        endorsed = tcb.from_hex(evidence.endorsed_tcb)
        if endorsed != report.reported_tcb:
            raise InvalidEvidence(
                f"SEV-SNP: endorsed TCB {tcb.to_hex(endorsed)} does not match reported TCB"
                f" {tcb.to_hex(report.reported_tcb)}"
            )
    return report


def _endorsed(
    report: Report, endorsements: bytes, now: UnixSeconds, roots: Mapping[Product, str]
) -> bytes:
    """The certificate (DER) of the processor, endorsed by the root of its product."""
    product = report.product
    if len(endorsements) > ENDORSEMENTS_MAX:
        raise InvalidEvidence(
            f"SEV-SNP: Endorsements of {len(endorsements)} bytes, expected at most"
            f" {ENDORSEMENTS_MAX}"
        )
    try:
        chain = certs.split_pem(endorsements)
        if len(chain) != 3:
            raise InvalidEvidence(f"Expected 3 endorsement certificates but got {len(chain)}")
        expected = roots.get(product)
        if expected is None:
            raise InvalidEvidence(f"SEV-SNP: No known root certificate for {product.value}")
        found = RsaPublicKey.from_der(certs.spki(chain[2])).pem()
    except ValueError as e:
        raise InvalidEvidence(f"SEV-SNP: Endorsements cannot be read: {e}") from None
    if found != expected:
        raise InvalidEvidence(
            "SEV-SNP: The root of trust public key for this attestation was not the expected one"
            f" for v{report.version} {report.cpuid_fam_id} {report.cpuid_mod_id}:"
            f"  {found} != {expected}"
        )
    if not chains.issued_in_order(chain[2:], now=now, to_root=True):
        raise InvalidEvidence(
            "SEV-SNP: The root of trust public key for this attestation was not self signed as"
            " expected"
        )
    if not chains.issued_in_order(chain, now=now):
        raise InvalidEvidence(
            "SEV-SNP: The chain of signatures from the root of trust to this attestation is broken"
        )
    return chain[0]


def _check_signature(report: Report, raw: bytes, vcek: bytes) -> None:
    if report.signature_algo != ECDSA_P384_SHA384:
        raise InvalidEvidence(
            f"SEV-SNP: Unsupported signature algorithm: {report.signature_algo} (supported:"
            f" {ECDSA_P384_SHA384})"
        )
    size = Curve.P384.coordinate_size
    halves = (report.signature_r, report.signature_s)
    signature = b"".join(half[:size][::-1] for half in halves)
    try:
        key = PublicKey.from_der(certs.spki(vcek))
        signed = (
            key.curve is Curve.P384
            and not any(any(half[size:]) for half in halves)
            and key.verify_raw(signature, raw[:SIGNED_SIZE])
        )
    except ValueError:
        signed = False
    if not signed:
        raise InvalidEvidence("SEV-SNP: Chip certificate (VCEK) did not sign this attestation")


def _check_policy(report: Report) -> None:
    """What the signed report must say of how the guest runs."""
    if report.signing_key != SIGNED_BY_VCEK:
        raise InvalidEvidence(
            f"SEV-SNP: Attestation report must be signed by VCEK: {report.signing_key}"
        )
    if report.mask_chip_key:
        raise InvalidEvidence("SEV-SNP: Mask chip key must not be set")
    if report.vmpl > VMPL_MAX:
        raise InvalidEvidence(
            f"SEV-SNP: This report seems to be host generated (VMPL {report.vmpl} > {VMPL_MAX})"
        )
    if report.debug:
        raise InvalidEvidence(
            "SEV-SNP: SNP attestation report guest policy debugging must not be enabled"
        )
    if report.migrate_ma:
        raise InvalidEvidence(
            "SEV-SNP: SNP attestation report guest policy migration must not be enabled"
        )


def _check_chip(report: Report, certificate: bytes) -> None:
    """The certificate is of this chip, and of firmware that is no newer than it reports."""
    vcek, product = certs.load(certificate), report.product
    reported = tcb.components(report.reported_tcb, product)
    endorsed = {name: _level(vcek, name) for name in reported}
    if not tcb.meets(reported, endorsed):
        told = dump_json({"hexstring": tcb.to_hex(report.reported_tcb), **reported}).decode()
        raise InvalidEvidence(
            f"SEV-SNP: Reported TCB {told} does not meet or exceed the endorsed TCB"
            f' "{tcb.to_hex(tcb.assemble(endorsed, product))}"'
        )
    size = CHIP_ID_SIZES[product]
    chip_id = _extension(vcek, _CHIP_ID_OID)
    if len(chip_id) == size + 2 and chip_id[:2] == bytes((_OCTET_STRING, size)):
        chip_id = chip_id[2:]
    if chip_id != report.chip_id[:size]:
        raise InvalidEvidence(
            "SEV-SNP: Chip ID in attestation does not match endorsed chip ID:"
            f" {chip_id.hex()} != {report.chip_id[:size].hex()}"
        )


def _level(vcek: x509.Certificate, name: str) -> int:
    """The version of a component that the certificate vouches for."""
    raw = _extension(vcek, _TCB_OIDS[name])
    if len(raw) < 3 or raw[0] != _INTEGER or raw[1] != len(raw) - 2:
        raise InvalidEvidence(f"SEV-SNP: {name} in the chip certificate (VCEK) is not a number")
    value = int.from_bytes(raw[2:], "big", signed=True)
    if not 0 <= value <= 0xFF:
        raise InvalidEvidence(f"Invalid {name} value in TCB version: {value}")
    return value


def _extension(vcek: x509.Certificate, number: str) -> bytes:
    oid = x509.ObjectIdentifier(_OID + number)
    try:
        value = vcek.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        raise InvalidEvidence(
            f"SEV-SNP: The chip certificate (VCEK) has no extension {oid.dotted_string}"
        ) from None
    assert isinstance(value, x509.UnrecognizedExtension)
    return value.value
