"""A service is killed and comes back from its files, by node programs and members' commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509

from pyccf.audit.read import parsed_entries
from pyccf.audit.verify import verify
from pyccf.client import Client, ServiceError
from pyccf.client.types import Action
from pyccf.crypto import certs
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.ledger import receipt as receipts
from pyccf.service import tables
from pyccf.shell.hardware import SystemEntropy
from support.process import NodeProcess, make_config
from support.recovery_commands import client, pyccf, until

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

PATIENCE_S = 60.0

MODULE = """
const tables = () => [ccf.kv["records"], ccf.kv["public:records"]];
const bytes = (text) => ccf.strToBuf(text);
export function write(request) {
  const {key, value} = request.body.json();
  for (const table of tables()) table.set(bytes(key), bytes(value));
  return {body: true};
}
export function read(request) {
  const [secret, open] = tables().map((table) => table.get(bytes(request.params.key)));
  const text = (value) => (value === undefined ? null : ccf.bufToStr(value));
  return {body: {private: text(secret), public: text(open)}};
}
"""


def _endpoint(function: str, mode: str) -> dict[str, Any]:
    return {
        "js_module": "app.js",
        "js_function": function,
        "mode": mode,
        "forwarding_required": "always" if mode == "readwrite" else "sometimes",
        "redirection_strategy": "none",
        "authn_policies": ["no_auth"],
        "openapi": {},
    }


BUNDLE: dict[str, Any] = {
    "metadata": {
        "endpoints": {
            "/record": {"post": _endpoint("write", "readwrite")},
            "/record/{key}": {"get": _endpoint("read", "readonly")},
        }
    },
    "modules": [{"name": "app.js", "module": MODULE}],
}


class Left(NamedTuple):
    """What a service left: its folder, and a transaction with the receipt a client kept."""

    folder: Path
    txid: str
    receipt: dict[str, Any]


def begin(folder: Path, **changes: Any) -> NodeProcess:
    """A new open service with an application that has a private table."""
    config = make_config(folder)
    config["output_files"] |= changes
    config["node_certificate"] = {"initial_validity_days": 10}
    (folder / "config.json").write_text(json.dumps(config))
    node = NodeProcess(folder)
    node.wait_ready()
    with client(node, folder) as member:
        until(lambda: _acked(member), "the first signature")
        member.submit([Action("set_js_app", {"bundle": BUNDLE, "disable_bytecode_cache": False})])
        cert = (folder / "service_cert.pem").read_text()
        member.submit([Action("transition_service_to_open", {"next_service_identity": cert})])
    until(lambda: node.get("/node/ready/app")[0] == 204, "the service to open")
    return node


def _acked(member: Client) -> bool:
    try:
        member.ack()
    except ServiceError:
        return False
    return True


def recover_config(folder: Path, old: Path, ledger: Path) -> dict[str, Any]:
    """A folder for a node that recovers from a copy of a ledger."""
    folder.mkdir()
    shutil.copytree(ledger, folder / "ledger")
    shutil.copyfile(old / "service_cert.pem", folder / "previous.pem")
    return {
        "network": {
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": {"main": {"bind_address": "127.0.0.1:0"}},
        },
        "node_certificate": {"initial_validity_days": 10},
        "command": {
            "type": "Recover",
            "recover": {
                "initial_service_certificate_validity_days": 10,
                "previous_service_identity_file": "previous.pem",
            },
        },
        "ledger_signatures": {"delay": "50ms"},
        "output_files": {"rpc_addresses_file": "rpc.json", "pid_file": "node.pid"},
    }


def recover(folder: Path, old: Path, keys: Path, **changes: Any) -> NodeProcess:
    """Start a node in recovery and have the member bring the service back."""
    config = recover_config(folder, old, old / "ledger") | changes
    (folder / "config.json").write_text(json.dumps(config))
    node = NodeProcess(folder)
    node.wait_ready()
    assert pyccf(node, keys, "recover", "status")["serviceStatus"] == "Recovering"
    early = pyccf(node, keys, "member", "recover", "--enc-key", "x.pem", status=1)
    assert "have not accepted the recovered service yet" in early
    previous = ("--previous-identity", str(folder / "previous.pem"))
    accepted = pyccf(node, keys, "recover", "accept", *previous)
    assert accepted["proposalState"] == "Accepted"
    key = str(keys / "member0_enc_privk.pem")
    told = pyccf(node, keys, "member", "recover", "--enc-key", key)
    assert told["message"].endswith("End of recovery procedure initiated")
    until(lambda: node.get("/node/ready/app")[0] == 204, "the service to open again")
    return node


def write(node: NodeProcess, key: str, value: str) -> str:
    """Write to a private and a public table; the transaction's id."""
    body = json.dumps({"key": key, "value": value}).encode()
    status, headers, answer = node.request("POST", "/app/record", body)
    assert status == 200, answer
    return headers["x-ms-ccf-transaction-id"]


