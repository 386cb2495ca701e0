"""Collateral of Intel's quotes: whether processor, firmware and quoting enclave are up to date.

Beside a quote comes what Intel says about its processor at the moment: lists of revoked
certificates, the firmware levels of its kind (TCB info) and the known quoting enclaves (QE
identity), all signed and valid for some 30 days. `judge` checks them and tells the status that
Intel gives to what made the quote. Refused with InvalidEvidence: collateral that is not Intel's,
not valid now or of another processor, revoked certificates, and firmware of no known level.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import datetime
from enum import Enum
from typing import Annotated, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from pyccf.attest import dcap
from pyccf.attest.dcap import Checked, Enclave, Tee
from pyccf.crypto import certs
from pyccf.errors import InvalidEvidence
from pyccf.types import UnixSeconds

COLLATERAL_MAX = 1 << 20
"""Bytes of one part; real ones have up to 20,000."""
COMPONENTS = 16
TCB_INFO_VERSION = 3
QE_IDENTITY_VERSION = 2
_SGX_EXTENSION = "1.2.840.113741.1.13.1"
_SGX_OID = bytes.fromhex("2a864886f84d010d01")


class Status(Enum):
    """How Intel judges what made a quote."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING = "SWHardeningNeeded"
    CONFIGURATION = "ConfigurationNeeded"
    CONFIGURATION_AND_SW = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"


class Collateral(msgspec.Struct, frozen=True, kw_only=True):
    """What Intel serves for a processor. Signed texts are kept as they came."""

    tcb_info: bytes
    tcb_info_signature: bytes
    tcb_info_chain: bytes
    """PEM: who signed, root."""
    qe_identity: bytes
    qe_identity_signature: bytes
    qe_identity_chain: bytes
    root_crl: bytes
    """DER: what the root revoked."""
    pck_crl: bytes
    """DER: what the authority of the processor's certificate revoked."""


class Verdict(msgspec.Struct, frozen=True):
    """The status of the whole, and what is known against the firmware."""

    status: Status
    advisories: tuple[str, ...]


class Platform(msgspec.Struct, frozen=True):
    """What the certificate of a processor says of it."""

    fmspc: bytes
    pce_id: bytes
    components: tuple[int, ...]
    pce_svn: int


# --- the signed texts -----------------------------------------------------------------------------


_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class _Svn(msgspec.Struct):
    svn: int


_Components = Annotated[list[_Svn], msgspec.Meta(min_length=COMPONENTS, max_length=COMPONENTS)]


class _Levels(msgspec.Struct):
    sgxtcbcomponents: _Components
    pcesvn: int
    tdxtcbcomponents: _Components | None = None


class _PlatformLevel(msgspec.Struct, rename="camel"):
    tcb: _Levels
    tcb_status: Status
    advisories: list[str] = msgspec.field(default_factory=list, name="advisoryIDs")


class _IsvSvn(msgspec.Struct):
    isvsvn: int


class _EnclaveLevel(msgspec.Struct, rename="camel"):
    tcb: _IsvSvn
    tcb_status: Status
    advisories: list[str] = msgspec.field(default_factory=list, name="advisoryIDs")


class ModuleIdentity(msgspec.Struct, rename="camel"):
    """Which module of Intel's runs trust domains (hex as in the text)."""

    mrsigner: str
    attributes: str
    attributes_mask: str
    id: str = ""
    tcb_levels: list[_EnclaveLevel] = []


class _TcbInfo(msgspec.Struct, rename="camel"):
    id: str
    version: int
    issue_date: _Moment
    next_update: _Moment
    fmspc: str
    pce_id: str
    tcb_type: int
    tcb_levels: list[_PlatformLevel]
    tdx_module: ModuleIdentity | None = None
    tdx_module_identities: list[ModuleIdentity] = []


class _QeIdentity(msgspec.Struct, rename="camel"):
    id: str
    version: int
    issue_date: _Moment
    next_update: _Moment
    miscselect: str
    miscselect_mask: str
    attributes: str
    attributes_mask: str
    mrsigner: str
    isvprodid: int
    tcb_levels: list[_EnclaveLevel]


class TdModule(msgspec.Struct, frozen=True):
    """The module below a trust domain, from the quote."""

    svn: bytes
    """tee_tcb_svn: level and version of the module, then what it was loaded with."""
    mrsigner: bytes
    attributes: bytes


