"""Python types as schemas of OpenAPI 3.0, which knows less than the JSON Schema msgspec writes.

What has no schema (a recursive alias) is described as any JSON.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from pyccf.apps.schemas import PREFIX
from pyccf.types import Json

_DROPPED = frozenset({"title", "examples", "contentMediaType", "prefixItems", "discriminator"})
"""What 3.0 does not know, or says elsewhere."""


def describe(annotation: Any, known: dict[str, Json]) -> Json:
    """The schema of a type, a reference if it has a name; what it refers to is put into `known`."""
    try:
        (schema,), components = msgspec.json.schema_components(
            [annotation], ref_template=PREFIX + "{name}"
        )
    except (TypeError, RecursionError):
        return {}
    known.update({name: openapi30(cast("Json", one)) for name, one in components.items()})
    return openapi30(cast("Json", schema))


def parameter(field: msgspec.structs.FieldInfo, known: dict[str, Json]) -> Json:
    """A field of a query as a parameter; a query has no null, it leaves out."""
    schema = describe(field.type, known)
    if isinstance(schema, dict):
        schema.pop("nullable", None)
    return {
        "in": "query",
        "name": field.encode_name,
        "required": field.required,
        "schema": schema,
    }


def openapi30(schema: Json) -> Json:
    """A JSON Schema as OpenAPI 3.0 would have it."""
    if isinstance(schema, list):
        return [openapi30(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Json] = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties") and isinstance(value, dict):
            made[key] = {name: openapi30(one) for name, one in value.items()}
        elif key == "default" and value is None:
            pass  # Left out is as good, and null may be against the schema.
        elif key == "required" and not value:
            pass  # A list of none is none.
        elif key in ("default", "enum"):
            made[key] = value
        elif key == "const":
            made["enum"] = [value]
        elif key == "contentEncoding":
            made["format"] = value
        elif key == "pattern" and isinstance(value, str):
            made[key] = value.replace(r"\A", "^").replace(r"\Z", "$")
        elif key in ("exclusiveMinimum", "exclusiveMaximum"):
            made[key] = True
            made[key.removeprefix("exclusive").lower()] = value
        elif key not in _DROPPED:
            made[key] = openapi30(value)
    return _tuple(schema, _nullable(made))


def _nullable(made: dict[str, Json]) -> dict[str, Json]:
    """`null` is no type of its own."""
    if made.get("type") == "null":
        return {"nullable": True, "enum": [None]}
    kinds = made.get("anyOf")
    if not isinstance(kinds, list):
        return made
    rest = [kind for kind in kinds if kind != {"nullable": True, "enum": [None]}]
    if len(rest) == len(kinds):
        return made
    del made["anyOf"]
    (only,) = rest if len(rest) == 1 else (None,)
    if isinstance(only, dict) and "$ref" not in only:
        return {**only, **made, "nullable": True}
    return {**made, "anyOf": [*rest, {"nullable": True, "enum": [None]}]}


def _tuple(schema: dict[str, Json], made: dict[str, Json]) -> dict[str, Json]:
    """Items that differ by place are any of them."""
    places = schema.get("prefixItems")
    if isinstance(places, list):
        made["items"] = {"anyOf": [openapi30(one) for one in places]} if places else {}
    elif made.get("type") == "array":
        made.setdefault("items", {})
    return made