def read(node: NodeProcess, key: str) -> Any:
    status, _, body = node.request("GET", f"/app/record/{key}")
    assert status == 200, body
    return json.loads(body)


def receipt(node: NodeProcess, txid: str) -> dict[str, Any]:
    """The receipt of a transaction, waited for."""
    found: list[bytes] = []

    def there() -> bool:
        status, body = node.get(f"/app/receipt?transaction_id={txid}")
        found[:] = [body]
        return status == 200

    until(there, f"the receipt of {txid}")
    return dict(json.loads(found[0]))


def newest_snapshot(folder: Path) -> tuple[int, Path]:
    """Seqno and file of the last snapshot that is complete."""
    files = (folder / "snapshots").glob("*.committed")
    return max((int(file.name.split("_")[1]), file) for file in files)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """What a service left that was killed in the middle of writing."""
    folder = tmp_path_factory.mktemp("service")
    with begin(folder) as node:
        txid = write(node, "a", "before")
        early = receipt(node, txid)
        begins = certs.time_text(int(time.time()) - 60)
        with client(node, folder) as member:
            validity = {"valid_from": begins, "validity_period_days": 20}
            member.submit([Action("trigger_snapshot", None)])
            seqno = int(txid.split(".")[1])
            until(lambda: newest_snapshot(folder)[0] > seqno, "the snapshot")
            member.submit([Action("trigger_ledger_rekey", None)])
            member.submit([Action("set_service_certificate_validity", validity)])
            member.submit([Action("set_all_nodes_certificate_validity", validity)])
        write(node, "b", "after the rekey")
        until(lambda: read(node, "b")["private"] == "after the rekey", "the write")
        receipt(node, write(node, "c", "last"))
    # What a crash leaves: the beginning of one more entry.
    (tail,) = (f for f in (folder / "ledger").iterdir() if not f.name.endswith("committed"))
    with tail.open("ab") as file:
        file.write(tail.read_bytes()[8:400])
    return Left(folder, txid, early)


def judged(ledger: Path) -> None:
    """The ledger is accepted by the original's tools, and by ours."""
    report = verify(ledger)
    assert report.ok, report.error
    tools = pytest.importorskip("ccf.ledger")
    validator = tools.LedgerValidator(accept_deprecated_entry_types=False)
    validator.node_certificates = {}
    validator.node_activity_status = {}
    for chunk in tools.Ledger([str(ledger)], committed_only=False):
        for transaction in chunk:
            validator.add_transaction(transaction)
    assert validator.last_verified_txid().seqno == report.last_valid.seqno  # type: ignore[union-attr]


def check_receipt(found: dict[str, Any], service_cert: str) -> None:
    """A receipt is good for a service, by the original's tools and by ours."""
    receipts.verify_json_receipt(found, service_cert)
    tools = pytest.importorskip("ccf.receipt")
    parts = found["leaf_components"]
    evidence = sha256(parts["commit_evidence"].encode()).digest()
    digests = bytes.fromhex(parts["write_set_digest"]), bytes.fromhex(parts["claims_digest"])
    leaf = sha256(digests[0] + evidence + digests[1]).hexdigest()
    node = x509.load_pem_x509_certificate(found["cert"].encode())
    root = x509.load_pem_x509_certificate(service_cert.encode())
    tools.verify(tools.root(leaf, found["proof"]), found["signature"], node)
    endorsements = [
        x509.load_pem_x509_certificate(pem.encode())
        for pem in found.get("service_endorsements", [])
    ]
    tools.check_endorsements(node, root, endorsements)


