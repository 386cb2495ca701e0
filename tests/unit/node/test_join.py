"""A joining node: what it asks, what it believes, when it gives up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyccf.codec.text import b64
from pyccf.consensus.api import Leadership
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.errors import LocalError
from pyccf.kv.tx import Tx
from pyccf.node.outputs import Answer, CallFailed
from pyccf.service import info, recovery, tables
from pyccf.service.identity import make_service
from pyccf.service.nodes import NodeStatus
from pyccf.types import Json
from support.joining import (
    PRIMARY,
    RETRY,
    Joining,
    exchange,
    make_primary,
    open_service,
    row_of,
    set_status,
    status_of,
    trust,
    write,
)
from support.node import STARTED, Service

KEY = bytes([1]) * 32
OTHER = make_service(entropy=SeededEntropy("other service"), not_before=STARTED, days=9)


@pytest.fixture
def service() -> Service:
    return make_primary()


@pytest.fixture
def joiner(service: Service) -> Joining:
    return Joining(service.parts.service.cert_pem)


def ok(value: object) -> Answer:
    return Answer(200, {}, json.dumps(value).encode())


def trusted_answer(service: Service, joiner: Joining) -> dict[str, Any]:
    """What the service would answer to the next call."""
    other = Joining(service.parts.service.cert_pem)
    assert other.id == joiner.id
    reply = other.ask(service)
    assert reply.status == 200
    found: dict[str, Any] = reply.json
    return found


# --- being let in -----------------------------------------------------------------------------


def test_a_waiting_node_serves_what_it_knows_of_itself(joiner: Joining) -> None:
    assert joiner.get("/node/state").json["state"] == "Pending"
    own = joiner.get("/node/network/nodes/self").json
    assert own["node_id"] == joiner.id
    assert own["status"] == "Pending"
    assert own["last_written"] == 0
    assert joiner.get("/node/quotes/self").json["format"] == "Insecure_Virtual"
    assert joiner.get("/node/consensus").json["error"]["message"] == "No configured consensus"
    assert joiner.get("/node/network").status == 404
    assert joiner.get("/node/ready/gov").status == 503
    assert joiner.certificates == {"Node": joiner.identity.self_signed_pem}


def test_an_opening_service_lets_it_in_at_once(service: Service, joiner: Joining) -> None:
    call = joiner.call()
    assert (call.address, call.method, call.path) == (PRIMARY, "POST", "/node/join")
    assert call.ca == service.parts.service.cert_pem
    joiner.calls.append(call)
    assert joiner.ask(service).json["node_status"] == "Trusted"
    assert joiner.node.state == "PartOfNetwork"
    assert joiner.parts.service.key.public == service.parts.service.key.public
    assert joiner.parts.signer.certificate != joiner.identity.self_signed_pem
    assert [s.key for s in joiner.parts.secrets.all()] == [
        s.key for s in service.parts.secrets.all()
    ]
    assert joiner.node.consensus.details()["leadership_state"] == Leadership.FOLLOWER.value
    assert "info: Node has now joined the network as node " + joiner.id in joiner.lines
    assert joiner.stopped == ""


def test_an_open_service_has_it_wait_for_the_members(service: Service, joiner: Joining) -> None:
    open_service(service)
    for _ in range(3):
        assert joiner.ask(service).json == {"node_id": joiner.id, "node_status": "Pending"}
    assert joiner.node.state == "Pending"
    waiting = f"info: Node {joiner.id} is waiting for votes of members to be trusted"
    assert joiner.lines.count(waiting) == 1
    trust(service, joiner.id, sign=False)
    assert joiner.ask(service).json["node_status"] == "Trusted"
    assert joiner.node.state == "PartOfNetwork"


def test_it_asks_at_the_configured_times_and_once_at_a_time(joiner: Joining) -> None:
    joiner.tick(10)
    assert len(joiner.calls) == 1
    joiner.tick(10 * RETRY)
    assert len(joiner.calls) == 1
    joiner.reply(CallFailed("nobody listens"))
    joiner.tick(1)
    joiner.reply(CallFailed("nobody listens"))
    joiner.tick(RETRY - 1)
    assert not joiner.calls
    joiner.tick(1)
    assert len(joiner.calls) == 1


def test_it_goes_on_asking_until_its_addition_is_committed(
    service: Service, joiner: Joining
) -> None:
    answer = trusted_answer(service, joiner)
    joiner.reply(ok(answer))
    # The addition was undone, and with it the secret; it is let in again.
    answer["network_info"]["ledger_secrets"].append([5, {"raw_key": b64(KEY)}])
    joiner.reply(ok({"node_status": "Pending"}))
    joiner.reply(ok(answer))
    assert [s.version for s in joiner.parts.secrets.all()] == [1, 5]
    joiner.ask(service)
    assert [s.version for s in joiner.parts.secrets.all()] == [1]
    exchange(service, joiner)
    joiner.calls.clear()
    joiner.tick(10 * RETRY)
    assert not joiner.calls


def test_its_own_certificate_opens_governance_and_tls(service: Service, joiner: Joining) -> None:
    joiner.ask(service)
    assert joiner.get("/node/ready/gov").status == 503
    exchange(service, joiner)
    assert joiner.ledger == service.ledger
    assert joiner.get("/node/ready/gov").status == 204
    assert joiner.certificates["Service"] == joiner.parts.signer.certificate
    assert joiner.get("/node/network/nodes/self").json["status"] == "Trusted"
    assert joiner.get("/node/network/nodes/primary").json["node_id"] == service.node.node_id


@pytest.mark.parametrize("table", ["public:open", "private"])
def test_what_does_not_authenticate_is_not_taken_from_the_primary(
    service: Service, joiner: Joining, table: str
) -> None:
    joiner.ask(service)
    exchange(service, joiner)
    held = len(joiner.ledger)
    write(service, lambda tx: tx.map(table).set(b"key", b"value"))
    sent = service.ledger[held]
    service.ledger[held] = sent[:8] + bytes([sent[8] ^ 1]) + sent[9:]
    exchange(service, joiner, rounds=3)
    refused = f"Entry {held + 1} does not authenticate under its ledger secret."
    assert any(refused in line for line in joiner.lines)
    assert len(joiner.ledger) == joiner.node.store.version == held
    service.ledger[held] = sent
    exchange(service, joiner)
    assert joiner.ledger == service.ledger


def test_the_certificate_in_use_goes_back_with_the_ledger(
    service: Service, joiner: Joining
) -> None:
    joiner.ask(service)
    exchange(service, joiner)
    before = service.node.store.version
    endorsed = service.parts.signer.certificate
    trust(service, service.node.node_id, sign=False)
    assert service.parts.signer.certificate != endorsed
    service.node.store.rollback(before, 2)
    assert service.parts.signer.certificate == endorsed


def test_renewed_certificates_take_effect_everywhere(service: Service, joiner: Joining) -> None:
    joiner.ask(service)
    exchange(service, joiner)
    first = joiner.certificates.copy()
    identity = service.parts.service
    renewed = identity.certificate(STARTED + 5, 400, service.entropy)

    def renew(tx: Tx) -> None:
        row = info.require(tx)
        tables.put_json(tx, tables.SERVICE_INFO, tables.UNIT, {**row, "cert": renewed})

    trust(service, joiner.id, sign=False)
    write(service, renew, sign=False)
    exchange(service, joiner)
    assert joiner.certificates["Service"] != first["Service"]
    assert joiner.certificates["Node"] != first["Node"]
    own, endorsed = joiner.certificates["Node"], joiner.certificates["Service"]
    assert certs.validity(own) == certs.validity(endorsed)
    assert certs.subject(own) == certs.subject(first["Node"])
    assert joiner.get("/node/self_signed_certificate").json["self_signed_certificate"] == own
    assert joiner.parts.service.cert_pem == identity.cert_pem == renewed


@pytest.mark.parametrize("kind", ["text", "bytes", "another node's", "own"])
def test_what_is_no_certificate_of_the_node_is_not_used(
    service: Service, joiner: Joining, kind: str
) -> None:
    joiner.ask(service)
    exchange(service, joiner)
    before, shown = joiner.parts.signer.certificate, joiner.certificates.copy()
    value = {
        "text": b"no certificate",
        "bytes": b"\xff",
        "another node's": service.parts.signer.certificate.encode(),
        "own": joiner.identity.self_signed_pem.encode(),
    }[kind]
    write(
        service,
        lambda tx: tx.map(tables.NODES_ENDORSED_CERTIFICATES).set(joiner.id.encode(), value),
    )
    exchange(service, joiner)
    assert joiner.ledger == service.ledger
    assert joiner.parts.signer.certificate == before
    assert joiner.certificates == shown
    assert any("What was made this node's certificate" in line for line in joiner.lines)


@pytest.mark.parametrize("row", [{"cert": "none"}, {"cert": 5}, {"cert": OTHER.cert_pem}, []])
def test_what_is_no_certificate_of_the_service_is_not_adopted(
    service: Service, joiner: Joining, row: Json
) -> None:
    joiner.ask(service)
    before = service.parts.service.cert_pem
    write(service, lambda tx: tables.put_json(tx, tables.SERVICE_INFO, tables.UNIT, row))
    exchange(service, joiner)
    assert joiner.ledger == service.ledger
    assert joiner.parts.service.cert_pem == service.parts.service.cert_pem == before
    assert not joiner.node.app_open


def test_a_rekey_reaches_every_node(service: Service, joiner: Joining) -> None:
    joiner.ask(service)
    exchange(service, joiner)

    def rekey(tx: Tx) -> None:
        fresh = recovery.new_secret(1, service.entropy)
        recovery.broadcast_secret(tx, fresh, service.entropy)

    write(service, rekey, sign=False)
    write(service, lambda tx: tx.map("private").set(b"k", b"v"))
    exchange(service, joiner)
    assert joiner.ledger == service.ledger
    assert joiner.node.store.read_committed("private", b"k") == b"v"
    assert len(joiner.parts.secrets.all()) == 2


def test_a_retired_node_is_recorded_told_and_forgotten(service: Service, joiner: Joining) -> None:
    joiner.ask(service)
    exchange(service, joiner)
    assert service.call("DELETE", f"/node/network/nodes/{joiner.id}").status == 400
    set_status(service, joiner.id, NodeStatus.RETIRED)
    assert service.call("GET", "/node/network/removable_nodes").json == {"nodes": []}
    exchange(service, joiner)
    assert (row_of(service, joiner.id) or {})["retired_committed"] is True
    assert service.call("GET", "/node/config").json.keys() == {service.node.node_id}
    (removable,) = service.call("GET", "/node/network/removable_nodes").json["nodes"]
    assert removable["node_id"] == joiner.id
    assert removable["status"] == "Retired"
    # It knows, says so, and goes on serving what it can.
    assert joiner.node.retired
    assert any("This node was retired" in line for line in joiner.lines)
    assert joiner.get("/node/state").status == 200
    details = joiner.get("/node/consensus").json["details"]
    assert details["membership_state"] == "Retired"
    assert details["retirement_phase"] == "RetiredCommitted"
    again = Joining(service.parts.service.cert_pem)
    again.ask(service)
    assert "Joining node is not in expected state (RETIRED)." in again.stopped
    assert service.call("DELETE", f"/node/network/nodes/{joiner.id}").json is True
    exchange(service, joiner)
    assert status_of(service, joiner.id) is None
    endorsed = service.node.store.tx().map(tables.NODES_ENDORSED_CERTIFICATES)
    assert endorsed.get(joiner.id.encode()) is None
    assert service.call("DELETE", f"/node/network/nodes/{joiner.id}").status == 404


# --- redirects ----------------------------------------------------------------------------------


def redirect(location: str) -> Answer:
    return Answer(308, {"location": location}, b"")


def test_it_goes_where_it_is_sent_at_the_next_attempt(joiner: Joining) -> None:
    joiner.reply(redirect("https://127.0.0.9:99/node/join"))
    assert not joiner.calls
    joiner.tick()
    assert joiner.call().address == "127.0.0.9:99"


def test_it_comes_back_when_the_recommended_node_does_not_answer(joiner: Joining) -> None:
    joiner.reply(redirect("https://127.0.0.9:99/node/join"))
    joiner.reply(CallFailed("connection refused"))
    assert joiner.call().address == PRIMARY


@pytest.mark.parametrize(
    "location",
    [
        "",
        "nonsense",
        "http://h:1/node/join",
        "https://h/node/join",
        "https://h:99999/",
        "https://[",
    ],
)
def test_a_redirect_to_nowhere_is_not_followed(joiner: Joining, location: str) -> None:
    joiner.reply(redirect(location))
    assert joiner.call().address == PRIMARY
    assert "An error occurred while joining the network: redirected" in joiner.lines[-1]


def test_a_redirect_is_not_followed_when_that_is_not_wanted(service: Service) -> None:
    joiner = Joining(service.parts.service.cert_pem, follow_redirect=False)
    joiner.reply(redirect("https://127.0.0.9:99/node/join"))
    assert joiner.call().address == PRIMARY


# --- giving up ----------------------------------------------------------------------------------


def test_a_refusal_ends_it_with_the_whole_answer(joiner: Joining) -> None:
    joiner.reply(Answer(401, {}, b'{"error":"Quote host data is not authorised"}'))
    text = (
        f'Join request to {PRIMARY} returned 401 Bad Request: {{"error":"Quote host data is not'
        ' authorised"}. Shutting down node gracefully.'
    )
    assert joiner.stopped == text
    assert joiner.lines[-1] == f"fail: {text}"
    joiner.tick(10 * RETRY)
    assert not joiner.calls


def test_another_service_ends_it(joiner: Joining) -> None:
    joiner.reply(CallFailed("invalid cert on handshake: not ours", untrusted=True))
    assert joiner.stopped == (
        f"Early error when joining existing network at {PRIMARY}: invalid cert on handshake: not"
        " ours. Shutting down node gracefully..."
    )


@pytest.mark.parametrize("member", ["endorsed_certificate", None])
def test_trust_without_what_belongs_to_it_ends_it(
    service: Service, joiner: Joining, member: str | None
) -> None:
    answer = trusted_answer(service, joiner)
    if member is None:
        del answer["network_info"]
    else:
        del answer["network_info"][member]
    joiner.reply(ok(answer))
    assert joiner.stopped
    assert joiner.node.state == "Pending"


def test_of_a_service_under_recovery_the_public_part_is_joined(
    service: Service, joiner: Joining
) -> None:
    answer = trusted_answer(service, joiner)
    answer["network_info"] |= {"public_only": True, "last_recovered_signed_idx": 7}
    joiner.reply(ok(answer))
    assert joiner.node.state == "PartOfPublicNetwork"
    assert joiner.recovery_from == 7
    write(service, lambda tx: tx.map("private").set(b"k", b"v"))
    exchange(service, joiner)
    assert joiner.ledger == service.ledger
    assert "private" not in joiner.node.store.maps
    assert not joiner.parts.joiner.done  # its secrets may come with a later answer


@pytest.mark.parametrize("name", ["public_only", "last_recovered_signed_idx"])
def test_what_is_recovered_must_be_said(service: Service, joiner: Joining, name: str) -> None:
    answer = trusted_answer(service, joiner)
    answer["network_info"][name] = None
    joiner.reply(ok(answer))
    assert joiner.node.state == "Pending"
    assert any("does not say whether the service is being recovered" in s for s in joiner.lines)


def test_once_let_in_no_answer_ends_it(service: Service, joiner: Joining) -> None:
    joiner.ask(service)
    joiner.reply(Answer(400, {}, b"retired"))
    joiner.reply(CallFailed("invalid cert on handshake", untrusted=True))
    assert joiner.stopped == ""
    assert joiner.node.state == "PartOfNetwork"


# --- answers without sense ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        CallFailed("no answer within 5000ms"),
        Answer(500, {}, b"Primary unknown"),
        Answer(503, {}, b""),
        Answer(201, {}, b"{}"),
        Answer(200, {}, b""),
        Answer(200, {}, b"\xff{"),
        Answer(200, {}, b"[]"),
        Answer(200, {}, b"[" * 100_000),
        ok({}),
        ok({"node_status": "Retired"}),
        ok({"node_status": 5}),
    ],
)
def test_garbage_is_logged_and_asked_again(joiner: Joining, answer: Answer | CallFailed) -> None:
    joiner.reply(answer)
    assert joiner.lines[-1].startswith("fail: An error occurred while joining the network: ")
    assert joiner.stopped == ""
    joiner.tick()
    assert len(joiner.calls) == 1


def other_key() -> PrivateKey:
    return PrivateKey.generate(Curve.P384, SeededEntropy("other"))


def spoil(path: str, value: object) -> Any:
    def change(network: dict[str, Any], joiner: Joining) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            network = network[parent]
        network[last] = value

    return change


def foreign_endorsement(network: dict[str, Any], joiner: Joining) -> None:
    pem = OTHER.endorse(joiner.identity.csr_pem, STARTED, 5, SeededEntropy("e"))
    network["endorsed_certificate"] = pem


def endorsement_of_another(network: dict[str, Any], joiner: Joining) -> None:
    network["endorsed_certificate"] = network["identity"]["cert"]


@pytest.mark.parametrize(
    "change",
    [
        spoil("identity", None),
        spoil("identity", {}),
        spoil("identity.cert", "no certificate"),
        spoil("identity.cert", OTHER.cert_pem),
        spoil("identity.priv_key", "no key"),
        spoil("identity.priv_key", other_key().pem()),
        spoil("endorsed_certificate", 5),
        spoil("endorsed_certificate", "no certificate"),
        foreign_endorsement,
        endorsement_of_another,
        spoil("cose_signatures_config", []),
        spoil("cose_signatures_config", {"issuer": 5, "subject": ""}),
        spoil("ledger_secrets", None),
        spoil("ledger_secrets", []),
        spoil("ledger_secrets", [5]),
        spoil("ledger_secrets", [[1]]),
        spoil("ledger_secrets", [[1, None]]),
        spoil("ledger_secrets", [[1, {}]]),
        spoil("ledger_secrets", [[1, {"raw_key": "!"}]]),
        spoil("ledger_secrets", [[1, {"raw_key": "AAAA"}]]),
        spoil("ledger_secrets", [["1", {"raw_key": "A" * 43 + "="}]]),
        spoil("ledger_secrets", [[0, {"raw_key": "A" * 43 + "="}]]),
        spoil("ledger_secrets", [[1, {"raw_key": "A" * 43 + "="}]] * 2),
        spoil(
            "ledger_secrets",
            [[1, {"raw_key": "A" * 43 + "=", "previous_secret_stored_version": "x"}]],
        ),
    ],
)
def test_nothing_is_adopted_that_does_not_fit(
    service: Service, joiner: Joining, change: Any
) -> None:
    answer = trusted_answer(service, joiner)
    change(answer["network_info"], joiner)
    joiner.reply(ok(answer))
    assert joiner.node.state == "Pending"
    assert joiner.stopped == ""
    assert joiner.parts.secrets.all() == []
    assert joiner.parts.signer.certificate == ""
    assert joiner.lines[-1].startswith("fail: An error occurred while joining the network: ")
    joiner.ask(service)
    assert joiner.node.state == "PartOfNetwork"


def test_a_service_certificate_that_is_none_is_refused() -> None:
    with pytest.raises(LocalError, match="The service certificate cannot be used"):
        Joining("no certificate")
