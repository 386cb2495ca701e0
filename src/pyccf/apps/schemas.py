"""Named schemas of OpenAPI documents, written as tables of fields.

A structure is a table {field: name of another schema}, an optional field ends in "?". Lists and
maps need no table: `X_array` is a list of X, `X_to_Y` a map of Y. A document carries the schemas it
refers to and what those refer to; a name nobody defines is a mistake of ours and is asserted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pyccf.types import Json

PREFIX = "#/components/schemas/"

Fields = Mapping[str, str]

PLAIN: dict[str, Json] = {
    "CCFError": {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "code": {"type": "string", "description": "What kind of error this is."},
                    "message": {"type": "string", "description": "What is wrong, in words."},
                },
            }
        },
    },
    "json": {},
    "string": {"type": "string"},
    "binary": {"type": "string", "format": "binary"},
    "boolean": {"type": "boolean"},
    "uint32": {"type": "integer", "minimum": 0, "maximum": (1 << 32) - 1},
    "uint64": {"type": "integer", "minimum": 0, "maximum": (1 << 64) - 1},
    "base64string": {"type": "string", "format": "base64"},
    "Pem": {"type": "string"},
    "NodeId": {"type": "string", "format": "hex", "pattern": "^[a-f0-9]{64}$"},
    "TimeString": {"type": "string", "pattern": "^[0-9]+(B|KB|MB|GB|TB|PB)?$"},
    "TransactionId": {"type": "string", "pattern": "^[0-9]+\\.[0-9]+$"},
    "TxStatus": {"type": "string", "enum": ["Unknown", "Pending", "Committed", "Invalid"]},
}
"""Schemas that are no structures, and those of the endpoints every frontend has."""

COMMON: dict[str, Fields] = {
    "GetCommit__Out": {
        "transaction_id": "TransactionId",
        "view_history?": "TransactionId_array",
    },
    "GetTxStatus__Out": {"status": "TxStatus", "transaction_id": "TransactionId"},
}


def ref(name: str) -> Json:
    """A reference to a schema of the same document."""
    return {"$ref": PREFIX + name}


def structure(fields: Fields) -> Json:
    """The schema of an object with these fields."""
    out: dict[str, Json] = {
        "type": "object",
        "properties": {field.removesuffix("?"): ref(kind) for field, kind in fields.items()},
    }
    required: list[Json] = [field for field in fields if not field.endswith("?")]
    if required:
        out["required"] = required
    return out


def structures(tables: Mapping[str, Fields]) -> dict[str, Json]:
    """The schemas of many objects, by name."""
    return {name: structure(fields) for name, fields in tables.items()}


def used(paths: Json, known: Mapping[str, Json]) -> dict[str, Json]:
    """The schemas that operations refer to, directly or through others, by name."""
    found: dict[str, Json] = {"CCFError": PLAIN["CCFError"]}
    waiting = list(_names(paths))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _schema(name, known)
            waiting += _names(found[name])
    return dict(sorted(found.items()))


_COMMON = structures(COMMON)


def _schema(name: str, known: Mapping[str, Json]) -> Json:
    for table in (known, _COMMON, PLAIN):
        if name in table:
            return table[name]
    if name.endswith("_array"):
        return {"type": "array", "items": ref(name.removesuffix("_array"))}
    _, to, value = name.partition("_to_")
    assert to, f"nobody defines the schema {name}"
    return {"type": "object", "additionalProperties": ref(value)}


def _names(value: Json) -> Iterator[str]:
    """Names of the schemas that a part of a document refers to."""
    members: Iterable[Json] = ()
    if isinstance(value, dict):
        target = value.get("$ref")
        if isinstance(target, str) and target.startswith(PREFIX):
            yield target.removeprefix(PREFIX)
        members = value.values()
    elif isinstance(value, list):
        members = value
    for member in members:
        yield from _names(member)
