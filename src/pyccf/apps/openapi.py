"""OpenAPI 3 documents of a frontend (spec: http-api.md §10).

Built-in and Python endpoints describe themselves with a few words (`summary`, `description`,
`parameters`, `response` and `request` being a schema or its name, `produces` and `consumes` naming
another media type than JSON); the rest (operation ids, error responses, forwarding) is generated.
JavaScript endpoints bring an operation object of their own, which is copied as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pyccf.apps import schemas as named
from pyccf.apps.router import Endpoint, template_names
from pyccf.codec.text import load_json
from pyccf.service import tables

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx
    from pyccf.types import Json

OPENAPI_VERSION = "3.0.0"

_FORWARDING: dict[str, Json] = {
    "always": {
        "value": "always",
        "description": "A node that is not primary passes this request to the primary.",
    },
    "sometimes": {
        "value": "sometimes",
        "description": "A node that is not primary answers by itself, unless the session was"
        " already passed to the primary.",
    },
    "never": {
        "value": "never",
        "description": "The node that receives this request answers it.",
    },
}
_SECURITY: dict[str, dict[str, Json]] = {
    "jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "user_cose_sign1": {
        "type": "http",
        "scheme": "cose_sign1",
        "description": "The body is a COSE_Sign1 message signed by a user of the service.",
    },
    "member_cose_sign1": {
        "type": "http",
        "scheme": "cose_sign1",
        "description": "The body is a COSE_Sign1 message signed by a member of the consortium.",
    },
}

_SEPARATED = re.compile(r"[^A-Za-z0-9]([a-z])")


def operation_id(verb: str, path: str) -> str:
    """`GET /node/network/nodes/{node_id}` becomes GetNodeNetworkNodesNodeId."""
    plain = path.replace("{", "").replace("}", "")
    return verb.capitalize() + _SEPARATED.sub(lambda m: m[1].upper(), plain)


def _operation(endpoint: Endpoint, path: str) -> dict[str, Json]:
    words = endpoint.openapi or {}
    out: dict[str, Json] = {
        "operationId": operation_id(endpoint.verb, path),
        "x-ccf-forwarding": {"$ref": f"#/components/x-ccf-forwarding/{endpoint.forwarding.value}"},
    }
    for key in ("summary", "description", "parameters", "deprecated"):
        if key in words:
            out[key] = words[key]
    response: dict[str, Json] = {"description": "Default response description"}
    schema = words.get("response")
    if schema is not None:
        media = words.get("produces", "application/json")
        response["content"] = {str(media): {"schema": _schema(schema)}}
    out["responses"] = {
        str(words.get("status", 200)): response,
        "default": {"$ref": "#/components/responses/default"},
    }
    request = words.get("request")
    if request is not None:
        out["requestBody"] = {
            "description": "Auto-generated request body schema",
            "content": {"application/json": {"schema": _schema(request)}},
        }
    consumed = words.get("consumes")
    if isinstance(consumed, str):
        kind = "string" if consumed.startswith("text/") else "binary"
        out["requestBody"] = {
            "description": "What the handler takes as it comes",
            "content": {consumed: {"schema": named.ref(kind)}},
            "required": True,
        }
    security: list[Json] = [
        {} if p.scheme == "no_auth" else {p.scheme: []} for p in endpoint.auth if p.scheme
    ]
    if security:
        out["security"] = security
    return out


def _schema(words: Json) -> Json:
    """A schema by its name, or as it is."""
    return named.ref(words) if isinstance(words, str) else words


def document(
    *,
    title: str,
    description: str,
    version: str,
    prefix: str,
    endpoints: Iterable[Endpoint],
    schemas: Mapping[str, Json] | None = None,
    paths: Mapping[str, dict[str, Json]] | None = None,
) -> dict[str, Json]:
    """The document of a frontend.

    `schemas` are those beside the common ones, of which the document carries those it refers to;
    `paths` adds operations that describe themselves.
    """
    listed: dict[str, dict[str, Json]] = {}
    schemes: dict[str, Json] = {}
    for endpoint in endpoints:
        if endpoint.hidden:
            continue
        path = prefix + endpoint.path
        item = listed.setdefault(path, {})
        item[endpoint.verb.lower()] = _operation(endpoint, path)
        names = template_names(endpoint.path)
        if names:
            item["parameters"] = [
                {"in": "path", "name": n, "required": True, "schema": {"type": "string"}}
                for n in names
            ]
        for policy in endpoint.auth:
            if policy.scheme in _SECURITY:
                schemes[policy.scheme] = _SECURITY[policy.scheme]
    # What JavaScript endpoints refer to is their own affair.
    mentioned = named.used(list(listed.values()), schemas or {})
    for path, operations in (paths or {}).items():
        listed.setdefault(path, {}).update(operations)
    components: dict[str, Json] = {
        "responses": {
            "default": {
                "description": "An error occurred",
                "content": {"application/json": {"schema": named.ref("CCFError")}},
            }
        },
        "schemas": mentioned,
        "x-ccf-forwarding": _FORWARDING,
    }
    if schemes:
        components["securitySchemes"] = schemes
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": title, "description": description, "version": version},
        "servers": [],
        "paths": {path: dict(item) for path, item in listed.items()},
        "components": components,
    }


def js_paths(tx: Tx) -> dict[str, dict[str, Json]]:
    """Operations that JavaScript endpoints bring with them, by full path."""
    out: dict[str, dict[str, Json]] = {}
    for key, raw in tx.map(tables.ENDPOINTS).foreach():
        verb, _, path = key.decode().partition(" ")
        metadata = load_json(raw)
        if not isinstance(metadata, dict) or metadata.get("openapi_hidden"):
            continue
        operation = metadata.get("openapi")
        out.setdefault("/app" + path, {})[verb.lower()] = (
            operation if isinstance(operation, dict) else {}
        )
    return out
