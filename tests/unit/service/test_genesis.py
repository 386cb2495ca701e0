"""The first transaction: its tables against a recorded one, and what it refuses."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pyccf.crypto import certs, chains
from pyccf.errors import LocalError
from pyccf.kv.store import Store
from pyccf.service import genesis
from pyccf.service.genesis import ServiceConfiguration
from pyccf.service.members import RecoveryRole
from support.service import genesis_info, member, node_identity, person, service_identity
from support.vectors import vectors_dir

UNIT_KEY = bytes(8)

# What may differ from the recorded service, and why.
MAY_DIFFER = {
    "public:ccf.gov.constitution": "our own text",
    "public:ccf.gov.members.certs": "keys of another member",
    "public:ccf.gov.members.encryption_public_keys": "keys of another member",
    "public:ccf.gov.nodes.endorsed_certificates": "keys of another node",
}
MAY_DIFFER_INSIDE = {
    "public:ccf.gov.nodes.info": {
        "certificate_signing_request": "node key",
        "encryption_pub_key": "node key",
        "public_key": "node key",
        "quote_info.quote": "bound to the node key and the program",
    },
    "public:ccf.gov.service.info": {"cert": "service key"},
}


def _recorded() -> dict[str, list[tuple[Any, Any]]]:
    path = vectors_dir() / "ccf" / "transcripts" / "genesis_ledger.json"
    first = json.loads(path.read_text())["transactions"][0]
    assert first["transaction_id"] == "2.1"
    return {m["name"]: [(e["key"], e["value"]) for e in m["entries"]] for m in first["maps"]}


def _decode(raw: bytes, like: dict[str, Any]) -> Any:
    if "json" in like:
        return json.loads(raw)
    if "zero8" in like:
        return raw == UNIT_KEY
    return raw.decode()


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    out: dict[str, Any] = {}
    for name, inner in value.items():
        out.update(_flatten(inner, f"{prefix}.{name}" if prefix else name))
    return out


def test_same_tables_as_recorded() -> None:
    recorded = _recorded()
    tx = Store(view=2).tx()
    info = genesis_info(member("member0"), constitution="x")
    node = info.node
    genesis.create(tx, info)

    assert set(tx.writes) == set(recorded)
    ids = {
        "public:ccf.gov.members": person("member0").id,
        "public:ccf.gov.nodes.e": node.node_id,
        "public:ccf.gov.nodes.i": node.node_id,
        "public:ccf.gov.nodes.virtual.h": node.host_data,
    }
    for name, entries in recorded.items():
        ours = tx.writes[name]
        assert len(ours) == len(entries), name
        (key, value), (our_key, raw) = entries[0], next(iter(ours.items()))
        assert raw is not None
        if key.get("zero8"):
            assert our_key == UNIT_KEY, name
        else:
            prefix = next((p for p in ids if name.startswith(p)), None)
            expected = ids[prefix] if prefix else key["text"]
            assert our_key == expected.encode(), name
        if name in MAY_DIFFER:
            continue
        theirs, mine = _flatten(value.get("json", value)), _flatten(_decode(raw, value))
        if "json" not in value:
            assert mine == {"": True}
            continue
        assert list(mine) == list(theirs), f"members of {name} and their order"
        allowed = MAY_DIFFER_INSIDE.get(name, {})
        differing = {k for k in theirs if theirs[k] != mine[k]}
        assert differing <= set(allowed), name


def test_certificates_of_genesis_are_of_their_keys() -> None:
    tx = Store(view=2).tx()
    info = genesis_info(member("member0"))
    genesis.create(tx, info)
    identity, service = node_identity(), service_identity()
    endorsed = tx.writes["public:ccf.gov.nodes.endorsed_certificates"][identity.node_id.encode()]
    assert endorsed is not None
    assert certs.public_key(endorsed).id == identity.node_id
    assert chains.check_endorsed(endorsed, service.cert_pem, ignore_time=True, now=0)
    assert certs.public_key(service.cert_pem).id == service.fingerprint


def test_quote_is_bound_to_the_node_key() -> None:
    tx = Store(view=2).tx()
    genesis.create(tx, genesis_info(member("member0")))
    row = next(iter(tx.writes["public:ccf.gov.nodes.info"].values()))
    assert row is not None
    quote = json.loads(base64.b64decode(json.loads(row)["quote_info"]["quote"]))
    assert base64.b64decode(quote["report_data"]).hex() == node_identity().node_id


@pytest.mark.parametrize(
    ("roles", "given", "expected"),
    [
        ([RecoveryRole.PARTICIPANT] * 3, 0, 3),
        ([None, None], 0, 2),
        ([RecoveryRole.OWNER], 0, 1),
        ([RecoveryRole.OWNER, None], 0, 1),
        ([None, None, None], 2, 2),
        ([None], 2, None),
        ([RecoveryRole.OWNER, RecoveryRole.OWNER], 2, None),
    ],
)
def test_threshold(roles: list[RecoveryRole | None], given: int, expected: int | None) -> None:
    info = genesis_info(
        *(member(f"member{i}", role) for i, role in enumerate(roles)),
        configuration=ServiceConfiguration(recovery_threshold=given),
    )
    if expected is None:
        with pytest.raises(LocalError, match="threshold"):
            genesis.effective_configuration(info)
    else:
        assert genesis.effective_configuration(info).recovery_threshold == expected


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([], "at least one member"),
        ([("member0", None, True), ("member0", None, True)], "given twice"),
        ([("member0", RecoveryRole.PARTICIPANT, False)], "no encryption public key"),
        ([("member0", RecoveryRole.NON_PARTICIPANT, True)], "does not participate"),
    ],
)
def test_members_that_do_not_fit(
    members: list[tuple[str, RecoveryRole | None, bool]], text: str
) -> None:
    info = genesis_info(*(member(name, role, key=key) for name, role, key in members))
    with pytest.raises(LocalError, match=text):
        genesis.create(Store(view=2).tx(), info)


def test_a_service_is_created_once() -> None:
    store = Store(view=2)
    tx = store.tx()
    genesis.create(tx, genesis_info(member("member0")))
    store.commit(tx)
    with pytest.raises(LocalError, match="already created"):
        genesis.create(store.tx(), genesis_info(member("member0")))


def test_constitution_files_are_joined_by_newlines() -> None:
    assert genesis.join_constitution(["a", "b\n"]) == "a\nb\n"