def judge(
    checked: Checked,
    collateral: Collateral,
    now: UnixSeconds,
    module: TdModule | None = None,
    root_key: str = dcap.INTEL_ROOT_KEY,
) -> Verdict:
    """The status of what made the quote; `module` is that below a trust domain."""
    tdx = checked.quote.tee is Tee.TDX
    assert tdx == (module is not None)
    for name in collateral.__struct_fields__:
        if len(getattr(collateral, name)) > COLLATERAL_MAX:
            raise InvalidEvidence(f"Collateral {name} is larger than {COLLATERAL_MAX} bytes")
    info = _signed(
        _TcbInfo,
        collateral.tcb_info,
        collateral.tcb_info_signature,
        collateral.tcb_info_chain,
        now,
        root_key,
    )
    identity = _signed(
        _QeIdentity,
        collateral.qe_identity,
        collateral.qe_identity_signature,
        collateral.qe_identity_chain,
        now,
        root_key,
    )
    _check_revoked(checked.chain, collateral, now)
    platform = platform_of(checked.chain[0])
    wanted = ("TDX" if tdx else "SGX", TCB_INFO_VERSION, 0)
    if (info.id, info.version, info.tcb_type) != wanted:
        raise InvalidEvidence(f"TCB info {info.id} of version {info.version} is not for the quote")
    if (info.fmspc.lower(), info.pce_id.lower()) != (platform.fmspc.hex(), platform.pce_id.hex()):
        raise InvalidEvidence(
            f"TCB info is of processors {info.fmspc}, the quote of {platform.fmspc.hex()}"
        )
    level = _platform_level(info, platform, module)
    verdict = Verdict(level.tcb_status, tuple(level.advisories))
    if module is not None:
        verdict = _converged(verdict, _module_level(info, module))
    return _converged(verdict, _qe_level(identity, checked.quote.qe_report, tdx))


T = TypeVar("T", _TcbInfo, _QeIdentity)


def _signed(
    kind: type[T], text: bytes, signature: bytes, chain: bytes, now: UnixSeconds, root_key: str
) -> T:
    """A text that Intel signed and that is valid now."""
    try:
        key = dcap.check_chain(certs.split_pem(chain), 2, now, root_key)
    except ValueError as e:
        raise InvalidEvidence(f"Certificates of collateral: {e}") from None
    if not key.verify_raw(signature, text):
        raise InvalidEvidence("Collateral is not signed by who it says")
    try:
        value = msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise InvalidEvidence(f"Collateral cannot be read: {e}") from None
    if not value.issue_date.timestamp() <= now <= value.next_update.timestamp():
        raise InvalidEvidence(
            f"Collateral is valid from {value.issue_date} to {value.next_update}, not now"
        )
    return value


# --- revocation -----------------------------------------------------------------------------------


def _check_revoked(chain: Sequence[bytes], collateral: Collateral, now: UnixSeconds) -> None:
    """Neither the processor's certificate nor any above it was revoked."""
    pck, authority, root = chain
    _check_crl(collateral.pck_crl, authority, [pck], now)
    signers = (collateral.tcb_info_chain, collateral.qe_identity_chain)
    others = [authority, *(certs.pem_to_der(signer) for signer in signers)]
    _check_crl(collateral.root_crl, root, others, now)


def _check_crl(der: bytes, issuer: bytes, of: Sequence[bytes], now: UnixSeconds) -> None:
    """A list by this issuer, valid now, names none of these certificates."""
    try:
        revoked = x509.load_der_x509_crl(der)
        key = certs.public_key(issuer).native
        sound = (
            isinstance(key, ec.EllipticCurvePublicKey)
            and revoked.issuer == certs.load(issuer).subject
            and revoked.is_signature_valid(key)
        )
        begin, end = revoked.last_update_utc, revoked.next_update_utc
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise InvalidEvidence("A list of revoked certificates cannot be read") from None
    if not sound:
        raise InvalidEvidence("A list of revoked certificates is not by who it must be")
    if end is None or not begin.timestamp() <= now <= end.timestamp():
        raise InvalidEvidence("A list of revoked certificates is not valid now")
    for certificate in of:
        serial = certs.load(certificate).serial_number
        if revoked.get_revoked_certificate_by_serial_number(serial) is not None:
            raise InvalidEvidence(f"Certificate {serial:x} of Intel is revoked")


# --- what the processor is ------------------------------------------------------------------------


def platform_of(certificate: bytes) -> Platform:
    """What the certificate (DER) of a processor says of it."""
    try:
        extensions = certs.load(certificate).extensions
        value = extensions.get_extension_for_oid(x509.ObjectIdentifier(_SGX_EXTENSION)).value
        assert isinstance(value, x509.UnrecognizedExtension)
        found = _pairs(_items(value.value)[0][1])
        levels = {key[-1]: number for key, number in _pairs(found[_SGX_OID + b"\x02"]).items()}
        return Platform(
            fmspc=found[_SGX_OID + b"\x04"],
            pce_id=found[_SGX_OID + b"\x03"],
            components=tuple(_number(levels[i]) for i in range(1, COMPONENTS + 1)),
            pce_svn=_number(levels[COMPONENTS + 1]),
        )
    except (x509.ExtensionNotFound, KeyError, IndexError):
        raise InvalidEvidence("The certificate of the processor does not describe it") from None


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def _pairs(content: bytes) -> dict[bytes, bytes]:
    """Contents by object identifier, of a sequence of pairs."""
    pairs = [_items(pair) for _, pair in _items(content)]
    return {pair[0][1]: pair[1][1] for pair in pairs}


