"""Arguments of every action: some that it accepts, and what it says to others.

`GOOD` has arguments that each action accepts; every one of `CASES` changes one of them.
"""

from __future__ import annotations

from typing import Any

from support.service import member, node_identity, person, service_identity

CERT = person("newcomer").cert
ENC_KEY = member("newcomer").encryption_pub_key
ID = "ab" * 32
SERVICE = service_identity().cert_pem
ENDPOINT = {
    "js_module": "a.js",
    "js_function": "f",
    "forwarding_required": "sometimes",
    "authn_policies": [],
    "mode": "readonly",
    "openapi": {},
}
BUNDLE = {
    "metadata": {"endpoints": {"/x": {"get": ENDPOINT}}},
    "modules": [{"name": "a.js", "module": "export function f() {}"}],
}
RSA_KEY = {"kid": "k", "kty": "RSA", "n": "AQAB", "e": "AQAB"}
TCB = {"boot_loader": 1, "tee": 2, "snp": 3, "microcode": 4}
PERIOD = {"valid_from": "20270101000000Z", "validity_period_days": 5}
CONSTITUTION = (
    "export function validate(i) {} export function resolve(p, i, v) {}"
    " export function apply(p, i) {}"
)

GOOD: dict[str, Any] = {
    "set_constitution": {"constitution": CONSTITUTION},
    "set_member": {"cert": CERT, "encryption_pub_key": ENC_KEY, "recovery_role": "Owner"},
    "remove_member": {"member_id": ID},
    "set_member_data": {"member_id": ID, "member_data": {}},
    "set_user": {"cert": CERT, "user_data": {}},
    "remove_user": {"user_id": ID},
    "set_user_data": {"user_id": ID, "user_data": {}},
    "set_recovery_threshold": {"recovery_threshold": 2},
    "trigger_recovery_shares_refresh": None,
    "trigger_ledger_rekey": None,
    "transition_service_to_open": {"next_service_identity": SERVICE},
    "set_service_configuration": {"recovery_threshold": 2},
    "trigger_ledger_chunk": None,
    "trigger_snapshot": None,
    "assert_service_identity": {"service_identity": SERVICE},
    "set_js_app": {"bundle": BUNDLE},
    "remove_js_app": None,
    "set_js_runtime_options": {
        "max_heap_bytes": 1,
        "max_stack_bytes": 1,
        "max_execution_time_ms": 1,
    },
    "refresh_js_app_bytecode_cache": None,
    "set_ca_cert_bundle": {"name": "b", "cert_bundle": CERT},
    "remove_ca_cert_bundle": {"name": "b"},
    "set_jwt_issuer": {"issuer": "https://issuer.test", "jwks": {"keys": [RSA_KEY]}},
    "set_jwt_public_signing_keys": {"issuer": "i", "jwks": {"keys": [RSA_KEY]}},
    "remove_jwt_issuer": {"issuer": "i"},
    "add_node_code": {"code_id": "ab"},
    "remove_node_code": {"code_id": "ab"},
    "add_snp_measurement": {"measurement": "ab"},
    "remove_snp_measurement": {"measurement": "ab"},
    "add_snp_uvm_endorsement": {"did": "d", "feed": "f", "svn": "1"},
    "remove_snp_uvm_endorsement": {"did": "d", "feed": "f"},
    "add_snp_host_data": {"host_data": "ab", "security_policy": ""},
    "remove_snp_host_data": {"host_data": "ab"},
    "set_snp_minimum_tcb_version": {"cpuid": "00a00f11", "tcb_version": TCB},
    "set_snp_minimum_tcb_version_hex": {"cpuid": "00a00f11", "tcb_version": "d315000000000004"},
    "remove_snp_minimum_tcb_version": {"cpuid": "00a00f11"},
    "set_node_data": {"node_id": node_identity().node_id, "node_data": None},
    "transition_node_to_trusted": {"node_id": ID, **PERIOD},
    "remove_node": {"node_id": ID},
    "set_node_certificate_validity": {"node_id": ID, **PERIOD},
    "set_all_nodes_certificate_validity": PERIOD,
    "set_service_certificate_validity": PERIOD,
    "set_role_definition": {"role": "r", "actions": ["a"]},
    "add_virtual_measurement": {"measurement": "m"},
    "remove_virtual_measurement": {"measurement": "m"},
    "add_virtual_host_data": {"host_data": "h"},
    "remove_virtual_host_data": {"host_data": "h"},
}

