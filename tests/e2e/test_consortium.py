"""The life of a consortium of three, as its members live it: by commands, against a real node.

The tests tell one story, in their order.
"""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyccf import constitutions
from pyccf.cli import main as program
from pyccf.client import Client, Identity
from pyccf.client.two_step import read_signature
from pyccf.crypto import certs
from pyccf.crypto.keys import RsaPrivateKey
from support import published
from support.cli import Ran
from support.gov_story import Story
from support.process import NodeProcess, make_config

MEMBERS = {"alice": "p384", "bob": "p256", "carol": "p521"}
SHARE_SIZE = 44
PATIENCE_S = 60


class Consortium:
    """A node, and the files of those who govern its service."""

    def __init__(self, folder: Path, node: NodeProcess) -> None:
        self.folder = folder
        self.node = node
        host, port = node.address()
        self.where = (
            *("--url", f"https://{host}:{port}"),
            *("--service-cert", str(folder / "service_cert.pem")),
        )

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def as_(self, who: str) -> tuple[str, ...]:
        """Options that make a command a member's."""
        return (
            *self.where,
            *("--cert", self.file(f"{who}_cert.pem"), "--key", self.file(f"{who}_privk.pem")),
        )

    def identity(self, who: str) -> Identity:
        return Identity.load(self.file(f"{who}_cert.pem"), self.file(f"{who}_privk.pem"))

    def client(self) -> Client:
        return Client(self.where[1], self.where[3])


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    folder = tmp_path_factory.mktemp("consortium")
    for who, curve in MEMBERS.items():
        new = ("key", "new", who, "--out", str(folder), "--curve", curve, "--member", "--json")
        assert program.main(list(new)) == 0
    for who in ("dora", "user"):
        assert program.main(["key", "new", who, "--out", str(folder), "--member", "--json"]) == 0
    config = make_config(folder)
    members = [
        {
            "certificate_file": f"{who}_cert.pem",
            "encryption_public_key_file": f"{who}_enc_pubk.pem",
        }
        for who in MEMBERS
    ]
    start = {"constitution_files": ["constitution.js"], "members": members}
    config["command"]["start"] = start
    (folder / "constitution.js").write_text(constitutions.text("default"))
    (folder / "config.json").write_text(json.dumps(config))
    with NodeProcess(folder) as node:
        node.wait_ready()
        yield Consortium(folder, node)


Command = Callable[..., Ran]


