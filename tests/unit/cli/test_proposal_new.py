"""`pyccf proposal new`: every action from its flags, judged by the constitution itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyccf import constitutions
from pyccf.apps.js import governance
from pyccf.cli.actions import ACTIONS, ActionSpec, Flag, Kind
from pyccf.cli.options import SandboxInfo
from pyccf.codec import cose
from pyccf.crypto import certs
from support.cli import Run
from support.constitution import Constitution
from support.fake_service import FakeService
from support.service import member, node_identity, person, service_identity

CREATE = "/gov/members/proposals:create"
HEX_ID = "ab" * 32
PRINT_NAMES = "\nexport function names() { return [...actions.keys()].join(); }"


@pytest.fixture(scope="module")
def constitution() -> Constitution:
    return Constitution("test", "test", "roles", "virtual")


def names_of(constitution: Constitution) -> list[str]:
    return governance.run(
        constitution.text + PRINT_NAMES,
        "constitution",
        "names",
        [],
        tx=constitution.world.store.tx(),
        access="GOV_RO",
    ).text.split(",")


def test_the_table_has_the_actions_of_our_constitutions(constitution: Constitution) -> None:
    assert sorted(ACTIONS) == sorted(names_of(constitution))
    assert sum(spec.of == "default" for spec in ACTIONS.values()) == 41
    assert {spec.of for spec in ACTIONS.values()} == {"default", *constitutions.EXTRAS}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that flags may name, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "SERVICE_CERT", "CERT", "KEY", "WORKSPACE"):
        monkeypatch.delenv(f"PYCCF_{name}", raising=False)
    key = member("newcomer").encryption_pub_key
    assert key is not None
    (tmp_path / "cert.pem").write_text(person("newcomer").cert)
    (tmp_path / "service.pem").write_text(service_identity().cert_pem)
    (tmp_path / "enc.pem").write_text(key)
    (tmp_path / "policy.rego").write_text("package policy\n")
    (tmp_path / "c1.js").write_text("export function validate(i) {}\n")
    (tmp_path / "c2.js").write_text(
        "export function resolve(p, i, v) {}\nexport function apply(p, i) {}\n"
    )
    jwk = {"kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    app = tmp_path / "app" / "src"
    app.mkdir(parents=True)
    (app / "a.js").write_text("export function f() {}")
    endpoint = {
        "js_module": "a.js",
        "js_function": "f",
        "forwarding_required": "sometimes",
        "authn_policies": [],
        "mode": "readonly",
        "openapi": {},
    }
    (app.parent / "app.json").write_text(json.dumps({"endpoints": {"/x": {"get": endpoint}}}))
    return tmp_path


VALUES: dict[str, list[str]] = {
    "encryption_pub_key": ["enc.pem"],
    "next_service_identity": ["service.pem"],
    "previous_service_identity": ["service.pem"],
    "service_identity": ["service.pem"],
    "security_policy": ["policy.rego"],
    "constitution": ["c1.js", "c2.js"],
    "bundle": ["app"],
    "member_id": [HEX_ID],
    "user_id": [HEX_ID],
    "node_id": [node_identity().node_id],
    "cpuid": ["00a00f11"],
    "host_data": [hashlib.sha256(b"package policy\n").hexdigest()],
    "recovery_threshold": ["2"],
    "recent_cose_proposals_window_size": ["50"],
    "proposal_count": ["50"],
    "validity_period_days": ["30"],
    "jwks": ["@jwks.json"],
    "issuer": ["https://issuer.test/x"],
    "recovery_role": ["Owner"],
    "valid_from": ["20270101000000Z"],
    "actions": ["read", "write"],
}
"""What flags are given; others by their kind."""
OF_KIND = {
    Kind.TEXT: ["some text"],
    Kind.PEM: ["cert.pem"],
    Kind.JSON: ['{"a": 1}'],
    Kind.NUMBER: ["1000000"],
}


def given(spec: ActionSpec, flag: Flag) -> list[str]:
    if flag.kind is Kind.YES_NO:
        return [flag.option]
    values = VALUES.get(flag.name, OF_KIND.get(flag.kind, ["?"]))
    if flag.name == "tcb_version":
        numbers = '{"boot_loader": 1, "tee": 2, "snp": 3, "microcode": 4}'
        values = [numbers if flag.kind is Kind.JSON else "d315000000000004"]
    return [word for value in values for word in (flag.option, value)]


def words(spec: ActionSpec, *, all_flags: bool) -> Iterator[str]:
    yield spec.name
    for flag in spec.flags:
        if all_flags or flag.required:
            yield from given(spec, flag)


NEEDS_A_POLICY = "add_snp_host_data"


@pytest.mark.parametrize("all_flags", [False, True], ids=["required", "all"])
@pytest.mark.parametrize("name", ACTIONS)
def test_what_is_written_is_valid(
    run: Run, files: Path, constitution: Constitution, name: str, all_flags: bool
) -> None:
    spec = ACTIONS[name]
    ran = run("proposal", "new", *words(spec, all_flags=all_flags))
    if name == NEEDS_A_POLICY and not all_flags:
        assert (ran.code, "Give --security-policy, or --host-data" in ran.err) == (2, True)
        return
    assert (ran.code, ran.err) == (0, "")
    (action,) = json.loads(ran.out)["actions"]
    assert action["name"] == name
    assert constitution.validate((name, action["args"])) == ""
    if spec.flags and all_flags:
        assert set(action["args"]) == {flag.name for flag in spec.flags}


def args_of(run: Run, *arguments: object) -> Any:
    ran = run("proposal", "new", *arguments)
    assert (ran.code, ran.err) == (0, "")
    (action,) = json.loads(ran.out)["actions"]
    return action["args"]


def test_kinds_of_flags(run: Run, files: Path) -> None:
    made = args_of(run, "set_user", "--cert", "cert.pem", "--user-data", '{"a": [1, null]}')
    assert made == {"cert": person("newcomer").cert, "user_data": {"a": [1, None]}}
    parts = ("--constitution", "c1.js", "--constitution", "c2.js")
    made = args_of(run, "set_constitution", *parts)
    assert (
        made["constitution"] == (files / "c1.js").read_text() + "\n" + (files / "c2.js").read_text()
    )
    (files / "mine").mkdir()
    (files / "mine" / "b.js").write_text("two")
    (files / "mine" / "a.js").write_text("one")
    made = args_of(run, "set_constitution", "--constitution", "mine")
    assert made == {"constitution": "one\ntwo"}
    made = args_of(run, "set_role_definition", "--role", "r")
    assert made == {"role": "r", "actions": []}
    made = args_of(run, "set_jwt_issuer", "--issuer", "i", "--no-auto-refresh")
    assert made == {"issuer": "i", "auto_refresh": False}
    made = args_of(run, "set_js_app", "--bundle", "app")
    assert made["bundle"]["modules"] == [{"name": "a.js", "module": "export function f() {}"}]
    assert "disable_bytecode_cache" not in made
    (files / "app" / "src" / "notes.txt").write_text("no JavaScript")
    assert args_of(run, "set_js_app", "--bundle", "app")["disable_bytecode_cache"] is True
    kept = args_of(run, "set_js_app", "--bundle", "app", "--no-disable-bytecode-cache")
    assert kept["disable_bytecode_cache"] is False
    made = args_of(run, "add_snp_host_data", "--security-policy", "policy.rego")
    assert made["host_data"] == VALUES["host_data"][0]
    made = args_of(run, "add_snp_host_data", "--host-data", "ab")
    assert made == {"security_policy": "", "host_data": "ab"}


def test_times_are_now_unless_given(run: Run, files: Path) -> None:
    made = args_of(run, "set_service_certificate_validity")
    begin = certs.parse_validity_text(made["valid_from"])
    assert begin > 1_700_000_000
    assert "validity_period_days" not in made


def test_several_actions_make_one_proposal(run: Run, files: Path) -> None:
    ran = run(
        *("proposal", "new", "--out", "p.json"),
        *("set_user", "--cert", "cert.pem", "remove_user", "--user-id", HEX_ID),
        *("custom", "--name", "own", "--args", '{"x": 1}', "custom", "--name", "bare"),
    )
    assert ran.code == 0
    assert "pyccf proposal create p.json" in ran.out
    made = json.loads((files / "p.json").read_text())["actions"]
    assert [action["name"] for action in made] == ["set_user", "remove_user", "own", "bare"]
    assert made[2:] == [{"name": "own", "args": {"x": 1}}, {"name": "bare", "args": None}]
    told = run("proposal", "new", "--json", "--out", "p.json", "trigger_snapshot").json
    assert told == {"file": "p.json", "actions": ["trigger_snapshot"]}
    printed = run("proposal", "new", "--json", "trigger_snapshot").json
    assert printed == {"actions": [{"name": "trigger_snapshot", "args": None}]}


def test_submitting_at_once(run: Run, service: FakeService, sandbox: SandboxInfo) -> None:
    answer = {"proposalId": "cd" * 32, "proposerId": "m", "proposalState": "Open"}
    service.on("POST", CREATE, answer)
    arguments = ("remove_user", "--user-id", HEX_ID)
    ran = run("proposal", "new", "--submit", "--out", "p.json", *arguments)
    assert (ran.code, "Open" in ran.out) == (0, True)
    envelope = cose.parse_sign1(service.requests[-1].content, rules=cose.MEMBER)
    assert envelope.payload == Path("p.json").read_bytes()
    assert run("proposal", "new", "--submit", "--json", *arguments).json["proposalState"] == "Open"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("set_usr",), "Did you mean set_user or set_user_data? For one of your own"),
        (("nothing_like_it",), "custom --name nothing_like_it --args JSON"),
        (("set_user",), "Missing option '--cert'"),
        (("set_user", "--submit", "--cert", "cert.pem"), "--submit must stand before the first"),
        (("set_user", "--nonsense", "1"), "No such option"),
        (("set_recovery_threshold", "--recovery-threshold", "two"), "not a valid int"),
    ],
)
def test_wrong_calls(run: Run, files: Path, arguments: tuple[str, ...], text: str) -> None:
    ran = run("proposal", "new", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert text in ran.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("set_user", "--cert", "none.pem"), "Could not read none.pem"),
        (("set_user", "--cert", "jwks.json"), "jwks.json is not a PEM file"),
        (("set_user", "--cert", "key.pem"), "key.pem holds a private key"),
        (("set_user", "--cert", "cert.pem", "--user-data", "{"), "--user-data is not JSON"),
        (("set_user", "--cert", "cert.pem", "--user-data", "@c1.js"), "c1.js is not JSON"),
        (("set_js_app", "--bundle", "none"), "There is no folder none"),
        (("set_js_app", "--bundle", "python"), "Python application"),
        (("--out", "none/p.json", "trigger_snapshot"), "Could not write none/p.json"),
        (("--submit", "trigger_snapshot"), "No service given"),
    ],
)
def test_bad_input_is_named(run: Run, files: Path, arguments: tuple[str, ...], text: str) -> None:
    (files / "key.pem").write_text(person("newcomer").key.pem())
    (files / "python").mkdir()
    (files / "python" / "app.py").write_text("")
    ran = run("proposal", "new", *arguments)
    assert (ran.code, ran.out) == (1, "")
    assert text in ran.err


def test_help_of_every_action(run: Run) -> None:
    listed = run("proposal", "new", "--help").out
    for name, spec in ACTIONS.items():
        assert name in listed
        told = run("proposal", "new", name, "--help").out
        assert all(flag.option in told for flag in spec.flags)


def test_completion_knows_actions_and_flags(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pyccf.cli import main as program

    def complete(words: str) -> list[str]:
        monkeypatch.setenv("_PYCCF_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        with pytest.raises(SystemExit):
            program.main([])
        return [line.partition(",")[2] for line in capsys.readouterr().out.splitlines()]

    assert complete("pyccf proposal new set_u") == ["set_user", "set_user_data"]
    assert complete("pyccf proposal new set_member --rec") == ["--recovery-role"]
    roles = complete("pyccf proposal new set_member --recovery-role ")
    assert roles == ["NonParticipant", "Participant", "Owner"]
    after = complete("pyccf proposal new trigger_snapshot trigger_ledger_")
    assert after == ["trigger_ledger_rekey", "trigger_ledger_chunk"]
