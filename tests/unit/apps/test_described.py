from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator

from pyccf.apps import openapi
from pyccf.apps.described import describe, openapi30, parameter
from pyccf.apps.python import App, AppContext
from pyccf.types import Json


class Inner(msgspec.Struct):
    """Said of it."""

    data: bytes
    rest: dict[str, Inner | None] = {}


class Tagged(msgspec.Struct, tag="tagged"):
    at: float


class Other(msgspec.Struct, tag="other"):
    pair: tuple[int, str]


class Everything(msgspec.Struct):
    one: Inner | None
    choice: Tagged | Other
    word: Literal["a", "b"]
    small: Annotated[int, msgspec.Meta(gt=0, lt=10)]
    text: Annotated[str, msgspec.Meta(pattern=r"\A[a-z]+\Z", title="A word", examples=["x"])]
    fixed: tuple[()]
    many: list[Any]
    nothing: None
    note: str | None = None
    flag: bool | msgspec.UnsetType = msgspec.UNSET


Query = msgspec.defstruct(
    "Query",
    [
        ("start", Annotated[int, msgspec.Meta(ge=0)], 0),
        ("kind", Literal["a", "b"] | None, None),
    ],
)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "null"}, {"nullable": True, "enum": [None]}),
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            {"type": "string", "nullable": True},
        ),
        (
            {"anyOf": [{"$ref": "#/x"}, {"type": "null"}]},
            {"anyOf": [{"$ref": "#/x"}, {"nullable": True, "enum": [None]}]},
        ),
        ({"const": 3}, {"enum": [3]}),
        ({"exclusiveMinimum": 1}, {"exclusiveMinimum": True, "minimum": 1}),
        ({"exclusiveMaximum": 1}, {"exclusiveMaximum": True, "maximum": 1}),
        ({"type": "string", "contentEncoding": "base64"}, {"type": "string", "format": "base64"}),
        ({"pattern": r"\Aa\Z"}, {"pattern": "^a$"}),
        (
            {"properties": {"title": {"title": "t", "type": "string"}}, "title": "T"},
            {"properties": {"title": {"type": "string"}}},
        ),
        ({"type": "array"}, {"type": "array", "items": {}}),
        (
            {"type": "array", "prefixItems": [{"const": 1}, {"type": "null"}], "minItems": 2},
            {
                "type": "array",
                "items": {"anyOf": [{"enum": [1]}, {"nullable": True, "enum": [None]}]},
                "minItems": 2,
            },
        ),
        ({"type": "object", "required": []}, {"type": "object"}),
        ({"enum": [{"title": 1}]}, {"enum": [{"title": 1}]}),
    ],
)
def test_what_openapi_3_0_says_otherwise(schema: Json, expected: Json) -> None:
    assert openapi30(schema) == expected


def test_names_are_kept_and_values_described_in_place() -> None:
    known: dict[str, Json] = {}
    assert describe(Inner, known) == {"$ref": "#/components/schemas/Inner"}
    assert list(known) == ["Inner"]
    assert describe(int, known) == {"type": "integer"}
    assert describe(list[Inner], known) == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Inner"},
    }
    assert describe(object(), known) == {}


def test_queries_have_no_null() -> None:
    fields = msgspec.structs.fields(Query)
    assert [parameter(field, {}) for field in fields] == [
        {
            "in": "query",
            "name": "start",
            "required": False,
            "schema": {"type": "integer", "minimum": 0},
        },
        {"in": "query", "name": "kind", "required": False, "schema": {"enum": ["a", "b"]}},
    ]


def test_documents_of_any_types_are_valid() -> None:
    app = App()

    @app.post("/everything")
    def everything(ctx: AppContext, body: Everything, query: Query) -> Everything | None:  # type: ignore[valid-type]
        return body

    @app.put("/list")
    def listed(ctx: AppContext, body: list[Inner | int]) -> dict[str, Everything]:
        return {}

    made = openapi.document(
        title="t",
        description="d",
        version="1",
        prefix="/app",
        endpoints=app.endpoints(),
        schemas=app.schemas,
    )
    errors = list(OpenAPIV30SpecValidator(made).iter_errors())
    assert not errors, errors[0]
    assert {"Everything", "Inner", "Tagged", "Other"} <= set(app.schemas)
