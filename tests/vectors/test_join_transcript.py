"""The recorded joining of a fabricated node, replayed against a node of ours.

The recorded joiner's key is known from its signing request only, so its certificate is made anew;
what the members decided in between is written into the tables directly.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pyccf.api import join
from pyccf.codec.text import b64, unb64
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import PublicKey
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.ledger.secrets import LedgerSecret
from pyccf.service import genesis, info, nodes, tables
from pyccf.service.info import ServiceStatus
from pyccf.types import Json
from support.node import INTERFACE, STARTED, Reply, Service
from support.transcripts import load
from support.vectors import vectors_dir

HELD = "127.0.0.1:40703"
"""Address of a recorded node of the network."""
POSTS = 25


def exchanges() -> list[dict[str, Any]]:
    return load(vectors_dir() / "ccf" / "transcripts", "join")


def body_of(exchange: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(exchange["request"]["body"])
    return found


class Recorded:
    """A service like the recorded one, as far as joining goes."""

    def __init__(self) -> None:
        self.service = Service(install=lambda parts: [("node", [join.endpoint(parts)])])
        self.keys = self._keys()
        self.issuer = self.service.parts.service
        self.certs: dict[str, bytes] = {}

        def prepare(tx: Any) -> None:
            info.set_status(tx, ServiceStatus.OPEN)
            accepted = next(e for e in exchanges() if e["name"] == "accepted as Pending")
            quote = json.loads(unb64(body_of(accepted)["quote_info"]["quote"]))
            tables.add_to_set(tx, tables.VIRTUAL_HOST_DATA, quote["host_data"])
            node1 = "cf903b56871121a112b64157e89eea4c704b8309edd460e412297dff862adfc3"
            row: Json = {"node_to_node_interface": {"published_address": HELD}, "status": "Pending"}
            tables.put_json(tx, tables.NODES_INFO, node1, row)

        self.write(prepare)

    def _keys(self) -> dict[str, str]:
        """Signing requests by client."""
        found: dict[str, str] = {}
        for exchange in exchanges():
            request = exchange["request"]
            if request["path"] != "/node/join" or exchange["name"].startswith("CSR"):
                continue
            csr = body_of(exchange).get("certificate_signing_request")
            if csr and request["client"] != "none":
                found.setdefault(request["client"], csr)
        return found

    def certificate(self, client: str) -> bytes | None:
        if client not in self.keys:
            return None
        if client not in self.certs:
            pem = self.issuer.endorse(self.keys[client], STARTED, 10, SeededEntropy(client))
            self.certs[client] = certs.pem_to_der(pem)
        return self.certs[client]

    def write(self, change: Callable[[Any], None]) -> None:
        tx = self.service.node.store.tx()
        change(tx)
        self.service.node.commit(tx)
        self.service.tick()

    def post(self, exchange: dict[str, Any]) -> Reply:
        request = exchange["request"]
        session = Session(1, INTERFACE, self.certificate(request["client"]))
        body = request["body"].encode()
        (reply,) = self.service.send(Request("POST", "/node/join", {}, body), session)
        return reply


def set_status(status: str | None) -> Callable[[Recorded, str], None]:
    def change(recorded: Recorded, node_id: str) -> None:
        def write(tx: Any) -> None:
            if status is None:
                nodes.delete(tx, node_id)
                return
            row = tables.get_object(tx, tables.NODES_INFO, node_id)
            assert row is not None
            row["status"] = status
            tables.put_json(tx, tables.NODES_INFO, node_id, row)
            if status == "Trusted":
                pem = recorded.issuer.endorse(
                    str(row["certificate_signing_request"]), STARTED, 10, SeededEntropy("trust")
                )
                tables.put_raw(tx, tables.NODES_ENDORSED_CERTIFICATES, node_id, pem)

        recorded.write(write)

    return change


def retire(recorded: Recorded, node_id: str) -> None:
    """Removed, and that is committed (nobody is there who could confirm it)."""
    set_status("Retired")(recorded, node_id)
    store = recorded.service.node.store
    store.compact(store.version)


DECIDED = {
    "removed pending node is gone": ("joiner2", set_status(None)),
    "transition_node_to_trusted joiner: vote of member1": ("joiner", set_status("Trusted")),
    "retired node just after": ("joiner", retire),
}
"""What the members had decided by then."""


def test_every_request_to_join_is_answered_as_the_original_does() -> None:
    recorded = Recorded()
    compared = 0
    for exchange in exchanges():
        decided = DECIDED.get(exchange["name"])
        if decided is not None:
            client, change = decided
            change(recorded, certs.csr_public_key(recorded.keys[client]).id)
        if exchange["request"]["path"] != "/node/join" or exchange["node"] != "primary":
            continue
        reply = recorded.post(exchange)
        theirs = exchange["response"]
        compared += 1
        assert reply.status == theirs["status"], (exchange["name"], reply.body)
        expected = json.loads(theirs["body"])
        answer = reply.json
        if "network_info" in expected:
            compare_network_info(answer.pop("network_info"), expected.pop("network_info"))
        assert answer == expected, exchange["name"]
    assert compared == POSTS


def compare_network_info(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The same members of the same kinds; values are each service's own."""
    assert ours.keys() == theirs.keys()
    assert ours["identity"].keys() == theirs["identity"].keys()
    assert ours["cose_signatures_config"].keys() == theirs["cose_signatures_config"].keys()
    assert ours["service_status"] == theirs["service_status"]
    assert ours["public_only"] is theirs["public_only"] is False
    assert ours["last_recovered_signed_idx"] == theirs["last_recovered_signed_idx"]
    assert [type(v) for v in ours["ledger_secrets"][0]] == [int, dict]
    assert ours["ledger_secrets"][0][1].keys() == theirs["ledger_secrets"][0][1].keys()


