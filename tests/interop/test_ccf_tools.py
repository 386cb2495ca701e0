"""The original's own Python tools judge what we wrote: ledger chunks, JSON and COSE receipts.

Needs a `ccf` package that knows today's ledger format (6.x: `ccf.ledger.LedgerValidator`,
`ccf.receipt`, `ccf.cose`), and with it cbor2 5.x: its COSE library reads nothing, not even the
original's own signatures, with cbor2 6. These tests fail, and are not skipped, when an older `ccf`
is installed: nothing else in the suite is an independent judge.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve
from pyccf.ledger import receipt
from pyccf.ledger.entry import Entry, parse
from pyccf.shell.disk import LedgerDisk
from pyccf.types import Json, TxID
from support.ledgers import NOW, Identity, Service

# The tools and what they import warn about their own age.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

VERSION_MIN = 6
CLAIMS = hashlib.sha256(b"a claim").digest()


def tool(name: str) -> ModuleType:
    """A module of the original's package. Fails when that is too old to judge anything here."""
    version = importlib.metadata.version("ccf")
    assert int(version.split(".")[0]) >= VERSION_MIN, (
        f"ccf {version} is installed, which cannot read today's ledgers; "
        f"the development dependency must be ccf>={VERSION_MIN}"
    )
    return importlib.import_module(f"ccf.{name}")


def make(curve: Curve) -> Service:
    service = Service(chunk_size=4000)
    service.identity = Identity(f"interop {curve.value}", curve)
    service.genesis()
    service.sign()
    service.commit()
    service.open()
    for i in range(20):
        service.record(b"value %d" % i, private=i % 2 == 0, claims=CLAIMS)
        if i % 5 == 4:
            service.sign()
            service.commit()
    return service


@pytest.fixture(scope="module", params=[Curve.P384, Curve.P256], ids=["P-384", "P-256"])
def service(request: pytest.FixtureRequest) -> Service:
    return make(request.param)


def written(service: Service, directory: Path) -> Path:
    disk = LedgerDisk(directory)
    disk.append(service.entries)
    disk.commit(service.signed)
    disk.close()
    return directory


def judged(directory: Path) -> Any:
    """The original's validator after it has seen every chunk of a directory."""
    ledger = tool("ledger")
    validator = ledger.LedgerValidator(accept_deprecated_entry_types=False)
    # Class attributes of the original are shared between validators.
    validator.node_certificates = {}
    validator.node_activity_status = {}
    for chunk in ledger.Ledger([str(directory)], committed_only=False):
        for transaction in chunk:
            validator.add_transaction(transaction)
    return validator


def test_the_validator_accepts_our_ledger(service: Service, tmp_path: Path) -> None:
    directory = written(service, tmp_path / "ledger")
    names = sorted(p.name for p in directory.iterdir())
    assert len(names) >= 2
    assert any(name.endswith(".committed") for name in names)
    validator = judged(directory)
    assert str(validator.last_verified_txid()) == f"2.{service.signed}"
    assert validator.signature_count == sum(e.committable for e in service.entries)


def test_the_validator_follows_a_recovery(tmp_path: Path) -> None:
    service = make(Curve.P256)
    service.recover("after the disaster")
    service.sign()
    service.record(b"more")
    service.sign()
    validator = judged(written(service, tmp_path / "ledger"))
    assert str(validator.last_verified_txid()) == f"4.{service.last}"


def test_the_validator_refuses_what_was_changed(service: Service, tmp_path: Path) -> None:
    directory = written(service, tmp_path / "ledger")
    victim = min(directory.iterdir(), key=lambda p: int(p.name.split("_")[1].split("-")[0]))
    data = bytearray(victim.read_bytes())
    # The tag of the first entry: only the Merkle root can tell.
    data[8 + 8] ^= 1
    victim.write_bytes(data)
    with pytest.raises(tool("ledger").InvalidRootException):
        judged(directory)


def covering(service: Service, entry: Entry) -> Entry:
    return next(e for e in service.entries if e.committable and e.seqno > entry.seqno)


def json_receipt(service: Service, entry: Entry) -> dict[str, Any]:
    made: dict[str, Json] = receipt.json_receipt(
        parse(entry.data),
        parse(covering(service, entry).data),
        service.history.evidence(TxID(entry.view, entry.seqno)),
    )
    return made


