"""Reading the service's state through the API."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pyccf import constitutions
from pyccf.crypto.keys import RsaPublicKey
from pyccf.service import jwt, tables
from pyccf.service.genesis import ServiceConfiguration
from pyccf.service.members import RecoveryRole
from pyccf.types import Json
from support.gov import FakeScripts, Gov
from support.service import (
    ADDRESS,
    HOST_DATA,
    member,
    node_identity,
    person,
    service_identity,
    world,
)

ZERO = "0" * 64
VERSIONS = ("2023-06-01-preview", "2024-07-01")


def governed() -> Gov:
    made = world(
        member("member0"),
        member("member1", key=False),
        member("member2", RecoveryRole.OWNER),
        configuration=ServiceConfiguration(recovery_threshold=1),
    )
    return Gov(made, FakeScripts())


def put(gov: Gov, table: str, key: str, value: Json) -> None:
    tx = gov.world.store.tx()
    tables.put_json(tx, table, key, value)
    gov.world.commit(tx)


def put_raw(gov: Gov, table: str, key: str, value: str) -> None:
    tx = gov.world.store.tx()
    tables.put_raw(tx, table, key, value)
    gov.world.commit(tx)


@pytest.mark.parametrize("version", VERSIONS)
def test_service_info(version: str) -> None:
    gov = governed()
    assert gov.get("/service/info", f"api-version={version}").json == {
        "certificate": service_identity().cert_pem,
        "configuration": {
            "maximumNodeCertificateValidityDays": 365,
            "maximumServiceCertificateValidityDays": 365,
            "recentCoseProposalsWindowSize": 100,
            "recoveryThreshold": 1,
        },
        "creationTransactionId": "2.1",
        "recoveryCount": 0,
        "serviceData": None,
        "status": "Opening",
    }


def test_service_info_after_a_recovery() -> None:
    gov = governed()
    info = tables.get_object(gov.world.store.tx(), tables.SERVICE_INFO)
    assert info is not None
    put(
        gov,
        tables.SERVICE_INFO,
        "\0" * 8,
        {**info, "previous_service_identity_version": 1, "service_data": {"a": 1}},
    )
    shown = gov.get("/service/info").json
    assert shown["previousServiceCreationTransactionId"] == "2.1"
    assert shown["serviceData"] == {"a": 1}


def test_constitution() -> None:
    gov = governed()
    shown = gov.get("/service/constitution")
    assert shown.body.decode() == constitutions.text("default", "virtual")
    assert shown.headers["content-type"] == "text/javascript"


def test_before_there_is_anything() -> None:
    gov = governed()
    tx = gov.world.store.tx()
    for table in (tables.CONSTITUTION, tables.SERVICE_INFO, tables.SERVICE_CONFIG):
        tx.map(table).delete(tables.UNIT)
    gov.world.commit(tx)
    assert gov.get("/service/constitution").error == (
        404,
        "ResourceNotFound",
        "Constitution not found",
    )
    assert gov.get("/service/info").error == (
        404,
        "ResourceNotFound",
        "Service info not yet available",
    )


def test_members() -> None:
    gov = governed()
    listed = {row["memberId"]: row for row in gov.get("/service/members").json["value"]}
    roles = {name: listed[person(name).id]["recoveryRole"] for name in ("member0", "member1")}
    assert roles == {"member0": "Participant", "member1": "NonParticipant"}
    ident = person("member2").id
    assert listed[ident] == {
        "certificate": person("member2").cert,
        "memberData": None,
        "memberId": ident,
        "publicEncryptionKey": person("member2").encryption_key.public.pem(),
        "recoveryRole": "Owner",
        "status": "Accepted",
    }
    assert gov.get(f"/service/members/{ident}").json == listed[ident]
    assert "publicEncryptionKey" not in listed[person("member1").id]


def test_users_show_the_stored_record() -> None:
    gov = governed()
    ident = person("user0").id
    put_raw(gov, tables.USERS_CERTS, ident, person("user0").cert)
    expected: dict[str, Any] = {
        "certificate": person("user0").cert,
        "userData": None,
        "userId": ident,
    }
    assert gov.get("/service/users").json == {"value": [expected]}
    put(gov, tables.USERS_INFO, ident, {"user_data": {"new": True}})
    expected["userData"] = {"user_data": {"new": True}}
    assert gov.get(f"/service/users/{ident}").json == expected


def test_nodes() -> None:
    gov = governed()
    identity = node_identity()
    expected = gov.get(f"/service/nodes/{identity.node_id}").json
    assert gov.get("/service/nodes").json == {"value": [expected]}
    assert set(expected) == {
        "certificate",
        "nodeData",
        "nodeId",
        "quoteInfo",
        "retiredCommitted",
        "rpcInterfaces",
        "status",
    }
    assert expected["rpcInterfaces"] == {
        "primary_rpc_interface": {"protocol": "HTTP1", "publishedAddress": ADDRESS}
    }
    quote = expected["quoteInfo"]
    raw = json.loads(base64.b64decode(quote["rawQuote"]))
    assert quote["format"] == "Insecure_Virtual"
    assert quote["details"] == {
        "hostData": HOST_DATA,
        "measurement": "Insecure hard-coded virtual measurement v1",
        "reportData": raw["report_data"],
    }
    assert (expected["status"], expected["retiredCommitted"]) == ("Trusted", False)


def test_quotes_of_other_platforms() -> None:
    gov = governed()
    entry = tables.get_object(gov.world.store.tx(), tables.NODES_INFO, node_identity().node_id)
    assert entry is not None
    snp = {
        "format": "AMD_SEV_SNP_v1",
        "quote": "AAAA",
        "endorsements": "",
        "uvm_endorsements": "BBBB",
        "endorsed_tcb": "db18",
    }
    sgx = {"format": "OE_SGX_v1", "quote": "AAAA", "endorsements": "CCCC"}
    for ident, quote in (("1" * 64, snp), ("2" * 64, sgx), ("3" * 64, {"format": "Unheard"})):
        put(gov, tables.NODES_INFO, ident, {**entry, "quote_info": {**quote}})
    assert gov.get(f"/service/nodes/{'1' * 64}").json["quoteInfo"] == {
        "format": "AMD_SEV_SNP_v1",
        "uvmEndorsements": "BBBB",
        "endorsedTcb": base64.b64encode(b"\xdb\x18").decode(),
    }
    assert gov.get(f"/service/nodes/{'2' * 64}").json["quoteInfo"] == sgx
    assert gov.get(f"/service/nodes/{'3' * 64}").error[:2] == (500, "InternalError")


@pytest.mark.parametrize(
    ("path", "kind", "missing"),
    [
        ("members", "member", "Member m[{}] does not exist."),
        ("users", "user", "User u[{}] does not exist."),
        ("nodes", "node", "Node n[{}] does not exist."),
    ],
)
def test_ids(path: str, kind: str, missing: str) -> None:
    gov = governed()
    for bad in ("abc", "0" * 63, "0" * 65, "g" * 64):
        assert gov.get(f"/service/{path}/{bad}").error == (
            400,
            "InvalidResourceName",
            f"'{bad}' is not a valid hex-encoded {kind} ID",
        )
    for absent in (ZERO, "A" * 64, person("member0").id.upper()):
        assert gov.get(f"/service/{path}/{absent}").error == (
            404,
            "ResourceNotFound",
            missing.format(absent),
        )


def test_join_policy() -> None:
    gov = governed()
    policy = gov.get("/service/join-policy").json
    assert policy == {
        "sgx": {"measurements": []},
        "snp": {"hostData": {}, "measurements": [], "tcbVersions": {}, "uvmEndorsements": {}},
        "virtual": {
            "hostData": [HOST_DATA],
            "measurements": ["Insecure hard-coded virtual measurement v1"],
        },
    }
    put(gov, tables.NODES_CODE_IDS, "ab", "AllowedToJoin")
    put(gov, tables.NODES_CODE_IDS, "cd", "Refused")
    put(gov, tables.SNP_HOST_DATA, "ef", "policy")
    put(gov, tables.SNP_TCB_VERSIONS, "00a00f11", {"boot_loader": 3})
    put(gov, tables.SNP_UVM_ENDORSEMENTS, "did:x", {"F": {"svn": "100"}})
    policy = gov.get("/service/join-policy").json
    assert policy["sgx"] == {"measurements": ["ab"]}
    assert policy["snp"] == {
        "hostData": {"ef": "policy"},
        "measurements": [],
        "tcbVersions": {"00a00f11": {"boot_loader": 3}},
        "uvmEndorsements": {"did:x": {"F": {"svn": "100"}}},
    }


def test_javascript_application() -> None:
    gov = governed()
    assert gov.get("/service/javascript-app").json == {"endpoints": {}}
    row: dict[str, Json] = {
        "js_module": "/a.js",
        "js_function": "f",
        "forwarding_required": "sometimes",
        "redirection_strategy": "none",
        "authn_policies": [{"all_of": ["jwt", "user_cert"]}],
        "mode": "readonly",
        "openapi": {},
        "extra": 1,
    }
    put(gov, tables.ENDPOINTS, "GET /a/{b}", row)
    put(gov, tables.ENDPOINTS, "POST /a/{b}", {"js_module": "/a.js"})
    shown = gov.get("/service/javascript-app").json["endpoints"]["/a/{b}"]
    assert shown["GET"] == {
        "jsModule": "/a.js",
        "jsFunction": "f",
        "forwardingRequired": "sometimes",
        "redirectionStrategy": "none",
        "authnPolicies": [{"all_of": ["jwt", "user_cert"]}],
        "mode": "readonly",
        "openApi": {},
    }
    assert shown["POST"]["mode"] == "readwrite"
    original = gov.get("/service/javascript-app", "case=original&api-version=2024-07-01")
    assert original.json["endpoints"]["/a/{b}"]["GET"] == row
    for query in ("case=camel", "case="):
        refused = gov.get("/service/javascript-app", f"{query}&api-version=2024-07-01")
        assert refused.error == (
            400,
            "InvalidQueryParameterValue",
            "Accepted values for the 'case' query parameter are: original",
        )


def test_javascript_modules() -> None:
    gov = governed()
    put_raw(gov, tables.MODULES, "/a b.js", "export const x = 1;")
    assert gov.get("/service/javascript-modules").json == {"value": [{"moduleName": "/a b.js"}]}
    for name in ("%2Fa%20b.js", "%2Fa+b.js"):
        shown = gov.get(f"/service/javascript-modules/{name}")
        assert shown.body == b"export const x = 1;"
        assert shown.headers["content-type"] == "text/javascript"
    assert gov.get("/service/javascript-modules/a.js").error == (
        404,
        "ResourceNotFound",
        "Module a.js does not exist.",
    )


@pytest.mark.parametrize("path", ["javascript-app", "javascript-modules", "javascript-modules/x"])
def test_javascript_routes_are_of_the_newer_version(path: str) -> None:
    gov = governed()
    assert gov.get(f"/service/{path}", "api-version=2023-06-01-preview").error == (
        400,
        "UnsupportedApiVersionValue",
        "Unsupported api-version '2023-06-01-preview'. The supported api-versions are: 2024-07-01",
    )


def test_token_issuers() -> None:
    gov = governed()
    assert gov.get("/service/jwk").json == {"caCertBundles": {}, "issuers": {}, "keys": {}}
    key = person("member0").encryption_key.public
    put(
        gov,
        tables.JWT_ISSUERS,
        "https://a.test",
        {"issuer": "x", "auto_refresh": True, "ca_cert_bundle_name": "b"},
    )
    put(gov, tables.JWT_ISSUERS, "https://b.test", {"issuer": "x"})
    put(gov, tables.CA_CERT_BUNDLES, "b", "PEM")
    rows: list[Json] = [jwt.SigningKey("k", key.der).row("https://a.test")]
    put(gov, tables.JWT_KEYS, "k", rows)
    assert gov.get("/service/jwk").json == {
        "caCertBundles": {"b": "PEM"},
        "issuers": {
            "https://a.test": {"autoRefresh": True, "caCertBundleName": "b"},
            "https://b.test": {"autoRefresh": False},
        },
        "keys": {"k": [{"constraint": None, "issuer": "https://a.test", "publicKey": key.pem()}]},
    }
    assert RsaPublicKey.from_pem(key.pem()).der == key.der


def test_keys_of_tokens_may_be_on_a_curve() -> None:
    gov = governed()
    key = person("member0").key.public
    put(gov, tables.JWT_KEYS, "k", [jwt.SigningKey("k", key.der).row("https://a.test")])
    shown = {"constraint": None, "issuer": "https://a.test", "publicKey": key.pem()}
    assert gov.get("/service/jwk").json["keys"] == {"k": [shown]}
    put(gov, tables.JWT_KEYS, "k", [jwt.SigningKey("k", b"no key").row("https://a.test")])
    assert gov.get("/service/jwk").error == (500, "InternalError", "invalid signing key")


def test_transactions() -> None:
    gov = governed()
    assert gov.get("/service/transactions/commit").json == {
        "status": "Committed",
        "transactionId": "2.1",
    }
    assert gov.get("/service/transactions/2.99999999").json["status"] == "Unknown"
    assert gov.get("/service/transactions/9.1").json["status"] == "Invalid"
    for bad in ("abc", "0.1", "COMMIT"):
        assert gov.get(f"/service/transactions/{bad}").error == (
            400,
            "InvalidQueryParameterValue",
            f"The value '{bad}' passed as parameter 'transactionId' could not be converted to a"
            " valid Transaction ID.",
        )


def test_proposals_of_a_new_service() -> None:
    assert governed().get("/members/proposals").json == {"value": []}
