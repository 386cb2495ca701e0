"""The Python sample beside the document of the original's native sample, operation by operation.

Compared are ids, forwarding, security, parameters, and the schemas of bodies and answers, with
references followed. `DIFFERENCES` are all there are.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator

from pyccf.api import common
from pyccf.apps import openapi
from pyccf.apps.context import Context
from pyccf.types import Json
from support.node import Service
from support.samples import python_app
from support.vectors import vectors_dir

Document = dict[str, Any]

BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "pattern")
"""Ours are narrower: ids end at 2^53 - 1, so that any client can hold them; texts are bounded."""
WORDS = ("summary", "description", "title")
OUR_PARAMETERS = {"scope"}
"""Known to the original's JavaScript sample."""

ALSO = {
    "/app/whoami",
    *(f"/app/log/{scope}/{name}" for scope in ("private", "public") for name in ("all", "receipt")),
    "/app/log/private/historical/range",
    "/app/log/public/historical",
}
"""What our samples in all three languages offer beyond the native one."""

DIFFERENCES: dict[tuple[str, str], str] = {
    ("GetAppCoseSignaturesConfig", "answers"): "its JSON is described, not an empty 204",
    ("GetAppLogPublicCborMerkleProof", "answers"): "its CBOR is described, not an empty 204",
    ("GetAppLogPublicCoseReceipt", "answers"): "its COSE is described, not an empty 204",
    ("PostAppLogPrivateRawTextId", "answers"): "its boolean is described",
    ("PostAppLogPrivateRawTextId", "body"): "its text is described",
}


def ours() -> Document:
    app = python_app("logging-py")
    service = Service(app=app)

    def nothing(ctx: Context) -> Json:
        return None

    made = openapi.document(
        title=app.title,
        description=app.description,
        version=app.version,
        prefix="/app",
        endpoints=[*common.endpoints(service.node, nothing), *app.endpoints()],
        schemas=app.schemas,
    )
    found = json.loads(json.dumps(made))
    assert isinstance(found, dict)
    return found


def theirs() -> Document:
    path = vectors_dir() / "ccf" / "schemas" / "app_openapi.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def operations(document: Document) -> dict[str, tuple[str, str, Document]]:
    """Operations by id, with path and verb."""
    return {
        operation["operationId"]: (path, verb, operation)
        for path, item in document["paths"].items()
        for verb, operation in item.items()
        if verb != "parameters"
    }


def plain(document: Document, value: Any, names: bool = False) -> Any:
    """A schema without references, words and bounds; `names`: the keys are properties."""
    if isinstance(value, list):
        return [plain(document, one) for one in value]
    if not isinstance(value, dict):
        return value
    if not names and "$ref" in value:
        target: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return plain(document, target)
    made = {
        key: plain(document, one, key == "properties")
        for key, one in value.items()
        if names or key not in (*BOUNDS, *WORDS, "nullable")
    }
    if not names and isinstance(made.get("required"), list):
        made["required"] = sorted(made["required"])
    return made


def aspects(document: Document, path: str, operation: Document) -> dict[str, Any]:
    """What of an operation is compared."""
    item = document["paths"][path]
    return {
        "forwarding": operation["x-ccf-forwarding"]["$ref"],
        "security": sorted(map(json.dumps, operation.get("security", ()))),
        "parameters": sorted(
            json.dumps(plain(document, one), sort_keys=True)
            for one in [*operation.get("parameters", ()), *item.get("parameters", ())]
            if one["name"] not in OUR_PARAMETERS
        ),
        "body": plain(document, operation.get("requestBody", {})),
        "answers": plain(document, operation["responses"]),
    }


def test_every_operation_is_there_and_alike() -> None:
    here, there = ours(), theirs()
    mine, natives = operations(here), operations(there)
    assert len(natives) == 39
    differing = set()
    for name, (path, verb, operation) in natives.items():
        assert name in mine, f"{verb} {path}"
        assert mine[name][:2] == (path, verb)
        found = aspects(here, path, mine[name][2])
        for aspect, expected in aspects(there, path, operation).items():
            if found[aspect] != expected:
                differing.add((name, aspect))
    assert differing == set(DIFFERENCES), differing ^ set(DIFFERENCES)


def test_what_is_there_besides() -> None:
    natives = {(path, verb) for path, verb, _ in operations(theirs()).values()}
    mine = {(path, verb) for path, verb, _ in operations(ours()).values()}
    assert {path for path, verb in mine - natives} == ALSO


def test_the_document_is_valid() -> None:
    errors = list(OpenAPIV30SpecValidator(ours()).iter_errors())
    assert not errors, errors[0]


@pytest.mark.parametrize("part", ["securitySchemes", "x-ccf-forwarding"])
def test_components(part: str) -> None:
    assert ours()["components"][part].keys() == theirs()["components"][part].keys()
