"""The exchanges recorded from the original, replayed against a node of ours.

The files are played in the order in which they were recorded, on one service: each exchange needs
what those before it did. What this service cannot answer is left out by group, with the reason
(`LEFT_OUT`); where an answer may differ, `EXPECTED` says in what and why, and the difference must
be there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from pyccf import constitutions
from pyccf.codec.text import b64, unb64
from pyccf.node.frontend import InterfaceRules
from support.recovering import Recovered
from support.transcripts import LIMITS, USERS, Replay, load, make_service
from support.vectors import vectors_dir

FILES = ("opening", "common", "node", "errors", "auth", "gov")
"""Played in this order on one service; `extra` was recorded on another, just after its opening."""


COMPARED = {
    "opening": 59,
    "common": 68,
    "node": 78,
    "errors": 209,
    "auth": 211,
    "gov": 349,
    "extra": 20,
    "recovery": 75,
}
"""Exchanges that are answered and compared; the others are left out with a reason."""


class May(NamedTuple):
    """What of an answer may differ, and why."""

    why: str
    parts: tuple[str, ...] = ("body",)


OWN_WORDS = May("the document is described in our own words and by our own endpoints")
ONE_NODE = May("this network has one node with one interface")
SNAPSHOTS = "snapshots are served from files: see test_snapshot_transcripts"
BYTECODE = May("the engines' bytecode differs in size")
SHELL = May("sessions and memory are counted by the shell, which is not here")
JSON_WORDS = May("the original quotes its JSON library")
OPENSSL = May("the original quotes OpenSSL")
HASH_ORDER = May("the original lists them in the order of its hash table")

NO_BODY = May(
    "bytes after 204 and 304 would be taken for the next answer", ("body", "header content-")
)

ELECTION = May("an election of three nodes was recorded before, which took a view")
CUT_OFF = May("the original's engine cuts off the text of an error thrown by native code")
CHANCE = May("chance decides it")
OTHERS = May("members and proposals of files that need three nodes are not there")

EXPECTED: dict[str, May] = {
    "recovery: /node/network": ELECTION,
    "recovery: waiting: /node/network": ELECTION,
    "recovery: open: /node/network": ELECTION,
    "recovery: /gov/service/members": OTHERS,
    "recovery: /gov/members/proposals": OTHERS,
    "recovery: /gov/recovery/encrypted-shares/${member0_id}": CHANCE,
    "recovery: waiting: /gov/recovery/encrypted-shares/${member0_id}": CHANCE,
    "recovery: open with wrong previous identity: vote member1": CUT_OFF,
    "recovery: open with wrong next identity: vote member1": CUT_OFF,
    "recovery: open with previous identity as it was before its renewal: vote member1": CUT_OFF,
    "recovery: submit: bad base64": OPENSSL,
    "recovery: submit: no share field": JSON_WORDS,
    "recovery: submit: share a number": JSON_WORDS,
    "recovery: open: receipt of a transaction of the previous service": May(
        "the transaction is another one; that such receipts hold is tested elsewhere"
    ),
    "opening: ack without stateDigest": JSON_WORDS,
    "opening: ack with number": JSON_WORDS,
    "opening: open with wrong identity: vote member1": May(
        "the original's engine cuts off the text of an error thrown by native code"
    ),
    "common: receipt first request": May(
        "we read our own ledger at once instead of answering 202 first", ("status 200",)
    ),
    "common: app api": OWN_WORDS,
    "common: app api bare": OWN_WORDS,
    "common: gov api generated": OWN_WORDS,
    "common: gov api 2024-07-01": OWN_WORDS,
    "common: gov api preview": OWN_WORDS,
    "errors: route /app/echo/fixed/y": HASH_ORDER,
    "errors: header with empty value": May(
        "the original glues the name of an empty header to the next, a defect"
    ),
    "auth: jwk listing": May("keys of tokens may be on a curve", ("status 200, not 500",)),
    "errors: status 204": NO_BODY,
    "errors: status 304": NO_BODY,
    "errors: status 100": May(
        "after 1xx clients wait for another answer", ("status 500, not 100",)
    ),
    "errors: no host header": May("the original reports an empty header that is not there"),
    "errors: metrics after limits": SHELL,
    "auth: jwt: authorization bad base64": OPENSSL,
    "auth: jwt: authorization trailing text": OPENSSL,
    "auth: jwt_or_user: exception in first policy": OPENSSL,
    "gov: ambiguous route with details on": HASH_ORDER,
    "extra: exception at lookup closes the connection: ambiguous": HASH_ORDER,
    "gov: /node/js_metrics after actions": BYTECODE,
    "node: GET /node/version on primary": May("another engine"),
    "node: GET /node/memory on primary": SHELL,
    "node: GET /node/metrics on primary": SHELL,
    "node: GET /node/js_metrics on primary": BYTECODE,
    "node: GET /node/config on primary": ONE_NODE,
    "node: accept 'text/html' on /node/metrics": SHELL,
    "node: accept 'nonsense' on /node/metrics": SHELL,
    "node: accept 'text/html' on /node/memory": SHELL,
    "node: accept 'nonsense' on /node/memory": SHELL,
    "node: accept 'text/html' on /node/api": OWN_WORDS,
    "node: accept 'nonsense' on /node/api": OWN_WORDS,
}

RACES = re.compile(r"pending|right after write|\(races\)")
"""What was asked before anything could commit."""

JUDGED_AT = {"auth": 1_795_233_881}
"""When tokens of a file were judged, for those that expired since."""

Test = Callable[[dict[str, Any]], bool]


def is_about_snapshots(exchange: dict[str, Any]) -> bool:
    path: str = exchange["request"]["path"]
    return path.startswith("/node/snapshot")


LEFT_OUT: dict[str, Test] = {
    "recorded on a backup": lambda e: e["node"].startswith("backup"),
    SNAPSHOTS: is_about_snapshots,
    "recorded on an interface that needs sockets": lambda e: e["interface"] not in LIMITS,
}


def write_pending(replay: Replay) -> None:
    """The transaction that the next request finds pending."""
    written = replay.service.call("PUT", "/app/kv/h", b"pending")
    replay.learn("2.38", written.txid)


def set_rsa_issuer(replay: Replay) -> None:
    """A proposal that was accepted but not recorded."""
    exchanges = load(vectors_dir() / "ccf" / "transcripts", "auth")
    (both,) = (e for e in exchanges if e["name"] == "set_jwt_issuer two issuers")
    args = json.loads(both["request"]["cose"]["payload"])["actions"][0]["args"]
    args["jwks"]["keys"] = args["jwks"]["keys"][:1]
    replay.govern({"name": "set_jwt_issuer", "args": args})


def name_third_node(replay: Replay) -> None:
    """Our one node stands in for the third of the recorded ones, too."""
    replay.learn(replay.symbols["node2_id"], replay.service.node.node_id)


def refuse_another_refresh(replay: Replay) -> None:
    """Of the refused refreshes that the metrics count only one was recorded."""
    path = "/node/jwt_keys/refresh"
    assert replay.service.call("POST", path, {"issuer": "x", "jwks": {"keys": []}}).status == 401


BEFORE: dict[tuple[str, str], Callable[[Replay], None]] = {
    ("common", "js historical pending"): write_pending,
    ("auth", "jwk listing, RSA only"): set_rsa_issuer,
    ("node", "DELETE trusted node"): name_third_node,
    ("node", "jwt refresh metrics after refused refreshes"): refuse_another_refresh,
}
"""What happened before an exchange without being recorded, or what must be known for it."""


class Played(NamedTuple):
    """What became of one file."""

    compared: list[str]
    left_out: dict[str, int]
    wrong: list[str]
    documents: list[tuple[str, Any, Any]]
    """Descriptions of endpoints: name, ours, theirs."""


def play(replay: Replay, name: str) -> Played:
    left_out: dict[str, int] = {}
    wrong: list[str] = []
    compared: list[str] = []
    documents: list[tuple[str, Any, Any]] = []
    for exchange in load(vectors_dir() / "ccf" / "transcripts", name):
        reason = next((why for why, test in LEFT_OUT.items() if test(exchange)), None)
        if reason is not None:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        if not RACES.search(f"{exchange['name']} {exchange['setup']}"):
            replay.service.tick()
        if exchange["name"] == "open: /gov/service/info":
            replay.service.tick()  # private state was read; now the service opens
        if name in JUDGED_AT:
            replay.service.node.clock(replay.service.now, JUDGED_AT[name])
        compared.append(exchange["name"])
        if (name, exchange["name"]) in BEFORE:
            BEFORE[name, exchange["name"]](replay)
        answer, differences = replay.play(exchange)
        may = EXPECTED.get(f"{name}: {exchange['name']}")
        if may is OWN_WORDS and answer.reply is not None:
            theirs = json.loads(exchange["response"]["body"])
            documents.append((exchange["name"], answer.reply.json, theirs))
        if may is None:
            wrong += [f"{exchange['name']}: {d}" for d in differences]
            continue
        wrong += [f"{exchange['name']}: {d}" for d in differences if not d.startswith(may.parts)]
        if not differences:
            wrong.append(f"{exchange['name']}: no difference any more, take it off the table")
    return Played(compared, left_out, wrong, documents)


def first_app(replay: Replay) -> str:
    """The proposal that made users and installed the app; recorded by digest only."""
    folder = vectors_dir() / "ccf" / "transcripts"
    bundle = json.loads((folder / "probe_app.json").read_text(encoding="utf-8"))
    actions: list[dict[str, Any]] = []
    for name in USERS:
        args: dict[str, Any] = {"cert": replay.clients[name].cert}
        if name == "user0":
            args["user_data"] = {"isAdmin": True, "n": 1}
        actions.append({"name": "set_user", "args": args})
    actions.append({"name": "set_js_app", "args": {"bundle": bundle}})
    return json.dumps({"actions": actions})


def start() -> Replay:
    """A new service, as it was when the recording of opening.jsonl began."""
    folder = vectors_dir() / "ccf" / "transcripts"
    symbols = json.loads((folder / "symbols.json").read_text(encoding="utf-8"))
    service = make_service()
    service.tick()
    replay = Replay(service, symbols)
    replay.payloads["set_user and set_js_app"] = first_app
    return replay


def sandbox(replay: Replay) -> str:
    """The proposal of another constitution; recorded by digest only."""
    args = {"constitution": constitutions.text("sandbox", "virtual")}
    return json.dumps({"actions": [{"name": "set_constitution", "args": args}]})


RECOVERED_NODE = "6dca5fb6f55fa1676b2b2195051ab7c3c59983ee7802633583c7cc6fc430bf22"
"""Id of the recorded node that recovered the service."""
SHARES = (
    "AQAAAGKY2Qi1yXAMWDqnMxwIZUXRkMQ4UXRCH6xdZTx5atAXA3qrcfM+i2A=",
    "AgAAANDT7kNDAFFzkX/RchPyFRXsKJZNmrN7RddQCAJEtT8wMVGEWAzTGks=",
)
"""Recorded shares of the first two members, opened."""


def recovered(replay: Replay) -> Replay:
    """A node that recovers the service from its ledger, as the recorded one did."""
    before = replay.service
    replay.service.call("PUT", "/app/kv/f1", b"v2")  # in a file that needs three nodes
    before.tick()
    service = Recovered(before.ledger, before.parts.service.cert_pem)
    for name in LIMITS:
        service.node.interfaces.setdefault(name, InterfaceRules())
    service.tick()
    replay.service = service
    replay.symbols["node0_id"] = RECOVERED_NODE
    for number, theirs in enumerate(SHARES):
        member = before.members[number]
        path = f"/gov/recovery/encrypted-shares/{member.id}?api-version=2024-07-01"
        encrypted = unb64(service.call("GET", path).json["encryptedShare"])
        replay.literals[theirs] = b64(before.member_keys[number].decrypt_oaep(encrypted))
    return replay


@pytest.fixture(scope="module")
def played() -> dict[str, Played]:
    replay = start()
    results = {name: play(replay, name) for name in FILES}
    results["recovery"] = play(recovered(replay), "recovery")
    another = start()
    play(another, "opening")
    another.payloads["set_constitution to sandbox"] = sandbox
    # The node that a proposal names, by its recorded id.
    another.learn(
        "d2dcc7a36a43a7053a56e6c1d01803a98a5e13a5fddd02d463be4cb0f832d914",
        another.service.node.node_id,
    )
    another.signers["proposal signed with the packaged command line tool"] = "member0"
    results["extra"] = play(another, "extra")
    return results


@pytest.mark.parametrize("name", [*FILES, "extra", "recovery"])
def test_every_exchange_is_answered_as_the_original_does(
    played: dict[str, Played], name: str
) -> None:
    result = played[name]
    assert len(result.compared) == COMPARED[name], result.left_out
    assert not result.wrong, f"{len(result.compared)} compared\n" + "\n".join(result.wrong)


def test_the_tables_name_exchanges_that_were_compared(played: dict[str, Played]) -> None:
    names = {f"{name}: {one}" for name, result in played.items() for one in result.compared}
    assert EXPECTED.keys() <= names
    assert {f"{name}: {one}" for name, one in BEFORE} <= names


def outline(document: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """What a document says of each operation, but for words."""
    return {
        (path, verb): (
            operation.get("operationId"),
            operation.get("x-ccf-forwarding"),
            operation.get("security"),
            sorted(operation.get("responses", ())),
        )
        for path, item in document["paths"].items()
        for verb, operation in item.items()
        if isinstance(operation, dict)
    }


def test_generated_documents_describe_the_same_operations(played: dict[str, Played]) -> None:
    documents = [d for result in played.values() for d in result.documents]
    compared = 0
    for name, ours, theirs in documents:
        if "openapi" not in theirs:
            continue  # the governance API of a version is described by hand
        here, there = outline(ours), outline(theirs)
        assert here == there, name
        compared += len(here)
    assert compared > 200
