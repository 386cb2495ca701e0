"""The original's constitution, as a recorded ledger has it, beside ours on the same service.

It must run here unchanged, say the same about every proposal, and write the same rows.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest

from pyccf.apps.js import governance
from pyccf.audit import read
from pyccf.service import tables
from pyccf.service.proposals import ScriptFailure
from support.action_arguments import CASES, ENC_KEY, GOOD, TCB, changed
from support.constitution import NAMES, PROPOSAL_ID, Constitution, decode, proposal
from support.service import node_identity, person, service_identity
from support.vectors import vectors_dir

TRACE = re.compile(r"\n?    at [^\n]*")
NODE = node_identity().node_id
SERVICE = service_identity().cert_pem
MEMBER = person(NAMES[1]).id
USER = person("user0")
ISSUER = "https://issuer.test"
VALID_FROM = "20270101000000Z"


@cache
def original() -> str:
    """The constitution of the youngest of the recorded services, from its genesis."""
    folder = vectors_dir() / "ccf" / "ledgers" / "acme_containing_service" / "ledger"
    for _, entry in read.parsed_entries(folder):
        for raw in entry.public_maps().get(tables.CONSTITUTION, {}).values():
            text: str = json.loads(raw or b"")
            return text
    raise AssertionError("no constitution")


def both() -> tuple[Constitution, Constitution]:
    """Two equal services, governed by our constitution and by the original's."""
    ours, theirs = Constitution(), Constitution()
    theirs.text = original()
    return ours, theirs


def said(c: Constitution, payload: str) -> str:
    """What validation says, without traces; how it fails, if it does."""
    try:
        verdict = c.scripts.validate(c.world.store.tx(), c.text, payload)
    except ScriptFailure as failure:
        return f"thrown: {failure.reason}"
    return f"{verdict.valid} " + TRACE.sub("", verdict.description).rstrip("\n")


def test_every_argument() -> None:
    ours, theirs = both()
    compared = 0
    known = {name for name in GOOD if f'"{name}"' in original()}
    assert len(known) == 41
    payloads = [(name, args) for name, args in GOOD.items() if name in known]
    payloads += [(a, changed(a, n, v)) for a, n, v, _ in CASES if a in known]
    payloads += [(name, args) for name in known for args in (5, "x", True, [])]
    for name, args in payloads:
        text = proposal((name, args))
        if isinstance(args, dict) and args.get("encryption_pub_key") == 5:
            continue  # refused here at once; the original fails when it is applied
        assert said(ours, text) == said(theirs, text), text
        compared += 1
    assert compared > 400


@pytest.mark.parametrize(
    "payload",
    [
        '{"actions": []}',
        '{"actions": [{}]}',
        '{"actions": [null]}',
        '{"actions": [5, "x", []]}',
        '{"actions": "ab"}',
        '{"actions": {}}',
        '{"actions": null}',
        "{}",
        "[]",
        "null",
        "5",
        '"x"',
        '{"actions": [{"name": "__proto__"}, {"name": 5}, {"name": ["remove_js_app"]}]}',
        '{"actions": [{"name": "remove_js_app"}], "more": 1}',
        '{"actions": [{"name": "set_user"}, {"name": "x", "args": {}}, {"name": "set_user"}]}',
        '{"actions": [{"name": "\\u0000remove_js_app"}]}',
        '{"actions": [{"name": "remove_user", "args": {"user_id": "\\ud800"}}]}',
        '{"actions": [], "actions": [{"name": "y"}]}',
    ],
)
def test_whole_proposals(payload: str) -> None:
    ours, theirs = both()
    assert said(ours, payload) == said(theirs, payload)


