"""The published requests of both governance APIs, sent to a service in memory.

Each example's operation is run in the state it is about; status, shape and types must be those of
the example, and the answer valid by the published schema and by the one we serve. What the original
itself answers otherwise than it publishes is listed in `support.published`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft4Validator
from openapi_spec_validator import OpenAPIV30SpecValidator

from pyccf.api.gov.documents import document
from pyccf.client.connection import Reply
from support import published
from support.gov_story import Story, client_of, started
from support.published import VERSIONS

APART = {
    # The original shows them only once a proposal is resolved.
    "Proposals_Create": {"$.finalVotes is missing"},
    "Ballots_Submit": {"$.finalVotes is missing"},
    "Proposals_Get": {"$.finalVotes is missing"},
    "Proposals_List": {"$.value[0].finalVotes is missing"},
    "Proposals_Withdraw": {"$.finalVotes is missing"},
    # Another platform.
    "ServiceState_GetNode": {
        "$.quoteInfo.quote is missing",
        "$.quoteInfo.endorsements is missing",
    },
    "ServiceState_ListNodes": {
        "$.value[0].quoteInfo.quote is missing",
        "$.value[0].quoteInfo.endorsements is missing",
    },
    # Several issuers may have a key of the same id.
    "ServiceState_GetJwkInfo": {"$.keys.*: list instead of dict"},
    # This service was never recovered.
    "ServiceState_GetServiceInfo": {"$.previousServiceCreationTransactionId is missing"},
}
"""Where answers have another shape than the examples, as they have in the original."""

ELSEWHERE = {"Shares_Submit"}
"""Operations that need a service that recovers: e2e/test_consortium.py has it."""


@pytest.fixture(scope="module", params=VERSIONS)
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Reply]]:
    version = request.param
    service, members = started(tmp_path_factory.mktemp("members"))
    client = client_of(service, version)
    story = Story(client, members, service.tick)
    for who in members:
        client.ack(signer=who)
    cert = client.service_info().certificate
    story.decide({"name": "transition_service_to_open", "args": {"next_service_identity": cert}})
    return version, story.tell()


def body(operation: str, reply: Reply) -> Any:
    """The answer as published: texts as objects."""
    if operation in published.TEXTS:
        assert reply.headers["content-type"] == "text/javascript"
        return {published.TEXTS[operation]: reply.text()}
    found = reply.json()
    if operation == "Proposals_List":
        # The one that is open first, as in the examples.
        found["value"].sort(key=lambda one: one["proposalState"] != "Open")
    return found


def test_every_example_is_answered_in_its_shape(told: tuple[str, dict[str, Reply]]) -> None:
    version, answers = told
    examples = published.examples(version)
    served = published.operations(version)
    compared = 0
    for operation, example in examples.items():
        if operation in ELSEWHERE or operation not in served:
            continue
        reply = answers[operation]
        ((status, answer),) = example["responses"].items()
        assert reply.status == int(status), (operation, reply.text())
        if "body" in answer:
            found = set(published.differences(answer["body"], body(operation, reply)))
            assert found <= APART.get(operation, set()), operation
        compared += 1
    assert compared == len(examples) - len(ELSEWHERE) - len(published.UNSERVED[version])


def test_every_answer_is_valid_by_the_published_schema(
    told: tuple[str, dict[str, Reply]],
) -> None:
    version, answers = told
    checked = 0
    for operation, (_, _, described) in published.operations(version).items():
        schema = described["responses"].get("200", {}).get("schema")
        if operation in ELSEWHERE or schema is None:
            continue
        found = published.faults(version, schema, body(operation, answers[operation]))
        assert not found, (operation, found)
        checked += 1
    assert checked >= 20


def test_every_answer_is_valid_by_our_own_schema(told: tuple[str, dict[str, Reply]]) -> None:
    version, answers = told
    described = json.loads(document(version).replace(b"#/components/", b"#/definitions/"))
    components = described["components"]
    for item in described["paths"].values():
        for operation in item.values():
            answer = operation["responses"].get("200", {})
            content = answer.get("content", {}).get("application/json")
            if content is None or operation["operationId"] in ELSEWHERE:
                continue
            reply = answers[operation["operationId"]]
            schema = {**nullable(content["schema"]), "definitions": nullable(components)}
            faults = [e.message for e in Draft4Validator(schema).iter_errors(reply.json())]
            assert not faults, (operation["operationId"], faults)


def nullable(schema: Any) -> Any:
    """OpenAPI's way of saying null, in JSON schema's."""
    if isinstance(schema, list):
        return [nullable(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    out = {name: nullable(value) for name, value in schema.items()}
    if out.pop("nullable", False):
        out["type"] = [out["type"], "null"]
    return out


@pytest.mark.parametrize("version", VERSIONS)
def test_our_document_is_valid_openapi(version: str) -> None:
    errors = list(OpenAPIV30SpecValidator(json.loads(document(version))).iter_errors())
    assert not errors, errors[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_our_document_describes_the_published_operations(version: str) -> None:
    ours = json.loads(document(version))
    here = {(path, verb): op for path, item in ours["paths"].items() for verb, op in item.items()}
    there = {
        (path, verb): (ident, op)
        for ident, (path, verb, op) in published.operations(version).items()
    }
    assert here.keys() - there.keys() == published.UNLISTED
    assert there.keys() <= here.keys()
    for key, (ident, theirs) in there.items():
        operation = here[key]
        assert operation["operationId"] == ident
        statuses = set(operation["responses"]) - (
            {"204"} if ident == "Proposals_Withdraw" else set()
        )
        assert statuses == set(theirs["responses"]), ident
        assert ("requestBody" in operation) == ("consumes" in theirs), ident
        wanted = [p["name"] for p in theirs["parameters"] if p.get("in") == "path"]
        found = [p["name"] for p in operation["parameters"] if p.get("in") == "path"]
        assert found == wanted, ident


MORE = {
    "Recovery.RecoveryResponse": {"fullKeySubmitted"},
    "Recovery.EncryptedRecoveryShare": {"memberId"},
    "ServiceState.JsEndpointInfo": {"redirectionStrategy"},
    "ServiceState.Jwk": {"publicKey", "constraint"},
    "ServiceState.Member": {"recoveryRole"},
    "ServiceState.TcbVersion": {"hexstring", "fmc"},
    "ServiceState.SgxQuoteInfo": {"format"},
    "ServiceState.SnpQuoteInfo": {"format"},
    "Transactions.Transaction": {"transactionId"},
}
"""Members that answers have beyond the published ones."""
LESS = {
    "ServiceState.Jwk": {"certificate"},
    "ServiceState.JwtIssuer": {"keyPolicy", "keyFilter"},
    "ServiceState.QuoteInfo": {"format"},  # one of several, each of which has it
}
"""Published members that no answer has."""


def test_our_schemas_have_the_published_members() -> None:
    ours = json.loads(document("2024-07-01"))["components"]["schemas"]
    theirs = published.document("2024-07-01")["definitions"]
    compared = 0
    for name in sorted(ours.keys() & theirs.keys()):
        here = set(ours[name].get("properties", ())) - MORE.get(name, set())
        there = set(theirs[name].get("properties", ())) - LESS.get(name, set()) - {"nextLink"}
        assert here == there, name
        if "enum" in ours[name] and name not in (
            "ServiceState.ForwardingRequired",
            "ServiceState.JsExecMode",
        ):
            assert ours[name]["enum"] == theirs[name]["enum"]
        compared += 1
    assert compared > 30