def leaf_of(made: dict[str, Any]) -> str:
    parts = made["leaf_components"]
    return hashlib.sha256(
        bytes.fromhex(parts["write_set_digest"])
        + hashlib.sha256(parts["commit_evidence"].encode()).digest()
        + bytes.fromhex(parts["claims_digest"])
    ).hexdigest()


def certificate(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def test_json_receipts_are_accepted(service: Service) -> None:
    tools = tool("receipt")
    own = certificate(service.identity.service_cert)
    checked = 0
    for entry in service.entries[: service.signed]:
        if entry.committable:
            continue
        made = json_receipt(service, entry)
        root = tools.root(leaf_of(made), made["proof"])
        node = certificate(made["cert"])
        tools.verify(root, made["signature"], node)
        tools.check_endorsements(node, own, made.get("service_endorsements", []))
        checked += 1
    assert checked > 15


def test_the_receipt_of_a_signature_is_accepted(service: Service) -> None:
    tools = tool("receipt")
    entry = next(e for e in service.entries if e.committable)
    parsed = parse(entry.data)
    made = receipt.json_receipt(parsed, parsed, None)
    assert made["proof"] == []
    tools.verify(tools.root(made["leaf"], []), made["signature"], certificate(str(made["cert"])))


def test_a_wrong_json_receipt_is_refused(service: Service) -> None:
    tools = tool("receipt")
    made = json_receipt(service, service.entries[5])
    made["leaf_components"]["claims_digest"] = bytes(32).hex()
    root = tools.root(leaf_of(made), made["proof"])
    with pytest.raises(InvalidSignature):
        tools.verify(root, made["signature"], certificate(made["cert"]))
    other = Identity("another service", service.identity.service_key.curve)
    with pytest.raises(InvalidSignature):
        tools.check_endorsements(certificate(made["cert"]), certificate(other.service_cert), [])


def test_a_receipt_of_an_earlier_service_is_accepted_through_its_endorsement() -> None:
    tools = tool("receipt")
    service = make(Curve.P384)
    old = service.identity
    entry = service.entries[6]
    service.recover("the next service")
    new = service.identity
    endorsement = certs.endorse_service(
        old.service_cert, new.service_key, new.service_cert, SeededEntropy("endorsement")
    )
    made: Any = receipt.json_receipt(
        parse(entry.data),
        parse(covering(service, entry).data),
        service.history.evidence(TxID(entry.view, entry.seqno)),
        [endorsement],
    )
    tools.check_endorsements(
        certificate(made["cert"]),
        certificate(new.service_cert),
        [certificate(pem) for pem in made["service_endorsements"]],
    )
    assert receipt.verify_json_receipt(made, new.service_cert).txid == TxID(2, entry.seqno)


def cose_receipt(service: Service, entry: Entry) -> bytes:
    return receipt.cose_receipt(
        parse(entry.data),
        parse(covering(service, entry).data),
        service.history.evidence(TxID(entry.view, entry.seqno)),
    )


def service_key(service: Service) -> EllipticCurvePublicKey:
    key = certificate(service.identity.service_cert).public_key()
    assert isinstance(key, EllipticCurvePublicKey)
    return key


def test_cose_receipts_are_accepted(service: Service) -> None:
    verify = tool("cose").verify_receipt
    checked = 0
    for entry in service.entries[: service.signed]:
        if entry.committable:
            continue
        claims = parse(entry.data).claims
        headers = verify(cose_receipt(service, entry), service_key(service), claims)
        assert headers[395] == 2
        assert headers["ccf.v1"] == {"txid": f"2.{covering(service, entry).seqno}"}
        assert headers[15][6] == NOW
        checked += 1
    assert checked > 15


def test_wrong_cose_receipts_are_refused(service: Service) -> None:
    verify = tool("cose").verify_receipt
    made = cose_receipt(service, service.entries[5])
    with pytest.raises(ValueError, match="Claim digest mismatch"):
        verify(made, service_key(service), bytes(32))
    changed = bytearray(made)
    changed[made.index(CLAIMS)] ^= 1
    with pytest.raises(ValueError, match="Signature verification failed"):
        verify(bytes(changed), service_key(service), CLAIMS)