STORY: list[list[tuple[str, Any]]] = [
    [("set_user", {"cert": USER.cert, "user_data": {"a": 1}})],
    [("set_user_data", {"user_id": USER.id}), ("set_user", {"cert": USER.cert})],
    [("set_user", {"cert": USER.cert + person("newcomer").cert, "user_data": None})],
    [("remove_user", {"user_id": USER.id}), ("remove_user", {"user_id": "ab" * 32})],
    [("set_member", {"cert": person("newcomer").cert, "member_data": {"b": 2}})],
    [("set_member", {"cert": person("newcomer").cert, "encryption_pub_key": ENC_KEY})],
    [("set_member_data", {"member_id": MEMBER, "member_data": {}})],
    [("set_member_data", {"member_id": "ab" * 32, "member_data": {}})],
    [("remove_member", {"member_id": person("newcomer").id})],
    [("remove_member", {"member_id": "ab" * 32})],
    [("remove_member", {"member_id": MEMBER}), ("remove_member", {"member_id": MEMBER})],
    [("remove_member", {"member_id": person(NAMES[0]).id})],
    [("set_recovery_threshold", {"recovery_threshold": 3})],
    [("set_recovery_threshold", {"recovery_threshold": 2})],
    [("set_recovery_threshold", {"recovery_threshold": 1})],
    [("set_service_configuration", {"recent_cose_proposals_window_size": 7})],
    [("set_service_configuration", {"recovery_threshold": 2, "reconfiguration_type": "x"})],
    [("set_service_configuration", {"reconfiguration_type": "OneTransaction"})],
    [("set_service_configuration", {"reconfiguration_type": "TwoTransaction"})],
    [("set_service_configuration", {"reconfiguration_type": "OneTransaction"})],
    [("trigger_recovery_shares_refresh", None), ("trigger_ledger_chunk", None)],
    [("trigger_ledger_rekey", None)],
    [("transition_service_to_open", {"next_service_identity": SERVICE})],
    [("set_js_app", GOOD["set_js_app"])],
    [("refresh_js_app_bytecode_cache", None)],
    [("set_js_app", {**GOOD["set_js_app"], "disable_bytecode_cache": True})],
    [("remove_js_app", None)],
    [("set_js_runtime_options", {**GOOD["set_js_runtime_options"], "more": 5})],
    [("set_ca_cert_bundle", {"name": "b", "cert_bundle": USER.cert})],
    [("set_jwt_issuer", {"issuer": ISSUER, "auto_refresh": True, "ca_cert_bundle_name": "c"})],
    [("set_jwt_issuer", {"issuer": ISSUER, "auto_refresh": True, "ca_cert_bundle_name": "b"})],
    [("set_jwt_issuer", {**GOOD["set_jwt_issuer"], "more": [1]})],
    [("set_jwt_public_signing_keys", {**GOOD["set_jwt_public_signing_keys"], "issuer": ISSUER})],
    [("set_jwt_public_signing_keys", GOOD["set_jwt_public_signing_keys"])],
    [("set_jwt_issuer", {"issuer": ISSUER, "jwks": {"keys": []}})],
    [("remove_jwt_issuer", {"issuer": ISSUER}), ("remove_jwt_issuer", {"issuer": "nobody"})],
    [("remove_ca_cert_bundle", {"name": "b"})],
    [("add_node_code", {"code_id": "ab"}), ("remove_node_code", {"code_id": "ab"})],
    [("add_snp_measurement", {"measurement": "ab"})],
    [("remove_snp_measurement", {"measurement": "ab"})],
    [("add_snp_uvm_endorsement", {"did": "d", "feed": "f", "svn": "1"})],
    [("add_snp_uvm_endorsement", {"did": "d", "feed": "g", "svn": "2"})],
    [("remove_snp_uvm_endorsement", {"did": "d", "feed": "f"})],
    [("remove_snp_uvm_endorsement", {"did": "d", "feed": "g"})],
    [("remove_snp_uvm_endorsement", {"did": "x", "feed": "g"})],
    [("add_snp_host_data", {"host_data": "ab", "security_policy": ""})],
    [("remove_snp_host_data", {"host_data": "ab"})],
    [("set_snp_minimum_tcb_version", {"cpuid": "00a00f11", "tcb_version": {**TCB, "more": 1}})],
    [("remove_snp_minimum_tcb_version", {"cpuid": "00a00f11"})],
    [("remove_snp_minimum_tcb_version", {"cpuid": "00a00f11"})],
    [("set_snp_minimum_tcb_version_hex", GOOD["set_snp_minimum_tcb_version_hex"])],
    [("set_node_data", {"node_id": NODE, "node_data": [1]})],
    [("set_node_data", {"node_id": "ab" * 32, "node_data": [1]})],
    [("transition_node_to_trusted", {"node_id": "ab" * 32, "valid_from": VALID_FROM})],
    [("transition_node_to_trusted", {"node_id": NODE, "valid_from": VALID_FROM})],
    [("set_node_certificate_validity", {"node_id": NODE, "valid_from": VALID_FROM})],
    [("set_node_certificate_validity", {"node_id": "ab" * 32, "valid_from": VALID_FROM})],
    [
        (
            "set_all_nodes_certificate_validity",
            {"valid_from": VALID_FROM, "validity_period_days": 366},
        )
    ],
    [("set_all_nodes_certificate_validity", {"valid_from": VALID_FROM})],
    [("set_service_certificate_validity", {"valid_from": "x"})],
    [
        (
            "set_service_certificate_validity",
            {"valid_from": VALID_FROM, "validity_period_days": 366},
        )
    ],
    [("set_service_certificate_validity", {"valid_from": VALID_FROM})],
    [("remove_node", {"node_id": "ab" * 32}), ("remove_node", {"node_id": NODE})],
    [("set_node_certificate_validity", {"node_id": NODE, "valid_from": VALID_FROM})],
    [("trigger_snapshot", None), ("assert_service_identity", {"service_identity": SERVICE})],
    [("set_constitution", GOOD["set_constitution"])],
]
"""Proposals one after another: everything that can be decided, and what cannot any more."""

