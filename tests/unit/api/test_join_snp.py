"""POST /node/join with evidence of SEV-SNP, judged by the tables the members write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pyccf.attest import amd
from pyccf.attest.evidence import QuoteInfo
from pyccf.attest.tcb import Product
from pyccf.codec.text import b64, dump_json
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.kv.tx import Tx
from pyccf.service import tables
from pyccf.service.nodes import join_request
from pyccf.types import Json
from support import snp as made
from support.gov_story import Story, client_of, started
from support.joining import (
    Joining,
    make_identity,
    make_primary,
    open_service,
    post,
    row_of,
    trust,
    write,
)
from support.node import INTERFACE, Reply, Service

pytestmark = pytest.mark.usefixtures("our_roots")

PREFIX = "public:ccf.gov.nodes.snp."
MINIMUM: dict[str, Json] = {**made.LEVELS, "hexstring": "db18000000000204"}
"""As the actions write it."""


@pytest.fixture
def our_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    for product, pem in made.roots().items():
        monkeypatch.setitem(amd.ROOT_KEYS, product, pem)


@pytest.fixture
def service() -> Service:
    """One that trusts our guest by its measurement."""
    service = make_primary()
    put(service, tables.SNP_HOST_DATA, made.HOST_DATA, "")
    put(service, tables.SNP_MEASUREMENTS, made.MEASUREMENT, tables.ALLOWED_TO_JOIN)
    put(service, tables.SNP_TCB_VERSIONS, made.CPUID_HEX[Product.MILAN], MINIMUM)
    return service


def put(service: Service, table: str, key: str, value: Json) -> None:
    write(service, lambda tx: tables.put_json(tx, table, key, value))


def drop(service: Service, table: str, key: str) -> None:
    def change(tx: Tx) -> None:
        tx.map(table).delete(key.encode())

    write(service, change)


def evidence(product: Product = Product.MILAN, **fields: int | bytes) -> QuoteInfo:
    return made.evidence(product, make_identity().key.public.der, **fields)


def ask(service: Service, quote: QuoteInfo) -> Reply:
    joiner = Joining(service.parts.service.cert_pem)
    body: dict[str, Any] = json.loads(dump_json(join_request(joiner.parts.entry, 0)))
    body["quote_info"] = quote.to_json()
    return post(service, make_identity(), json.dumps(body).encode())


def refused(service: Service, quote: QuoteInfo) -> tuple[int, str]:
    reply = ask(service, quote)
    assert row_of(service, make_identity().node_id) is None
    assert reply.json["error"]["code"] == "InvalidQuote"
    return reply.status, reply.json["error"]["message"]


def get(service: Service, path: str) -> Any:
    data = service.node.handle(Session(1, INTERFACE, None), Request("GET", path, {}, b""))
    assert data is not None
    return Reply(data).json


def test_a_guest_joins_and_its_evidence_is_shown(service: Service) -> None:
    quote = evidence()
    reply = ask(service, quote)
    assert reply.status == 200, reply.body
    assert reply.json["node_status"] == "Trusted"
    assert "priv_key" in reply.json["network_info"]["identity"]
    node_id = make_identity().node_id
    row = row_of(service, node_id)
    assert row is not None
    assert row["quote_info"] == quote.to_json()
    assert row["code_digest"] == made.MEASUREMENT
    shown = {q["node_id"]: q for q in get(service, "/node/quotes")["quotes"]}
    assert shown[node_id] == {
        "node_id": node_id,
        "format": "AMD_SEV_SNP_v1",
        "raw": b64(quote.quote),
        "endorsements": b64(quote.endorsements),
        "measurement": made.MEASUREMENT,
    }


def test_of_an_open_service_it_waits_until_the_members_trust_it(service: Service) -> None:
    open_service(service)
    assert ask(service, evidence()).json["node_status"] == "Pending"
    trust(service, make_identity().node_id)
    assert ask(service, evidence()).json["node_status"] == "Trusted"


@pytest.mark.parametrize("product", list(Product))
def test_each_product_has_its_own_minimum(service: Service, product: Product) -> None:
    drop(service, tables.SNP_TCB_VERSIONS, made.CPUID_HEX[Product.MILAN])
    assert refused(service, evidence(product)) == (500, "Unknown quote verification error")
    put(service, tables.SNP_TCB_VERSIONS, made.CPUID_HEX[product], {**made.levels(product)})
    assert ask(service, evidence(product)).status == 200


@pytest.mark.parametrize(
    "row",
    [
        {**MINIMUM, "microcode": 220},
        {**MINIMUM, "fmc": 0},
        {"microcode": 0, "snp": 0, "tee": 0},
        {**MINIMUM, "snp": 0.5},
        {**MINIMUM, "snp": "0"},
        {},
    ],
)
def test_firmware_that_is_too_old_or_cannot_be_compared(
    service: Service, row: dict[str, Json]
) -> None:
    put(service, tables.SNP_TCB_VERSIONS, made.CPUID_HEX[Product.MILAN], row)
    assert refused(service, evidence()) == (500, "Unknown quote verification error")
    assert "is not at least" in service.logs[-2].text


def test_another_stepping_is_another_processor(service: Service) -> None:
    assert refused(service, evidence(cpuid_step=2))[0] == 500
    assert "stepping 2" in service.logs[-2].text
    for odd in ("00a00f", "zz", "00a00f1100"):
        put(service, tables.SNP_TCB_VERSIONS, odd, MINIMUM)
    assert refused(service, evidence(cpuid_step=2))[0] == 500
    put(service, tables.SNP_TCB_VERSIONS, "00a00f12", MINIMUM)
    assert ask(service, evidence(cpuid_step=2)).status == 200


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"policy": made.DEBUG}, "Quote could not be verified"),
        ({"version": 2}, "Quote could not be verified"),
        ({"host_data": b"\1" * 32}, "Quote host data is not authorised"),
        ({"measurement": b"\1" * 48}, "Quote does not contain known enclave measurement"),
        (
            {"report_data": b"\1" * 32},
            "Quote report data does not contain node's public key hash",
        ),
    ],
)
def test_guests_that_are_refused(service: Service, fields: dict[str, Any], message: str) -> None:
    assert refused(service, evidence(**fields)) == (401, message)


def test_what_the_members_take_back_is_not_trusted_any_more(service: Service) -> None:
    drop(service, tables.SNP_MEASUREMENTS, made.MEASUREMENT)
    assert refused(service, evidence())[1] == "Quote does not contain known enclave measurement"
    drop(service, tables.SNP_HOST_DATA, made.HOST_DATA)
    assert refused(service, evidence())[1] == "Quote host data is not authorised"


def test_a_guest_is_not_trusted_for_being_virtual(service: Service) -> None:
    """The tables of the virtual platform say nothing of guests."""

    def move(tx: Tx) -> None:
        tx.map(tables.SNP_HOST_DATA).delete(made.HOST_DATA.encode())
        tables.add_to_set(tx, tables.VIRTUAL_HOST_DATA, made.HOST_DATA)

    write(service, move)
    assert refused(service, evidence())[1] == "Quote host data is not authorised"


def test_builders_are_trusted_by_did_feed_and_svn(service: Service) -> None:
    drop(service, tables.SNP_MEASUREMENTS, made.MEASUREMENT)
    quote = msgspec.structs.replace(evidence(), uvm_endorsements=made.uvm_endorsements("7"))
    no = (401, "UVM endorsements are not authorised")
    assert refused(service, quote) == no
    for feeds in ({"Other": {"svn": "1"}}, {made.FEED: {"svn": "8"}}, {made.FEED: {}}, {}):
        put(service, tables.SNP_UVM_ENDORSEMENTS, made.did(), feeds)
        assert refused(service, quote) == no
    put(service, tables.SNP_UVM_ENDORSEMENTS, made.did(), {made.FEED: {"svn": "x"}})
    put(service, tables.SNP_UVM_ENDORSEMENTS, "did:x509:0:sha256:a::eku:1", {"f": {"svn": "1"}})
    assert refused(service, quote) == no
    put(
        service,
        tables.SNP_UVM_ENDORSEMENTS,
        made.did(),
        {"Other": {"svn": "9"}, made.FEED: {"svn": "7"}},
    )
    assert ask(service, quote).status == 200
    shown = get(service, "/node/attestations")["attestations"]
    (own,) = [q for q in shown if q["format"] == "AMD_SEV_SNP_v1"]
    assert own["uvm_endorsements"] == b64(quote.uvm_endorsements or b"")


def test_why_is_told_to_the_log_alone(service: Service) -> None:
    """In one line: a refusal quotes keys, which are of several."""
    vcek, ask_pem = made.vcek(), made.authority("ASK", "ARK").pem
    chain = vcek + ask_pem + made.authority("other").pem
    quote = msgspec.structs.replace(evidence(), endorsements=chain)
    assert refused(service, quote) == (401, "Quote could not be verified")
    told = service.logs[-2].text
    assert told.startswith(
        f"Evidence of node {make_identity().node_id}: SEV-SNP: The root of trust public key"
    )
    assert "\n" not in told
    assert len(told) < 1300


def test_evidence_is_judged_by_the_clock_of_the_node(service: Service) -> None:
    service.tick(3650 * 86_400 * 1000)
    assert refused(service, evidence()) == (401, "Quote could not be verified")


@pytest.mark.parametrize("name", ["milan", "genoa", "turin"])
def test_real_evidence_is_of_another_key(
    name: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    quote = made.real(name)
    assert refused(service, quote) == (401, "Quote host data is not authorised")
    put(service, tables.SNP_HOST_DATA, quote.quote[0xC0:0xE0].hex(), "")
    put(service, tables.SNP_MEASUREMENTS, quote.quote[0x90:0xC0].hex(), "AllowedToJoin")
    product = Product[name.upper()]
    zeros: dict[str, Json] = dict.fromkeys(made.levels(product), 0)
    put(service, tables.SNP_TCB_VERSIONS, made.CPUID_HEX[product], zeros)
    assert refused(service, quote) == (
        401,
        "Quote report data does not contain node's public key hash",
    )


def test_a_row_without_measurement_is_read_from_the_evidence(service: Service) -> None:
    """As early versions wrote them; of evidence that cannot be read nothing is told."""
    ask(service, evidence())
    node_id = make_identity().node_id
    row = row_of(service, node_id)
    assert row is not None
    del row["code_digest"]
    put(service, tables.NODES_INFO, node_id, row)
    shown = {q["node_id"]: q for q in get(service, "/node/quotes")["quotes"]}
    assert shown[node_id]["measurement"] == made.MEASUREMENT
    row["quote_info"]["endorsements"] = ""  # type: ignore[index,call-overload]
    put(service, tables.NODES_INFO, node_id, row)
    shown = {q["node_id"]: q for q in get(service, "/node/quotes")["quotes"]}
    assert "measurement" not in shown[node_id]
    assert shown[node_id]["raw"]


def test_of_itself_a_node_must_be_able_to_tell(service: Service) -> None:
    node_id = service.node.node_id
    row = row_of(service, node_id)
    assert row is not None
    assert get(service, "/node/quotes/self")["measurement"] == row.pop("code_digest")
    put(service, tables.NODES_INFO, node_id, row)
    assert "measurement" in get(service, "/node/quotes/self"), "from the evidence"
    row["quote_info"] = {**row["quote_info"], "format": "OE_SGX_v1"}  # type: ignore[dict-item]
    put(service, tables.NODES_INFO, node_id, row)
    assert get(service, "/node/quotes/self")["error"] == {
        "code": "InvalidQuote",
        "message": "Failed to extract code id from node quote.",
    }


def test_what_the_members_decide_lets_a_guest_in(tmp_path: Path) -> None:
    """From proposals to the node in the answers of governance, by the default constitution."""
    service, members = started(tmp_path)
    client = client_of(service, "2024-07-01")
    story = Story(client, members, service.tick)
    for who in members:
        client.ack(signer=who)
    quote = msgspec.structs.replace(
        evidence(), uvm_endorsements=made.uvm_endorsements("7"), endorsed_tcb="db18000000000204"
    )
    steps: list[tuple[str, str, dict[str, Any]]] = [
        (
            "Quote host data is not authorised",
            "add_snp_host_data",
            {"host_data": made.HOST_DATA, "security_policy": ""},
        ),
        (
            "UVM endorsements are not authorised",
            "add_snp_uvm_endorsement",
            {"did": made.did(), "feed": made.FEED, "svn": "7"},
        ),
        (
            "Unknown quote verification error",
            "set_snp_minimum_tcb_version_hex",
            {"cpuid": "00a00f11", "tcb_version": "db18000000000204"},
        ),
    ]
    for message, action, arguments in steps:
        assert refused(service, quote)[1] == message
        story.decide({"name": action, "args": arguments})
    bare = msgspec.structs.replace(quote, uvm_endorsements=None)
    assert refused(service, bare)[1] == "Quote does not contain known enclave measurement"
    assert ask(service, quote).json["node_status"] == "Trusted"
    policy = story.get("/service/join-policy").check().json()["snp"]
    assert policy == {
        "measurements": [],
        "hostData": {made.HOST_DATA: ""},
        "uvmEndorsements": {made.did(): {made.FEED: {"svn": "7"}}},
        "tcbVersions": {"00a00f11": MINIMUM},
    }
    node = story.get(f"/service/nodes/{make_identity().node_id}").check().json()
    assert node["quoteInfo"] == {
        "format": "AMD_SEV_SNP_v1",
        "uvmEndorsements": b64(quote.uvm_endorsements or b""),
        "endorsedTcb": b64(bytes.fromhex("db18000000000204")),
    }
    higher = {"cpuid": "00a00f11", "tcb_version": "dc18000000000204"}
    story.decide({"name": "set_snp_minimum_tcb_version_hex", "args": higher})
    assert ask(service, quote).json["node_status"] == "Trusted", "who is in stays in"