def test_a_killed_service_comes_back_again_and_again(service: Left, tmp_path: Path) -> None:
    folder, old = service.folder, service.folder
    original = (folder / "service_cert.pem").read_text()
    for number in (1, 2):
        again = tmp_path / f"again{number}"
        with recover(again, old, folder) as node:
            assert read(node, "a") == {"private": "before", "public": "before"}
            assert read(node, "b")["private"] == "after the rekey"
            assert read(node, "c")["private"] == "last"
            txid = write(node, f"d{number}", "new")
            identity = (again / "service_cert.pem").read_text()
            # Receipts from before: kept by clients, or fetched anew, which endorses them.
            check_receipt(service.receipt, original)
            anew = receipt(node, service.txid)
            assert anew["proof"] == service.receipt["proof"]
            assert anew["service_endorsements"]
            check_receipt(anew, identity)
            check_receipt(receipt(node, txid), identity)
            assert pyccf(node, folder, "recover", "status")["recoveryCount"] == number
            late = pyccf(
                node,
                folder,
                "member",
                "recover",
                "--enc-key",
                str(folder / "member0_enc_privk.pem"),
                status=1,
            )
            assert "does not wait for recovery shares" in late
            assert node.stop() == 0
        judged(again / "ledger")
        assert not list((again / "ledger").glob("*.recovery*"))
        old = again
    kept = sorted(f.name for f in (tmp_path / "again1" / "ledger").glob("ledger_*.ignored"))
    assert kept, "the torn file is kept as it was"
    assert "no complete entry" in (tmp_path / "again1" / "ledger" / f"why_{kept[-1]}").read_text()
    assert "no complete entry" in (tmp_path / "again1" / "out.txt").read_text()


def test_nodes_join_a_service_while_it_is_recovered(service: Left, tmp_path: Path) -> None:
    folder = service.folder
    first = tmp_path / "first"
    config = recover_config(first, folder, folder / "ledger")
    (first / "config.json").write_text(json.dumps(config))
    with NodeProcess(first) as node:
        node.wait_ready()
        host, port = node.address()
        second = tmp_path / "second"
        second.mkdir()
        shutil.copyfile(first / "service_cert.pem", second / "service_cert.pem")
        joins = {
            "type": "Join",
            "join": {"target_rpc_address": f"{host}:{port}", "retry_timeout": "100ms"},
        }
        (second / "config.json").write_text(json.dumps(config | {"command": joins}))
        with NodeProcess(second) as other:
            other.wait_ready()
            state = json.loads(other.get("/node/state")[1])
            assert state["state"] == "PartOfPublicNetwork"
            previous = ("--previous-identity", str(first / "previous.pem"))
            pyccf(node, folder, "recover", "accept", *previous)
            # Members may talk to any node.
            key = str(folder / "member0_enc_privk.pem")
            pyccf(other, folder, "member", "recover", "--enc-key", key)
            for one in (node, other):
                until(lambda one=one: one.get("/node/ready/app")[0] == 204, "it to open")  # type: ignore[misc]
                assert read(one, "b") == {"private": "after the rekey", "public": "after the rekey"}
            write(other, "d", "by way of the second")
            until(lambda: read(other, "d")["private"] == "by way of the second", "replication")
            assert other.stop() == 0
            assert node.stop() == 0
    judged(first / "ledger")
    judged(second / "ledger")
    both = [
        {f.name: f.read_bytes() for f in (x / "ledger").glob("*.committed")}
        for x in (first, second)
    ]
    shared = both[0].keys() & both[1].keys()
    assert shared
    assert all(both[0][name] == both[1][name] for name in shared)