@pytest.mark.parametrize("missing", ["identity", "ledger_secrets"])
def test_the_comparison_can_fail(missing: str) -> None:
    info_of = {"identity": {}, "ledger_secrets": [[1, {}]]}
    with pytest.raises(AssertionError):
        compare_network_info({k: v for k, v in info_of.items() if k != missing}, info_of)


def test_known_secrets_are_told_as_recorded() -> None:
    recorded = Recorded()
    secrets = recorded.service.parts.secrets
    secrets.add(LedgerSecret(183, bytes(32), 182))
    accepted = next(e for e in exchanges() if e["name"] == "accepted as Pending")
    node_id = PublicKey.from_certificate(recorded.certificate("joiner") or b"").id
    recorded.post(accepted)
    set_status("Trusted")(recorded, node_id)
    told = recorded.post(accepted).json["network_info"]["ledger_secrets"]
    assert told[1] == [183, {"previous_secret_stored_version": 182, "raw_key": b64(bytes(32))}]
    assert genesis.CREATE_TXID.seqno == told[0][0]


def test_a_joiner_is_sent_away_only_once_its_removal_is_committed() -> None:
    """Its vote may be needed to commit anything, its own removal included."""
    recorded = Recorded()
    found = {exchange["name"]: exchange for exchange in exchanges()}
    exchange = found["again when Retired"]
    node_id = certs.csr_public_key(recorded.keys[exchange["request"]["client"]]).id
    for earlier in found.values():
        if earlier["request"]["path"] == "/node/join" and earlier["node"] == "primary":
            recorded.post(earlier)
    set_status("Trusted")(recorded, node_id)
    set_status("Retired")(recorded, node_id)
    reply = recorded.post(exchange)
    assert (reply.status, reply.json["node_status"]) == (200, "Trusted")
    retire(recorded, node_id)
    reply = recorded.post(exchange)
    assert (reply.status, reply.json["error"]["code"]) == (400, "InvalidNodeState")
