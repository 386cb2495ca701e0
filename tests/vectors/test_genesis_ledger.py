"""From genesis to opening our public tables are those of the original, row by row.

The recorded service (`genesis_ledger.json`) had three nodes; ours has one and takes the same steps.
Each of our transactions is compared with the recorded one of the same step: entry type, flags,
claims, maps in their order, rows, and within JSON rows every member and its place. What may differ
is listed in `VARIES` (and `KEYS`, for keys), with the reason and the form that both must have.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, NamedTuple

import pytest

from pyccf import constitutions
from pyccf.codec import cose
from pyccf.kv.changes import UNIT
from pyccf.ledger.entry import ParsedEntry, parse
from pyccf.merkle.tree import Tree
from support.transcripts import Replay, make_service
from support.vectors import vectors_dir

STEPS = {
    "2.1": "2.1",
    "2.2": "2.2",
    "2.7": "2.3",
    "2.8": "2.4",
    "2.9": "2.5",
    "2.10": "2.6",
    "2.11": "2.7",
    "2.12": "2.8",
    "2.13": "2.9",
    "2.14": "2.10",
}
"""Recorded transaction → ours of the same step."""
NO_STEP = {
    "2.3": "the second node joins; ours is alone",
    "2.4": "signature over it",
    "2.5": "the third node joins",
    "2.6": "signature over it",
    "2.15": "evidence of a snapshot, a later feature",
    "2.16": "signature over it",
}

PEM = re.compile(r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n")
REQUEST = re.compile(
    r"-----BEGIN CERTIFICATE REQUEST-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE REQUEST-----\n"
)
PUBLIC_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+-----END PUBLIC KEY-----\n")
DIGEST = re.compile(r"[0-9a-f]{64}")
BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
PORT = re.compile(r"\d+")
ADDRESS = re.compile(r"127\.0\.0\.1:\d+")
TEXT = re.compile(r".+", re.DOTALL)
SHARE = re.compile(r"[A-Za-z0-9+/]{342}==")
"""RSA with 2048 bits."""
WRAPPED = re.compile(r"[A-Za-z0-9+/]{80}")
"""12 bytes of initialisation vector, 16 of tag, 32 of secret."""


class Varies(NamedTuple):
    """Why a value differs, and the form it has all the same."""

    why: str
    form: re.Pattern[str] | Callable[[Any], object]


KEY = "keys and certificates are each service's own"
WHERE = "addresses are the machine's"
WHEN = "contains the time or the state at the time"
ENGINE = "bytecode is the engine's own"

VARIES: dict[str, dict[str, Varies]] = {
    "public:ccf.gov.constitution": {"": Varies("the constitution is our own text", TEXT)},
    "public:ccf.gov.members.certs": {"": Varies(KEY, PEM)},
    "public:ccf.gov.members.encryption_public_keys": {"": Varies(KEY, PUBLIC_KEY)},
    "public:ccf.gov.nodes.endorsed_certificates": {"": Varies(KEY, PEM)},
    "public:ccf.gov.users.certs": {"": Varies(KEY, PEM)},
    "public:ccf.gov.nodes.info": {
        "certificate_signing_request": Varies(KEY, REQUEST),
        "encryption_pub_key": Varies(KEY, PUBLIC_KEY),
        "public_key": Varies(KEY, PUBLIC_KEY),
        "quote_info.quote": Varies("names the node's key and the program", BASE64),
        **{
            path: Varies(WHERE, form)
            for path, form in {
                "node_to_node_interface.bind_address": ADDRESS,
                "node_to_node_interface.published_address": ADDRESS,
                "nodeport": PORT,
                "pubport": PORT,
                "rpcport": PORT,
                "rpc_interfaces.primary_rpc_interface.bind_address": ADDRESS,
                "rpc_interfaces.primary_rpc_interface.published_address": ADDRESS,
            }.items()
        },
    },
    "public:ccf.gov.service.info": {"cert": Varies(KEY, PEM)},
    "public:ccf.gov.members.acks": {
        "state_digest": Varies(WHEN, re.compile("|[0-9a-f]{64}")),
        "cose_sign1_req": Varies("the signed request itself", BASE64),
    },
    "public:ccf.gov.cose_history": {
        # Where the recording only has a digest, the row is seen as the JSON text it is.
        "": Varies("the signed request itself", re.compile(r'"?[A-Za-z0-9+/]+={0,2}"?'))
    },
    "public:ccf.gov.proposals": {
        "": Varies("names certificate and service identity, or the code of the app", TEXT)
    },
    "public:ccf.gov.modules": {"": Varies("any code serves", TEXT)},
    "public:ccf.gov.modules_quickjs_bytecode": {"": Varies(ENGINE, lambda raw: len(raw) > 100)},
    "public:ccf.gov.modules_quickjs_version": {"": Varies(ENGINE, TEXT)},
    "public:ccf.internal.signatures": {
        "cert": Varies(KEY, PEM),
        "root": Varies(WHEN, DIGEST),
        "sig": Varies(KEY, BASE64),
        "seqno": Varies("our ledger is shorter by two joining nodes", lambda n: n % 2 == 0),
    },
    "public:ccf.internal.cose_signatures": {"": Varies(KEY, BASE64)},
    "public:ccf.internal.previous_service_identity_endorsement": {
        "endorsement": Varies(KEY, BASE64),
        "endorsing_key": Varies(KEY, BASE64),
    },
    "public:ccf.internal.recovery_shares": {
        "wrapped_latest_ledger_secret": Varies(KEY, WRAPPED),
        "encrypted_shares.MEMBER": Varies(KEY, SHARE),
    },
}
"""What may differ: map → path of a member of its rows ("" for the whole value)."""

KEYS: dict[str, re.Pattern[str]] = {
    "public:ccf.gov.cose_recent_proposals": re.compile(r"\d{10}:[0-9a-f]{64}"),
}
"""Keys made of time and digest of a request."""


def bundle(recorded: list[dict[str, Any]]) -> dict[str, Any]:
    """An app with the recorded endpoints; its code does not matter."""
    endpoints: dict[str, dict[str, Any]] = {}
    (rows,) = (
        m["entries"] for t in recorded for m in t["maps"] if m["name"] == "public:ccf.gov.endpoints"
    )
    functions = set()
    for row in rows:
        verb, path = row["key"]["text"].split(" ")
        metadata = dict(row["value"]["json"])
        metadata["js_module"] = metadata["js_module"].removeprefix("/")
        functions.add(metadata["js_function"])
        endpoints.setdefault(path, {})[verb.lower()] = metadata
    code = "".join(f"export function {name}() {{ return {{}}; }}\n" for name in sorted(functions))
    return {
        "metadata": {"endpoints": endpoints},
        "modules": [{"name": "logging.js", "module": code}],
    }


class Ours(NamedTuple):
    """Our ledger, what was sent to make it, and our ids in place of the recorded ones."""

    entries: dict[str, ParsedEntry]
    ids: dict[str, str]
    requests: list[bytes]


@pytest.fixture(scope="module")
def recorded() -> list[dict[str, Any]]:
    path = vectors_dir() / "ccf" / "transcripts" / "genesis_ledger.json"
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["transactions"]
    return found


@pytest.fixture(scope="module")
def ours(recorded: list[dict[str, Any]]) -> Ours:
    """The recorded steps, taken by a node of ours."""
    service = make_service(constitution=constitutions.text("sandbox", "virtual"), members=1)
    replay = Replay(service, {})
    member = replay.clients["member0"].id
    user = replay.clients["user0"]
    version = "api-version=2024-07-01"
    requests: list[bytes] = []

    def post(path: str, kind: str, payload: Any, status: int = 200) -> Any:
        body = replay.sign("member0", kind, payload)
        requests.append(body)
        answer = replay.post(f"/gov/members/{path}?{version}", body, status)
        service.tick()
        return answer

    digest = post(f"state-digests/{member}:update", "state_digest", None)["stateDigest"]
    post(f"state-digests/{member}:ack", "ack", {"memberId": member, "stateDigest": digest}, 204)
    install = {"name": "set_js_app", "args": {"bundle": bundle(recorded)}}
    first = post("proposals:create", "proposal", {"actions": [install]})
    network = service.call("GET", "/node/network").json
    actions = [
        {"name": "set_user", "args": {"cert": user.cert}},
        {
            "name": "transition_service_to_open",
            "args": {"next_service_identity": network["service_certificate"]},
        },
    ]
    second = post("proposals:create", "proposal", {"actions": actions})
    assert first["proposalState"] == second["proposalState"] == "Accepted"
    entries = [parse(data) for data in service.ledger]
    mine = [member, service.node.node_id, first["proposalId"], second["proposalId"], user.id]
    ids = dict(zip(ids_of(recorded), [*mine, "ab" * 32], strict=True))
    return Ours({f"{e.view}.{e.seqno}": e for e in entries}, ids, requests)


def ids_of(recorded: list[dict[str, Any]]) -> list[str]:
    """The recorded member, node, proposals, user and program, by where they first appear."""

    def keys(txid: str, name: str) -> list[str]:
        (transaction,) = (t for t in recorded if t["transaction_id"] == txid)
        (rows,) = (m["entries"] for m in transaction["maps"] if m["name"] == name)
        return [row["key"]["text"] for row in rows if not row.get("deleted")]

    return [
        *keys("2.1", "public:ccf.gov.members.info"),
        *keys("2.1", "public:ccf.gov.nodes.info"),
        *keys("2.11", "public:ccf.gov.proposals"),
        *keys("2.13", "public:ccf.gov.proposals"),
        *keys("2.13", "public:ccf.gov.users.certs"),
        *keys("2.1", "public:ccf.gov.nodes.virtual.host_data"),
    ]


def test_every_recorded_transaction_has_its_step(recorded: list[dict[str, Any]]) -> None:
    assert {t["transaction_id"] for t in recorded} == STEPS.keys() | NO_STEP.keys()


@pytest.mark.parametrize("txid", STEPS)
def test_a_step_writes_what_the_original_writes(
    recorded: list[dict[str, Any]], ours: Ours, txid: str
) -> None:
    (theirs,) = (t for t in recorded if t["transaction_id"] == txid)
    entry = ours.entries[STEPS[txid]]
    assert entry.type.name == theirs["entry_type"]
    assert entry.flags == theirs["header_flags"]
    assert entry.claims is not None
    assert entry.claims.hex() == theirs["claims_digest"]
    assert bool(entry.ciphertext) == theirs["has_private_domain"]
    here = entry.public_maps()
    assert list(here) == [m["name"] for m in theirs["maps"]]
    for table in theirs["maps"]:
        compare_rows(table["name"], here[table["name"]], table["entries"], ours.ids)


def test_the_ledger_ends_with_the_signature_over_the_opening(ours: Ours) -> None:
    assert list(ours.entries) == list(STEPS.values())


def compare_rows(
    name: str, here: dict[bytes, bytes | None], there: list[dict[str, Any]], ids: dict[str, str]
) -> None:
    assert len(here) == len(there), name
    for row in there:
        key = key_of(name, row["key"], here, ids)
        assert key in here, f"{name}: no row {key!r}"
        raw = here[key]
        if row.get("deleted"):
            assert raw is None
            continue
        assert raw is not None
        compare_value(name, raw, row["value"], ids)


def key_of(
    name: str, recorded: dict[str, Any], here: dict[bytes, bytes | None], ids: dict[str, str]
) -> bytes:
    if recorded.get("zero8"):
        return UNIT
    text: str = recorded["text"]
    if name in KEYS:
        assert KEYS[name].fullmatch(text)
        (key,) = here
        assert KEYS[name].fullmatch(key.decode())
        return key
    return ids.get(text, text).encode()


def compare_value(name: str, raw: bytes, there: dict[str, Any], ids: dict[str, str]) -> None:
    varies = VARIES.get(name, {})
    whole = varies.get("")
    if there.get("zero8"):
        assert raw == bytes(8), name
    elif "sha256" in there:
        assert whole is not None, f"{name}: recorded by digest, so it must be said why it differs"
        assert fits(whole, raw.decode("latin-1")), name
    elif "base64" in there:
        assert name == "public:ccf.internal.tree"
        compare_trees(raw, base64.b64decode(there["base64"]))
    elif "json" in there:
        # What the original holds as JSON is JSON here, written the same way.
        value = json.loads(raw)
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        assert raw.decode() == text or whole is not None, name
        compare_json(name, value, there["json"], varies, ids)
    else:
        text = raw.decode()
        mine = there["text"]
        assert text == mine or (whole and fits(whole, text) and fits(whole, mine)), name


def compare_json(
    name: str, here: Any, there: Any, varies: dict[str, Varies], ids: dict[str, str]
) -> None:
    mine, theirs = list(leaves(here, ids)), list(leaves(there, ids))
    if "" not in varies:
        assert [path for path, _ in mine] == [path for path, _ in theirs], name
    for (path, a), (_, b) in zip(mine, theirs, strict=False):
        b = ids.get(b, b) if isinstance(b, str) else b
        if a == b:
            continue
        allowed = varies.get(path) or varies.get("")
        assert allowed is not None, f"{name}: {path} is {a!r}, not {b!r}"
        assert fits(allowed, a), f"{name}: {path} {a!r}"
        assert fits(allowed, b), f"{name}: {path} {b!r}"


def leaves(value: Any, ids: dict[str, str], path: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and values in their order; ids as members are called by what they are."""
    if isinstance(value, dict) and value:
        for key, member in value.items():
            shown = "MEMBER" if path == "encrypted_shares" else key
            yield from leaves(member, ids, f"{path}.{shown}" if path else shown)
    elif isinstance(value, list) and value:
        for i, member in enumerate(value):
            yield from leaves(member, ids, f"{path}[{i}]")
    else:
        yield path, value


