"""pyccf.appdev.replay and `pyccf app replay`: requests run again from a ledger."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, cast

import pytest

from pyccf import constitutions
from pyccf.appdev.past import moment
from pyccf.appdev.replay import Replayed, replay
from pyccf.appdev.requests import parse_request
from pyccf.apps.js import recording
from pyccf.cli.main import main
from pyccf.client import Client, Identity
from pyccf.client.gov_api import BALLOT_FOR
from pyccf.client.signing import MessageType
from pyccf.errors import LocalError
from pyccf.ledger.secrets import LedgerSecrets
from support.gov_story import Story, transport
from support.node import STARTED, Service
from support.transcripts import make_service

APP = """
const key = (text) => ccf.strToBuf(String(text));
export function add(request) {
  const { n } = request.body.json();
  const total = ccf.kv.totals.has(key("t")) ? Number(ccf.bufToStr(ccf.kv.totals.get(key("t")))) : 0;
  console.log("adding", n);
  ccf.kv["public:log"].set(key(request.caller.id ?? request.caller.policy), key(n));
  ccf.kv.totals.set(key("t"), key(total + n));
  if (n === 13) { ccf.kv.random.set(key("r"), key(Math.random())); }
  if (n === 14) { ccf.rpc.setClaimsDigest(ccf.crypto.digest("SHA-256", key("x"))); }
  if (n === 15) { ccf.rpc.setApplyWrites(true); throw new RangeError("unlucky"); }
  if (n === 16) {
    const { seqno } = ccf.consensus.getLastCommittedTxId();
    ccf.kv["public:view"].set(key("v"), key(ccf.consensus.getViewForSeqno(seqno)));
    ccf.kv.totals.forEach(() => {});
    ccf.kv.totals.delete(key("none"));
    try { ccf.kv["public:ccf.gov.modules"].clear(); } catch {}
  }
  return { body: total + n };
}
"""


def endpoint(record: bool, *policies: str) -> dict[str, object]:
    return {
        "js_module": "app.js",
        "js_function": "add",
        "mode": "readwrite",
        "forwarding_required": "always",
        "authn_policies": list(policies),
        **({recording.FIELD: True} if record else {}),
    }


BUNDLE = {
    "metadata": {
        "endpoints": {
            "/add": {"post": endpoint(True, "user_cert", "no_auth")},
            "/quiet": {"post": endpoint(False, "user_cert", "no_auth")},
        }
    },
    "modules": [{"name": "app.js", "module": APP}],
}


class World:
    """A service in memory that did a few things, and its ledger on disk."""

    def __init__(self, folder: Path) -> None:
        self.service: Service = make_service(constitution=constitutions.text("default", "virtual"))
        self.service.tick()
        members = [self._identity(folder, i) for i in range(len(self.service.members))]
        client = Client(
            "https://service.test",
            self.service.parts.service.cert_pem,
            transport=transport(self.service),
            unix_time=lambda: float(STARTED),
        )
        self.story = Story(client, members, self.service.tick)
        for member in members:
            self._activate(member)
        self.story.decide({"name": "set_js_app", "args": {"bundle": BUNDLE}})
        self.app_at = self.last
        self.user = self.service.members[0]
        self.story.decide({"name": "set_user", "args": {"cert": self.user.cert}})
        self.service.open_app()
        self.folder = folder / "ledger"
        self.folder.mkdir()

    def _identity(self, folder: Path, i: int) -> Identity:
        who = self.service.members[i]
        (folder / f"m{i}_cert.pem").write_text(who.cert)
        (folder / f"m{i}_privk.pem").write_text(who.key.pem())
        return Identity.load(folder / f"m{i}_cert.pem", folder / f"m{i}_privk.pem")

    def _activate(self, member: Identity) -> None:
        self.service.tick()
        digest = self.story.sign(member, MessageType.STATE_DIGEST, b"").check().json()
        payload = {"stateDigest": digest["stateDigest"]}
        self.story.sign(member, MessageType.ACK, payload).check()

    @property
    def last(self) -> int:
        return len(self.service.ledger)

    @property
    def secrets(self) -> LedgerSecrets:
        return self.service.parts.secrets

    def add(self, n: int, path: str = "add", *, user: bool = False) -> int:
        """A request; the seqno it became."""
        headers = {"authorization": "Bearer secret-token", "content-type": "application/json"}
        caller = self.user if user else None
        reply = self.service.call(
            "POST", f"/app/{path}?q=1", {"n": n}, headers=headers, caller=caller
        )
        return int(reply.headers["x-ms-ccf-transaction-id"].split(".")[1])

    def replay(self, seqno: int, **options: Any) -> Replayed:
        self.save()
        return replay(self.folder, seqno, **{"secrets": self.secrets, **options})

    def save(self) -> None:
        data = bytes(8) + b"".join(self.service.ledger)
        (self.folder / "ledger_1").write_bytes(data)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("replay"))


def texts(done: Replayed) -> list[str]:
    return [step.to_text() for step in done.steps]


# -- requests of an application -------------------------------------------------------------------


def test_a_recorded_request_writes_the_same_again(world: World) -> None:
    world.add(5)
    done = world.replay(world.add(3, user=True))
    assert done.equal
    assert done.request == "POST /app/add?q=1"
    assert (done.answer.status, done.answer.body) == (200, b"8")
    assert texts(done) == [
        "totals.has(t) = true",
        "totals.get(t) = 5",
        "info: adding 3",
        f"public:log.set({world.user.id}, 3)",
        "totals.set(t, 8)",
    ]


def test_what_is_recorded_lets_nobody_act_for_the_caller(world: World) -> None:
    seqno = world.add(1)
    world.save()
    row = moment(world.folder, seqno, world.secrets).writes[recording.TABLE][recording.KEY]
    assert row is not None
    kept = json.loads(row)
    assert kept["headers"] == {"content-type": "application/json"}
    assert base64.b64decode(kept["body_base64"]) == b'{"n": 1}'
    assert kept["caller"] == {"policy": "no_auth"}
    assert recording.TABLE not in moment(world.folder, seqno, None).writes


def test_steps_of_every_kind(world: World) -> None:
    done = world.replay(world.add(16))
    assert done.equal
    told = texts(done)
    assert "totals.forEach()" in told
    assert "totals.delete(none)" in told
    assert any(one.startswith("totals.visit(t) = ") for one in told)
    assert "refused: clear on public:ccf.gov.modules" in told
    assert any(one.startswith("public:view.set(v, ") for one in told)


def test_chance_comes_out_otherwise_and_is_told(world: World) -> None:
    done = world.replay(world.add(13))
    assert not done.equal
    assert [(one.table, one.key) for one in done.differences] == [("random", b"r")]
    shown = done.to_json()["differences"]
    assert isinstance(shown, list)
    assert set(cast("dict[str, Any]", shown[0])) == {"table", "key", "ledger", "replay"}


def test_claims_are_compared(world: World) -> None:
    seqno = world.add(14)
    assert world.replay(seqno).equal
    given = parse_request(
        b'{"method": "POST", "path": "/app/add", "body": {"n": 1}, "caller": "no_auth"}'
    )
    done = world.replay(seqno, given=given)
    assert not done.claims_equal


def test_an_exception_is_told_with_its_trace_whatever_the_options(world: World) -> None:
    done = world.replay(world.add(15))
    assert done.equal
    assert done.answer.status == 500
    assert texts(done)[-1].startswith("fail: RangeError: unlucky\n    at add (")


def test_a_request_that_is_not_in_the_ledger_is_given(world: World, tmp_path: Path) -> None:
    seqno = world.add(2, "quiet", user=True)
    with pytest.raises(LocalError, match="does not hold the request") as caught:
        world.replay(seqno)
    assert "--request" in caught.value.explain()
    raw = b'POST /app/quiet HTTP/1.1\r\ncontent-type: application/json\r\n\r\n{"n": 2}'
    done = world.replay(seqno, given=parse_request(raw), peer_cert=world.user.der)
    # The certificate is judged by the tables, and by the clock of today.
    assert done.answer.status in (200, 401)
    who = {"policy": "user_cert", "id": world.user.id}
    value = {"method": "post", "path": "app/quiet", "body": {"n": 2}, "caller": who}
    assert world.replay(seqno, given=parse_request(json.dumps(value).encode())).equal


def test_without_secrets_public_tables_are_compared(world: World) -> None:
    seqno = world.add(2, "quiet")
    given = parse_request(
        b'{"method": "POST", "path": "/app/quiet", "body": "{\\"n\\": 2}", "caller": "no_auth"}'
    )
    done = world.replay(seqno, given=given, secrets=None)
    assert not done.private_compared
    assert done.equal
    assert done.answer.body == b"2"


def test_without_an_application_there_is_nothing_to_run(world: World) -> None:
    given = parse_request(b'{"method": "POST", "path": "/app/add"}')
    with pytest.raises(LocalError, match="No JavaScript application was installed") as caught:
        world.replay(2, given=given)
    assert "Python" in caught.value.explain()


# -- requests of members --------------------------------------------------------------------------


def test_proposals_and_ballots_are_in_the_ledger(world: World) -> None:
    action = {
        "name": "set_member_data",
        "args": {"member_id": world.service.members[1].id, "member_data": {"x": 1}},
    }
    made = world.story.sign(world.story.members[0], MessageType.PROPOSAL, {"actions": [action]})
    ident = str(made.check().json()["proposalId"])
    proposed = world.last
    done = world.replay(proposed)
    assert done.equal, done.differences
    assert done.request == "POST /gov/members/proposals:create"
    told = texts(done)
    assert told[0] == "call: validate() of public:ccf.gov.constitution[0]"
    assert "call: resolve() of public:ccf.gov.constitution[0]" in told
    assert json.loads(done.answer.body)["proposalId"] == ident

    for who in world.story.members[:2]:
        world.story.sign(who, MessageType.BALLOT, {"ballot": BALLOT_FOR}, ident).check()
    done = world.replay(world.last)
    assert done.equal, done.differences
    assert json.loads(done.answer.body)["proposalState"] == "Accepted"
    told = texts(done)
    assert "call: apply() of public:ccf.gov.constitution[0]" in told
    assert any(one.startswith("public:ccf.gov.members.info.set(") for one in told)


def test_an_application_is_installed_again(world: World) -> None:
    done = world.replay(world.app_at)
    assert done.equal, done.differences
    assert any(one.startswith("public:ccf.gov.modules.set(/app.js") for one in texts(done))


def test_a_withdrawal(world: World) -> None:
    actions = {"actions": [{"name": "trigger_ledger_chunk", "args": None}]}
    who = world.story.members[0]
    made = world.story.sign(who, MessageType.PROPOSAL, actions).check().json()
    world.story.sign(who, MessageType.WITHDRAWAL, b"", str(made["proposalId"])).check()
    done = world.replay(world.last)
    assert done.equal, done.differences
    assert done.request.endswith(":withdraw")


# -- the command ----------------------------------------------------------------------------------


def secret_file(world: World, folder: Path, form: str) -> str:
    secret = world.secrets.latest()
    path = folder / "secret"
    forms = {
        "raw": secret.key,
        "hex": secret.key.hex().encode() + b"\n",
        "json": json.dumps({str(secret.version): secret.key.hex()}).encode(),
    }
    path.write_bytes(forms[form])
    return str(path)


@pytest.mark.parametrize("form", ["raw", "hex", "json"])
def test_the_command(
    world: World, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    seqno = world.add(4)
    world.save()
    words = ["app", "replay", str(world.folder), str(seqno), "--ledger-secret"]
    words.append(secret_file(world, tmp_path, form))
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f".{seqno}  POST /app/add?q=1")
    assert lines[-1] == "The request wrote what the ledger says."
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["equal"]
    assert told["steps"][0]["op"] == "has"
    assert told["answer"]["status"] == 200


def test_the_command_tells_differences(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seqno = world.add(4, "quiet")
    world.save()
    request = tmp_path / "request.json"
    request.write_text(
        '{"method": "POST", "path": "/quiet", "body": {"n": 1}, "caller": "no_auth"}'
    )
    words = ["app", "replay", str(world.folder), str(seqno), "--request", str(request)]
    assert main(words) == 1
    told = capsys.readouterr().out
    assert "  public:log no_auth\n    ledger: 4\n    replay: 1\n" in told
    assert "Private tables were sealed" in told
    request.write_text('{"method": "GET", "path": "/nowhere"}')
    assert main(words) == 1
    assert "    replay: (not written)\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["9999"], "Entry 9999 is not in the ledger"),
        (["1"], "does not hold the request"),
        (["3", "--enc-key", "x", "--ledger-secret", "y"], "not both"),
        (["3", "--request", "/no/such/file"], "Could not read"),
        (["3", "--cert", __file__], "is no certificate"),
    ],
)
def test_what_the_command_refuses(
    world: World, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.save()
    assert main(["app", "replay", str(world.folder), *words]) == 1
    assert told in capsys.readouterr().err