def test_without_the_ledger_before_a_snapshot(service: Left, tmp_path: Path) -> None:
    """One node recovers, another joins, from the service's snapshot; what came before is lost."""
    folder = service.folder
    at, snapshot = newest_snapshot(folder)
    heap = tmp_path / "heap"
    shutil.copytree(folder / "ledger", heap)
    for file in heap.iterdir():
        end = file.name.partition("-")[2]
        if end and int(end.removesuffix(".committed")) <= at:
            file.unlink()
    shutil.copy(snapshot, heap)
    base = recover_config(tmp_path / "base", folder, folder / "ledger")
    (tmp_path / "base.json").write_text(json.dumps(base))
    first, second = tmp_path / "first", tmp_path / "second"
    words = [
        *(sys.executable, "-m", "pyccf.cli.main", "recover", "inspect", str(heap)),
        *("--base", str(tmp_path / "base.json"), "--write", str(first / "config.json")),
    ]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert f"Missing: entries 1 to {at}" in told
    with NodeProcess(first) as node:
        node.wait_ready()
        assert json.loads(node.get("/node/state")[1])["startup_seqno"] == at
        host, port = node.address()
        second.mkdir()
        shutil.copyfile(first / "service_cert.pem", second / "service_cert.pem")
        joins = {
            "type": "Join",
            "join": {"target_rpc_address": f"{host}:{port}", "retry_timeout": "100ms"},
        }
        (second / "config.json").write_text(json.dumps(base | {"command": joins}))
        with NodeProcess(second) as other:
            other.wait_ready()
            assert json.loads(other.get("/node/state")[1])["startup_seqno"] == at
            previous = ("--previous-identity", str(folder / "service_cert.pem"))
            pyccf(node, folder, "recover", "accept", *previous)
            key = str(folder / "member0_enc_privk.pem")
            pyccf(other, folder, "member", "recover", "--enc-key", key)
            for one in (node, other):
                until(lambda one=one: one.get("/node/ready/app")[0] == 204, "it to open")  # type: ignore[misc]
                assert read(one, "a") == {"private": "before", "public": "before"}
                assert read(one, "c")["private"] == "last"
            write(other, "d", "new")
            until(lambda: read(other, "d")["private"] == "new", "replication")
            assert other.stop() == 0
            assert node.stop() == 0


def refused(folder: Path, config: dict[str, Any]) -> str:
    """The error text of a node that does not start."""
    (folder / "config.json").write_text(json.dumps(config))
    with NodeProcess(folder) as node:
        assert node.process.wait(PATIENCE_S) != 0
        return node.err.read_text()


def contents(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir()}