@pytest.fixture
def pyccf(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command; it must succeed unless told otherwise."""
    for name in ("URL", "SERVICE_CERT", "CERT", "KEY", "WORKSPACE"):
        monkeypatch.delenv(f"PYCCF_{name}", raising=False)

    def run(*arguments: object, code: int = 0) -> Ran:
        found = program.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert found == code, captured.err
        return Ran(found, captured.out, captured.err)

    return run


def propose(c: Consortium, pyccf: Command, who: str, *actions: str) -> dict[str, Any]:
    ran = pyccf("proposal", "new", "--submit", "--json", *c.as_(who), *actions)
    found: dict[str, Any] = ran.json
    return found


def vote(c: Consortium, pyccf: Command, who: str, ident: str, *options: str) -> str:
    ran = pyccf("proposal", "vote", ident, *options, "--json", *c.as_(who))
    return str(ran.json["proposalState"])


def decide(c: Consortium, pyccf: Command, *actions: str, voters: tuple[str, ...]) -> str:
    """Propose as the first, and have all of them vote for it; its id."""
    made = propose(c, pyccf, voters[0], *actions)
    states = [vote(c, pyccf, who, made["proposalId"]) for who in voters]
    assert states == ["Open"] * (len(voters) - 1) + ["Accepted"]
    return str(made["proposalId"])


TWO = ("alice", "bob")
THREE = ("alice", "bob", "carol")


def state(c: Consortium, pyccf: Command, ident: str) -> str:
    return str(pyccf("proposal", "show", ident, "--json", *c.where).json["proposalState"])


def test_members_become_active_and_open_the_service(consortium: Consortium, pyccf: Command) -> None:
    c = consortium
    ran = pyccf("proposal", "new", "--submit", *c.as_("alice"), "trigger_snapshot", code=1)
    assert "401" in ran.err  # who has not acknowledged yet does not propose
    for who in MEMBERS:
        assert pyccf("member", "ack", "--json", *c.as_(who)).json["status"] == "Active"
    own = c.file("service_cert.pem")
    decide(c, pyccf, "transition_service_to_open", "--next-service-identity", own, voters=TWO)
    with c.client() as client:
        assert client.service_info().status == "Open"


def test_the_published_examples_against_a_real_service(consortium: Consortium) -> None:
    with consortium.client() as client:
        members = [consortium.identity(who) for who in MEMBERS]
        for version in published.VERSIONS:
            client.api_version = version
            answers = Story(client, members, lambda: None).tell()
            examples, served = published.examples(version), published.operations(version)
            for operation, example in examples.items():
                if operation not in answers or operation not in served:
                    continue
                assert str(answers[operation].status) in example["responses"], operation
                schema = served[operation][2]["responses"].get("200", {}).get("schema")
                if schema is None or operation in published.TEXTS:
                    continue
                found = answers[operation].json()
                assert not published.faults(version, schema, found), operation
            assert len(examples.keys() & answers.keys()) >= 22


def test_a_user_is_set_by_a_ballot_that_looks(consortium: Consortium, pyccf: Command) -> None:
    c = consortium
    cert = c.file("user_cert.pem")
    data = ("--user-data", '{"team": "blue"}')
    made = propose(c, pyccf, "alice", "set_user", "--cert", cert, *data)
    (c.folder / "ballot.js").write_text(
        "export function vote(proposal, by) {\n"
        "  const [action] = JSON.parse(proposal).actions;\n"
        "  return action.name === 'set_user' && action.args.user_data.team === 'blue';\n}\n"
    )
    ident = made["proposalId"]
    assert vote(c, pyccf, "carol", ident, "--against") == "Open"
    assert vote(c, pyccf, "bob", ident, "--ballot", c.file("ballot.js")) == "Open"
    assert vote(c, pyccf, "alice", ident) == "Accepted"
    shown = pyccf("proposal", "show", ident, "--json", *c.where).json
    votes = {c.identity(who).id: who != "carol" for who in MEMBERS}
    assert shown["finalVotes"] == votes
    with c.client() as client:
        user = client.user(c.identity("user").id)
        assert user.user_data == {"user_data": {"team": "blue"}}


def test_a_proposal_is_withdrawn(consortium: Consortium, pyccf: Command) -> None:
    c = consortium
    ident = propose(c, pyccf, "bob", "trigger_snapshot")["proposalId"]
    refused = pyccf("proposal", "withdraw", ident, *c.as_("alice"), code=1)
    assert "AuthorizationFailed" in refused.err
    assert "Withdrawn" in pyccf("proposal", "withdraw", ident, *c.as_("bob")).out
    late = pyccf("proposal", "vote", ident, *c.as_("alice"), code=1)
    assert "ProposalNotOpen" in late.err


def test_a_new_constitution_drops_what_was_open(consortium: Consortium, pyccf: Command) -> None:
    c = consortium
    waiting = propose(c, pyccf, "carol", "trigger_snapshot")["proposalId"]
    (c.folder / "veto.js").write_text(constitutions.text("veto"))
    decide(c, pyccf, "set_constitution", "--constitution", c.file("veto.js"), voters=TWO)
    assert state(c, pyccf, waiting) == "Dropped"
    ident = propose(c, pyccf, "alice", "trigger_ledger_chunk")["proposalId"]
    assert vote(c, pyccf, "carol", ident, "--against") == "Rejected"
    back = ("set_constitution", "--constitution", c.file("constitution.js"))
    decide(c, pyccf, *back, voters=TWO)


def share(c: Consortium, who: str) -> str:
    """A member's recovery share: encrypted, and readable with the member's key alone."""
    with c.client() as client:
        encrypted = client.encrypted_share(c.identity(who).id).encrypted_share
    key = RsaPrivateKey.from_pem((c.folder / f"{who}_enc_privk.pem").read_text())
    assert len(key.decrypt_oaep(base64.b64decode(encrypted))) == SHARE_SIZE
    return encrypted


def test_a_member_joins_with_a_part_in_recovery(consortium: Consortium, pyccf: Command) -> None:
    c = consortium
    before = share(c, "alice")
    decide(
        c,
        pyccf,
        *("set_member", "--cert", c.file("dora_cert.pem")),
        *("--encryption-pub-key", c.file("dora_enc_pubk.pem")),
        *("--member-data", '{"city": "Oslo"}', "--recovery-role", "Owner"),
        voters=TWO,
    )
    ident = c.identity("dora").id
    listed = {one["memberId"]: one for one in pyccf("member", "list", "--json", *c.where).json}
    assert listed[ident]["status"] == "Accepted"
    assert share(c, "alice") == before, "who is not active has no share"
    assert pyccf("member", "ack", "--json", *c.as_("dora")).json["status"] == "Active"
    with c.client() as client:
        member = client.member(ident)
    assert (member.recovery_role, member.member_data) == ("Owner", {"city": "Oslo"})
    assert share(c, "alice") != before
    assert share(c, "dora")


def test_rekey_and_new_shares(consortium: Consortium, pyccf: Command) -> None:
    c = consortium
    shares = [share(c, "bob")]
    for action in ("trigger_ledger_rekey", "trigger_recovery_shares_refresh"):
        decide(c, pyccf, action, voters=THREE)
        shares.append(share(c, "bob"))
    assert len(set(shares)) == 3
    lower = ("set_recovery_threshold", "--recovery-threshold", "2")
    decide(c, pyccf, *lower, voters=THREE)
    assert share(c, "bob") not in shares


def eventually(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_chunks_and_snapshots_when_members_want_them(
    consortium: Consortium, pyccf: Command
) -> None:
    c = consortium

    def closed() -> set[str]:
        return {path.name for path in (c.folder / "ledger").glob("ledger_*-*")}

    def snapshots() -> set[str]:
        return {path.name for path in (c.folder / "snapshots").glob("snapshot_*.committed")}

    before = closed()
    decide(c, pyccf, "trigger_ledger_chunk", voters=THREE)
    eventually(lambda: bool(closed() - before), "a chunk that was closed")
    kept = snapshots()
    decide(c, pyccf, "trigger_snapshot", voters=THREE)
    eventually(lambda: bool(snapshots() - kept), "a snapshot")


def test_certificates_are_renewed(consortium: Consortium, pyccf: Command) -> None:
    c = consortium
    with c.client() as client:
        service = client.service_info().certificate
        (node,) = client.service_nodes()
        days = ("--validity-period-days", "30")
        every = ("set_all_nodes_certificate_validity", *days)
        decide(c, pyccf, "set_service_certificate_validity", *days, *every, voters=THREE)
        renewed = client.service_info().certificate
        assert renewed != service
        assert certs.spki(renewed) == certs.spki(service)
        assert client.service_node(node.node_id).certificate != node.certificate
        one = ("set_node_certificate_validity", "--node-id", node.node_id)
        made = propose(c, pyccf, "alice", *one, "--validity-period-days", "366")
        votes = [vote(c, pyccf, who, made["proposalId"]) for who in TWO]
        assert votes == ["Open", "Open"]
        refused = pyccf("proposal", "vote", made["proposalId"], *c.as_("carol"), code=1)
        assert "Validity period 366 (days) is not allowed" in refused.err


def sign_and_send(c: Consortium, pyccf: Command, *arguments: str) -> dict[str, Any]:
    """What the service answers to a message that is signed as by a vault, with carol's key."""
    prepared, signature = c.file("prepared.json"), c.file("signature.json")
    own = ("--cert", c.file("carol_cert.pem"), "--out", prepared)
    pyccf("proposal", "prepare", *arguments, *own)
    asked = json.loads(Path(prepared).read_text())
    key = c.identity("carol").key
    raw = read_signature(key.sign_digest(base64.b64decode(asked["value"])), key.curve)
    Path(signature).write_text(json.dumps({"value": base64.urlsafe_b64encode(raw).decode()}))
    ran = pyccf("proposal", "finish", prepared, signature, "--submit", "--json", *c.where)
    found: dict[str, Any] = ran.json
    return found


def test_a_member_signs_with_a_key_in_a_vault(consortium: Consortium, pyccf: Command) -> None:
    c = consortium
    pyccf("proposal", "new", "--out", c.file("p.json"), "trigger_snapshot")
    ident = sign_and_send(c, pyccf, c.file("p.json"))["proposalId"]
    ballot = ("--type", "ballot", "--for", "--proposal-id", ident)
    voted = sign_and_send(c, pyccf, *ballot)
    assert (voted["proposalState"], voted["ballotCount"]) == ("Open", 1)
    gone = sign_and_send(c, pyccf, "--type", "withdrawal", "--proposal-id", ident)
    assert gone["proposalState"] == "Withdrawn"


def test_a_member_leaves(consortium: Consortium, pyccf: Command) -> None:
    c = consortium
    before = share(c, "bob")
    leaving = c.identity("dora").id
    decide(c, pyccf, "remove_member", "--member-id", leaving, voters=THREE)
    assert share(c, "bob") != before, "the ledger secret is another one"
    refused = pyccf("proposal", "new", "--submit", *c.as_("dora"), "trigger_snapshot", code=1)
    assert "401" in refused.err


def test_the_ledger_tells_it_all(consortium: Consortium, pyccf: Command) -> None:
    c = consortium
    with c.client() as client:
        (c.folder / "renewed_cert.pem").write_text(client.service_info().certificate)
    assert c.node.stop() == 0
    told = pyccf("ledger", "verify", c.file("ledger"), *c.where[2:])
    assert "The ledger is valid." in told.out


@pytest.fixture
def again(consortium: Consortium) -> Iterator[Consortium]:
    """A node that recovers from the ledger, and the same people."""
    c = consortium
    folder = c.folder / "again"
    shutil.copytree(c.folder / "ledger", folder / "ledger")
    for path in c.folder.glob("*.pem"):
        shutil.copyfile(path, folder / path.name)
    (folder / "service_cert.pem").unlink()
    config = json.loads((c.folder / "config.json").read_text())
    recover = {"previous_service_identity_file": "renewed_cert.pem"}
    config["command"] = {"type": "Recover", "recover": recover}
    (folder / "config.json").write_text(json.dumps(config))
    with NodeProcess(folder) as node:
        node.wait_ready()
        yield Consortium(folder, node)


def test_the_members_bring_the_service_back(again: Consortium, pyccf: Command) -> None:
    c = again
    identities = (
        *("--previous-service-identity", c.file("renewed_cert.pem")),
        *("--next-service-identity", c.file("service_cert.pem")),
    )
    decide(c, pyccf, "transition_service_to_open", *identities, voters=TWO)

    # The first has its share opened by a key of its own and signs elsewhere; the answer is judged
    # by what is published. The other does it in one.
    share = pyccf(
        *("member", "share", *c.where, "--cert", c.file("carol_cert.pem")),
        *("--key", c.file("carol_privk.pem"), "--enc-key", c.file("carol_enc_privk.pem")),
    ).out
    (c.folder / "share").write_text(share)
    answer = sign_and_send(c, pyccf, "--type", "recovery_share", "--share", c.file("share"))
    for version in published.VERSIONS:
        (example,) = published.examples(version)["Shares_Submit"]["responses"].values()
        assert not published.differences(example["body"], answer)
        described = published.operations(version)["Shares_Submit"][2]["responses"]["200"]
        assert not published.faults(version, described["schema"], answer)
    assert (answer["submittedCount"], answer["recoveryThreshold"]) == (1, 2)
    pyccf("member", "recover", "--enc-key", c.file("alice_enc_privk.pem"), *c.as_("alice"))
    with c.client() as client:
        eventually(lambda: client.service_info().status == "Open", "the service to be open")
        assert client.service_info().recovery_count == 1
        assert client.user(c.identity("user").id).user_data == {"user_data": {"team": "blue"}}
