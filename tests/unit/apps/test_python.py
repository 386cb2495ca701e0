from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pyccf.apps import openapi
from pyccf.apps.python import App, AppContext, Reply, Table
from pyccf.errors import LocalError
from pyccf.types import Json
from support.node import Service


class Item(msgspec.Struct):
    id: int
    tags: list[str] = []


class Page(msgspec.Struct):
    start: int = 0
    most: int = 10


def make() -> App:
    app = App(title="Items", description="A test", version="3.2.1")
    items = Table("items", key=int, value=Item)

    @app.post("/items", auth=["user_cert", "no_auth"])
    def add(ctx: AppContext, body: Item) -> Item:
        """Keep an item."""
        items(ctx).set(body.id, body)
        return body

    @app.get("/items")
    def listed(ctx: AppContext, query: Page) -> list[Item]:
        found = [item for _, item in items(ctx).items()]
        return found[query.start : query.start + query.most]

    @app.delete("/items/{id}")
    def remove(ctx: AppContext, path: dict[str, int]) -> None:
        items(ctx).delete(path["id"])

    @app.put("/raw")
    def raw(ctx: AppContext, body: bytes) -> Reply:
        ctx.kv("raw").set(b"k", body)
        assert ctx.kv("raw").get(b"k") == body
        return Reply(201, body[::-1], {"X-Size": str(len(body))})

    @app.get("/secret", hidden=True)
    def secret(ctx: AppContext) -> str:
        ctx.set_header("X-Note", "hidden")
        return "yes"

    return app


def serve(app: App) -> Service:
    service = Service(app=app)
    service.open_app()
    return service


def test_typed_requests_and_answers() -> None:
    service = serve(make())
    for i in (3, 1, 2):
        reply = service.call("POST", "/app/items", {"id": i, "tags": ["a"]})
        assert reply.json == {"id": i, "tags": ["a"]}
    assert [i["id"] for i in service.call("GET", "/app/items?most=2").json] == [1, 2]
    assert service.call("DELETE", "/app/items/1").status == 204
    assert [i["id"] for i in service.call("GET", "/app/items").json] == [2, 3]


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/app/items", {"id": "x"}),
        ("POST", "/app/items", {}),
        ("DELETE", "/app/items/x", b""),
    ],
)
def test_what_does_not_fit_is_refused(method: str, target: str, body: object) -> None:
    reply = serve(make()).call(method, target, body)
    assert (reply.status, reply.json["error"]["code"]) == (400, "InvalidInput")


class Wanted(msgspec.Struct, rename={"start": "from"}):
    name: str
    start: int = 0


def test_a_query_that_does_not_fit_is_refused_by_the_name_of_its_parameter() -> None:
    app = App()

    @app.get("/typed")
    def typed(ctx: AppContext, query: Wanted) -> int:
        return query.start

    @app.get("/flags")
    def flags(ctx: AppContext, query: dict[str, bool]) -> int:
        return len(query)

    service = serve(app)
    assert service.call("GET", "/app/typed?name=n&from=7").json == 7
    for target, message in (
        ("typed", "Missing query parameter 'name'"),
        ("typed?name=n&from=x", "Unable to parse value 'x' in parameter 'from': Expected `int`"),
        ("typed?name=n&from", "Unable to parse value '' in parameter 'from': Expected `int`"),
        ("flags?a=perhaps", "Expected `bool`"),
    ):
        reply = service.call("GET", f"/app/{target}")
        error = reply.json["error"]
        assert (reply.status, error["code"]) == (400, "InvalidQueryParameterValue")
        assert error["message"].startswith(message), error


def test_bytes_and_headers_pass_as_they_are() -> None:
    reply = serve(make()).call("PUT", "/app/raw", b"\x00\x01\x02")
    assert (reply.status, reply.body, reply.headers["x-size"]) == (201, b"\x02\x01\x00", "3")
    assert reply.headers["content-type"] == "application/octet-stream"
    assert serve(make()).call("GET", "/app/secret").headers["x-note"] == "hidden"


def test_clients_that_want_no_json_are_refused() -> None:
    reply = serve(make()).call("GET", "/app/items", headers={"accept": "text/html"})
    assert reply.status == 406


def test_the_document_describes_the_types() -> None:
    app = make()
    made = openapi.document(
        title=app.title,
        description=app.description,
        version=app.version,
        prefix="/app",
        endpoints=app.endpoints(),
        schemas=app.schemas,
    )
    assert made["info"] == {"title": "Items", "description": "A test", "version": "3.2.1"}
    paths = made["paths"]
    assert isinstance(paths, dict)
    assert sorted(paths) == ["/app/items", "/app/items/{id}", "/app/raw"]
    post = paths["/app/items"]["post"]
    assert post["summary"] == "Keep an item."
    assert post["operationId"] == "PostAppItems"
    body = post["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Item"}
    assert post["security"] == [{}]
    names = [p["name"] for p in paths["/app/items"]["get"]["parameters"]]
    assert names == ["start", "most"]
    schemas = made["components"]["schemas"]
    assert schemas["Item"]["properties"]["id"] == {"type": "integer"}
    for ref in _refs(made):
        assert ref.removeprefix("#/components/schemas/") in schemas or "schemas" not in ref


def _refs(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [r for v in value.values() for r in _refs(v)]
    if isinstance(value, list):
        return [r for v in value for r in _refs(v)]
    return []


def test_mistakes_of_the_author_are_told_at_once() -> None:
    app = App()
    with pytest.raises(LocalError, match="takes"):

        @app.get("/x")
        def wrong(ctx: AppContext, request: int) -> None: ...

    with pytest.raises(LocalError, match="bracket"):

        @app.get("/x/{y")
        def unclosed(ctx: AppContext) -> None: ...

    @app.get("/x")
    def right(ctx: AppContext) -> None: ...

    with pytest.raises(LocalError, match="twice"):

        @app.get("/x")
        def again(ctx: AppContext) -> None: ...

    with pytest.raises(ValueError, match="Unknown auth policy"):
        app.get("/z", auth=["nobody"])


def test_answers_may_be_a_value_or_a_reply() -> None:
    app = App()

    @app.get("/maybe")
    def maybe(ctx: AppContext, query: dict[str, str]) -> Item | Reply:
        return Reply(404) if "none" in query else Item(1)

    @app.post("/any")
    def anything(ctx: AppContext, body: Any) -> Json:
        assert isinstance(body, dict)
        return body

    with pytest.raises(LocalError, match="cannot be decoded"):

        @app.post("/alias")
        def alias(ctx: AppContext, body: Json) -> None: ...

    service = serve(app)
    assert service.call("GET", "/app/maybe").json == {"id": 1, "tags": []}
    assert service.call("GET", "/app/maybe?none").status == 404
    assert service.call("POST", "/app/any", {"a": [1]}).json == {"a": [1]}
    (endpoint,) = (e for e in app.endpoints() if e.verb == "GET")
    assert endpoint.openapi == {"response": {"$ref": "#/components/schemas/Item"}}


@pytest.mark.parametrize("name", ["ccf.x", "public:ccf.x", "ccf.gov.x", "ccf.internal.x"])
def test_reserved_tables_are_refused(name: str) -> None:
    app = App()

    @app.post("/x")
    def handler(ctx: AppContext) -> None:
        ctx.kv(name)

    reply = serve(app).call("POST", "/app/x")
    assert reply.status == 500
    assert "reserved" in reply.json["error"]["message"]
