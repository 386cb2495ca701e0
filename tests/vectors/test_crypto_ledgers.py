"""Keys, shares, secrets and envelopes of six real services, found in their ledger files by shape.

The ledger room parses these files; here only the cryptography of the public values is looked at,
so a regular expression over the raw bytes is enough: the values are JSON without blanks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pyccf.codec import cose
from pyccf.codec.text import dump_json, load_json, unb64
from pyccf.crypto import aead, certs, chains, shares
from pyccf.crypto.cosesign import sign1, verify1
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import PrivateKey, PublicKey, RsaPrivateKey, RsaPublicKey
from support.vectors import vectors_dir

SERVICES = [
    "acme_containing_service",
    "cose_flipflop_service",
    "double_sealed_service",
    "eol_service",
    "expired_service",
    "sgx_service",
]

SHARES = re.compile(
    rb'\{"encrypted_shares":\{[^{}]*\}[^{}]*?"wrapped_latest_ledger_secret":"[^"]+"\}'
)
HISTORICAL = re.compile(
    rb'\{(?:"next_version":\d+,?)?(?:"previous_ledger_secret":\{"encrypted_data":[^{}]*\})?\}'
)
SIGNATURE = re.compile(rb'\{"cert":"-----BEGIN CERTIFICATE[^{}]*?"root":"[0-9a-f]{64}"[^{}]*?\}')
ENVELOPE = re.compile(rb'"(0oR[A-Za-z0-9+/]+=*)"')
ENDORSEMENT = re.compile(rb'\{"endorsement":[^{}]*\}')
SERVICE_INFO = re.compile(rb'"cert":"(-----BEGIN CERTIFICATE-----[^"]*?-----END [^"]*?)"')


@dataclass
class Service:
    name: str
    ledger: bytes
    common: Path
    members: dict[str, int] = field(default_factory=dict)

    def common_text(self, name: str) -> str:
        return (self.common / name).read_text()

    def jsons(self, pattern: re.Pattern[bytes]) -> list[dict[str, Any]]:
        found = [load_json(match) for match in pattern.findall(self.ledger) if match != b"{}"]
        return [value for value in found if isinstance(value, dict)]

    def envelopes(self) -> list[cose.Sign1]:
        return [cose.parse_sign1(unb64(text)) for text in ENVELOPE.findall(self.ledger)]


@cache
def read(folder: Path) -> Service:
    def first_seqno(path: Path) -> int:
        return int(path.name.removeprefix("ledger_").split("-")[0].split(".")[0])

    files = sorted((folder / "ledger").iterdir(), key=first_seqno)
    service = Service(folder.name, b"".join(path.read_bytes() for path in files), folder / "common")
    for i in range(3):
        if (service.common / f"member{i}_cert.pem").exists():
            service.members[certs.fingerprint(service.common_text(f"member{i}_cert.pem"))] = i
    return service


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Service:
    return read(vectors_dir() / "ccf" / "ledgers" / request.param)


def test_json_values_are_what_we_would_write(service: Service) -> None:
    count = 0
    for pattern in (SHARES, HISTORICAL, SIGNATURE, ENDORSEMENT):
        for raw in pattern.findall(service.ledger):
            if raw != b"{}":
                assert dump_json(load_json(raw)) == raw
                count += 1
    assert count > 10


def test_members_are_named_by_their_certificates(service: Service) -> None:
    assert service.members
    for member in service.members:
        assert member.encode() in service.ledger
    for name in service.common.glob("*_cert.pem"):
        text = name.read_text()
        assert certs.der_to_pem(certs.pem_to_der(text)) == text
        key_file = service.common / name.name.replace("_cert", "_privk")
        if key_file.exists():
            key = PrivateKey.from_pem(key_file.read_text())
            assert key.public == certs.public_key(text)


def recover(service: Service) -> list[tuple[bytes, bytes]]:
    """(wrapping key, ledger secret) of each set of 44-byte shares, opened as members would."""
    opened: list[tuple[bytes, bytes]] = []
    for value in service.jsons(SHARES):
        plain: list[bytes] = []
        for member in sorted(value["encrypted_shares"]):
            i = service.members.get(member)
            if i is None:
                continue
            key = RsaPrivateKey.from_pem(service.common_text(f"member{i}_enc_privk.pem"))
            public = RsaPublicKey.from_pem(service.common_text(f"member{i}_enc_pubk.pem"))
            assert key.public.pem() == public.pem()
            plain.append(key.decrypt_oaep(unb64(value["encrypted_shares"][member])))
        if not plain or len(plain[0]) != shares.SHARE_SIZE:
            # Services of version 1 to 4 used another scheme, which is refused (crypto.md 13).
            assert plain
            with pytest.raises(shares.ShareError):
                shares.combine(plain)
            continue
        # Indices follow the order of member ids.
        assert [shares.index_of(share) for share in plain] == list(range(1, len(plain) + 1))
        wrapping_key = shares.combine(plain).wrapping_key()
        wrapped = unb64(value["wrapped_latest_ledger_secret"])
        secret = shares.unwrap_ledger_secret(wrapping_key, wrapped)
        assert shares.wrap_ledger_secret(wrapping_key, secret) == wrapped
        opened.append((wrapping_key, secret))
    return opened


def test_members_can_recover_the_ledger_secret(service: Service) -> None:
    opened = recover(service)
    expected = {
        "acme_containing_service": 1,
        "cose_flipflop_service": 1,
        "double_sealed_service": 4,
        "eol_service": 2,
        "expired_service": 1,
        "sgx_service": 1,
    }
    assert len(opened) == expected[service.name]
    if service.name == "acme_containing_service":
        assert opened[0][0].hex() == (
            "585f9ba1448629e7049d206fa918075f624e6d3c05f944cd7f8b302d2a4d6ee0"
        )


def test_the_latest_secret_opens_the_earlier_ones(service: Service) -> None:
    secrets = {secret for _, secret in recover(service)}
    latest = recover(service)[-1][1]
    chain = [value for value in service.jsons(HISTORICAL) if "previous_ledger_secret" in value]
    for value in reversed(chain):
        sealed = unb64(value["previous_ledger_secret"]["encrypted_data"])
        assert len(sealed) == aead.OVERHEAD + 32
        opened = None
        for candidate in {latest, *secrets}:
            try:
                opened = aead.open_(candidate, sealed)
            except aead.InvalidTag:
                continue
        assert opened is not None, value
        secrets.add(opened)
    assert (
        len(chain)
        == {
            "acme_containing_service": 0,
            "cose_flipflop_service": 0,
            "double_sealed_service": 2,
            "eol_service": 4,
            "expired_service": 1,
            "sgx_service": 3,
        }[service.name]
    )


def test_node_signatures_over_roots(service: Service) -> None:
    values = service.jsons(SIGNATURE)
    keys: dict[str, PublicKey] = {}
    for value in values:
        key = keys.setdefault(value["cert"], certs.public_key(value["cert"]))
        assert key.id == value["node"]
        root = bytes.fromhex(value["root"])
        assert key.verify_digest(unb64(value["sig"]), root)
        assert not key.verify_digest(unb64(value["sig"]), bytes(32))
    assert (
        len(values)
        == {
            "acme_containing_service": 8,
            "cose_flipflop_service": 23,
            "double_sealed_service": 156,
            "eol_service": 77,
            "expired_service": 26,
            "sgx_service": 43,
        }[service.name]
    )


def service_keys(service: Service) -> dict[bytes, PublicKey]:
    """Keys of all CA certificates in the ledger, by the id that COSE headers carry."""
    found: dict[bytes, PublicKey] = {}
    for text in set(SERVICE_INFO.findall(service.ledger)):
        pem = text.replace(b"\\n", b"\n")
        key = certs.public_key(pem)
        found[key.id.encode()] = key
    return found


def test_cose_signatures_over_roots(service: Service) -> None:
    keys = service_keys(service)
    roots = {f"{v['view']}.{v['seqno']}": v["root"] for v in service.jsons(SIGNATURE)}
    count = 0
    for envelope in service.envelopes():
        if envelope.payload is not None:
            continue
        claims = envelope.headers["ccf.v1"]
        assert isinstance(claims, dict)
        assert list(envelope.headers) == [1, 4, 395, 15, "ccf.v1"]
        root = bytes.fromhex(roots[claims["txid"]])
        assert envelope.kid is not None
        assert verify1(envelope, keys[envelope.kid], root)
        count += 1
    assert (
        count
        == {
            "acme_containing_service": 8,
            "cose_flipflop_service": 5,
            "double_sealed_service": 156,
            "eol_service": 0,
            "expired_service": 18,
            "sgx_service": 0,
        }[service.name]
    )


def test_governance_envelopes_of_members(service: Service) -> None:
    count = 0
    for text in ENVELOPE.findall(service.ledger):
        envelope = cose.parse_sign1(unb64(text))
        if "ccf.gov.msg.type" not in envelope.headers:
            continue
        envelope = cose.parse_sign1(unb64(text), rules=cose.MEMBER)
        assert envelope.kid is not None
        i = service.members.get(envelope.kid.decode())
        assert i is not None
        key = certs.public_key(service.common_text(f"member{i}_cert.pem"))
        assert verify1(envelope, key)
        others = [k for k in service.members.values() if k != i]
        for other in others[:1]:
            wrong = certs.public_key(service.common_text(f"member{other}_cert.pem"))
            assert not verify1(envelope, wrong)
        # Signing the same again with the member's private key gives an equivalent envelope.
        private = PrivateKey.from_pem(service.common_text(f"member{i}_privk.pem"))
        assert envelope.payload is not None
        again = cose.parse_sign1(sign1(private, envelope.protected, envelope.payload))
        assert verify1(again, key)
        count += 1
    assert count > 0


def test_endorsements_of_service_identities(service: Service) -> None:
    values = service.jsons(ENDORSEMENT)
    for value in values:
        envelope = cose.parse_sign1(unb64(value["endorsement"]))
        key = PublicKey.from_der(unb64(value["endorsing_key"]))
        assert verify1(envelope, key)
        epoch = envelope.headers["ccf.v1"]
        assert isinstance(epoch, dict)
        assert epoch["epoch.start.txid"] == value["endorsement_epoch_begin"]
        assert epoch.get("epoch.end.txid") == value.get("endorsement_epoch_end")
        if "previous_version" not in value:
            assert envelope.payload == key.der
        else:
            assert envelope.payload is not None
            assert PublicKey.from_der(envelope.payload) != key or service.name.startswith("double")
    assert (
        len(values)
        == {
            "acme_containing_service": 1,
            "cose_flipflop_service": 1,
            "double_sealed_service": 3,
            "eol_service": 0,
            "expired_service": 1,
            "sgx_service": 0,
        }[service.name]
    )


def test_layout_of_a_service_certificate_is_ours() -> None:
    """The service of the current version: the same inputs give the same certificate.

    Replaying the real serial number and public values leaves only the signature to differ.
    """
    folder = vectors_dir() / "ccf" / "ledgers" / "acme_containing_service"
    pem = read(folder).common_text("service_cert.pem")
    real = certs.load(pem)
    key = PrivateKey.generate(certs.public_key(pem).curve, SeededEntropy(1))
    start, end = certs.validity(pem)
    assert (end + 1 - start) % certs.DAY_S == 0
    ours = certs.self_signed(
        key,
        certs.subject(pem),
        not_before=start,
        days=(end + 1 - start) // certs.DAY_S,
        entropy=_Fixed(real.serial_number.to_bytes(certs.SERIAL_BYTES, "big")),
    )
    made = certs.load(ours)

    def skeleton(certificate: x509.Certificate) -> bytes:
        """The signed part with the public key and its digest blanked out."""
        key_bytes = certs.spki(certificate.public_bytes(Encoding.DER))
        digest = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
        signed = certificate.tbs_certificate_bytes
        return signed.replace(key_bytes, bytes(len(key_bytes))).replace(digest, bytes(20))

    assert skeleton(made) == skeleton(real)
    assert chains.check_endorsed(pem, pem, ignore_time=True)
    assert not chains.check_endorsed(pem, ours, ignore_time=True)


class _Fixed:
    """Entropy that gives one known answer."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def bytes(self, n: int):  # type: ignore[no-untyped-def]
        assert n == len(self.answer)
        return self.answer
