"""`pyccf network`: what it prints, proposes and waits for, with three nodes in dictionaries."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pyccf.cli import network as commands
from pyccf.cli.keys import make_identity
from pyccf.cli.options import Party, SandboxInfo, SandboxNode, read_sandbox
from pyccf.client import Identity
from pyccf.codec import cose
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from support.cli import Run
from support.fake_network import IDS, FakeNetwork
from support.fake_service import URLS, FakeService

ADDRESSES = [url.removeprefix("https://") for url in URLS]
PROPOSALS = "/gov/members/proposals"
ID = "cd" * 32


@pytest.fixture
def network(
    service: FakeService, sandbox: SandboxInfo, monkeypatch: pytest.MonkeyPatch
) -> FakeNetwork:
    """Three nodes, known to the sandbox of the current folder, which has two members."""
    folder = Path(sandbox.workspace)
    second = make_identity(folder, "member1", entropy=SeededEntropy("m1"), now=1_795_258_291)
    nodes = [SandboxNode(url, node_id, 1) for url, node_id in zip(URLS, IDS, strict=True)]
    members = [*sandbox.members, Party(second.cert, second.key)]
    info = msgspec.structs.replace(sandbox, nodes=nodes, members=members)
    (folder / "sandbox.json").write_bytes(msgspec.json.encode(info))
    monkeypatch.setattr(commands, "POLL_S", 0.001)
    return FakeNetwork(service)


def line_of(out: str, name: str) -> list[str]:
    """The cells of a table's line."""
    (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
    return line.split()


# -- status --------------------------------------------------------------------------------------


def test_status(run: Run, network: FakeNetwork) -> None:
    network.nodes[1].last = "2.1200"
    network.nodes[0].last = "2.3634"
    network.publish()
    ran = run("network", "status")
    assert (ran.code, ran.err) == (0, "")
    assert "Service Open, view 2, primary node0, 3 of 3 trusted nodes answer" in ran.out
    assert line_of(ran.out, "node0")[2:8] == ["Trusted", "primary", "2", "2.3634", "2.38", "0"]
    assert line_of(ran.out, "node1")[2:] == [
        *("Trusted", "backup", "2", "2.1200", "2.38", "2,434", "12", "ms", ADDRESSES[1])
    ]
    assert "1,234 ms" in ran.out


def test_status_of_a_network_in_trouble(run: Run, network: FakeNetwork) -> None:
    network.service.down = {ADDRESSES[1]}
    out = run("network", "status").out
    assert "2 of 3 trusted nodes answer" in out
    assert line_of(out, "node1")[2:5] == ["Trusted", "no", "answer"]
    network.service.down = {ADDRESSES[1], ADDRESSES[2]}
    assert "has no majority: nothing is committed" in run("network", "status").out
    network.service.down = {ADDRESSES[0]}
    assert "There is no primary" in run("network", "status").out
    network.service.down = set(ADDRESSES)
    ran = run("network", "status")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 2


def test_status_of_two_primaries_and_a_retired_node(run: Run, network: FakeNetwork) -> None:
    one, gone = network.nodes[1], network.nodes[2]
    one.leadership, one.view = "Leader", 4
    gone.leadership, gone.phase = None, "Completed"
    network.status[2] = "Retired"
    network.removable = {2}
    network.publish()
    out = run("network", "status").out
    assert "primary node1" in out
    assert "node0 also takes itself for the primary, in the older view 2." in out
    assert "none (Completed)" in out
    assert "Retired, removable" in out
    assert "Retired, removable" in run("network", "nodes").out


def test_status_as_json(run: Run, network: FakeNetwork) -> None:
    network.service.down = {ADDRESSES[2]}
    said = run("network", "status", "--json").json
    assert said["service_status"] == "Open"
    assert said["primary_id"] == IDS[0]
    assert said["can_commit"] is True
    first, _, down = said["nodes"]
    assert (first["name"], first["last"], first["committed"]) == ("node0", "2.40", "2.38")
    assert (down["status"], down["role"]) == ("Trusted", None)
    assert "Connection refused" in down["problem"]


def test_watching(run: Run, network: FakeNetwork) -> None:
    ran = run("network", "status", "--watch", "--count", 2, "--interval", 0.1)
    assert ran.code == 0
    assert "entries/s" in ran.out
    assert "node2" in ran.out
    ran = run("network", "status", "--watch", "--count", 2, "--interval", 0.1, "--json")
    assert [json.loads(line)["view"] for line in ran.out.splitlines()] == [2, 2]
    network.service.down = set(ADDRESSES)
    ran = run("network", "status", "--watch", "--count", 1)
    assert ran.code == 0
    assert "Connection refused" in ran.out
    ran = run("network", "status", "--watch", "--count", 1, "--json")
    assert "Connection refused" in ran.json["error"]


def test_watching_ends_with_ctrl_c(
    run: Run, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pyccf.cli.network.time.sleep", interrupt)
    ran = run("network", "status", "--watch")
    assert (ran.code, ran.err) == (0, "")
    assert "node0" in ran.out


@pytest.mark.parametrize(
    ("width", "shown", "left_out"),
    [(200, {"id", "address"}, set()), (80, {"behind"}, {"address"}), (40, set(), {"heard", "id"})],
)
def test_watching_in_a_narrow_terminal(
    run: Run,
    network: FakeNetwork,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    shown: set[str],
    left_out: set[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = run("network", "status", "--watch", "--count", 1).out
    (heading,) = [line.split() for line in out.splitlines() if line.split()[:1] == ["node"]]
    assert shown <= set(heading)
    assert not left_out & set(heading)
    assert ("address" in heading) == (width == 200)


def test_nodes(run: Run, network: FakeNetwork) -> None:
    network.status[1] = "Pending"
    network.publish()
    out = run("network", "nodes").out
    assert line_of(out, IDS[0]) == [IDS[0], "Trusted", "primary", ADDRESSES[0]]
    assert line_of(out, IDS[1]) == [IDS[1], "Pending", ADDRESSES[1]]
    said = run("network", "nodes", "--json").json
    assert [(n["status"], n["removable"]) for n in said][1] == ("Pending", False)


# -- wait ----------------------------------------------------------------------------------------


def test_waiting_for_what_is(run: Run, network: FakeNetwork) -> None:
    for node in network.nodes:
        node.committed = "2.40"
    network.publish()
    ran = run("network", "wait", "--nodes", 3, "--timeout", 0)
    assert (ran.code, ran.err) == (0, "")
    assert "primary node0" in ran.out
    assert run("network", "wait", "--committed", "2.40", "--timeout", 0, "--json").json["view"] == 2


def test_waiting_until_a_backup_has_it(run: Run, network: FakeNetwork) -> None:
    for node in network.nodes[:2]:
        node.committed = "2.40"
    network.publish()
    late: dict[str, Any] = {"transaction_id": "2.40"}
    network.service.on("GET", f"{URLS[2]}/node/commit", late)
    assert run("network", "wait", "--timeout", 5).code == 0
    asked = [r for r in network.service.requests if str(r.url) == f"{URLS[2]}/node/commit"]
    assert len(asked) == 2


def broken(network: FakeNetwork, how: str) -> None:
    one = network.nodes[1]
    match how:
        case "down":
            network.service.down = {ADDRESSES[1]}
        case "view":
            one.view = 1
        case "behind":
            one.committed = "2.12"
        case "election":
            network.nodes[0].leadership = "Follower"
        case "all":
            network.service.down = set(ADDRESSES)
    network.publish()


@pytest.mark.parametrize(
    ("how", "options", "problem"),
    [
        ("down", [], "node1 does not answer"),
        ("view", [], "node1 is in view 1, the primary in 2"),
        ("behind", ["--committed", "2.30"], "node1 has committed 2.12, not yet 30"),
        ("election", [], "there is no primary"),
        ("all", [], "Connection refused"),
        ("none", ["--nodes", "4"], "3 of 4 nodes are trusted"),
    ],
)
def test_waiting_in_vain(
    run: Run, network: FakeNetwork, how: str, options: list[str], problem: str
) -> None:
    broken(network, how)
    ran = run("network", "wait", "--timeout", 0, *options)
    assert ran.code == 1
    assert "Waited 0 s in vain" in ran.err
    assert problem in ran.err
    assert len(ran.err.splitlines()) == 2


def test_waiting_for_nonsense(run: Run, network: FakeNetwork) -> None:
    assert run("network", "wait", "--committed", "2").code == 2


# -- trust and remove ----------------------------------------------------------------------------


def govern(network: FakeNetwork, sandbox: SandboxInfo, *states: str) -> list[Identity]:
    """Answers to a proposal and its votes, by both members."""
    folder = Path(sandbox.workspace)
    members = [
        Identity.load(folder / f"member{i}_cert.pem", folder / f"member{i}_privk.pem")
        for i in range(2)
    ]

    def proposal(state: str) -> dict[str, object]:
        return {"proposalId": ID, "proposerId": members[0].id, "proposalState": state}

    network.service.on("POST", f"{PROPOSALS}:create", proposal(states[0]))
    for member, state in zip(members, states[1:], strict=False):
        path = f"{PROPOSALS}/{ID}/ballots/{member.id}:submit"
        network.service.on("POST", path, proposal(state))
    return members


def proposed(network: FakeNetwork) -> Any:
    (request,) = [r for r in network.service.requests if r.url.path == f"{PROPOSALS}:create"]
    envelope = cose.parse_sign1(request.content, rules=cose.MEMBER)
    (action,) = json.loads(envelope.payload or b"null")["actions"]
    return action


def test_trust(run: Run, network: FakeNetwork, sandbox: SandboxInfo) -> None:
    network.status[2] = "Pending"
    network.publish()
    govern(network, sandbox, "Open", "Open", "Accepted")
    ran = run("network", "trust", "cc")
    assert (ran.code, ran.err) == (0, "")
    assert "node2 is trusted" in ran.out
    action = proposed(network)
    assert action["name"] == "transition_node_to_trusted"
    assert action["args"]["node_id"] == IDS[2]
    assert certs.parse_validity_text(action["args"]["valid_from"]) > 1_700_000_000
    assert len([r for r in network.service.requests if "/ballots/" in r.url.path]) == 2


def test_a_trusted_node_gets_a_name(run: Run, network: FakeNetwork, sandbox: SandboxInfo) -> None:
    nodes = [SandboxNode(URLS[i], IDS[i], 1) for i in range(2)]
    info = read_sandbox(Path(sandbox.workspace))
    assert info is not None
    msgspec.structs.replace(info, nodes=nodes).save()
    network.status[2] = "Pending"
    network.publish()
    govern(network, sandbox, "Accepted")
    assert run("network", "trust", "cc").code == 0
    assert line_of(run("network", "status").out, "node2")[1] == "cc" * 8 + "…"
    known = read_sandbox(Path(sandbox.workspace))
    assert known is not None
    assert known.nodes[2] == SandboxNode(URLS[2], IDS[2], 0)


def test_trust_needs_more_votes(run: Run, network: FakeNetwork, sandbox: SandboxInfo) -> None:
    network.status[2] = "Pending"
    network.publish()
    govern(network, sandbox, "Open", "Open", "Open")
    member = sandbox.members[0]
    where = ["--url", URLS[0], "--service-cert", sandbox.service_cert]
    ran = run("network", "trust", IDS[2], *where, "--cert", member.cert, "--key", member.key)
    assert ran.code == 0
    assert "is trusted" not in ran.out
    words = shlex.split(ran.out.splitlines()[-1])
    assert words[-7:] == ["proposal", "vote", ID, *where]
    assert run("network", "trust", IDS[2], *where).code == 1


@pytest.mark.parametrize(
    ("status", "node", "problem"),
    [
        ("Trusted", "node2", "node2 is trusted already"),
        ("Retired", "node2", "a retired node does not come back|node2 is retired"),
        ("Pending", "dd", "There is no one node dd"),
    ],
)
def test_trust_is_refused(
    run: Run, network: FakeNetwork, sandbox: SandboxInfo, status: str, node: str, problem: str
) -> None:
    network.status[2] = status
    network.publish()
    ran = run("network", "trust", node)
    assert ran.code == 1
    assert any(one in ran.err for one in problem.split("|"))
    assert all(r.method == "GET" for r in network.service.requests)


def test_a_proposal_that_fails(run: Run, network: FakeNetwork, sandbox: SandboxInfo) -> None:
    govern(network, sandbox, "Failed")
    ran = run("network", "remove", "node2")
    assert ran.code == 1
    assert f"The proposal {ID} is Failed" in ran.err


def test_remove(run: Run, network: FakeNetwork, sandbox: SandboxInfo) -> None:
    govern(network, sandbox, "Accepted")
    for url in URLS[1:]:
        nothing: dict[str, Any] = {"nodes": []}
        done = {"nodes": [{"node_id": IDS[0], "status": "Retired", "primary": False}]}
        key = ("GET", f"{url}/node/network/removable_nodes")
        network.service.answers[key].clear()
        network.service.on(*key, nothing)  # for the look
        network.service.on(*key, nothing)
        network.service.on(*key, done)
    ran = run("network", "remove", "node0")
    assert (ran.code, ran.err) == (0, "")
    assert proposed(network) == {"name": "remove_node", "args": {"node_id": IDS[0]}}
    # Nobody asks the removed node how its removal goes.
    begin = [r.method for r in network.service.requests].index("POST")
    assert {r.url.host for r in network.service.requests[begin:]} == {"second.test"}
    assert "node0 is retired: stop its process" in ran.out
    known = read_sandbox(Path(sandbox.workspace))
    assert known is not None
    assert [node.retired for node in known.nodes] == [True, False, False]
    assert known.urls == URLS[1:]
    words = shlex.split(ran.out.splitlines()[-1])
    expected = ["call", "-X", "DELETE", f"/node/network/nodes/{IDS[0]}"]
    assert words[-6:] == [*expected, "--workspace", sandbox.workspace]


def test_remove_takes_too_long(run: Run, network: FakeNetwork, sandbox: SandboxInfo) -> None:
    govern(network, sandbox, "Open", "Accepted")
    ran = run("network", "remove", "node1", "--timeout", 0)
    assert ran.code == 1
    assert "node1 is being retired" in ran.err


def test_the_only_node_is_not_removed(run: Run, network: FakeNetwork) -> None:
    network.status = ["Trusted", "Retired", "Pending"]
    network.publish()
    ran = run("network", "remove", "node0")
    assert ran.code == 1
    assert "is the only trusted node" in ran.err
    assert all(r.method == "GET" for r in network.service.requests)


def test_remove_a_pending_node(run: Run, network: FakeNetwork, sandbox: SandboxInfo) -> None:
    network.status[1] = "Pending"
    network.publish()
    govern(network, sandbox, "Accepted")
    ran = run("network", "remove", "node1")
    assert (ran.code, "is forgotten" in ran.out) == (0, True)
    assert run("network", "remove", "node1", "--json").json["proposalState"] == "Accepted"