def _items(der: bytes) -> list[tuple[int, bytes]]:
    """Tags and contents of what stands one after the other."""
    found, at = [], 0
    while at < len(der):
        tag, size, at = der[at], der[at + 1], at + 2
        if size & 0x80:
            more = size & 0x7F
            size, at = _number(der[at : at + more]), at + more
        found.append((tag, der[at : at + size]))
        at += size
    return found


# --- levels ---------------------------------------------------------------------------------------


def _platform_level(info: _TcbInfo, platform: Platform, module: TdModule | None) -> _PlatformLevel:
    """The highest level that the processor reaches; Intel lists them from the highest on."""
    for level in info.tcb_levels:
        wanted = [component.svn for component in level.tcb.sgxtcbcomponents]
        reaches = platform.pce_svn >= level.tcb.pcesvn and _reaches(platform.components, wanted)
        if module is not None:
            parts = level.tcb.tdxtcbcomponents
            if parts is None:
                raise InvalidEvidence("TCB info for trust domains has a level without their parts")
            # Of a module with identities of its own, level and version are judged by these.
            begin = 2 if module.svn[1] else 0
            reaches = reaches and _reaches(module.svn[begin:], [p.svn for p in parts[begin:]])
        if reaches:
            return level
    raise InvalidEvidence("The processor's firmware is of no level that Intel knows")


def _reaches(found: Sequence[int], wanted: Sequence[int]) -> bool:
    return all(a >= b for a, b in zip(found, wanted, strict=True))


def _module_level(info: _TcbInfo, module: TdModule) -> _EnclaveLevel:
    """The level of the module below a trust domain, which must be one of Intel's."""
    level, version = module.svn[0], module.svn[1]
    if version == 0:
        identity = info.tdx_module
    else:
        name = f"TDX_{version:02x}"
        identity = next(
            (i for i in info.tdx_module_identities if i.id.lower() == name.lower()), None
        )
    if identity is None:
        raise InvalidEvidence(f"Intel knows no module for trust domains of version {version}")
    if _hex(identity.mrsigner) != module.mrsigner or _masked(
        module.attributes, identity.attributes_mask
    ) != _hex(identity.attributes):
        raise InvalidEvidence("The module below the trust domain is not Intel's")
    if version == 0:
        return _EnclaveLevel(_IsvSvn(0), Status.UP_TO_DATE)
    return _enclave_level(identity.tcb_levels, level, "module for trust domains")


def _qe_level(identity: _QeIdentity, report: bytes, tdx: bool) -> _EnclaveLevel:
    """The level of the quoting enclave, which must be Intel's."""
    wanted = ("TD_QE" if tdx else "QE", QE_IDENTITY_VERSION)
    if (identity.id, identity.version) != wanted:
        raise InvalidEvidence(
            f"QE identity {identity.id} of version {identity.version} is not for the quote"
        )
    enclave = Enclave.parse(report)
    known = (
        _masked(enclave.misc_select, identity.miscselect_mask) == _hex(identity.miscselect)
        and _masked(enclave.attributes, identity.attributes_mask) == _hex(identity.attributes)
        and enclave.mr_signer == _hex(identity.mrsigner)
        and enclave.isv_prod_id == identity.isvprodid
    )
    if not known:
        raise InvalidEvidence("The quoting enclave is not Intel's")
    return _enclave_level(identity.tcb_levels, enclave.isv_svn, "quoting enclave")


def _enclave_level(levels: Sequence[_EnclaveLevel], svn: int, what: str) -> _EnclaveLevel:
    for level in levels:
        if svn >= level.tcb.isvsvn:
            return level
    raise InvalidEvidence(f"The {what} is of no level that Intel knows")


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidEvidence("Collateral holds what is not hexadecimal") from None


def _masked(value: bytes, mask: str) -> bytes:
    bits = _hex(mask)
    if len(bits) != len(value):
        raise InvalidEvidence("Collateral holds a mask of another length")
    return bytes(a & b for a, b in zip(value, bits, strict=True))


_OUT_OF_DATE = {
    Status.UP_TO_DATE: Status.OUT_OF_DATE,
    Status.SW_HARDENING: Status.OUT_OF_DATE,
    Status.CONFIGURATION: Status.OUT_OF_DATE_CONFIGURATION,
    Status.CONFIGURATION_AND_SW: Status.OUT_OF_DATE_CONFIGURATION,
}
"""What becomes of a processor's status when something above it is out of date."""


def _converged(verdict: Verdict, level: _EnclaveLevel) -> Verdict:
    """Both together: as bad as the worse."""
    status = verdict.status
    match level.tcb_status:
        case Status.UP_TO_DATE:
            pass
        case Status.REVOKED:
            status = Status.REVOKED
        case _:
            status = _OUT_OF_DATE.get(status, status)
    new = tuple(name for name in level.advisories if name not in verdict.advisories)
    return Verdict(status, (*verdict.advisories, *new))


def check_accepted(verdict: Verdict, accepted: Set[Status]) -> None:
    """Raises InvalidEvidence unless the status is one of these."""
    if verdict.status not in accepted:
        known = f" ({', '.join(verdict.advisories)})" if verdict.advisories else ""
        raise InvalidEvidence(f"Intel says of the processor: {verdict.status.value}{known}")
