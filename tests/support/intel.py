"""Quotes of SGX and TDX made up: an authority, processors and collateral of our own, in Intel's
shapes; and how the recorded ones are read."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from pyccf.attest.collateral import Collateral, TdModule
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from support.snp import NOW
from support.vectors import vectors_dir

DAY = 86_400
FMSPC = bytes.fromhex("00906ed50000")
SVNS = (7,) * 16
"""Of the processor's parts."""
PCE_SVN = 11
MODULE = TdModule(bytes((5, 1, *[3] * 14)), bytes(48), bytes(8))
"""Level 5 of version 1."""
QE_SIGNER = bytes(range(32))
ENCLAVE = {"mr_enclave": bytes([1] * 32), "mr_signer": bytes([2] * 32), "report_data": b"\3" * 64}


def sign(name: str, data: bytes) -> bytes:
    """r and s of the signature by the key of this name."""
    r, s = decode_dss_signature(key(name).sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    native = PrivateKey.generate(Curve.P256, SeededEntropy(name)).native
    assert isinstance(native, ec.EllipticCurvePrivateKey)
    return native


def root_key(name: str = "root") -> str:
    return (
        key(name)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def point(name: str) -> bytes:
    """The public key as quotes have it."""
    numbers = key(name).public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def serial(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def certificate(name: str, issuer: str, extension: bytes | None = None) -> bytes:
    """PEM; an authority unless it has the extension of a processor."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called(issuer))
        .public_key(key(name).public_key())
        .serial_number(serial(name))
        .not_valid_before(moment(NOW - 100 * DAY))
        .not_valid_after(moment(NOW + 100 * DAY))
        .add_extension(x509.BasicConstraints(extension is None, None), True)
    )
    if extension is not None:
        oid = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, extension), False)
    made = builder.sign(key(issuer), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes((size,)) if size < 0x80 else b"\x82" + size.to_bytes(2, "big")
    return bytes((tag,)) + length + content


def processor(fmspc: bytes = FMSPC, pce_svn: int = PCE_SVN, svns: tuple[int, ...] = SVNS) -> bytes:
    """What the certificate of a processor says of it."""

    def pair(number: bytes, value: bytes) -> bytes:
        return der(0x30, der(6, bytes.fromhex("2a864886f84d010d01") + number) + value)

    levels = [pair(bytes((2, i)), der(2, bytes((n,)))) for i, n in enumerate(svns, start=1)]
    levels.append(pair(b"\x02\x11", der(2, pce_svn.to_bytes(2, "big"))))
    levels.append(pair(b"\x02\x12", der(4, bytes(svns))))
    parts = [
        pair(b"\x01", der(4, bytes(16))),
        pair(b"\x02", der(0x30, b"".join(levels))),
        pair(b"\x03", der(4, b"\0\0")),
        pair(b"\x04", der(4, fmspc)),
        pair(b"\x05", der(10, b"\0")),
    ]
    return der(0x30, b"".join(parts))


def pck_chain(**arguments: Any) -> bytes:
    pck = certificate("pck", "platform", processor(**arguments))
    return pck + certificate("platform", "root") + certificate("root", "root")


def enclave(**fields: bytes | int) -> bytes:
    """A report, by offsets; another way than that of the code under test."""
    offsets = {
        "misc_select": (16, 4),
        "attributes": (48, 16),
        "mr_enclave": (64, 32),
        "mr_signer": (128, 32),
        "isv_prod_id": (256, 2),
        "isv_svn": (258, 2),
        "report_data": (320, 64),
    }
    raw = bytearray(384)
    for name, value in fields.items():
        at, size = offsets[name]
        content = value.to_bytes(size, "little") if isinstance(value, int) else value
        raw[at : at + size] = content.ljust(size, b"\0")
    return bytes(raw)


def domain(
    module: TdModule = MODULE, attributes: int = 1 << 28, report_data: bytes = b"\7" * 64
) -> bytes:
    """A report of a trust domain: each measurement is of one byte, in order."""
    parts = [module.svn, b"\x01" * 48, module.mrsigner, module.attributes]
    parts += [attributes.to_bytes(8, "little"), b"\x02" * 8]
    parts += [bytes([n]) * 48 for n in range(3, 11)]
    return b"".join([*parts, report_data])


def qe(tdx: bool, auth: bytes, **fields: bytes | int) -> bytes:
    usual: dict[str, bytes | int] = {
        "attributes": b"\x11" + bytes(7) + b"\xff" * 8,
        "mr_signer": QE_SIGNER,
        "isv_prod_id": 2 if tdx else 1,
        "isv_svn": 8,
        "report_data": hashlib.sha256(point("attestation") + auth).digest(),
    }
    return enclave(**{**usual, **fields})


def quote(
    version: int = 3,
    body: bytes | None = None,
    *,
    tdx: bool = False,
    chain: bytes | None = None,
    qe_fields: Mapping[str, bytes | int] | None = None,
    key_type: int = 2,
    vendor: str = "939a7233f79c4ca9940a0db3957f0607",
    body_type: int | None = None,
    data_type: int = 5,
    outer_type: int = 6,
    trailing: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A signed quote; version 5 declares its body. `trailing` are bytes too many in the
    certification data, `after` behind it."""
    if body is None:
        body = domain() if tdx else enclave(**ENCLAVE)
    header = struct.pack(
        "<HHI4x16s20x", version, key_type, 0x81 if tdx else 0, bytes.fromhex(vendor)
    )
    if version == 5:
        declared = body_type or (1 if not tdx else 2 if len(body) == 584 else 3)
        header += struct.pack("<HI", declared, len(body))
    auth = bytes(range(32))
    report = qe(tdx, auth, **(qe_fields or {}))
    certificates = (pck_chain() if chain is None else chain) + b"\0"
    inner = report + sign("pck", report) + struct.pack("<H", len(auth)) + auth
    inner += struct.pack("<HI", data_type, len(certificates)) + certificates + trailing
    if version > 3:
        inner = struct.pack("<HI", outer_type, len(inner)) + inner
    signing = sign("attestation", header + body) + point("attestation") + inner + after
    return header + body + struct.pack("<I", len(signing)) + signing


# --- collateral ---------------------------------------------------------------------------------


def crl(issuer: str, *revoked: str, begin: int = NOW - DAY, end: int = NOW + DAY) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(called(issuer))
        .last_update(moment(begin))
        .next_update(moment(end))
    )
    for name in ("somebody", *revoked):
        entry = x509.RevokedCertificateBuilder().serial_number(serial(name))
        builder = builder.add_revoked_certificate(entry.revocation_date(moment(begin)).build())
    made = builder.sign(key(issuer), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)


def level(
    status: str = "UpToDate",
    svns: tuple[int, ...] = SVNS,
    pce_svn: int = PCE_SVN,
    tdx: tuple[int, ...] | None = None,
    advisories: tuple[str, ...] = (),
) -> dict[str, Any]:
    tcb: dict[str, Any] = {"sgxtcbcomponents": [{"svn": n} for n in svns], "pcesvn": pce_svn}
    if tdx is not None:
        tcb["tdxtcbcomponents"] = [{"svn": n} for n in tdx]
    date = "2024-03-13T00:00:00Z"
    return {"tcb": tcb, "tcbDate": date, "tcbStatus": status, "advisoryIDs": list(advisories)}


def svn_level(svn: int, status: str = "UpToDate", **more: Any) -> dict[str, Any]:
    return {"tcb": {"isvsvn": svn}, "tcbStatus": status, **more}


def stamp(seconds: int) -> str:
    return moment(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def tcb_info(tdx: bool = False, **changes: Any) -> dict[str, Any]:
    parts = (0, 0, *[3] * 14)
    found: dict[str, Any] = {
        "id": "TDX" if tdx else "SGX",
        "version": 3,
        "issueDate": stamp(NOW - DAY),
        "nextUpdate": stamp(NOW + DAY),
        "fmspc": FMSPC.hex().upper(),
        "pceId": "0000",
        "tcbType": 0,
        "tcbLevels": [level(tdx=parts if tdx else None)],
    }
    if tdx:
        module = {
            "mrsigner": "00" * 48,
            "attributes": "00" * 8,
            "attributesMask": "FF" * 8,
        }
        found["tdxModule"] = module
        one = {**module, "id": "TDX_01", "tcbLevels": [svn_level(4)]}
        found["tdxModuleIdentities"] = [one]
    return {**found, **changes}


def qe_identity(tdx: bool = False, **changes: Any) -> dict[str, Any]:
    return {
        "id": "TD_QE" if tdx else "QE",
        "version": 2,
        "issueDate": stamp(NOW - DAY),
        "nextUpdate": stamp(NOW + DAY),
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": QE_SIGNER.hex().upper(),
        "isvprodid": 2 if tdx else 1,
        "tcbLevels": [svn_level(8), svn_level(6, "OutOfDate", advisoryIDs=["INTEL-SA-9"])],
        **changes,
    }


def collateral(
    tdx: bool = False,
    *,
    info: dict[str, Any] | bytes | None = None,
    identity: dict[str, Any] | bytes | None = None,
    signer: str = "signing",
    root: str = "root",
    **changes: bytes,
) -> Collateral:
    """Everything in order but for what is given."""

    def text(value: dict[str, Any] | bytes | None, usual: dict[str, Any]) -> bytes:
        return (
            value
            if isinstance(value, bytes)
            else json.dumps(usual if value is None else value).encode()
        )

    tcb, quoting = text(info, tcb_info(tdx)), text(identity, qe_identity(tdx))
    chain = certificate(signer, root) + certificate(root, root)
    parts: dict[str, bytes] = {
        "tcb_info": tcb,
        "tcb_info_signature": sign(signer, tcb),
        "tcb_info_chain": chain,
        "qe_identity": quoting,
        "qe_identity_signature": sign(signer, quoting),
        "qe_identity_chain": chain,
        "root_crl": crl("root"),
        "pck_crl": crl("platform"),
    }
    return Collateral(**{**parts, **changes})


# --- recorded -----------------------------------------------------------------------------------


def recorded(folder: str) -> Collateral:
    """Collateral that was served with a quote, in the form of Phala's tools."""
    found = json.loads((vectors_dir() / folder / "collateral.json").read_text())
    return Collateral(
        tcb_info=found["tcb_info"].encode(),
        tcb_info_signature=bytes.fromhex(found["tcb_info_signature"]),
        tcb_info_chain=found["tcb_info_issuer_chain"].encode(),
        qe_identity=found["qe_identity"].encode(),
        qe_identity_signature=bytes.fromhex(found["qe_identity_signature"]),
        qe_identity_chain=found["qe_identity_issuer_chain"].encode(),
        root_crl=bytes.fromhex(found["root_ca_crl"]),
        pck_crl=bytes.fromhex(found["pck_crl"]),
    )


def served(tcb: str) -> Collateral:
    """Collateral as Intel's service gives it, in files; the signed texts are cut out."""
    folder = vectors_dir() / "tdx" / "lunal" / "collateral"

    def signed(name: str, member: bytes) -> tuple[bytes, bytes]:
        raw = (folder / name).read_bytes().strip()
        text, _, rest = raw.removeprefix(b'{"' + member + b'":').rpartition(b',"signature":"')
        return text, bytes.fromhex(rest.removesuffix(b'"}').decode())

    info, identity = signed(tcb, b"tcbInfo"), signed("td_qe_identity.json", b"enclaveIdentity")
    return Collateral(
        tcb_info=info[0],
        tcb_info_signature=info[1],
        tcb_info_chain=(folder / "tcb_signing_chain.pem").read_bytes(),
        qe_identity=identity[0],
        qe_identity_signature=identity[1],
        qe_identity_chain=(folder / "qe_identity_signing_chain.pem").read_bytes(),
        root_crl=(folder / "root_ca_crl.der").read_bytes(),
        pck_crl=(folder / "pck_crl_platform.der").read_bytes(),
    )


def issued(given: Collateral) -> int:
    """A moment at which it was valid: three days after it was made."""
    text = json.loads(given.tcb_info)["issueDate"]
    made = datetime.fromisoformat(text.replace("Z", "+00:00")) + timedelta(days=3)
    return int(made.timestamp())


def real_quote(path: str) -> bytes:
    """A recorded quote, some of them in hex."""
    raw = (vectors_dir() / path).read_bytes()
    return bytes.fromhex(raw.decode().strip()) if path.endswith(".hex") else raw
