"""`pyccf sandbox` with a real node: opened, used as it says, stopped, and its ledger verified."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyccf.cli.examples import EXAMPLES_MAX
from pyccf.client import Client, CommitTimeout, ServiceError
from pyccf.client.types import Action
from pyccf.ledger.receipt import verify_json_receipt
from support.programs import program
from support.sandbox_program import READY_S, STOP_S, Sandbox, run
from support.tokens import Issuer, bearer

PYTHON_APP = """\
from pyccf.apps.python import App, AppContext

app = App(title="Hello", version="1.0.0")

@app.get("/hello", auth=[])
def hello(ctx: AppContext) -> str:
    return "hello"
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A service with three members and two users."""
    folder = tmp_path_factory.mktemp("sandbox")
    one = Sandbox(folder, "--json", "--members", "3", "--users", "2")
    try:
        yield one
    finally:
        one.stop()


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    info = sandbox.info
    user = info["users"][0]
    with Client(
        info["nodes"][0]["url"], str(info["service_cert"]), cert=user["cert"], key=user["key"]
    ) as found:
        yield found


def test_what_is_printed(sandbox: Sandbox) -> None:
    info = sandbox.info
    assert set(info) == {"nodes", "service_cert", "members", "users", "ledgers", "workspace"}
    (node,) = info["nodes"]
    assert set(node) == {"url", "node_id", "pid"}
    os.kill(int(node["pid"]), 0)
    assert [set(m) for m in info["members"]] == [{"cert", "key", "enc_key"}] * 3
    assert [set(u) for u in info["users"]] == [{"cert", "key"}] * 2
    for party in (*info["members"], *info["users"]):
        assert all(Path(path).is_absolute() and Path(path).is_file() for path in party.values())
    assert Path(str(info["ledgers"][0])).is_dir()
    assert json.loads((sandbox.workspace / "sandbox.json").read_text()) == info


def test_the_service_is_open_and_governed(sandbox: Sandbox, client: Client) -> None:
    assert client.service_info().status == "Open"
    assert client.node_state().node_id == sandbox.info["nodes"][0]["node_id"]
    assert [m.status for m in client.members()] == ["Active"] * 3
    assert len(client.users()) == 2
    states = [p.proposal_state for p in client.proposals()]
    assert states
    assert set(states) == {"Accepted"}
    assert "/log/private" in client.javascript_app()


def test_a_record_with_its_receipt(sandbox: Sandbox, client: Client) -> None:
    reply = client.post("/app/log/private", json={"id": 1, "msg": "hi"}, wait="receipt").check()
    assert reply.receipt is not None
    assert reply.txid is not None
    assert client.get("/app/log/private?id=1").check().json() == {"msg": "hi"}
    service = Path(str(sandbox.info["service_cert"])).read_text()
    assert verify_json_receipt(reply.receipt, service).txid == reply.txid
    again = client.receipt(reply.txid)
    assert verify_json_receipt(again, service).txid == reply.txid
    client.wait_for_commit(reply.txid)


def test_waiting_shorter_than_a_commit_takes(client: Client) -> None:
    for _ in range(20):  # a signature may come by chance within the millisecond
        reply = client.post(
            "/app/log/private", json={"id": 2, "msg": "x"}, wait="commit", wait_timeout_ms=1
        )
        if reply.status == 504:
            break
    with pytest.raises(CommitTimeout) as caught:
        reply.check()
    assert caught.value.txid is not None
    client.wait_for_commit(caught.value.txid)


def test_refusals(client: Client) -> None:
    with pytest.raises(ServiceError) as caught:
        client.get("/app/nothing").check()
    assert (caught.value.status, caught.value.code) == (404, "ResourceNotFound")


def test_commands_find_the_sandbox(sandbox: Sandbox, tmp_path: Path) -> None:
    where = ("--workspace", str(sandbox.workspace))
    assert len(json.loads(run("member", "list", "--json", *where, cwd=tmp_path).stdout)) == 3
    said = run("call", "/app/log/public", "-d", '{"id":5,"msg":"m"}', *where, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    txid = said.stderr.split()[-1]
    said = run("receipt", "get", txid, "-o", "r.json", *where, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    cert = str(sandbox.workspace / "service_cert.pem")
    said = run("receipt", "verify", "r.json", "--service-cert", cert, "--json", cwd=tmp_path)
    assert json.loads(said.stdout)["transaction_id"] == txid
    said = run("proposal", "create", "--action", "nonsense", *where, cwd=tmp_path)
    assert said.returncode == 1
    assert "ProposalFailedToValidate" in said.stderr
    assert len(said.stderr.splitlines()) == 2
    user = str(sandbox.workspace / "user1_cert.pem")
    args = json.dumps({"user_id": "00" * 32})
    said = run(
        *("proposal", "create", "--action", "remove_user", "--args", args, *where), cwd=tmp_path
    )
    assert said.returncode == 0, said.stderr
    assert Path(user).exists()
    said = run("member", "ack", "--as", "member2", *where, cwd=tmp_path)
    assert "Active" in said.stdout


def test_a_second_one_in_the_same_workspace_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    assert sandbox.info
    said = run("sandbox", "--workspace", str(sandbox.workspace), cwd=tmp_path)
    assert said.returncode == 1
    assert "A sandbox is running" in said.stderr
    assert sandbox.process.poll() is None


def test_the_printed_lines_work_and_ctrl_c_leaves_a_good_ledger(tmp_path: Path) -> None:
    program("curl")
    program("node")
    one = Sandbox(tmp_path, "--verbose")
    try:
        said = one.wait_for("Ctrl-C stops")
        assert "Proposal transition_service_to_open accepted" in said
        lines = [line.strip() for line in said.splitlines()]
        curls = [line for line in lines if line.startswith("curl ")]
        assert 3 <= len(curls) <= EXAMPLES_MAX + 1
        for line in curls:
            ran = subprocess.run(
                [*shlex.split(line), "--silent", "--show-error", "--fail-with-body"],
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert ran.returncode == 0, (line, ran.stdout, ran.stderr)
        clients = [line for line in lines if "pyccf.client" in line or "node.js" in line]
        assert len(clients) == 2
        for line in clients:
            ran = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=60)
            assert (ran.returncode, ran.stdout.strip()) == (0, "true"), (line, ran.stderr)
        receipts = [line for line in lines if " receipt get " in line or " receipt verify " in line]
        assert len(receipts) == 2
        for line in receipts:
            ran = subprocess.run(
                shlex.split(line), cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert ran.returncode == 0, (line, ran.stderr)
    finally:
        code = one.stop()
    assert code == 0, one.err.read_text()
    assert one.err.read_text() == ""
    assert (one.workspace / "node0" / "err").read_text() == ""
    (command,) = [x for x in one.out.read_text().splitlines() if "ledger verify" in x]
    ran = subprocess.run(
        shlex.split(command), cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert "The ledger is valid." in ran.stdout


def test_a_node_that_dies_ends_the_sandbox(tmp_path: Path) -> None:
    one = Sandbox(tmp_path, "--json")
    try:
        os.kill(int(one.info["nodes"][0]["pid"]), signal.SIGKILL)
        assert one.process.wait(STOP_S) == 1
    finally:
        one.stop()
    assert "The node ended with exit code -9" in one.err.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a dead parent")
def test_a_sandbox_that_is_killed_leaves_no_node(tmp_path: Path) -> None:
    one = Sandbox(tmp_path, "--json")
    pid = int(one.info["nodes"][0]["pid"])
    one.stop(signal.SIGKILL)
    deadline = time.monotonic() + STOP_S
    while _alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ran = run("ledger", "verify", str(one.workspace / "node0" / "ledger"), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_python_application(tmp_path: Path) -> None:
    app = tmp_path / "application"
    app.mkdir()
    (app / "app.py").write_text(PYTHON_APP)
    one = Sandbox(tmp_path, str(app), "--json")
    try:
        info = one.info
        with Client(info["nodes"][0]["url"], str(info["service_cert"])) as client:
            assert client.get("/app/hello").check().json() == "hello"
    finally:
        assert one.stop() == 0, one.err.read_text()


CALLER = "export function caller(request) { return { body: request.caller.jwt.payload.sub }; }"
GREET = """
const greetings = "public:ccf.gov.greetings";
actions.set(
  "greet",
  new Action(
    (args) => checkType(args.text, "string", "text"),
    (args) => ccf.kv[greetings].set(getSingletonKvKey(), ccf.strToBuf(args.text)),
  ),
);
"""


def test_as_scripts_for_the_original_start_it(tmp_path: Path) -> None:
    """An application, a consortium with actions of its own, and an issuer of tokens."""
    app, issuer = tmp_path / "dist", Issuer("https://issuer.test", ec=True)
    endpoint = {
        "js_module": "caller.js",
        "js_function": "caller",
        "forwarding_required": "never",
        "authn_policies": ["jwt"],
        "mode": "readonly",
        "openapi": {},
    }
    (app / "src").mkdir(parents=True)
    (app / "src" / "caller.js").write_text(CALLER)
    (app / "app.json").write_text(json.dumps({"endpoints": {"/caller": {"get": endpoint}}}))
    (tmp_path / "greet.js").write_text(GREET)
    key_set = issuer.jwks("https://issuer.test")
    (tmp_path / "issuer.json").write_text(json.dumps({"issuer": issuer.name, "jwks": key_set}))
    one = Sandbox(
        tmp_path,
        "--json",
        *("--js-app-bundle", "dist", "--initial-member-count", "2", "--initial-user-count", "1"),
        *("--constitution", "greet.js", "--jwt-issuer", "issuer.json"),
    )
    try:
        url, folder = one.info["nodes"][0]["url"], one.workspace
        with Client(
            url,
            folder / "service_cert.pem",
            cert=folder / "member1_cert.pem",
            key=folder / "member1_privk.pem",
        ) as client:
            answer = client.get("/app/caller", headers=bearer(issuer.token(sub="alice")))
            assert answer.check().text() == "alice"
            greeted = client.submit([Action("greet", {"text": "hello"})])
            assert greeted.proposal_state == "Accepted"
        assert (folder / "member1_enc_privk.pem").exists()
        assert (folder / "user0_privk.pem").exists()
    finally:
        assert one.stop() == 0, one.err.read_text()


def test_told_to_stop_before_it_is_open(tmp_path: Path) -> None:
    one = Sandbox(tmp_path, "--json")
    deadline = time.monotonic() + READY_S
    while not (one.workspace / "node0" / "config.json").exists():  # written before the node starts
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert one.stop(signal.SIGTERM) == 0, one.err.read_text()
    assert one.out.read_text() == ""