def fits(varies: Varies, value: Any) -> bool:
    if isinstance(varies.form, re.Pattern):
        return isinstance(value, str) and varies.form.fullmatch(value) is not None
    return bool(varies.form(value))


def compare_trees(here: bytes, there: bytes) -> None:
    """As many leaves; flushed as far, seen from the end."""
    mine, theirs = Tree.parse(here), Tree.parse(there)
    assert mine.size - mine.first == theirs.size - theirs.first
    assert mine.serialise() == here
    assert theirs.serialise() == there


@pytest.mark.parametrize("txid", ["2.2", "2.8", "2.10", "2.12", "2.14"])
def test_cose_signatures_are_built_alike(
    recorded: list[dict[str, Any]], ours: Ours, txid: str
) -> None:
    (theirs,) = (t for t in recorded if t["transaction_id"] == txid)
    name = "public:ccf.internal.cose_signatures"
    (there,) = (m["entries"][0]["value"]["json"] for m in theirs["maps"] if m["name"] == name)
    raw = ours.entries[STEPS[txid]].public_maps()[name][UNIT]
    assert raw is not None
    mine = cose.parse_sign1(base64.b64decode(json.loads(raw)))
    recorded_one = cose.parse_sign1(base64.b64decode(there))
    assert mine.payload is None
    assert recorded_one.payload is None
    assert shape(mine.headers) == shape(recorded_one.headers)
    for label in (cose.ALG, cose.VDS):
        assert mine.headers[label] == recorded_one.headers[label]
    assert mine.unprotected == recorded_one.unprotected == {}
    assert mine.headers["ccf.v1"] == {"txid": STEPS[txid]}
    assert recorded_one.headers["ccf.v1"] == {"txid": txid}


