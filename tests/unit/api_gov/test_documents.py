"""The API's own description, and the table of routes it is made from."""

from __future__ import annotations

import json

import pytest

from pyccf.api.gov import with_versions
from pyccf.api.gov.documents import document
from pyccf.api.gov.routes import ROUTES
from pyccf.apps.context import Context
from pyccf.apps.router import Endpoint, Forwarding, Mode, Redirection
from pyccf.errors import RpcError
from pyccf.http.message import Request
from pyccf.http.session import Session
from support.gov import FakeScripts, Gov, NodeFacts
from support.service import member, world


@pytest.mark.parametrize(("version", "paths"), [("2023-06-01-preview", 24), ("2024-07-01", 27)])
def test_every_route_is_described(version: str, paths: int) -> None:
    described = json.loads(document(version))
    assert described["openapi"] == "3.0.0"
    assert described["info"]["version"] == version
    operations = [op for item in described["paths"].values() for op in item.values()]
    assert len(operations) == paths
    assert len({op["operationId"] for op in operations}) == paths
    for path, item in described["paths"].items():
        for op in item.values():
            names = [p["name"] for p in op["parameters"] if p.get("in") == "path"]
            assert all(f"{{{name}}}" in path for name in names)
            assert path.count("{") == len(names)
            assert op["parameters"][0] == {"$ref": "#/components/parameters/ApiVersion"}
            assert ("requestBody" in op) == ("security" in op)


def test_signed_routes_name_their_message_type() -> None:
    described = json.loads(document("2024-07-01"))
    create = described["paths"]["/gov/members/proposals:create"]["post"]
    assert create["x-ccf-message-type"] == "proposal"
    assert [*create["requestBody"]["content"]] == ["application/cose"]
    payload = create["requestBody"]["x-ccf-payload"]
    assert payload == {"$ref": "#/components/schemas/Proposals.ProposalActions"}


def test_every_schema_of_an_answer_is_there() -> None:
    described = json.loads(document("2024-07-01"))
    schemas = described["components"]["schemas"]
    text = json.dumps(described)
    for name in schemas:
        assert f'#/components/schemas/{name}"' in text, name
    for item in described["paths"].values():
        for op in item.values():
            for answer in op["responses"].values():
                content = answer.get("content", {}).get("application/json")
                if content is not None:
                    target = content["schema"]["$ref"].removeprefix("#/components/schemas/")
                    assert target in schemas


def test_routes_as_the_table_says() -> None:
    gov = Gov(world(member("member0"), constitution="c"), FakeScripts())
    endpoints = {(e.verb, e.path): e for e in gov._templates.all()}
    assert len(endpoints) == len(ROUTES) == 27
    for route in ROUTES:
        endpoint = endpoints[route.verb, route.path]
        assert endpoint.hidden
        if route.message_type is None:
            assert endpoint.auth == ()
            assert endpoint.forwarding is Forwarding.SOMETIMES
            assert endpoint.redirection is Redirection.NONE
            assert endpoint.mode is (Mode.COMMAND if route.command else Mode.READONLY)
        else:
            active = "active_" if route.active else ""
            assert [p.name for p in endpoint.auth] == [f"{active}member_cose_sign1"]
            assert endpoint.forwarding is Forwarding.ALWAYS
            assert endpoint.redirection is Redirection.TO_PRIMARY


def test_exact_path_wins_over_the_template() -> None:
    gov = Gov(world(member("member0"), constitution="c"), FakeScripts())
    found = gov._templates.find("GET", "/service/transactions/commit")
    assert found is not None
    assert found[0].path == "/service/transactions/commit"


def _ask(query: str) -> Context:
    def plain(ctx: Context) -> None:
        ctx.text("plain")

    endpoint = with_versions(Endpoint(verb="GET", path="/api", execute=plain))
    tx = world(member("member0"), constitution="c").store.tx()
    request = Request("GET", f"/gov/api{query}")
    ctx = Context(request, Session(1, "rpc"), tx, NodeFacts(), endpoint)
    endpoint.execute(ctx)
    return ctx


def test_api_with_and_without_version() -> None:
    assert _ask("").body == b"plain"
    asked = _ask("?api-version=2024-07-01")
    assert asked.body == document("2024-07-01")
    assert asked.headers["content-type"] == "application/json"
    for version in ("2000-01-01", ""):
        with pytest.raises(RpcError) as refused:
            _ask(f"?api-version={version}")
        assert (refused.value.status, refused.value.code) == (400, "UnsupportedApiVersionValue")
        assert refused.value.message == (
            f"Unsupported api-version '{version}'."
            " The supported api-versions are: 2023-06-01-preview, 2024-07-01"
        )
