"""The OpenAPI documents beside those of the original: equal but for words, and valid.

Compared are whole documents. Left out are texts meant for people (`summary`, `description`, title)
and the order of lists that are sets.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator

from pyccf.apps.schemas import PREFIX
from support.documents import wordless
from support.node import Service
from support.transcripts import load, make_service
from support.vectors import vectors_dir

"""Described as soon as this node refreshes keys; compared then."""

Document = dict[str, Any]


@pytest.fixture(scope="module")
def service() -> Service:
    made = make_service()
    made.open_app()
    made.tick()
    return made


def document(service: Service, frontend: str) -> Document:
    reply = service.call("GET", f"/{frontend}/api")
    assert reply.status == 200
    assert isinstance(reply.json, dict)
    return reply.json


def recorded(name: str) -> Document:
    (exchange,) = (
        e
        for e in load(vectors_dir() / "ccf" / "transcripts", "common")
        if e["name"] == name and e["node"] == "primary"
    )
    found = json.loads(exchange["response"]["body"])
    assert isinstance(found, dict)
    return found


def assert_same(ours: Document, theirs: Document) -> None:
    here, there = wordless(ours), wordless(theirs)
    for part in ("paths", "components"):
        for name in sorted(here[part].keys() | there[part].keys()):
            assert here[part].get(name) == there[part].get(name), f"{part} {name}"
    assert here == there


def test_node_document(service: Service) -> None:
    path = vectors_dir() / "ccf" / "schemas" / "node_openapi.json"
    ours, theirs = document(service, "node"), json.loads(path.read_text(encoding="utf-8"))
    assert_same(ours, theirs)


def test_node_document_names_itself_as_the_original(service: Service) -> None:
    info = document(service, "node")["info"]
    assert (info["title"], info["version"]) == ("CCF Public Node API", "4.14.0")


def test_governance_document(service: Service) -> None:
    assert_same(document(service, "gov"), recorded("gov api generated"))


def test_app_document_without_an_application(service: Service) -> None:
    theirs = recorded("app api")
    own = {p for p in theirs["paths"] if p not in document(service, "app")["paths"]}
    theirs["paths"] = {p: item for p, item in theirs["paths"].items() if p not in own}
    assert len(own) > 10
    assert_same(document(service, "app"), theirs)


@pytest.mark.parametrize("frontend", ["app", "gov", "node"])
def test_documents_are_valid(service: Service, frontend: str) -> None:
    errors = list(OpenAPIV30SpecValidator(document(service, frontend)).iter_errors())
    assert not errors, errors[0]


@pytest.mark.parametrize("frontend", ["app", "gov", "node"])
def test_schemas_are_those_referred_to(service: Service, frontend: str) -> None:
    found = document(service, frontend)
    text = json.dumps(found)
    for name in found["components"]["schemas"]:
        assert f'"{PREFIX}{name}"' in text, name
