"""Every action of the default constitution: what it accepts, and what it writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyccf.codec.text import b64
from pyccf.crypto import certs
from pyccf.service import info, tables
from pyccf.service.operations import Flag
from pyccf.service.proposals import ScriptFailure
from support.constitution import NAMES, PROPOSAL_ID, Constitution, identity, proposal
from support.service import member, node_identity, person, service_identity

M0, M1, M2 = (person(n).id for n in NAMES)
NODE = node_identity().node_id
ZERO = "0" * 64
OTHER_PROPOSAL = "cd" * 32


@pytest.fixture
def default() -> Constitution:
    return Constitution("default")


def fails(c: Constitution, text: str, *actions: tuple[str, Any]) -> None:
    """Applying throws this, and was valid before."""
    assert c.validate(*actions) == ""
    with pytest.raises(ScriptFailure) as failed:
        c.scripts.apply(c.world.store.tx(), c.text, proposal(*actions), PROPOSAL_ID)
    assert failed.value.reason == text


def refuses(c: Constitution, text: str, name: str, args: Any) -> None:
    """Validation says this."""
    assert c.validate((name, args)) == f"{name} at position 0 failed validation: {text}"


def open_proposal(c: Constitution, ident: str) -> None:
    c.put(tables.PROPOSALS_INFO, ident, {"ballots": {}, "proposer_id": M0, "state": "Open"})


# --- the proposal as a whole ------------------------------------------------------------------


def test_unknown_actions_and_several_errors(default: Constitution) -> None:
    assert default.validate() == ""
    found = default.validate(("nonsense", None), ("set_user", {}))
    assert found == (
        "nonsense: no such action, set_user at position 1 failed validation: Error: cert must be"
        " a valid X509 certificate (bundle) in PEM format"
    )
    text = json.dumps({"actions": [{}]})
    verdict = default.scripts.validate(default.world.store.tx(), default.text, text)
    assert verdict.description == "undefined: no such action"


def test_actions_see_what_earlier_ones_wrote(default: Constitution) -> None:
    args = {"user_id": ZERO, "user_data": {"a": 1}}
    written = default.apply(("set_user_data", args), ("remove_user", {"user_id": ZERO}))
    assert written == {"users.info": {ZERO: None}, "users.certs": {ZERO: None}}


# --- constitution, members, users -------------------------------------------------------------


def test_set_constitution_drops_open_proposals(default: Constitution) -> None:
    open_proposal(default, OTHER_PROPOSAL)
    open_proposal(default, PROPOSAL_ID)
    text = (
        "export function validate(i) {} export function resolve(p, i, v) {}"
        " export function apply(p, i) {}"
    )
    written = default.apply(("set_constitution", {"constitution": text}))
    assert written == {
        "constitution": {"UNIT": text},
        "proposals_info": {OTHER_PROPOSAL: {"ballots": {}, "proposer_id": M0, "state": "Dropped"}},
    }
    refuses(
        default,
        "Error: constitution must be of type string but is undefined",
        "set_constitution",
        {},
    )
    assert "proposed constitution" in default.validate(("set_constitution", {"constitution": "x"}))


def test_set_member(default: Constitution) -> None:
    who = member("newcomer")
    args = {
        "cert": who.cert,
        "encryption_pub_key": who.encryption_pub_key,
        "member_data": {"a": 1},
        "recovery_role": "Owner",
    }
    written = default.apply(("set_member", args))
    ident = who.member_id
    assert written == {
        "members.certs": {ident: who.cert},
        "members.encryption_public_keys": {ident: who.encryption_pub_key},
        "members.info": {
            ident: {"member_data": {"a": 1}, "recovery_role": "Owner", "status": "Accepted"}
        },
        "members.acks": {ident: {"state_digest": "05" * 32}},
    }
    raw = default.world.store.tx().map(tables.MEMBERS_INFO).get(ident.encode())
    assert raw == b'{"member_data":{"a":1},"recovery_role":"Owner","status":"Accepted"}'
    again = default.apply(("set_member", {"cert": who.cert}))
    assert again["members.encryption_public_keys"] == {ident: None}
    assert again["members.info"] == {ident: {"status": "Accepted"}}


def test_set_member_needs_a_signature_to_acknowledge() -> None:
    c = Constitution(opened=False)
    tx = c.world.store.tx()
    tx.map(tables.SIGNATURES).delete(tables.UNIT)
    c.world.commit(tx)
    args = proposal(("set_member", {"cert": person("newcomer").cert}))
    with pytest.raises(ScriptFailure, match="TypeError"):
        c.scripts.apply(c.world.store.tx(), c.text, args, PROPOSAL_ID)


def test_set_member_refusals(default: Constitution) -> None:
    cert = person("newcomer").cert
    wrong = "Error: cert must be a valid X509 certificate (bundle) in PEM format"
    refuses(default, wrong, "set_member", {"cert": "x"})
    refuses(
        default,
        "Error: Cannot specify a recovery_role value when encryption_pub_key is not specified",
        "set_member",
        {"cert": cert, "recovery_role": "Participant"},
    )
    refuses(
        default,
        "Error: recovery_role must be one of NonParticipant,Participant,Owner",
        "set_member",
        {"cert": cert, "encryption_pub_key": "k", "recovery_role": "X"},
    )
    refuses(
        default,
        "Error: member_data must be of type object but is number",
        "set_member",
        {"cert": cert, "member_data": 5},
    )


def test_remove_member_rekeys(default: Constitution) -> None:
    written = default.apply(("remove_member", {"member_id": M0}))
    assert set(written) == {
        "members.info",
        "members.encryption_public_keys",
        "members.certs",
        "members.acks",
        "history",
        "public:ccf.internal.recovery_shares",
        "public:ccf.internal.historical_encrypted_ledger_secret",
        "public:ccf.internal.encrypted_ledger_secrets",
    }
    assert all(written[t] == {M0: None} for t in written if not t.startswith("public:"))
    shares = written["public:ccf.internal.recovery_shares"]["UNIT"]["encrypted_shares"]
    assert set(shares) == {M1, M2}
    fails(
        default,
        "Error: Number of active recovery members (1) would be less than recovery threshold (2)",
        ("remove_member", {"member_id": M1}),
    )
    assert default.apply(("remove_member", {"member_id": ZERO})) == {}


def test_removing_a_member_without_share_needs_no_rekey(default: Constitution) -> None:
    who = member("newcomer")
    default.apply(("set_member", {"cert": who.cert}))
    written = default.apply(("remove_member", {"member_id": who.member_id}))
    assert not any(t.startswith("public:ccf.internal") for t in written)


def test_set_member_data(default: Constitution) -> None:
    written = default.apply(("set_member_data", {"member_id": M0, "member_data": {"b": 2}}))
    assert written == {"members.info": {M0: {"status": "Active", "member_data": {"b": 2}}}}
    fails(
        default,
        f"Error: Member {ZERO} does not exist",
        ("set_member_data", {"member_id": ZERO, "member_data": {}}),
    )


def test_users(default: Constitution) -> None:
    who = person("user0")
    written = default.apply(("set_user", {"cert": who.cert}))
    assert written == {"users.certs": {who.id: who.cert}, "users.info": {who.id: None}}
    written = default.apply(("set_user", {"cert": who.cert, "user_data": {"a": 1}}))
    assert written["users.info"] == {who.id: {"user_data": {"a": 1}}}
    written = default.apply(("set_user_data", {"user_id": who.id, "user_data": {"b": 1}}))
    assert written == {"users.info": {who.id: {"user_data": {"b": 1}}}}
    assert default.apply(("set_user_data", {"user_id": who.id})) == {"users.info": {who.id: None}}
    assert default.apply(("remove_user", {"user_id": who.id})) == {
        "users.certs": {who.id: None},
        "users.info": {who.id: None},
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ab", "must contain exactly 64 characters"),
        ("z" * 64, "contains non-hexadecimal character"),
        (5, "must be of type string but is number"),
        (None, "must be of type string but is object"),
    ],
)
def test_entity_ids(default: Constitution, value: object, text: str) -> None:
    refuses(default, f"Error: user_id {text}", "remove_user", {"user_id": value})
    refuses(default, f"Error: member_id {text}", "remove_member", {"member_id": value})
    refuses(default, f"Error: node_id {text}", "remove_node", {"node_id": value})


# --- service ----------------------------------------------------------------------------------


def test_recovery_threshold(default: Constitution) -> None:
    written = default.apply(("set_recovery_threshold", {"recovery_threshold": 3}))
    assert written["service.config"]["UNIT"]["recovery_threshold"] == 3
    assert set(written) == {"service.config", "public:ccf.internal.recovery_shares"}
    same = default.apply(("set_recovery_threshold", {"recovery_threshold": 3}))
    assert set(same) == {"service.config"}
    fails(
        default,
        "Error: Cannot set recovery threshold to 4: recovery threshold would be greater than the"
        " number of recovery members 3",
        ("set_recovery_threshold", {"recovery_threshold": 4}),
    )
    row = info.require(default.world.store.tx())
    default.put(tables.SERVICE_INFO, tables.UNIT, {**row, "status": "WaitingForRecoveryShares"})
    fails(
        default,
        "Error: Cannot set recovery threshold if service is WaitingForRecoveryShares",
        ("set_recovery_threshold", {"recovery_threshold": 1}),
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "must be greater than 1"),
        (255, "must be lower than 254"),
        ("2", "must be an integer"),
        (1.5, "must be an integer"),
        (None, "must be an integer"),
    ],
)
def test_recovery_threshold_range(default: Constitution, value: object, text: str) -> None:
    args = {"recovery_threshold": value}
    refuses(default, f"Error: threshold {text}", "set_recovery_threshold", args)


def test_service_configuration(default: Constitution) -> None:
    written = default.apply(
        ("set_service_configuration", {"recent_cose_proposals_window_size": 50})
    )
    assert written["service.config"]["UNIT"]["recent_cose_proposals_window_size"] == 50
    refuses(
        default,
        "Error: Cannot change x via set_service_configuration.",
        "set_service_configuration",
        {"x": 1},
    )
    name = "recent_cose_proposals_window_size"
    for value, text in ((0, "greater than 1"), (10001, "lower than 10000")):
        text = f"Error: recent cose proposals window size must be {text}"
        refuses(default, text, "set_service_configuration", {name: value})
    fails(
        default,
        "Error: Cannot change reconfiguration type from undefined to Nonsense.",
        ("set_service_configuration", {"reconfiguration_type": "Nonsense"}),
    )
    default.apply(("set_service_configuration", {"reconfiguration_type": "TwoTransaction"}))
    fails(
        default,
        "Error: Cannot change reconfiguration type from TwoTransaction to OneTransaction.",
        ("set_service_configuration", {"reconfiguration_type": "OneTransaction"}),
    )


@pytest.mark.parametrize("name", ["trigger_ledger_rekey", "trigger_recovery_shares_refresh"])
def test_actions_without_arguments(default: Constitution, name: str) -> None:
    for args in (None, {"a": 1}):
        assert (default.validate((name, args)) == "") is (args is None)
    written = default.apply((name, None))
    assert "public:ccf.internal.recovery_shares" in written


def test_flags(default: Constitution) -> None:
    tx = default.world.store.tx()
    text = proposal(("trigger_ledger_chunk", None), ("trigger_snapshot", None))
    default.scripts.apply(tx, default.text, text, PROPOSAL_ID)
    assert not tx.writes
    assert default.world.flags.take(tx) == {Flag.CHUNK, Flag.SNAPSHOT}


def test_opening_writes_the_recorded_tables() -> None:
    c = Constitution(opened=False)
    written = c.apply(
        ("set_user", {"cert": person("user0").cert}), ("transition_service_to_open", identity())
    )
    assert set(written) == {
        "service.info",
        "users.certs",
        "users.info",
        "public:ccf.internal.historical_encrypted_ledger_secret",
        "public:ccf.internal.previous_service_identity_endorsement",
        "public:ccf.internal.recovery_shares",
    }
    assert written["service.info"]["UNIT"]["status"] == "Open"


def test_opening_with_another_identity() -> None:
    c = Constitution(opened=False)
    other = {"next_service_identity": person("user0").cert}
    with pytest.raises(ScriptFailure) as failed:
        c.scripts.apply(
            c.world.store.tx(), c.text, proposal(("transition_service_to_open", other)), PROPOSAL_ID
        )
    assert failed.value.reason.startswith(
        "InternalError: Unable to open service: Service identity mismatch: the next service"
        " identity in the transition_service_to_open proposal does not match the current service"
        " identity:\nNext:\n-----BEGIN CERTIFICATE-----\n"
    )


def test_opening_a_recovering_service_needs_both_identities(default: Constitution) -> None:
    row = info.require(default.world.store.tx())
    default.put(tables.SERVICE_INFO, tables.UNIT, {**row, "status": "Recovering"})
    fails(
        default,
        "Error: Opening a recovering network requires both, the previous and the next service"
        " identity",
        ("transition_service_to_open", identity()),
    )


def test_assert_service_identity(default: Constitution) -> None:
    mine = {"service_identity": service_identity().cert_pem}
    assert default.apply(("assert_service_identity", mine)) == {}
    refuses(
        default,
        "Error: Service identity certificate mismatch",
        "assert_service_identity",
        {"service_identity": person("user0").cert},
    )


# --- JavaScript application -------------------------------------------------------------------


def bundle(source: str = "export function f() {}", **changes: Any) -> dict[str, Any]:
    endpoint = {
        "js_module": "a.js",
        "js_function": "f",
        "forwarding_required": "sometimes",
        "authn_policies": [],
        "mode": "readonly",
        "openapi": {},
        **changes,
    }
    return {
        "bundle": {
            "metadata": {"endpoints": {"/x": {"get": endpoint}}},
            "modules": [{"name": "a.js", "module": source}],
        }
    }


def test_set_and_remove_app(default: Constitution) -> None:
    written = default.apply(("set_js_app", {**bundle(extra=1), "disable_bytecode_cache": True}))
    assert written["modules"] == {"/a.js": "export function f() {}"}
    assert written["interpreter.flush"] == {"UNIT": True}
    raw = default.world.store.tx().map(tables.ENDPOINTS).get(b"GET /x")
    assert raw is not None
    assert list(json.loads(raw)) == [
        "js_module",
        "js_function",
        "forwarding_required",
        "authn_policies",
        "mode",
        "openapi",
        "extra",
    ]
    assert json.loads(raw)["js_module"] == "/a.js"
    assert "modules_quickjs_bytecode" not in written
    written = default.apply(("remove_js_app", None))
    assert written["endpoints"] == {"GET /x": None}
    assert written["modules"] == {"/a.js": None}
    assert written["interpreter.flush"] == {"UNIT": None}


def test_an_app_replaces_the_one_before(default: Constitution) -> None:
    default.apply(("set_js_app", bundle()))
    other = bundle()
    other["bundle"]["modules"][0]["name"] = "b.js"
    other["bundle"]["metadata"]["endpoints"]["/x"]["get"]["js_module"] = "b.js"
    written = default.apply(("set_js_app", other))
    assert written["modules"] == {"/a.js": None, "/b.js": "export function f() {}"}


def test_bytecode_is_compiled_anew(default: Constitution) -> None:
    default.apply(("set_js_app", {**bundle(), "disable_bytecode_cache": True}))
    written = default.apply(("refresh_js_app_bytecode_cache", None))
    assert set(written) == {"modules_quickjs_bytecode", "modules_quickjs_version"}
    assert set(written["modules_quickjs_bytecode"]) == {"/a.js"}
    assert "quickjs" in str(written["modules_quickjs_version"]["UNIT"])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"js_module": "b.js"}, "module 'b.js' not found in bundle"),
        ({"js_function": None}, "{}.js_function must be of type string but is object"),
        ({"mode": "x"}, "{}.mode must be one of readwrite,readonly,historical"),
        (
            {"forwarding_required": None},
            "{}.forwarding_required must be one of sometimes,always,never",
        ),
        (
            {"redirection_strategy": "x"},
            "{}.redirection_strategy must be one of none,to_primary,to_backup",
        ),
        ({"authn_policies": 5}, "{}.authn_policies must be an array"),
        (
            {"authn_policies": [5]},
            "{}.authn_policies[0] must be of type string or object but is number",
        ),
        ({"authn_policies": [{"any_of": []}]}, "{}.authn_policies[0].all_of must be an array"),
        (
            {"authn_policies": ["jwt", {"all_of": ["jwt", 5]}]},
            "{}.authn_policies[1].all_of[1] must be of type string but is number",
        ),
        ({"openapi": 5}, "{}.openapi must be of type object but is number"),
        ({"openapi_hidden": 5}, "{}.openapi_hidden must be of type boolean but is number"),
    ],
)
def test_bundle_refusals(default: Constitution, changes: dict[str, Any], text: str) -> None:
    path = 'bundle.metadata.endpoints["/x"]["get"]'
    refuses(default, f"Error: {text.format(path)}", "set_js_app", bundle(**changes))


def test_runtime_options_are_stored_as_given(default: Constitution) -> None:
    args = {"max_heap_bytes": 1, "max_stack_bytes": 2, "max_execution_time_ms": 3, "extra": 4}
    assert default.apply(("set_js_runtime_options", args)) == {"js_runtime_options": {"UNIT": args}}
    refuses(
        default,
        "Error: max_heap_bytes must be an integer",
        "set_js_runtime_options",
        {"max_stack_bytes": 2},
    )


# --- authorities and token issuers ------------------------------------------------------------


def rsa_jwk(**more: Any) -> dict[str, Any]:
    return {"kty": "RSA", "kid": "k", "n": "AQAB" * 86, "e": "AQAB", **more}


def test_ca_bundles(default: Constitution) -> None:
    cert = person("user0").cert
    written = default.apply(("set_ca_cert_bundle", {"name": "b", "cert_bundle": cert}))
    assert written == {"tls.ca_cert_bundles": {"b": cert}}
    written = default.apply(("remove_ca_cert_bundle", {"name": "b"}))
    assert written == {"tls.ca_cert_bundles": {"b": None}}


def test_token_issuers(default: Constitution) -> None:
    args = {"issuer": "https://a.test", "auto_refresh": False}
    jwks = {"keys": [rsa_jwk()]}
    written = default.apply(("set_jwt_issuer", {**args, "jwks": jwks}))
    assert written["jwt.issuers"] == {"https://a.test": args}
    keys = written["jwt.public_signing_keys_metadata_v2"]
    assert [row["issuer"] for row in keys["k"]] == ["https://a.test"]
    other = {"issuer": "https://a.test", "jwks": {"keys": [rsa_jwk(kid="k2")]}}
    written = default.apply(("set_jwt_public_signing_keys", other))
    assert set(written["jwt.public_signing_keys_metadata_v2"]) == {"k", "k2"}
    written = default.apply(("remove_jwt_issuer", {"issuer": "https://a.test"}))
    assert written["jwt.issuers"] == {"https://a.test": None}
    assert written["jwt.public_signing_keys_metadata_v2"] == {"k2": None}
    assert default.apply(("remove_jwt_issuer", {"issuer": "https://nobody.test"})) == {}


def test_token_issuer_failures(default: Constitution) -> None:
    refresh = {"issuer": "https://a.test", "auto_refresh": True}
    refuses(
        default,
        "Error: ca_cert_bundle_name is missing but required if auto_refresh is true",
        "set_jwt_issuer",
        refresh,
    )
    refuses(
        default,
        "Error: issuer must be a URL starting with https:// if auto_refresh is true",
        "set_jwt_issuer",
        {**refresh, "issuer": "nonsense", "ca_cert_bundle_name": "b"},
    )
    fails(
        default,
        "Error: No CA cert bundle found with name 'b'",
        ("set_jwt_issuer", {**refresh, "ca_cert_bundle_name": "b"}),
    )
    fails(
        default,
        "Error: issuer https://a.test not found",
        ("set_jwt_public_signing_keys", {"issuer": "https://a.test", "jwks": {"keys": []}}),
    )
    fails(
        default,
        "InternalError: set_jwt_public_signing_keys() failed",
        ("set_jwt_issuer", {"issuer": "https://a.test", "jwks": {"keys": []}}),
    )


def test_certificates_in_key_sets(default: Constitution) -> None:
    der = certs.pem_to_der(person("user0").cert)
    good = {"issuer": "i", "jwks": {"keys": [{"kty": "EC", "kid": "k", "x5c": [b64(der)]}]}}
    assert default.validate(("set_jwt_issuer", good)) == ""
    bad = {"issuer": "i", "jwks": {"keys": [{"kty": "EC", "kid": "k", "x5c": ["AAAA"]}]}}
    refuses(
        default,
        "Error: jwks.keys[0].x5c[0] must be a valid X509 certificate (bundle) in PEM format",
        "set_jwt_issuer",
        bad,
    )
    empty = {"issuer": "i", "jwks": {"keys": [{"kty": "EC", "kid": "k", "x5c": []}]}}
    refuses(
        default,
        "Error: jwks.keys[0].x5c must be an array of minimum 1 elements",
        "set_jwt_issuer",
        empty,
    )


# --- code identity ----------------------------------------------------------------------------

ADDITIONS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("add_node_code", {"code_id": "ab"}, "nodes.code_ids", {"ab": "AllowedToJoin"}),
    ("add_snp_measurement", {"measurement": "m"}, "nodes.snp.measurements", {"m": "AllowedToJoin"}),
    (
        "add_snp_uvm_endorsement",
        {"did": "d", "feed": "f", "svn": "1"},
        "nodes.snp.uvm_endorsements",
        {"d": {"f": {"svn": "1"}}},
    ),
    (
        "add_snp_host_data",
        {
            "host_data": "823412d1eacb67956220e532959f0104603057c88704863ca38e7cd188fda812",
            "security_policy": "policy",
        },
        "nodes.snp.host_data",
        {"823412d1eacb67956220e532959f0104603057c88704863ca38e7cd188fda812": "policy"},
    ),
    (
        "set_snp_minimum_tcb_version",
        {
            "cpuid": "00a00f11",
            "tcb_version": {"boot_loader": 3, "tee": 0, "snp": 8, "microcode": 115},
        },
        "nodes.snp.tcb_versions",
        {"00a00f11": {"boot_loader": 3, "tee": 0, "snp": 8, "microcode": 115}},
    ),
    (
        "set_snp_minimum_tcb_version_hex",
        {"cpuid": "00a10f11", "tcb_version": "541700000000000a"},
        "nodes.snp.tcb_versions",
        {
            "00a10f11": {
                "boot_loader": 10,
                "hexstring": "541700000000000a",
                "microcode": 84,
                "snp": 23,
                "tee": 0,
            }
        },
    ),
    (
        "add_virtual_measurement",
        {"measurement": "v"},
        "nodes.virtual.measurements",
        {"v": "AllowedToJoin"},
    ),
    ("add_virtual_host_data", {"host_data": "h"}, "nodes.virtual.host_data", {"h": "UNIT"}),
]


@pytest.mark.parametrize(("name", "args", "table", "rows"), ADDITIONS)
def test_what_may_join(name: str, args: dict[str, Any], table: str, rows: dict[str, Any]) -> None:
    c = Constitution("default", "virtual")
    open_proposal(c, OTHER_PROPOSAL)
    written = c.apply((name, args))
    assert written[table] == rows
    assert written["proposals_info"][OTHER_PROPOSAL]["state"] == "Dropped"


REMOVALS: list[tuple[str, dict[str, Any], str]] = [
    ("remove_node_code", {"code_id": "k"}, "nodes.code_ids"),
    ("remove_snp_measurement", {"measurement": "k"}, "nodes.snp.measurements"),
    ("remove_snp_host_data", {"host_data": "k"}, "nodes.snp.host_data"),
    ("remove_snp_minimum_tcb_version", {"cpuid": "00a00f11"}, "nodes.snp.tcb_versions"),
    ("remove_snp_uvm_endorsement", {"did": "k", "feed": "f"}, "nodes.snp.uvm_endorsements"),
    ("remove_virtual_measurement", {"measurement": "k"}, "nodes.virtual.measurements"),
    ("remove_virtual_host_data", {"host_data": "k"}, "nodes.virtual.host_data"),
]


@pytest.mark.parametrize(("name", "args", "table"), REMOVALS)
def test_what_may_no_longer_join(name: str, args: dict[str, Any], table: str) -> None:
    c = Constitution("default", "virtual")
    open_proposal(c, OTHER_PROPOSAL)
    key = args.get("cpuid", "k")
    c.put(f"public:ccf.gov.{table}", key, {"f": {}})
    assert c.apply((name, args)) == {table: {key: None}}


def test_endorsements_are_merged(default: Constitution) -> None:
    add = "add_snp_uvm_endorsement"
    default.apply((add, {"did": "d", "feed": "f", "svn": "1"}))
    written = default.apply((add, {"did": "d", "feed": "g", "svn": "2"}))
    table = "nodes.snp.uvm_endorsements"
    assert written[table] == {"d": {"f": {"svn": "1"}, "g": {"svn": "2"}}}
    written = default.apply(("remove_snp_uvm_endorsement", {"did": "d", "feed": "f"}))
    assert written[table] == {"d": {"g": {"svn": "2"}}}
    written = default.apply(("remove_snp_uvm_endorsement", {"did": "x", "feed": "f"}))
    assert written == {table: {"x": None}}


def test_host_data_must_be_the_digest_of_the_policy(default: Constitution) -> None:
    found = default.validate(("add_snp_host_data", {"host_data": "ab", "security_policy": "p"}))
    assert "The hash of raw policy " in found
    assert " does not match digest \ufffd" in found
    assert default.apply(("add_snp_host_data", {"host_data": "cd", "security_policy": ""})) == {
        "nodes.snp.host_data": {"cd": ""}
    }


def test_tcb_refusals(default: Constitution) -> None:
    name = "set_snp_minimum_tcb_version"
    args = {"cpuid": "00a00f11", "tcb_version": {"boot_loader": 3}}
    refuses(default, "Error: tcb_version.tee must be of type number but is undefined", name, args)
    fails(
        default,
        "Error: CPUID 00000000 not found",
        ("remove_snp_minimum_tcb_version", {"cpuid": "00000000"}),
    )


# --- nodes ------------------------------------------------------------------------------------

VALID_FROM = "20270101000000Z"


def pending(c: Constitution) -> str:
    entry = tables.get_object(c.world.store.tx(), tables.NODES_INFO, NODE)
    assert entry is not None
    ident = "11" * 32
    c.put(tables.NODES_INFO, ident, {**entry, "status": "Pending"})
    return ident


def test_trusting_a_node(default: Constitution) -> None:
    ident = pending(default)
    args = {"node_id": ident, "valid_from": VALID_FROM, "validity_period_days": 10}
    written = default.apply(("transition_node_to_trusted", args))
    row = written["nodes.info"][ident]
    assert (row["status"], row["ledger_secret_seqno"]) == ("Trusted", 1)
    begin, end = certs.validity(written["nodes.endorsed_certificates"][ident])
    assert end - begin == 10 * 86400 - 1
    assert default.apply(("transition_node_to_trusted", args)) == {}
    fails(
        default,
        f"Error: No such node: {ZERO}",
        ("transition_node_to_trusted", {**args, "node_id": ZERO}),
    )
    fails(
        default,
        "Error: Validity period 366 is not allowed: max allowed is 365",
        (
            "transition_node_to_trusted",
            {**args, "node_id": pending(default), "validity_period_days": 366},
        ),
    )
    refuses(
        default,
        "Error: validity_period_days must be greater than 1",
        "transition_node_to_trusted",
        {**args, "validity_period_days": 0},
    )


def test_removing_nodes(default: Constitution) -> None:
    ident = pending(default)
    assert default.apply(("remove_node", {"node_id": ident})) == {"nodes.info": {ident: None}}
    written = default.apply(("remove_node", {"node_id": NODE}))
    assert written["nodes.info"][NODE]["status"] == "Retired"
    assert default.apply(("remove_node", {"node_id": ZERO})) == {}


def test_node_data(default: Constitution) -> None:
    written = default.apply(("set_node_data", {"node_id": NODE, "node_data": {"rack": 7}}))
    assert written["nodes.info"][NODE]["node_data"] == {"rack": 7}
    fails(
        default,
        "Error: Node [object ArrayBuffer] does not exist",
        ("set_node_data", {"node_id": ZERO, "node_data": 1}),
    )


def test_node_certificates(default: Constitution) -> None:
    args = {"valid_from": VALID_FROM, "validity_period_days": 30}
    one = default.apply(("set_node_certificate_validity", {**args, "node_id": NODE}))
    assert set(one) == {"nodes.endorsed_certificates"}
    ident = pending(default)
    every = default.apply(("set_all_nodes_certificate_validity", {"valid_from": VALID_FROM}))
    assert set(every["nodes.endorsed_certificates"]) == {NODE}
    begin, end = certs.validity(every["nodes.endorsed_certificates"][NODE])
    assert end - begin == 365 * 86400 - 1
    fails(
        default,
        f"Error: Node {ident} is not trusted",
        ("set_node_certificate_validity", {**args, "node_id": ident}),
    )
    fails(
        default,
        "Error: Validity period 3660 (days) is not allowed: service max allowed is 365 (days)",
        ("set_all_nodes_certificate_validity", {**args, "validity_period_days": 3660}),
    )


def test_service_certificate(default: Constitution) -> None:
    args = {"valid_from": VALID_FROM, "validity_period_days": 60}
    written = default.apply(("set_service_certificate_validity", args))
    row = written["service.info"]["UNIT"]
    assert row["status"] == "Open"
    assert row["cert"] != service_identity().cert_pem
    assert service_identity().owns(row["cert"])
    fails(
        default,
        "InternalError: Error: 'nonsense' does not match any accepted time format",
        ("set_service_certificate_validity", {"valid_from": "nonsense"}),
    )


# --- parts that others wrote ----------------------------------------------------------------------

FOREIGN = """
actions.set(
  "grant",
  new Action(
    function (args) {
      checkType(args.to, "string");
      checkType(args.days, "integer?", "days");
      checkBounds(args.days, 1, 30, "days");
      checkEnum(args.right, ["read", "write"], "right");
      const { scheme, authority, path } = parseUrl(args.to);
      checkArrayLength([scheme, authority, path].filter(Boolean), 3, 3, "parts of to");
      checkLength(args.to, null, 20, "to");
    },
    function (args, proposalId) {
      const table = ccf.kv["public:ccf.gov.rights"];
      table.set(getSingletonKvKey(), ccf.jsonCompatibleToBuf(getActiveRecoveryMembersCount()));
      invalidateOtherOpenProposals(proposalId);
    },
  ),
);
"""


def test_a_part_of_others_at_the_end() -> None:
    c = Constitution()
    c.text += FOREIGN
    args = {"to": "https://a.test/x?q#f", "right": "read"}
    assert c.apply(("grant", args)) == {"rights": {"UNIT": 3}}
    for change, text in (
        ({"to": 5}, "Error: undefined must be of type string but is number"),
        ({"to": "a.test"}, "Error: parts of to must be an array of minimum 3 elements"),
        ({"to": "https://a.test/a-long-one"}, "Error: to must be an array of maximum 20 elements"),
        ({"days": 31}, "Error: days must be lower than 30"),
        ({"right": "rule"}, "Error: right must be one of read,write"),
    ):
        refuses(c, text, "grant", {**args, **change})