ABSENT = object()
NO_CERT = "must be a valid X509 certificate (bundle) in PEM format"


def _text(action: str, name: str, called: str = "") -> list[tuple[str, str, Any, str]]:
    """An argument that must be a text."""
    must = f"Error: {called or name} must be of type string but is"
    return [
        (action, name, ABSENT, f"{must} undefined"),
        (action, name, 5, f"{must} number"),
        (action, name, None, f"{must} object"),
    ]


def _cert(action: str, name: str, *, optional: bool = False) -> list[tuple[str, str, Any, str]]:
    bad = [(action, name, "x", f"Error: {name} {NO_CERT}")]
    if optional:
        return bad
    return [*bad, (action, name, ABSENT, f"Error: {name} {NO_CERT}")]


def _ident(action: str, name: str) -> list[tuple[str, str, Any, str]]:
    return [
        *_text(action, name),
        (action, name, "ab", f"Error: {name} must contain exactly 64 characters"),
        (action, name, "z" * 64, f"Error: {name} contains non-hexadecimal character"),
    ]


def _kind(action: str, name: str, kind: str) -> list[tuple[str, str, Any, str]]:
    """An argument that may be left out."""
    return [(action, name, "x" if kind != "string" else 5, _not_of(name, kind))]


def _range(action: str, name: str, called: str, last: int) -> list[tuple[str, str, Any, str]]:
    """An argument from 1 to `last` that may be left out, though not be null."""
    return [
        (action, name, "x", _not_of(called, "integer")),
        (action, name, None, f"Error: {called} must be greater than 1"),
        (action, name, 0, f"Error: {called} must be greater than 1"),
        (action, name, last + 1, f"Error: {called} must be lower than {last}"),
    ]


def _hex(action: str, name: str, size: int) -> list[tuple[str, str, Any, str]]:
    return [
        *_text(action, name),
        (action, name, "AB" * size, f"Error: {name} must be a lowercase hex string: {'AB' * size}"),
        (action, name, "abc", "Error: Hex string invalid: length must be multiple of 2"),
        (action, name, "xy", "Error: Hex string invalid: Non-hex character xy"),
        (action, name, "ab" * (size - 1), f"Error: {name} must convert to exactly {size} bytes"),
        (action, name, "ab" * (size + 1), f"Error: {name} must convert to exactly {size} bytes"),
    ]


def _not_of(name: str, kind: str) -> str:
    if kind == "integer":
        return f"Error: {name} must be an integer"
    return (
        f"Error: {name} must be of type {kind} but is {'number' * (kind == 'string') or 'string'}"
    )


def _period(action: str) -> list[tuple[str, str, Any, str]]:
    days = "validity_period_days"
    return [
        *_text(action, "valid_from"),
        (action, days, "5", f"Error: {days} must be an integer"),
        (action, days, 0, f"Error: {days} must be greater than 1"),
    ]


def _jwks(action: str) -> list[tuple[str, str, Any, str]]:
    material = (
        "Error: JWK must contain either x5c, or n/e for RSA key type, or x/y/crv for EC key type"
    )
    key = "jwks.keys[0]"
    text = "must be of type string but is"
    return [
        (action, "jwks", 5, "Error: jwks must be of type object but is number"),
        (action, "jwks", {}, "Error: jwks.keys must be an array"),
        (action, "jwks", {"keys": [5]}, f"Error: {key}.kid {text} undefined"),
        (action, "jwks", {"keys": [{}]}, f"Error: {key}.kid {text} undefined"),
        (action, "jwks", {"keys": [{"kid": "k"}]}, f"Error: {key}.kty {text} undefined"),
        (action, "jwks", {"keys": [{"kid": "k", "kty": "RSA"}]}, material),
        (action, "jwks", {"keys": [{**RSA_KEY, "n": 5}]}, f"Error: {key}.n {text} number"),
        (
            action,
            "jwks",
            {"keys": [{"kid": "k", "kty": "RSA", "x5c": []}]},
            f"Error: {key}.x5c must be an array of minimum 1 elements",
        ),
        (
            action,
            "jwks",
            {"keys": [{"kid": "k", "kty": "RSA", "x5c": ["x"]}]},
            f"Error: {key}.x5c[0] {NO_CERT}",
        ),
        (
            action,
            "jwks",
            {"keys": [{"kid": "k", "kty": "EC", "x": "a", "y": "b", "crv": 5}]},
            f"Error: {key}.crv {text} number",
        ),
    ]


