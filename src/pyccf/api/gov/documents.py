"""The description of the governance API that `/gov/api?api-version=` serves (OpenAPI 3).

It is made from the table of routes and of `schemas`, so it describes what this node does; the
published documents describe the same operations, partly otherwise than they are answered. Without a
version, the common `api` endpoint answers with the generated document, in which the operations of a
version are not (spec: gov-api.md §1, §7).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import msgspec

from pyccf.api.gov import versions
from pyccf.api.gov.requests import CREATED_AT_HEADER, PROPOSAL_HEADER
from pyccf.api.gov.routes import ROUTES, Route
from pyccf.api.gov.schemas import HEX_ID, MESSAGES, SCHEMAS
from pyccf.apps.context import JSON_TYPE
from pyccf.apps.openapi import OPENAPI_VERSION
from pyccf.apps.router import Endpoint, template_names
from pyccf.apps.schemas import ref, used
from pyccf.codec.text import dump_json
from pyccf.types import Json

if TYPE_CHECKING:
    from pyccf.apps.context import Context

TITLE = "CCF Governance"
COSE_TYPE = "application/cose"
JAVASCRIPT = "text/javascript"
TXID_HEADER = "x-ms-ccf-transaction-id"

_TEXT: Json = {"type": "string"}
_PARAMETERS: dict[str, tuple[str, Json]] = {
    "memberId": ("Lower-case hex SHA-256 of the member's certificate", HEX_ID),
    "userId": ("Lower-case hex SHA-256 of the user's certificate", HEX_ID),
    "nodeId": ("Lower-case hex SHA-256 of the node's public key", HEX_ID),
    "proposalId": ("Id of the proposal in lower-case hex", HEX_ID),
    "moduleName": ("Path of the module with its leading slash, percent-encoded", _TEXT),
    "transactionId": ("View and sequence number, joined by a dot", SCHEMAS["transactionId"]),
}


@cache
def document(version: str) -> bytes:
    """The JSON document of one version."""
    assert version in versions.VERSIONS
    offered = versions.VERSIONS.index(version)
    paths: dict[str, Json] = {}
    for route in ROUTES:
        if versions.VERSIONS.index(route.minimum) > offered:
            continue
        item = paths.setdefault(f"/gov{route.path}", {})
        assert isinstance(item, dict)
        item[route.verb.lower()] = _operation(route)
    components: dict[str, Json] = {
        "parameters": {"ApiVersion": _version_parameter(version)},
        "headers": {"TransactionId": _TRANSACTION_ID},
        "responses": {"default": _REFUSED},
        "securitySchemes": {"member_cose_sign1": _SIGNED},
        "schemas": used([paths, _REFUSED], SCHEMAS),
    }
    return dump_json(
        {
            "openapi": OPENAPI_VERSION,
            "info": {
                "title": TITLE,
                "version": version,
                "description": "How members govern a service, and what anybody may know of it.",
            },
            "servers": [{"url": "/"}],
            "paths": paths,
            "components": components,
        }
    )


def with_versions(endpoint: Endpoint) -> Endpoint:
    """The common `api` endpoint, answering with a version's document when one is asked for."""
    plain = endpoint.execute

    def execute(ctx: Context) -> None:
        if versions.requested(ctx) is None:
            plain(ctx)
            return
        ctx.headers["content-type"] = JSON_TYPE
        ctx.body = document(versions.check(ctx))

    return msgspec.structs.replace(endpoint, execute=execute)


def _operation(route: Route) -> dict[str, Json]:
    parameters: list[Json] = [{"$ref": "#/components/parameters/ApiVersion"}]
    parameters += [_path_parameter(name) for name in template_names(route.path)]
    parameters += [
        {"name": name, "in": "query", "schema": {"type": "string", "enum": list(values)}}
        for name, values in route.queries.items()
    ]
    operation: dict[str, Json] = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            **_answers(route),
            "default": {"$ref": "#/components/responses/default"},
        },
    }
    if route.message_type is not None:
        operation["security"] = [{"member_cose_sign1": []}]
        operation["x-ccf-message-type"] = route.message_type
        operation["requestBody"] = _body(route.message_type)
    return operation


def _answers(route: Route) -> dict[str, Json]:
    done: dict[str, Json] = {"description": "Done"}
    if route.message_type is not None:
        done["headers"] = {TXID_HEADER: {"$ref": "#/components/headers/TransactionId"}}
    if route.result == "none":
        return {"204": done}
    if route.result == "text":
        done["content"] = {JAVASCRIPT: {"schema": _TEXT}}
    else:
        assert route.schema, route.path
        done["content"] = {JSON_TYPE: {"schema": ref(route.schema)}}
    answers: dict[str, Json] = {"200": done}
    if route.message_type == "withdrawal":
        answers["204"] = {"description": "There is no such proposal"}
    return answers


def _path_parameter(name: str) -> dict[str, Json]:
    description, schema = _PARAMETERS[name]
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
    }


def _body(message_type: str) -> dict[str, Json]:
    about = f", and the proposal's id in {PROPOSAL_HEADER}" * (
        message_type in ("ballot", "withdrawal")
    )
    body: dict[str, Json] = {
        "required": True,
        "description": "COSE_Sign1 message with attached payload; its protected header says"
        f" {message_type} in ccf.gov.msg.type, and when it was made in {CREATED_AT_HEADER}{about}.",
        "content": {COSE_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
    payload = MESSAGES.get(message_type)
    if payload is not None:
        body["x-ccf-payload"] = payload
    return body


def _version_parameter(version: str) -> dict[str, Json]:
    return {
        "name": versions.PARAMETER,
        "in": "query",
        "required": True,
        "description": "Version of this API",
        "schema": {"type": "string", "enum": [version]},
    }


_TRANSACTION_ID: dict[str, Json] = {
    "description": "The transaction that this request was executed in",
    "schema": SCHEMAS["transactionId"],
}

_REFUSED: dict[str, Json] = {
    "description": "Refused, with the reason",
    "content": {JSON_TYPE: {"schema": ref("CCFError")}},
}

_SIGNED: dict[str, Json] = {
    "type": "http",
    "scheme": "cose_sign1",
    "description": "The body is a COSE_Sign1 message signed by a member of the consortium.",
}
