"""The description of the governance API that `/gov/api?api-version=` serves (Swagger 2.0).

It is made from the table of routes, so it describes what this node does. Without a version, the
common `api` endpoint answers with the generated OpenAPI document (spec: gov-api.md §1).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import msgspec

from pyccf.api.gov import versions
from pyccf.api.gov.routes import ROUTES, Route
from pyccf.apps.context import JSON_TYPE
from pyccf.apps.router import Endpoint, template_names
from pyccf.codec.text import dump_json
from pyccf.types import Json

if TYPE_CHECKING:
    from pyccf.apps.context import Context

SWAGGER = "2.0"
TITLE = "CCF Governance"

_PRODUCES: dict[str, list[Json]] = {
    "object": [JSON_TYPE],
    "text": ["text/javascript"],
    "raw": ["application/json"],
}

_PARAMETERS = {
    "memberId": "Lower-case hex SHA-256 of the member's certificate",
    "userId": "Lower-case hex SHA-256 of the user's certificate",
    "nodeId": "Lower-case hex SHA-256 of the node's public key",
    "proposalId": "Id of the proposal in lower-case hex",
    "moduleName": "Path of the module with its leading slash, percent-encoded",
    "transactionId": "View and sequence number, joined by a dot",
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
    return dump_json(
        {
            "swagger": SWAGGER,
            "info": {"title": TITLE, "version": version},
            "schemes": ["https"],
            "paths": paths,
            "definitions": {"Error": _ERROR},
            "parameters": {"ApiVersion": _VERSION_PARAMETER, "SignedBody": _BODY_PARAMETER},
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
    parameters: list[Json] = [{"$ref": "#/parameters/ApiVersion"}]
    parameters += [
        {
            "name": name,
            "in": "path",
            "required": True,
            "type": "string",
            "description": _PARAMETERS[name],
        }
        for name in template_names(route.path)
    ]
    if route.message_type is not None:
        parameters.append({"$ref": "#/parameters/SignedBody"})
    done: dict[str, Json] = {"description": "Done"}
    if route.result != "none":
        done["schema"] = {"type": "object"} if route.result == "object" else {"type": "file"}
    operation: dict[str, Json] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "204" if route.result == "none" else "200": done,
            "default": {"description": "Refused", "schema": {"$ref": "#/definitions/Error"}},
        },
    }
    if route.message_type is not None:
        operation["consumes"] = ["application/cose"]
        operation["x-ccf-message-type"] = route.message_type
    if route.result in _PRODUCES:
        operation["produces"] = _PRODUCES[route.result]
    return operation


def _operation_id(route: Route) -> str:
    words = route.path.replace("{", "by_").replace("}", "")
    for mark in "/:-":
        words = words.replace(mark, "_")
    return f"{route.verb.lower()}{words}"


_VERSION_PARAMETER: dict[str, Json] = {
    "name": versions.PARAMETER,
    "in": "query",
    "required": True,
    "type": "string",
    "description": "Version of this API",
}

_BODY_PARAMETER: dict[str, Json] = {
    "name": "body",
    "in": "body",
    "required": True,
    "description": "COSE_Sign1 message signed by a member",
    "schema": {"type": "string", "format": "binary"},
}

_ERROR: dict[str, Json] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": "array", "items": {"type": "object"}},
            },
        }
    },
}
