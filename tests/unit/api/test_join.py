"""POST /node/join: who is let in, who has to wait, and who is refused without a trace."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from pyccf.api.logged import LOGGED_MAX
from pyccf.attest import virtual
from pyccf.attest.evidence import Format, QuoteInfo
from pyccf.codec.text import b64, dump_json
from pyccf.crypto import certs, chains
from pyccf.crypto.keys import RsaPublicKey
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.kv.tx import Tx
from pyccf.ledger.secrets import LedgerSecret
from pyccf.service import tables
from pyccf.service.nodes import join_request
from support.joining import (
    DAYS,
    HOST_DATA,
    Joining,
    exchange,
    known,
    make_identity,
    make_primary,
    open_service,
    post,
    row_of,
    status_of,
    trust,
    write,
)
from support.node import INTERFACE, STARTED, Reply, Service

Body = dict[str, Any]


@pytest.fixture
def service() -> Service:
    return make_primary()


@pytest.fixture
def body(service: Service) -> Body:
    """A request that would be granted."""
    joiner = Joining(service.parts.service.cert_pem)
    found: Body = json.loads(dump_json(join_request(joiner.parts.entry, 0)))
    return found


def ask(service: Service, body: object, name: str = "joiner") -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return post(service, make_identity(name), raw)


def error(reply: Reply) -> tuple[int, str, str]:
    found = reply.json["error"]
    return reply.status, found["code"], found["message"]


def refused(service: Service, body: object, name: str = "joiner") -> tuple[int, str, str]:
    """The refusal of a request; nothing must have changed, and it must be logged."""
    before, ids = service.node.store.version, known(service)
    found = error(ask(service, body, name))
    assert service.node.store.version == before
    assert known(service) == ids
    told = found[2][:LOGGED_MAX].replace("\n", "\\n")
    assert service.logs[-1].text == f"Join request refused: {told}"
    return found


# --- being added --------------------------------------------------------------------------------


def test_what_is_written_of_a_node(service: Service, body: Body) -> None:
    body["node_data"] = {"rack": 7}
    reply = ask(service, body)
    identity = make_identity()
    assert reply.json["node_status"] == "Trusted"
    row = row_of(service, identity.node_id)
    assert row is not None
    assert row["status"] == "Trusted"
    assert row["node_data"] == {"rack": 7}
    assert row["public_key"] == identity.key.public.pem()
    assert row["encryption_pub_key"] == identity.encryption_key.public.pem()
    assert row["code_digest"] == virtual.MEASUREMENT.encode().hex()
    assert row["ledger_secret_seqno"] == 1
    assert row["node_to_node_interface"]["published_address"] == "127.0.0.1:11"  # type: ignore[index,call-overload]
    assert (row["nodehost"], row["nodeport"]) == ("127.0.0.1", "11")
    assert (row["pubhost"], row["pubport"]) == ("h", "12")
    network = reply.json["network_info"]
    endorsed = network["endorsed_certificate"]
    assert chains.check_endorsed(endorsed, service.parts.service.cert_pem, ignore_time=True)
    assert certs.validity(endorsed) == certs.validity(identity.self_signed_pem)
    assert network["service_status"] == "Opening"


def test_a_node_without_a_signing_request_gets_no_certificate(service: Service, body: Body) -> None:
    del body["certificate_signing_request"]
    reply = ask(service, body)
    assert reply.json["node_status"] == "Trusted"
    assert "endorsed_certificate" not in reply.json["network_info"]


def test_the_older_form_of_addresses_is_taken(service: Service, body: Body) -> None:
    network = body["node_info_network"]
    for name in ("node_to_node_interface", "rpc_interfaces"):
        del network[name]
    assert ask(service, body).status == 200
    row = row_of(service, make_identity().node_id)
    assert row is not None
    assert row["rpc_interfaces"] == {
        "primary_rpc_interface": {"bind_address": "127.0.0.1:12", "published_address": "h:12"}
    }


def test_asked_again_a_node_gets_the_same_and_nothing_is_written(
    service: Service, body: Body
) -> None:
    first = ask(service, body).json
    before = service.node.store.version
    del first["node_id"]
    assert ask(service, body).json == first
    assert service.node.store.version == before


def test_secrets_newer_than_its_trust_come_by_the_ledger(service: Service, body: Body) -> None:
    ask(service, body)
    service.parts.secrets.add(LedgerSecret(9, bytes(32), 8))
    told = ask(service, body).json["network_info"]["ledger_secrets"]
    assert [version for version, _ in told] == [1]


def test_the_id_of_a_removed_pending_node_may_ask_again(service: Service, body: Body) -> None:
    open_service(service)
    ask(service, body)
    node_id = make_identity().node_id
    write(service, lambda tx: tx.map(tables.NODES_INFO).delete(node_id.encode()))
    assert ask(service, body).json["node_status"] == "Pending"


def test_a_waiting_request_replayed_by_another_key_is_refused(service: Service, body: Body) -> None:
    open_service(service)
    assert ask(service, body).status == 200
    body["node_info_network"]["node_to_node_interface"]["published_address"] = "127.0.0.1:99"
    assert refused(service, body, "thief") == (
        401,
        "InvalidQuote",
        "Quote report data does not contain node's public key hash",
    )


# --- backups ------------------------------------------------------------------------------------


def test_a_backup_sends_to_the_primary_but_hands_out_to_the_trusted(
    service: Service, body: Body
) -> None:
    backup = Joining(service.parts.service.cert_pem, name="backup", address="127.0.0.1:21")
    backup.ask(service)
    exchange(service, backup)

    def ask_backup(name: str, interface: str = INTERFACE) -> Reply:
        der = certs.pem_to_der(make_identity(name).self_signed_pem)
        session = Session(1, interface, der)
        raw = json.dumps(body).encode()
        data = backup.node.handle(session, Request("POST", "/node/join", {}, raw))
        assert data is not None
        return Reply(data)

    reply = ask_backup("joiner")
    assert reply.headers["location"] == "https://127.0.0.1:2/node/join"
    assert error(reply) == (
        308,
        "NodeCannotHandleRequest",
        "Node is not primary; cannot handle write",
    )
    assert ask_backup("backup").json["node_status"] == "Trusted"


def test_a_node_that_is_not_in_a_network_lets_nobody_in(service: Service, body: Body) -> None:
    service.node.state = "Pending"
    assert refused(service, body) == (
        500,
        "InternalError",
        "Target node should be part of network to accept new nodes.",
    )


def test_an_old_snapshot_is_refused(service: Service, body: Body) -> None:
    service.node.startup_seqno = 10
    assert ask(service, {**body, "startup_seqno": None}).status == 200
    status, code, message = refused(service, {**body, "startup_seqno": 9}, "other")
    assert (status, code) == (400, "StartupSeqnoIsOld")
    assert "9" in message
    assert "10" in message


# --- evidence -----------------------------------------------------------------------------------


def evidence(name: str = "joiner", **changes: Any) -> Body:
    made = json.loads(virtual.make(HOST_DATA, make_identity(name).key.public.der).quote)
    made.update(changes)
    quote = dump_json({k: v for k, v in made.items() if v is not None})
    return QuoteInfo(Format.VIRTUAL, quote).to_json()


UNVERIFIED = "Quote could not be verified"


@pytest.mark.parametrize(
    ("quote_info", "message"),
    [
        (evidence(host_data=None), "Quote does not contain trusted host data"),
        (evidence(host_data="cd" * 32), "Quote host data is not authorised"),
        (evidence(measurement="?"), "Quote does not contain known enclave measurement"),
        (evidence("other"), "Quote report data does not contain node's public key hash"),
        (evidence(report_data=""), "Quote report data does not contain node's public key hash"),
        (evidence(report_data="!"), UNVERIFIED),
        (evidence(report_data=None), UNVERIFIED),
        (evidence(measurement=None), UNVERIFIED),
        (evidence(measurement=5), UNVERIFIED),
        ({**evidence(), "quote": ""}, UNVERIFIED),
        ({**evidence(), "quote": b64(b"[]")}, UNVERIFIED),
        ({**evidence(), "format": "AMD_SEV_SNP_v1"}, UNVERIFIED),
        ({**evidence(), "format": "OE_SGX_v1"}, UNVERIFIED),
    ],
)
@pytest.mark.parametrize("opened", [False, True])
def test_evidence_that_is_not_trusted(
    service: Service, body: Body, quote_info: Body, message: str, opened: bool
) -> None:
    if opened:
        open_service(service)
    body["quote_info"] = quote_info
    assert refused(service, body) == (401, "InvalidQuote", message)


def test_what_the_members_remove_is_not_trusted_any_more(service: Service, body: Body) -> None:
    def remove(tx: Tx) -> None:
        tx.map(tables.VIRTUAL_HOST_DATA).delete(HOST_DATA.encode())

    write(service, remove)
    assert refused(service, body)[2] == "Quote host data is not authorised"


# --- other refusals -----------------------------------------------------------------------------


def test_a_signing_request_of_another_key(service: Service, body: Body) -> None:
    for csr in (make_identity("other").csr_pem, "-----BEGIN CERTIFICATE REQUEST-----\nAA\n"):
        body["certificate_signing_request"] = csr
        assert refused(service, body) == (
            400,
            "CSRPublicKeyInvalid",
            "Public key in CSR does not match TLS client identity.",
        )


def test_an_address_that_is_taken(service: Service, body: Body) -> None:
    body["node_info_network"]["node_to_node_interface"]["published_address"] = "127.0.0.1:1"
    assert refused(service, body) == (
        400,
        "NodeAlreadyExists",
        "A node with the same published node address 127.0.0.1:1 already exists (node id:"
        f" n[{service.node.node_id}]).",
    )


def test_without_a_certificate(service: Service, body: Body) -> None:
    reply = post(service, None, json.dumps(body).encode())
    assert error(reply) == (500, "InternalError", "OpenSSL error: missing object")


def unusable_key() -> str:
    """What has the form of an RSA key and cannot be encrypted to: an even modulus."""
    numbers = rsa.RSAPublicNumbers(65537, 1 << 2047)
    return RsaPublicKey(numbers.public_key()).pem()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"node_info_network": 5}, "#/node_info_network"),
        ({"node_info_network": {}}, "#/node_info_network"),
        ({"node_info_network": {"nodehost": 5}}, "#/node_info_network"),
        (
            {"node_info_network": {"node_to_node_interface": {}, "rpc_interfaces": {}}},
            "#/node_info_network",
        ),
        (
            {
                "node_info_network": {
                    "node_to_node_interface": {"bind_address": "a:1", "published_address": 5},
                    "rpc_interfaces": {},
                }
            },
            "#/node_info_network",
        ),
        (
            {
                "node_info_network": {
                    "node_to_node_interface": {"bind_address": "a:1"},
                    "rpc_interfaces": {"x": {"bind_address": "a:1", "forwarding_timeout_ms": "y"}},
                }
            },
            "#/node_info_network",
        ),
        ({"quote_info": 5}, "#/quote_info"),
        ({"quote_info": {}}, "#/quote_info"),
        ({"quote_info": {**evidence(), "format": 5}}, "#/quote_info/format"),
        ({"quote_info": {**evidence(), "quote": "!"}}, "#/quote_info/quote"),
        ({"quote_info": {**evidence(), "endorsements": 5}}, "#/quote_info/endorsements"),
        ({"quote_info": {**evidence(), "uvm_endorsements": 5}}, "#/quote_info"),
        ({"startup_seqno": -1}, "#/startup_seqno"),
        ({"startup_seqno": True}, "#/startup_seqno"),
        ({"startup_seqno": "1"}, "#/startup_seqno"),
        ({"public_encryption_key": 5}, "#/public_encryption_key"),
        ({"public_encryption_key": "-----BEGIN PUBLIC KEY-----"}, "#/public_encryption_key"),
        (
            {"public_encryption_key": make_identity().key.public.pem()},
            "#/public_encryption_key",
        ),
        ({"public_encryption_key": unusable_key()}, "#/public_encryption_key"),
        ({"certificate_signing_request": 5}, "#/certificate_signing_request"),
    ],
)
def test_requests_of_a_wrong_form(service: Service, body: Body, change: Body, where: str) -> None:
    status, code, message = refused(service, {**body, **change})
    assert (status, code) == (400, "InvalidInput")
    assert message.startswith(f"At {where}: ")


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"5"])
def test_requests_that_are_no_object(service: Service, raw: bytes) -> None:
    assert refused(service, raw)[:2] == (400, "InvalidInput")


def test_what_not_every_place_could_read_is_not_written(service: Service, body: Body) -> None:
    open_service(service)
    text = json.dumps({**body, "node_data": "@"})

    def deep(levels: int) -> bytes:
        return text.replace('"@"', "[" * levels + "]" * levels).encode()

    assert refused(service, deep(256))[:2] == (400, "InvalidInput")
    # Here some reach the table's readers, others only its writer.
    assert {ask(service, deep(levels)).status for levels in range(900, 960)} == {400}
    assert ask(service, deep(255)).status == 200
    service.tick()
    assert not service.stopped


def test_a_certificate_with_another_kind_of_key(service: Service, body: Body) -> None:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rsa")])
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(STARTED, UTC))
        .not_valid_after(datetime.fromtimestamp(STARTED + 86400 * DAYS, UTC))
        .sign(key, hashes.SHA256())
    )
    session = Session(1, INTERFACE, cert.public_bytes(serialization.Encoding.DER))
    request = Request("POST", "/node/join", {}, json.dumps(body).encode())
    (reply,) = service.send(request, session)
    assert error(reply)[:2] == (400, "InvalidInput")


def test_a_trusted_node_keeps_its_standing_when_the_service_opens(
    service: Service, body: Body
) -> None:
    open_service(service)
    ask(service, body)
    node_id = make_identity().node_id
    assert status_of(service, node_id) == "Pending"
    trust(service, node_id, sign=False)
    reply = ask(service, body)
    assert reply.json["node_id"] == node_id
    assert reply.json["network_info"]["service_status"] == "Open"


def test_a_refusal_is_one_short_line_in_the_log(service: Service, body: Body) -> None:
    forged = "x\n2026-11-21T00:00:00Z [info ] Service open at seqno 1\n" * 1000
    refused(service, {**body, "public_encryption_key": forged})
    assert "\n" not in service.logs[-1].text
    assert len(service.logs[-1].text) < 2 * LOGGED_MAX
