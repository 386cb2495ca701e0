"""The commands that talk to a service, against a fake one: what they send and what they print."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from pyccf.cli.options import SandboxInfo
from pyccf.client import Identity
from pyccf.codec import cose
from support.cli import Run
from support.fake_service import FakeService
from support.vectors import vectors_dir

ID = "cd" * 32
PROPOSALS = "/gov/members/proposals"
SERVED = {"forwarding_required": "sometimes", "authn_policies": ["no_auth"]}


def identity(sandbox: SandboxInfo) -> Identity:
    return Identity.load(sandbox.members[0].cert, sandbox.members[0].key)


def proposal(state: str = "Open", **more: object) -> dict[str, object]:
    return {"proposalId": ID, "proposerId": "m0", "proposalState": state, "ballotCount": 1, **more}


def signed_payload(service: FakeService) -> Any:
    envelope = cose.parse_sign1(service.requests[-1].content, rules=cose.MEMBER)
    return json.loads(envelope.payload or b"null")


# -- proposals -----------------------------------------------------------------------------------


def test_create_from_a_file(
    run: Run, service: FakeService, sandbox: SandboxInfo, tmp_path: Path
) -> None:
    service.on("POST", f"{PROPOSALS}:create", proposal("Accepted"))
    (tmp_path / "p.json").write_text('{"actions": [{"name": "a", "args": {}}]}')
    ran = run("proposal", "create", tmp_path / "p.json")
    assert ran.code == 0
    assert ID in ran.out
    assert "Accepted" in ran.out
    assert signed_payload(service) == {"actions": [{"name": "a", "args": {}}]}


def test_create_one_action(run: Run, service: FakeService, sandbox: SandboxInfo) -> None:
    service.on("POST", f"{PROPOSALS}:create", proposal())
    ran = run("proposal", "create", "--action", "a", "--args", '{"x": 1}', "--json")
    assert ran.json["proposalState"] == "Open"
    assert signed_payload(service) == {"actions": [{"name": "a", "args": {"x": 1}}]}


@pytest.mark.parametrize(
    ("content", "problem"), [("{", "is not JSON"), ("[]", "does not hold a JSON object")]
)
def test_create_refuses_what_is_no_proposal(
    run: Run, service: FakeService, sandbox: SandboxInfo, tmp_path: Path, content: str, problem: str
) -> None:
    (tmp_path / "p.json").write_text(content)
    ran = run("proposal", "create", tmp_path / "p.json")
    assert ran.code == 1
    assert problem in ran.err
    assert service.requests == []
    assert run("proposal", "create", "none.json").code == 1


@pytest.mark.parametrize(
    ("options", "value"), [([], "return true"), (["--against"], "return false")]
)
def test_vote(
    run: Run, service: FakeService, sandbox: SandboxInfo, options: list[str], value: str
) -> None:
    who = identity(sandbox).id
    service.on("POST", f"{PROPOSALS}/{ID}/ballots/{who}:submit", proposal())
    assert run("proposal", "vote", ID, *options).code == 0
    assert value in signed_payload(service)["ballot"]


def test_vote_with_a_ballot_of_ones_own(
    run: Run, service: FakeService, sandbox: SandboxInfo, tmp_path: Path
) -> None:
    who = identity(sandbox).id
    service.on("POST", f"{PROPOSALS}/{ID}/ballots/{who}:submit", proposal())
    (tmp_path / "b.js").write_text("export function vote () {}")
    assert run("proposal", "vote", ID, "--ballot", tmp_path / "b.js", "--json").json
    assert signed_payload(service) == {"ballot": "export function vote () {}"}
    assert run("proposal", "vote", ID, "--ballot", "b.js", "--against").code == 2


def test_withdraw(run: Run, service: FakeService, sandbox: SandboxInfo) -> None:
    service.on("POST", f"{PROPOSALS}/{ID}:withdraw", proposal("Withdrawn"))
    assert "Withdrawn" in run("proposal", "withdraw", ID).out
    service.answers.clear()
    service.on("POST", f"{PROPOSALS}/{ID}:withdraw", status=204)
    ran = run("proposal", "withdraw", ID)
    assert ran.code == 1
    assert "There is no proposal" in ran.err


def test_show(run: Run, service: FakeService, sandbox: SandboxInfo) -> None:
    full = proposal(
        "Failed",
        finalVotes={"m0": True, "m1": False},
        voteFailures={"m2": {"reason": "bad"}},
        failure={"reason": "broke"},
    )
    service.on("GET", f"{PROPOSALS}/{ID}", full)
    service.on("GET", f"{PROPOSALS}/{ID}/actions", {"actions": [{"name": "a"}]})
    out = run("proposal", "show", ID).out
    for text in ("m0: for", "m1: against", "m2: ballot failed: bad", "broke", '"name": "a"'):
        assert text in out
    assert run("proposal", "show", ID, "--json").json["actions"] == {"actions": [{"name": "a"}]}


def test_list(run: Run, service: FakeService, sandbox: SandboxInfo) -> None:
    service.on("GET", PROPOSALS, {"value": [proposal()]})
    service.on("GET", PROPOSALS, {"value": []})
    assert ID in run("proposal", "list").out
    assert "no proposals" in run("proposal", "list").out
    assert run("proposal", "list", "--json").json == []


# -- members -------------------------------------------------------------------------------------


def test_members(run: Run, service: FakeService, sandbox: SandboxInfo) -> None:
    member = {"memberId": ID, "status": "Active", "recoveryRole": "Participant"}
    service.on("GET", "/gov/service/members", {"value": [member]})
    out = run("member", "list").out
    assert ID in out
    assert "Participant" in out
    assert run("member", "list", "--json").json[0]["memberId"] == ID


def test_ack(run: Run, service: FakeService, sandbox: SandboxInfo) -> None:
    who = identity(sandbox).id
    digests = f"/gov/members/state-digests/{who}"
    service.on("POST", f"{digests}:update", {"memberId": who, "stateDigest": "0f"})
    service.on("POST", f"{digests}:ack", status=204)
    service.on("GET", f"/gov/service/members/{who}", {"memberId": who, "status": "Active"})
    ran = run("member", "ack", "--json")
    assert ran.json == {"memberId": who, "status": "Active", "stateDigest": "0f"}
    assert "Active" in run("member", "ack", "--as", "member0").out


# -- apps ----------------------------------------------------------------------------------------


def test_deploy(run: Run, service: FakeService, sandbox: SandboxInfo, tmp_path: Path) -> None:
    app = tmp_path / "app"
    (app / "src").mkdir(parents=True)
    endpoints = {"endpoints": {"/x": {"get": {**SERVED, "js_module": "a.js", "js_function": "f"}}}}
    (app / "app.json").write_text(json.dumps(endpoints))
    (app / "src" / "a.js").write_text("export function f() {}")
    service.on("POST", f"{PROPOSALS}:create", proposal("Accepted"))
    assert "1 module" in run("app", "deploy", app).out
    assert signed_payload(service) == {
        "actions": [
            {
                "name": "set_js_app",
                "args": {
                    "bundle": {
                        "metadata": endpoints,
                        "modules": [{"name": "a.js", "module": "export function f() {}"}],
                    },
                    "disable_bytecode_cache": False,
                },
            }
        ]
    }
    (app / "app.py").write_text("")
    ran = run("app", "deploy", app)
    assert ran.code == 1
    assert "Python application" in ran.err


def test_app_show(run: Run, service: FakeService, sandbox: SandboxInfo) -> None:
    endpoint = {
        "js_module": "/a.js",
        "js_function": "f",
        "mode": "readonly",
        "authn_policies": ["user_cert", {"all_of": ["jwt", "any_cert"]}],
    }
    service.on("GET", "/gov/service/javascript-app", {"endpoints": {"/x": {"GET": endpoint}}})
    service.on("GET", "/gov/service/javascript-app", {"endpoints": {}})
    service.on("GET", "/gov/service/javascript-modules", {"value": [{"moduleName": "/a.js"}]})
    service.on("GET", "/gov/service/javascript-modules", {"value": []})
    out = run("app", "show").out
    for text in ("GET", "/app/x", "/a.js:f", "user_cert, jwt+any_cert", "Modules: /a.js"):
        assert text in out
    assert "No JavaScript application" in run("app", "show").out
    assert run("app", "show", "--json").json == {"endpoints": {}, "modules": []}


# -- calls ---------------------------------------------------------------------------------------


def test_call(run: Run, service: FakeService, sandbox: SandboxInfo) -> None:
    headers = {"x-ms-ccf-transaction-id": "2.9", "content-type": "application/json"}
    service.on("GET", "/app/log", {"msg": "hi"}, headers=headers)
    ran = run("call", "/app/log?id=1")
    assert (ran.code, ran.out) == (0, '{"msg": "hi"}\n')
    assert ran.err == "status 200, transaction 2.9\n"
    answer = run("call", "/app/log?id=1", "--json").json
    assert answer["body"] == {"msg": "hi"}
    assert (answer["status"], answer["transaction_id"], answer["receipt"]) == (200, "2.9", None)
    assert "x-ms-ccf-transaction-id: 2.9" in run("call", "/app/log", "-i").out


def test_call_with_data_and_headers(
    run: Run, service: FakeService, sandbox: SandboxInfo, tmp_path: Path
) -> None:
    service.on("POST", "/app/log", status=204)
    service.on("PUT", "/app/log", "text")
    assert run("call", "/app/log", "-d", '{"a":1}', "-H", "X-Y: z: w").code == 0
    sent = service.requests[-1]
    assert (sent.method, sent.content) == ("POST", b'{"a":1}')
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["x-y"] == "z: w"
    (tmp_path / "body").write_bytes(b"\x00\xff")
    run("call", "/app/log", "-X", "put", "-d", f"@{tmp_path / 'body'}", "-H", "content-type: a/b")
    sent = service.requests[-1]
    assert (sent.method, sent.content, sent.headers["content-type"]) == ("PUT", b"\x00\xff", "a/b")
    assert run("call", "/app/log", "-d", "@none").code == 1
    assert run("call", "/app/log", "-H", "nonsense").code == 2


def test_call_that_is_refused(run: Run, service: FakeService, sandbox: SandboxInfo) -> None:
    service.refuse("GET", "/app/log", 403, "AuthorizationFailed", "no")
    ran = run("call", "/app/log")
    assert ran.code == 1
    assert "AuthorizationFailed" in ran.out
    assert run("call", "/app/log", "--json").json["status"] == 403


def test_call_with_a_receipt(run: Run, service: FakeService, sandbox: SandboxInfo) -> None:
    receipt = base64.b64encode(b'{"leaf":"00"}').decode()
    service.on("POST", "/app/log", None, headers={"x-pyccf-receipt": receipt})
    ran = run("call", "/app/log", "-d", "1", "--wait", "receipt", "--timeout-ms", 9, "--json")
    assert ran.json["receipt"] == {"leaf": "00"}
    assert service.requests[-1].headers["x-pyccf-wait-timeout-ms"] == "9"


def test_call_signed(run: Run, service: FakeService, sandbox: SandboxInfo) -> None:
    service.on("POST", "/app/sign", status=200)
    assert run("call", "/app/sign", "--sign", "-d", "x", "--as", "user1").code == 0
    sent = service.requests[-1]
    assert sent.headers["content-type"] == "application/cose"
    envelope = cose.parse_sign1(sent.content, rules=cose.USER)
    user = Identity.load(sandbox.users[1].cert, sandbox.users[1].key)
    assert (envelope.payload, envelope.kid) == (b"x", user.id.encode())


# -- receipts ------------------------------------------------------------------------------------


def test_receipt_get(run: Run, service: FakeService, sandbox: SandboxInfo, tmp_path: Path) -> None:
    service.on("GET", "/node/receipt", {"proof": []})
    assert json.loads(run("receipt", "get", "2.9").out) == {"proof": []}
    assert run("receipt", "get", "2.9", "--json").json == {"proof": []}
    ran = run("receipt", "get", "2.9", "-o", tmp_path / "r.json")
    assert "written to" in ran.out
    assert json.loads((tmp_path / "r.json").read_text()) == {"proof": []}
    assert run("receipt", "get", "nonsense").code == 1
    assert run("receipt", "get", "2.9", "-o", tmp_path / "none" / "r").code == 1


def test_receipt_verify_refuses(run: Run, sandbox: SandboxInfo, tmp_path: Path) -> None:
    bad = tmp_path / "r.json"
    for content, problem in {
        b"{": "neither a COSE receipt nor JSON",
        b"[]": "does not hold a receipt",
        b"{}": "leaf",
        b"\xd2\x00": "COSE receipt",
    }.items():
        bad.write_bytes(content)
        ran = run("receipt", "verify", bad, "--service-cert", sandbox.service_cert)
        assert ran.code == 1
        assert problem in ran.err
    cert = ("--service-cert", sandbox.service_cert)
    assert "64 hex" in run("receipt", "verify", bad, *cert, "--claims", "xy").err
    assert "not a PEM" in run("receipt", "verify", bad, "--service-cert", bad).err
    bad.write_bytes(Path(sandbox.service_cert).read_bytes() + b"\xff")
    empty = tmp_path / "empty.json"
    empty.write_text("{}")
    assert len(run("receipt", "verify", empty, "--service-cert", bad).err.splitlines()) == 2
    assert run("receipt", "verify", tmp_path / "none", *cert).code == 1
    assert run("receipt", "verify", bad).code == 2


def test_receipt_verify_of_a_recorded_one(run: Run, tmp_path: Path) -> None:
    folder = vectors_dir() / "ccf" / "transcripts"
    for line in (folder / "common.jsonl").read_text().splitlines():
        exchange = json.loads(line)
        if exchange["name"] == "receipt":
            (tmp_path / "r.json").write_text(exchange["response"]["body"])
    for line in (folder / "opening.jsonl").read_text().splitlines():
        exchange = json.loads(line)
        if exchange["name"] == "service info, open":
            info = json.loads(exchange["response"]["body"])
            (tmp_path / "s.pem").write_text(info["certificate"])
    cert = ("--service-cert", tmp_path / "s.pem")
    ran = run("receipt", "verify", tmp_path / "r.json", *cert, "--json")
    assert ran.json["valid"] is True
    assert ran.json["transaction_id"] == "2.36"
    assert "is valid" in run("receipt", "verify", tmp_path / "r.json", *cert).out
    spoiled = (tmp_path / "r.json").read_text().replace('"left":"', '"left":"00', 1)
    (tmp_path / "r.json").write_text(spoiled)
    assert run("receipt", "verify", tmp_path / "r.json", *cert).code == 1


# -- all -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["app", "show"],
        ["member", "list"],
        ["proposal", "list"],
        ["proposal", "show", ID],
        ["receipt", "get", "2.1", "--timeout", "0"],
        ["member", "ack"],
        ["proposal", "vote", ID],
    ],
)
def test_a_refusal_by_the_service_is_two_lines(
    run: Run, service: FakeService, sandbox: SandboxInfo, arguments: list[str]
) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (1, "")
    assert len(ran.err.splitlines()) == 2
    assert "404" in ran.err