def test_what_cannot_be_recovered_is_refused_and_left_alone(service: Left, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    config = recover_config(folder, service.folder, service.folder / "ledger")
    for torn in (folder / "ledger").glob("*"):
        if not torn.name.endswith("committed"):
            torn.unlink()
    before = contents(folder / "ledger")
    other = PrivateKey.generate(Curve.P384, SystemEntropy())
    (folder / "previous.pem").write_text(
        certs.self_signed(
            other, "CN=Other", not_before=int(time.time()), days=1, entropy=SystemEntropy()
        )
    )
    assert "The ledger is of another service than" in refused(folder, config)
    assert contents(folder / "ledger") == before
    assert not (folder / "service_cert.pem").exists()
    (folder / "node.pid").unlink()
    (folder / "previous.pem").write_text("nothing")
    assert "not a certificate" in refused(folder, config)
    (folder / "node.pid").unlink()
    shutil.rmtree(folder / "ledger")
    shutil.copyfile(service.folder / "service_cert.pem", folder / "previous.pem")
    assert "There is no ledger to recover in ledger" in refused(folder, config)
    shutil.copyfile(service.folder / "service_cert.pem", folder / "service_cert.pem")
    (folder / "node.pid").unlink()
    config["command"]["recover"]["previous_service_identity_file"] = "service_cert.pem"
    assert "is the previous service identity" in refused(folder, config)


def test_a_heap_of_files_becomes_a_configuration_that_recovers_it(
    service: Left, tmp_path: Path
) -> None:
    """Files of two hosts, none of which has all of them, in a state."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    for i, file in enumerate(sorted((service.folder / "ledger").iterdir())):
        shutil.copy(file, (one, two)[i % 2] / file.name)
    (one / "ledger_1-3.committed").write_bytes(b"rubbish")
    base = recover_config(tmp_path / "base", service.folder, service.folder / "ledger")
    (tmp_path / "base.json").write_text(json.dumps(base))
    words = [
        *(sys.executable, "-m", "pyccf.cli.main", "recover", "inspect", str(one), str(two)),
        *("--base", str(tmp_path / "base.json"), "--write", str(tmp_path / "new" / "config.json")),
    ]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "damaged" in told
    assert "Found entry" in told, "of the tail, which holds the beginning of another entry"
    new = tmp_path / "new"
    with NodeProcess(new) as node:
        node.wait_ready()
        folder = service.folder
        previous = ("--previous-identity", str(new / "previous_service_identity.pem"))
        pyccf(node, folder, "recover", "accept", *previous)
        key = str(folder / "member0_enc_privk.pem")
        pyccf(node, folder, "member", "recover", "--enc-key", key)
        until(lambda: node.get("/node/ready/app")[0] == 204, "the service to open")
        assert read(node, "c")["private"] == "last"
        assert node.stop() == 0
    judged(new / "ledger")
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def sealed_config(folder: Path, old: Path) -> dict[str, Any]:
    """A node that recovers with the secrets that another one kept, and keeps its own."""
    config = recover_config(folder, old, old / "ledger")
    config["command"]["recover"]["previous_sealed_ledger_secret_location"] = "previous_sealed"
    config["output_files"]["sealed_ledger_secret_location"] = "sealed"
    return config


def test_with_a_sealed_secret_no_shares_are_needed(tmp_path: Path) -> None:
    folder, again = tmp_path / "service", tmp_path / "again"
    folder.mkdir()
    with begin(folder, sealed_ledger_secret_location="sealed") as node:
        write(node, "a", "before")
        with client(node, folder) as member:
            member.submit([Action("trigger_ledger_rekey", None)])
        receipt(node, write(node, "b", "after the rekey"))
        assert "INSECURE: ledger secrets are sealed" in (folder / "out.txt").read_text()
    sealed = sorted((folder / "sealed").iterdir())
    assert len(sealed) == 2
    assert all(file.stat().st_mode & 0o077 == 0 for file in sealed)
    config = sealed_config(again, folder)
    (again / "previous_sealed").mkdir()
    assert "No sealed ledger secret in previous_sealed can be opened" in refused(again, config)
    (again / "node.pid").unlink()
    shutil.rmtree(again)
    for number in (1, 2):
        # The machine restarts, and restarts once more.
        again = tmp_path / f"again{number}"
        config = sealed_config(again, folder)
        (again / "config.json").write_text(json.dumps(config))
        shutil.copytree(folder / "sealed", again / "previous_sealed")
        with NodeProcess(again) as node:
            node.wait_ready()
            previous = ("--previous-identity", str(again / "previous.pem"))
            pyccf(node, tmp_path / "service", "recover", "accept", *previous)
            until(lambda: node.get("/node/ready/app")[0] == 204, "the service to open")
            assert read(node, "a")["private"] == "before"
            assert read(node, "b")["private"] == "after the rekey"
            receipt(node, write(node, f"c{number}", "anew"))
            assert node.stop() == 0
        folder = again
    judged(again / "ledger")
    told = [
        row["will_locally_seal_ledger_secrets"]
        for _, entry in parsed_entries([again / "ledger"])
        for raw in entry.public_maps().get(tables.NODES_INFO, {}).values()
        if (row := json.loads(raw or b"{}"))["status"] == "Trusted"
    ]
    assert told == [True] * 3, "of the node that began, and of the two that recovered"