def shape(value: object) -> object:
    """Labels in their order, kinds of values; algorithm and structure as they are."""
    if isinstance(value, dict):
        return [(k, shape(v)) for k, v in value.items()]
    return type(value)


def test_signed_requests_are_kept_as_they_came(ours: Ours) -> None:
    _, ack, install, opening = ours.requests
    acks = ours.entries["2.5"].public_maps()["public:ccf.gov.members.acks"]
    (row,) = acks.values()
    assert row is not None
    assert base64.b64decode(json.loads(row)["cose_sign1_req"]) == ack
    for txid, request in (("2.7", install), ("2.9", opening)):
        maps = ours.entries[txid].public_maps()
        (kept,) = maps["public:ccf.gov.cose_history"].values()
        assert kept is not None
        assert base64.b64decode(json.loads(kept)) == request
        kept_proposals = maps["public:ccf.gov.proposals"].items()
        ((ident, proposal),) = ((key, raw) for key, raw in kept_proposals if raw is not None)
        assert proposal == cose.parse_sign1(request).payload
        ((key, named),) = maps["public:ccf.gov.cose_recent_proposals"].items()
        assert named is not None
        assert json.loads(named) == ident.decode()
        envelope = cose.parse_sign1(request)
        created_at = envelope.headers["ccf.gov.msg.created_at"]
        assert key.decode() == f"{created_at}:{sha256(envelope.signature).hexdigest()}"
