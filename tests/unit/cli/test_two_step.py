"""`pyccf proposal prepare` and `finish`, with a vault played by the test."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from pyccf.cli.options import SandboxInfo
from pyccf.client import Identity
from pyccf.client.two_step import read_signature
from pyccf.codec import cose
from pyccf.crypto import cosesign
from support.cli import Run
from support.fake_service import NOW, FakeService, make_identity

ID = "cd" * 32
PROPOSALS = "/gov/members/proposals"


@pytest.fixture
def member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Identity:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYCCF_CERT", raising=False)
    Path("p.json").write_text('{"actions": []}')
    return make_identity(tmp_path, "m")


def sign(who: Identity, prepared: str = "prepared.json", signature: str = "signature.json") -> None:
    """What a vault does."""
    asked = json.loads(Path(prepared).read_text())
    assert asked["alg"] == "ES384"
    der = who.key.sign_digest(base64.b64decode(asked["value"]))
    raw = read_signature(der, who.key.curve)
    answer = {"kid": "k", "value": base64.urlsafe_b64encode(raw).decode().rstrip("=")}
    Path(signature).write_text(json.dumps(answer))


def envelope(data: bytes, who: Identity) -> Any:
    parsed = cose.parse_sign1(data, rules=cose.MEMBER)
    assert cosesign.verify1(parsed, who.key.public)
    return parsed


MESSAGES = [
    (("p.json",), "proposal", {"actions": []}),
    (("--content", "p.json"), "proposal", {"actions": []}),
    (("--type", "ballot", "--for", "--proposal-id", ID), "ballot", "return true"),
    (("--type", "ballot", "--against", "--proposal-id", ID), "ballot", "return false"),
    (("--type", "ballot", "--ballot", "b.js", "--proposal-id", ID), "ballot", "() => 1"),
    (("--type", "ack", "--state-digest", "ab"), "ack", {"stateDigest": "ab"}),
    (("--type", "recovery_share", "--share", "share"), "recovery_share", {"share": "c2hhcmU="}),
    (("--type", "withdrawal", "--proposal-id", ID), "withdrawal", None),
    (("--type", "state_digest"), "state_digest", None),
]


@pytest.mark.parametrize("group", ["proposal", "member"])
@pytest.mark.parametrize(("arguments", "kind", "payload"), MESSAGES)
def test_everything_that_is_signed(
    run: Run, member: Identity, group: str, arguments: tuple[str, ...], kind: str, payload: Any
) -> None:
    Path("share").write_text("c2hhcmU=\n")
    Path("b.js").write_text("export const vote = () => 1;")
    common = ("--cert", "m_cert.pem", "--created-at", NOW, "--out", "prepared.json")
    prepared = run(group, "prepare", *arguments, *common)
    assert prepared.code == 0
    assert "finish prepared.json SIGNATURE --submit" in prepared.err
    sign(member)
    finished = run(group, "finish", "prepared.json", "signature.json", "--out", "request")
    assert finished.code == 0
    assert "Wrote request. POST it to /gov/" in finished.err
    parsed = envelope(Path("request").read_bytes(), member)
    assert parsed.headers["ccf.gov.msg.type"] == kind
    assert parsed.headers["ccf.gov.msg.created_at"] == NOW
    assert parsed.headers.get("ccf.gov.msg.proposal_id") == (ID if ID in arguments else None)
    if payload is None:
        assert parsed.payload == b""
    elif isinstance(payload, str):
        assert payload in json.loads(parsed.payload)["ballot"]
    else:
        assert json.loads(parsed.payload) == payload


def test_printed_for_a_pipe(run: Run, member: Identity) -> None:
    printed = run("proposal", "prepare", "p.json", "--cert", "m_cert.pem").out
    assert list(json.loads(printed))[:2] == ["alg", "value"]
    assert abs(json.loads(printed)["created_at"] - time.time()) < 60


def test_without_the_prepared_file(run: Run, member: Identity) -> None:
    said = ("--type", "proposal", "--content", "p.json", "--cert", "m_cert.pem")
    when = ("--created-at", "2026-11-21T16:10:00+00:00")
    run("proposal", "prepare", *said, *when, "--out", "prepared.json")
    sign(member)
    for given in (("signature.json",), ("--signature", "signature.json")):
        assert run("proposal", "finish", *given, *said, *when, "--out", "request").code == 0
        parsed = envelope(Path("request").read_bytes(), member)
        assert parsed.headers["ccf.gov.msg.created_at"] == 1_795_277_400
    ran = run("proposal", "finish", "signature.json", *said, "--out", "request")
    assert (ran.code, "--created-at" in ran.err) == (2, True)
    later = ("--created-at", "1795277401")
    ran = run("proposal", "finish", "signature.json", *said, *later, "--out", "request")
    assert (ran.code, "not one of this message" in ran.err) == (1, True)


def test_sent_to_the_service(
    run: Run, service: FakeService, sandbox: SandboxInfo, tmp_path: Path
) -> None:
    who = Identity.load(sandbox.members[0].cert, sandbox.members[0].key)
    Path("p.json").write_text('{"actions": []}')

    def submit(path: str, *arguments: str) -> None:
        run("proposal", "prepare", *arguments, "--cert", str(who.cert_path), "--out", "prepared")
        sign(who, "prepared", "signature")
        service.on("POST", path, {"proposalState": "Open", "ballotCount": 1})
        ran = run("proposal", "finish", "prepared", "signature", "--submit")
        assert ran.code == 0
        assert "proposalState:" in ran.out
        assert service.requests[-1].headers["content-type"] == "application/cose"
        assert envelope(service.requests[-1].content, who)

    submit(f"{PROPOSALS}:create", "p.json")
    submit(
        f"{PROPOSALS}/{ID}/ballots/{who.id}:submit",
        *("--type", "ballot", "--for", "--proposal-id", ID),
    )
    path = f"/gov/members/state-digests/{who.id}:ack"
    service.on("POST", path, status=204)
    arguments = ("--type", "ack", "--state-digest", "ab", "--cert", str(who.cert_path))
    run("member", "prepare", *arguments, "--out", "prepared")
    sign(who, "prepared", "signature")
    assert "accepted" in run("member", "finish", "prepared", "signature", "--submit").out
    service.answers.clear()
    service.refuse("POST", path, 400, "StateDigestMismatch", "not the one")
    ran = run("member", "finish", "prepared", "signature", "--submit")
    assert (ran.code, "StateDigestMismatch" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("prepare",), 2, "--cert"),
        (("prepare", "--cert", "m_cert.pem"), 2, "Say what the proposal holds"),
        (("prepare", "p.json", "--content", "p.json", "--cert", "c"), 2, "either FILE or"),
        (("prepare", "--for", "--cert", "m_cert.pem"), 2, "belongs to --type ballot"),
        (("prepare", "p.json", "--share", "p.json", "--cert", "c"), 2, "Give only one of"),
        (
            ("prepare", "--type", "ballot", "--for", "--cert", "m_cert.pem"),
            1,
            "must be named",
        ),
        (
            ("prepare", "p.json", "--cert", "m_cert.pem", "--created-at", "noon"),
            1,
            "noon is neither Unix seconds",
        ),
        (("prepare", "p.json", "--cert", "none.pem"), 1, "Could not read none.pem"),
        (("prepare", "p.json", "--cert", "p.json"), 1, "certificate of the member cannot be"),
        (("finish", "--out", "x"), 2, "Give PREPARED and SIGNATURE"),
        (("finish", "p.json", "p.json"), 2, "Give either --submit, or --out"),
        (("finish", "p.json", "p.json", "--out", "x", "--type", "ack"), 2, "nothing more to say"),
        (("finish", "p.json", "p.json", "--out", "x"), 1, "not a message prepared by"),
    ],
)
def test_wrong_calls(
    run: Run, member: Identity, arguments: tuple[str, ...], code: int, text: str
) -> None:
    ran = run("proposal", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert text in ran.err
