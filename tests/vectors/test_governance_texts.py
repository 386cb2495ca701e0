"""What our constitution says to recorded proposals, against what the original's said.

Only the lines of a stack trace may differ: they name lines of another text.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

import pytest

from pyccf import constitutions
from pyccf.api.gov.scripts import Scripts
from pyccf.apps.context import Services
from pyccf.service import tables
from pyccf.service.genesis import ServiceConfiguration
from pyccf.service.proposals import ScriptFailure
from support.gov import NodeFacts
from support.service import World, member, node_identity, person, service_identity, world
from support.transcripts import load
from support.vectors import vectors_dir

TRACE_LINE = re.compile(r"\n?    at [^\n]*")
REFUSED = "Proposal failed to validate: "
FAILED = "Failed to apply(): "
NAMES = ("member0", "member1", "member2")


def recorded() -> list[dict[str, Any]]:
    folder = vectors_dir() / "ccf" / "transcripts"
    return [e for name in ("gov", "auth") for e in load(folder, name)]


def message(exchange: dict[str, Any]) -> str:
    body = exchange["response"].get("body") or ""
    if not body.startswith('{"error"'):
        return ""
    found: str = json.loads(body)["error"]["message"]
    return found


def service() -> tuple[World, Scripts]:
    made = world(
        *(member(n) for n in NAMES),
        constitution=constitutions.text("test", "virtual"),
        configuration=ServiceConfiguration(recovery_threshold=2),
    )
    made.activate(*NAMES)
    tx = made.store.tx()
    made.operations.transition_service_to_open(tx, None, service_identity().cert_pem)
    made.commit(tx)
    return made, Scripts(cast(Services, NodeFacts()), made.operations)


def text_of(made: World) -> str:
    found = tables.get_text(made.store.tx(), tables.CONSTITUTION)
    assert found is not None
    return found


def test_validation_texts() -> None:
    exchanges = [e for e in recorded() if message(e).startswith(REFUSED)]
    assert len(exchanges) >= 25
    made, scripts = service()
    for exchange in exchanges:
        expected = TRACE_LINE.sub("", message(exchange)[len(REFUSED) :]).rstrip("\n")
        payload = exchange["request"]["cose"]["payload"]
        verdict = scripts.validate(made.store.tx(), text_of(made), payload)
        assert not verdict.valid
        found = TRACE_LINE.sub("", verdict.description).rstrip("\n")
        assert found == expected, exchange["name"]


def test_accepted_proposals_are_valid_here_too() -> None:
    made, scripts = service()
    checked: set[str] = set()
    for exchange in recorded():
        request = exchange["request"]
        created = "proposals:create" in (request.get("path") or "")
        if not created or exchange["response"]["status"] != 200:
            continue
        payload = request["cose"]["payload"]
        actions = json.loads(payload)["actions"]
        if any(a["name"] == "assert_service_identity" for a in actions):
            continue  # of that service's identity
        verdict = scripts.validate(made.store.tx(), text_of(made), payload)
        assert verdict.valid, (exchange["name"], verdict.description)
        checked |= {a["name"] for a in actions}
    assert len(checked) >= 40


def test_failures_of_apply() -> None:
    proposals = {
        e["name"]: e["request"]["cose"]["payload"]
        for e in recorded()
        if "proposals:create" in (e["request"].get("path") or "") and e["request"].get("cose")
    }
    checked = 0
    for exchange in recorded():
        if not message(exchange).startswith(FAILED):
            continue
        name = exchange["name"].split(":")[0]
        payload = proposals.get(name) or exchange["request"]["cose"]["payload"]
        made, scripts = service()
        payload = _ours(payload)
        expected = TRACE_LINE.sub("", message(exchange)[len(FAILED) :]).split("\nTrace:")[0]
        tx = made.store.tx()
        with pytest.raises(ScriptFailure) as failed:
            scripts.apply(tx, text_of(made), payload, "0" * 64)
        found = failed.value.reason
        if "remove_member" in payload:
            # The recorded service had a threshold of 3 then.
            expected = expected.replace("(3)", "(2)").replace("(2) would", "(1) would")
        assert found == expected, exchange["name"]
        checked += 1
    assert checked >= 12


def _ours(payload: str) -> str:
    """A recorded payload with our node and members in the place of the recorded ones."""
    proposal = json.loads(payload)
    for action in proposal["actions"]:
        args = action.get("args") or {}
        if "node_id" in args and set(args["node_id"]) != {"0"}:
            args["node_id"] = node_identity().node_id
        if action["name"] == "remove_member":
            proposal["actions"] = [
                {"name": "remove_member", "args": {"member_id": person(n).id}} for n in NAMES[:2]
            ]
            break
    return json.dumps(proposal)