def _bundle(change: Any, text: str) -> tuple[str, str, Any, str]:
    return ("set_js_app", "bundle", change, f"Error: {text}")


def _endpoint(text: str, **changes: Any) -> tuple[str, str, Any, str]:
    endpoints = {"/x": {"get": {**ENDPOINT, **changes}}}
    return _bundle({**BUNDLE, "metadata": {"endpoints": endpoints}}, text)


PLACE = 'bundle.metadata.endpoints["/x"]["get"]'
NONE = 'Error: Proposal does not accept any argument, found "[object Object]"'

CASES: list[tuple[str, str, Any, str]] = [
    *_text("set_constitution", "constitution"),
    *_cert("set_member", "cert"),
    *_kind("set_member", "encryption_pub_key", "string"),
    *_kind("set_member", "member_data", "object"),
    (
        "set_member",
        "recovery_role",
        "King",
        "Error: recovery_role must be one of NonParticipant,Participant,Owner",
    ),
    (
        "set_member",
        "encryption_pub_key",
        ABSENT,
        "Error: Cannot specify a recovery_role value when encryption_pub_key is not specified",
    ),
    *_ident("remove_member", "member_id"),
    *_ident("set_member_data", "member_id"),
    ("set_member_data", "member_data", ABSENT, "Error: member_data must be of type object but is"
     " undefined"),
    *_cert("set_user", "cert"),
    *_kind("set_user", "user_data", "object"),
    *_ident("remove_user", "user_id"),
    *_ident("set_user_data", "user_id"),
    *_kind("set_user_data", "user_data", "object"),
    ("set_recovery_threshold", "recovery_threshold", ABSENT, "Error: threshold must be an integer"),
    ("set_recovery_threshold", "recovery_threshold", 0, "Error: threshold must be greater than 1"),
    ("set_recovery_threshold", "recovery_threshold", 255, "Error: threshold must be lower than"
     " 254"),
    ("trigger_recovery_shares_refresh", "x", 1, NONE),
    ("trigger_ledger_rekey", "x", 1, NONE),
    *_text("transition_service_to_open", "next_service_identity", "next service identity (PEM"
           " certificate)"),
    *_cert("transition_service_to_open", "next_service_identity", optional=True),
    ("transition_service_to_open", "previous_service_identity", 5,
     _not_of("previous service identity (PEM certificate)", "string")),
    *_cert("transition_service_to_open", "previous_service_identity", optional=True),
    ("set_service_configuration", "reconfiguration_type", 5,
     _not_of("reconfiguration type", "string")),
    *_range("set_service_configuration", "recovery_threshold", "recovery threshold", 254),
    *_range("set_service_configuration", "recent_cose_proposals_window_size",
            "recent cose proposals window size", 10000),
    ("set_service_configuration", "consensus", "CFT", "Error: Cannot change consensus via"
     " set_service_configuration."),
    *_cert("assert_service_identity", "service_identity"),
    ("assert_service_identity", "service_identity", CERT, "Error: Service identity certificate"
     " mismatch"),
    _bundle(5, "bundle must be of type object but is number"),
    _bundle({"modules": 5}, "bundle.modules must be an array"),
    _bundle({"modules": [5]}, "bundle.modules[0] must be of type object but is number"),
    _bundle({"modules": [{}]}, "bundle.modules[0].name must be of type string but is undefined"),
    _bundle({"modules": [{"name": "a"}]}, "bundle.modules[0].module must be of type string but is"
            " undefined"),
    _bundle({"modules": []}, "bundle.metadata must be of type object but is undefined"),
    _bundle({"modules": [], "metadata": {}}, "bundle.metadata.endpoints must be of type object but"
            " is undefined"),
    _bundle({**BUNDLE, "modules": []}, "module 'a.js' not found in bundle"),
    _endpoint(f"{PLACE}.js_module must be of type string but is number", js_module=5),
    _endpoint(f"{PLACE}.js_function must be of type string but is number", js_function=5),
    _endpoint(f"{PLACE}.mode must be one of readwrite,readonly,historical", mode="x"),
    _endpoint(
        f"{PLACE}.forwarding_required must be one of sometimes,always,never",
        forwarding_required="x",
    ),
    _endpoint(
        f"{PLACE}.redirection_strategy must be one of none,to_primary,to_backup",
        redirection_strategy="x",
    ),
    _endpoint(f"{PLACE}.authn_policies must be an array", authn_policies="x"),
    _endpoint(f"{PLACE}.openapi must be of type object but is number", openapi=5),
    _endpoint(f"{PLACE}.openapi_hidden must be of type boolean but is number", openapi_hidden=5),
    *_kind("set_js_app", "disable_bytecode_cache", "boolean"),
    *_kind("set_js_runtime_options", "max_heap_bytes", "integer"),
    ("set_js_runtime_options", "max_heap_bytes", ABSENT, _not_of("max_heap_bytes", "integer")),
    *_kind("set_js_runtime_options", "max_stack_bytes", "integer"),
    *_kind("set_js_runtime_options", "max_execution_time_ms", "integer"),
    *_kind("set_js_runtime_options", "max_cached_interpreters", "integer"),
    *_kind("set_js_runtime_options", "log_exception_details", "boolean"),
    *_kind("set_js_runtime_options", "return_exception_details", "boolean"),
    *_text("set_ca_cert_bundle", "name"),
    *_cert("set_ca_cert_bundle", "cert_bundle"),
    *_text("remove_ca_cert_bundle", "name"),
    *_text("set_jwt_issuer", "issuer"),
    *_kind("set_jwt_issuer", "auto_refresh", "boolean"),
    *_kind("set_jwt_issuer", "ca_cert_bundle_name", "string"),
    ("set_jwt_issuer", "auto_refresh", True, "Error: ca_cert_bundle_name is missing but required"
     " if auto_refresh is true"),
    *_jwks("set_jwt_issuer"),
    *_text("set_jwt_public_signing_keys", "issuer"),
    *_jwks("set_jwt_public_signing_keys"),
    *_text("remove_jwt_issuer", "issuer"),
    *_text("add_node_code", "code_id"),
    *_text("remove_node_code", "code_id"),
    *_text("add_snp_measurement", "measurement"),
    *_text("remove_snp_measurement", "measurement"),
    *_text("add_snp_uvm_endorsement", "did"),
    *_text("add_snp_uvm_endorsement", "feed"),
    *_text("add_snp_uvm_endorsement", "svn"),
    *_text("remove_snp_uvm_endorsement", "did"),
    *_text("remove_snp_uvm_endorsement", "feed"),
    *_text("add_snp_host_data", "host_data"),
    *_text("add_snp_host_data", "security_policy"),
    *_text("remove_snp_host_data", "host_data"),
    *_hex("set_snp_minimum_tcb_version", "cpuid", 4),
    ("set_snp_minimum_tcb_version", "tcb_version", ABSENT, "Error: tcb_version must be of type"
     " object but is undefined"),
    *(
        (
            "set_snp_minimum_tcb_version",
            "tcb_version",
            {**TCB, part: "x"},
            f"Error: tcb_version.{part} must be of type number but is string",
        )
        for part in TCB
    ),
    *_hex("set_snp_minimum_tcb_version_hex", "cpuid", 4),
    *_hex("set_snp_minimum_tcb_version_hex", "tcb_version", 8),
    *_hex("remove_snp_minimum_tcb_version", "cpuid", 4),
    *_ident("set_node_data", "node_id"),
    *_ident("transition_node_to_trusted", "node_id"),
    *_period("transition_node_to_trusted"),
    *_ident("remove_node", "node_id"),
    *_ident("set_node_certificate_validity", "node_id"),
    *_period("set_node_certificate_validity"),
    *_period("set_all_nodes_certificate_validity"),
    *_period("set_service_certificate_validity"),
    *_text("set_role_definition", "role"),
    ("set_role_definition", "actions", "x", "Error: actions must be an array"),
    ("set_role_definition", "actions", [5], "Error: actions[0] must be of type string but is"
     " number"),
    *_text("add_virtual_measurement", "measurement"),
    *_text("remove_virtual_measurement", "measurement"),
    *_text("add_virtual_host_data", "host_data"),
    *_text("remove_virtual_host_data", "host_data"),
]  # fmt: skip


def changed(action: str, name: str, value: Any) -> dict[str, Any]:
    """The good arguments of an action with one of them changed or, if ABSENT, left out."""
    args = {**(GOOD[action] or {}), name: value}
    if value is ABSENT:
        del args[name]
    return args
