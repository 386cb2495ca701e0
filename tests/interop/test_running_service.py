"""A real service run to its end, its ledger and receipts judged by PyPI's `ccf` package."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509

from pyccf.client import Client

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

APP = """
import msgspec
from pyccf.apps.python import App, AppContext, Table

app = App()
public = Table("public:records", key=int, value=str)
private = Table("records", key=int, value=str)

class Entry(msgspec.Struct):
    id: int
    msg: str

@app.post("/write", auth=["user_cert"])
def write(ctx: AppContext, body: Entry) -> bool:
    (public if body.id % 2 else private)(ctx).set(body.id, body.msg)
    ctx.set_claims(body.msg.encode())
    return True
"""


class Finished(msgspec.Struct):
    """What is left of a service that was used and stopped."""

    ledger: Path
    service_cert: str
    receipts: dict[str, dict[str, Any]]
    claims: dict[str, bytes]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("service")
    (folder / "app.py").write_text(APP)
    workspace = folder / "ws"
    process = subprocess.Popen(
        [
            *[sys.executable, "-m", "pyccf.cli.main", "sandbox", "."],
            *["--json", "--workspace", str(workspace)],
        ],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        info = json.loads(process.stdout.readline())
        user = info["users"][0]
        receipts: dict[str, dict[str, Any]] = {}
        claims: dict[str, bytes] = {}
        with Client(
            info["nodes"][0]["url"], info["service_cert"], cert=user["cert"], key=user["key"]
        ) as client:
            for i in range(30):
                wait = "receipt" if i % 10 == 9 else None
                reply = client.post("/app/write", json={"id": i, "msg": f"record {i}"}, wait=wait)
                assert reply.status == 200
                txid = str(reply.txid)
                claims[txid] = sha256(f"record {i}".encode()).digest()
                if wait:
                    assert reply.receipt is not None
                    receipts[txid] = dict(reply.receipt)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
    return Finished(
        Path(info["ledgers"][0]), Path(info["service_cert"]).read_text(), receipts, claims
    )


def test_the_validator_accepts_the_whole_ledger(finished: Finished) -> None:
    tools = importlib.import_module("ccf.ledger")
    validator = tools.LedgerValidator(accept_deprecated_entry_types=False)
    # Class attributes of the original are shared between validators.
    validator.node_certificates = {}
    validator.node_activity_status = {}
    last = 0
    for chunk in tools.Ledger([str(finished.ledger)], committed_only=False):
        for transaction in chunk:
            validator.add_transaction(transaction)
            last = transaction.gcm_header.seqno
    assert validator.last_verified_txid().seqno == last > 30
    assert validator.signature_count >= 3


def test_receipts_given_with_the_answers_are_accepted(finished: Finished) -> None:
    tools = importlib.import_module("ccf.receipt")
    service = x509.load_pem_x509_certificate(finished.service_cert.encode())
    assert len(finished.receipts) == 3
    for txid, receipt in finished.receipts.items():
        parts = receipt["leaf_components"]
        assert parts["claims_digest"] == finished.claims[txid].hex()
        evidence = sha256(parts["commit_evidence"].encode()).digest()
        leaf = sha256(
            bytes.fromhex(parts["write_set_digest"]) + evidence + finished.claims[txid]
        ).hexdigest()
        node = x509.load_pem_x509_certificate(receipt["cert"].encode())
        tools.verify(tools.root(leaf, receipt["proof"]), receipt["signature"], node)
        tools.check_endorsements(node, service, receipt.get("service_endorsements", []))


def test_commit_evidence_is_bound_to_its_transaction(finished: Finished) -> None:
    for txid, receipt in finished.receipts.items():
        assert receipt["leaf_components"]["commit_evidence"].startswith(f"ce:{txid}:")