SECRET = ("recovery_shares", "historical_encrypted_ledger_secret", "encrypted_ledger_secrets")


def done(c: Constitution, actions: list[tuple[str, Any]]) -> Any:
    """What applying writes, secrets left out; how it fails, if it does."""
    tx = c.world.store.tx()
    try:
        c.scripts.apply(tx, c.text, proposal(*actions), PROPOSAL_ID)
    except ScriptFailure as failure:
        return TRACE.sub("", failure.reason).rstrip("\n")
    written = decode(tx)
    if written:
        c.world.commit(tx)
    for name in SECRET:
        rows = written.get(f"public:ccf.internal.{name}", {})
        rows.update(dict.fromkeys(rows, "secret"))
    return written


def test_what_is_written() -> None:
    ours, theirs = both()
    assert {name for actions in STORY for name, _ in actions} >= {
        name for name in GOOD if f'"{name}"' in original()
    }
    for c in (ours, theirs):
        for name, state in (("cc" * 32, "Open"), ("dd" * 32, "Accepted"), (PROPOSAL_ID, "Open")):
            c.put(tables.PROPOSALS_INFO, name, {"state": state, "ballots": {}})
    for actions in STORY:
        assert done(ours, actions) == done(theirs, actions), actions


@pytest.mark.parametrize("for_it", range(4))
def test_resolution(for_it: int) -> None:
    votes = {name: at < for_it for at, name in enumerate(NAMES)}
    action = ("remove_js_app", None)
    ours, theirs = (c.resolve(NAMES[0], votes, action) for c in both())
    assert ours == theirs == ("Accepted" if for_it >= 2 else "Open")


def test_parts_of_others_find_what_they_call() -> None:
    """Every function of the original that a further part could call is here, with its arguments."""
    named = re.findall(r"^(?:function|class|const) (\w+)", original(), re.MULTILINE)
    # Constants of its own, and a check of a length that buffers do not have.
    others = ("cpuid_length_bytes", "tcb_version_length_bytes", "checkArrayBufferLength")
    names = [name for name in named if name not in others]
    assert {"Action", "actions", "checkType", "getSingletonKvKey"} <= set(names)
    listed = ",".join(f"{name}: typeof {name} + ({name}?.length ?? '')" for name in names)
    told = [
        governance.run(
            f"{text}\nexport function names() {{ return JSON.stringify({{{listed}}}) }}",
            "constitution",
            "names",
            [],
            tx=Constitution().world.store.tx(),
            access="GOV_RO",
        ).text
        for text in (both()[0].text, original())
    ]
    assert told[0] == told[1]
