"""Rows that a decision must not leave behind."""

from __future__ import annotations

import json

import pytest

from pyccf.errors import InvalidLedger
from pyccf.kv.store import Store
from pyccf.service import soundness, tables
from support.service import node_entry, person

CERT = person("member0").cert
NODE = node_entry().to_json()

GOOD = [
    (tables.CONSTITUTION, '"text"'),
    (tables.SERVICE_INFO, json.dumps({"status": "Open", "cert": CERT, "more": [1]})),
    (tables.SERVICE_CONFIG, "{}"),
    (tables.MEMBERS_CERTS, CERT),
    (tables.MEMBERS_INFO, '{"status": "Accepted", "recovery_role": null, "member_data": [1]}'),
    (tables.MEMBERS_INFO, '{"status": "Active", "recovery_role": "Owner"}'),
    (tables.NODES_INFO, json.dumps(NODE)),
    (
        tables.NODES_INFO,
        json.dumps(
            {
                "status": "Retired",
                "nodehost": "h",
                "nodeport": "1",
                "encryption_pub_key": NODE["encryption_pub_key"],
            }
        ),
    ),
    (tables.NODES_INFO, '{"status": "Pending", "nodehost": "h", "nodeport": "1"}'),
    (tables.PROPOSALS_INFO, '{"proposer_id": "m", "state": "Dropped", "ballots": {}}'),
    (tables.SNP_HOST_DATA, '"policy"'),
    (tables.SNP_TCB_VERSIONS, '{"boot_loader": 1}'),
    (tables.MEMBERS_INFO, '{"member_data": ' + "[" * 255 + "]" * 255 + "}"),
    # What harms its own requests alone, and what nobody here reads.
    (tables.ENDPOINTS, "no JSON"),
    (tables.JS_RUNTIME_OPTIONS, "null"),
    (tables.MODULES, "text"),
    ("public:ccf.gov.custom", "\0"),
    ("public:application", "\0"),
]

BAD = [
    (tables.CONSTITUTION, "5", "is not a JSON string"),
    (tables.CONSTITUTION, '"\\ud800"', "is not JSON"),
    (tables.SERVICE_INFO, "{}", "status is no ServiceStatus"),
    (tables.SERVICE_INFO, '{"status": "Open"}', "without the text cert"),
    (tables.SERVICE_INFO, '{"status": "Open", "cert": "x"}', "is no certificate"),
    (tables.SERVICE_CONFIG, "[]", "is not a JSON object"),
    (tables.MEMBERS_CERTS, "x", "is no certificate"),
    (tables.MEMBERS_INFO, "x", "is not JSON"),
    (tables.MEMBERS_INFO, '{"recovery_role": "King"}', "recovery_role is no RecoveryRole"),
    (tables.MEMBERS_INFO, '{"member_data": "\\udc00"}', "is not JSON"),
    (tables.MEMBERS_INFO, '{"member_data": ' + "[" * 100_000 + "]" * 100_000 + "}", "not JSON"),
    (tables.USERS_INFO, '"x"', "is not a JSON object"),
    (tables.NODES_INFO, "{}", "status is no NodeStatus"),
    (tables.NODES_INFO, '{"status": "Pending"}', "without the text nodehost"),
    (tables.NODES_INFO, '{"status": "Retired"}', "without the text encryption_pub_key"),
    (tables.NODES_INFO, json.dumps({**NODE, "encryption_pub_key": "x"}), "Not an RSA public key"),
    (
        tables.NODES_INFO,
        json.dumps({**NODE, "encryption_pub_key": NODE["public_key"]}),
        "Not an RSA public key",
    ),
    (tables.NODES_INFO, json.dumps({**NODE, "status": "trusted"}), "status is no NodeStatus"),
    (
        tables.NODES_INFO,
        '{"status": "Pending", "node_to_node_interface": {"published_address": 1}}',
        "without the text published_address",
    ),
    (tables.MEMBERS_INFO, '{"member_data": ' + "[" * 256 + "]" * 256 + "}", "more than 256 deep"),
    (tables.PROPOSALS_INFO, "{}", "without the text proposer_id"),
    (tables.JWT_KEYS, "x", "is not JSON"),
    (tables.SNP_UVM_ENDORSEMENTS, "[]", "is not a JSON object"),
    (tables.SNP_TCB_VERSIONS, "null", "is not a JSON object"),
]


@pytest.mark.parametrize(("table", "row"), GOOD)
def test_what_may_be_left(table: str, row: str) -> None:
    tx = Store(2).tx()
    tx.map(table).set(b"key", row.encode())
    tx.map(table).delete(b"other")
    tx.map(tables.NODES_INFO).set(b"stays", json.dumps({**NODE, "status": "Trusted"}).encode())
    soundness.check_written(tx)


@pytest.mark.parametrize(("table", "row", "text"), BAD)
def test_what_may_not(table: str, row: str, text: str) -> None:
    tx = Store(2).tx()
    tx.map(table).set(b"good", b"{}")
    tx.map(table).delete(b"good")
    tx.map(table).set(b"key", row.encode())
    with pytest.raises(InvalidLedger, match=text) as caught:
        soundness.check_written(tx)
    assert table in caught.value.message


@pytest.mark.parametrize("row", [json.dumps(NODE).encode(), None])
def test_a_node_needs_an_id_that_is_text(row: bytes | None) -> None:
    tx = Store(2).tx()
    table = tx.map(tables.NODES_INFO)
    if row is None:
        table.delete(b"\xff")
    else:
        table.set(b"\xff", row)
    with pytest.raises(InvalidLedger, match=r"nodes\.info holds a key that is no text"):
        soundness.check_written(tx)


def test_what_was_there_before_is_not_judged() -> None:
    store = Store(2)
    tx = store.tx()
    tx.map(tables.MEMBERS_INFO).set(b"old", b"x")
    store.commit(tx)
    tx = store.tx()
    assert tx.map(tables.MEMBERS_INFO).get(b"old") == b"x"
    soundness.check_written(tx)


def test_the_last_trusted_node_may_not_be_removed() -> None:
    store = Store(2)
    tx = store.tx()
    for name in (b"a", b"b"):
        tx.map(tables.NODES_INFO).set(name, json.dumps({**NODE, "status": "Trusted"}).encode())
    soundness.check_written(tx)
    store.commit(tx)
    tx = store.tx()
    tx.map(tables.NODES_INFO).set(b"a", json.dumps({**NODE, "status": "Retired"}).encode())
    soundness.check_written(tx)
    tx.map(tables.NODES_INFO).set(b"b", json.dumps({**NODE, "status": "Retired"}).encode())
    with pytest.raises(InvalidLedger, match="no trusted node any more"):
        soundness.check_written(tx)
