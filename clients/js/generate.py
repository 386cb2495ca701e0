"""Makes `src/generated.js` and `src/generated.d.ts` out of the OpenAPI documents of a service.

    python clients/js/generate.py URL SERVICE_CERT [--app]

Every operation becomes a method of the class `Endpoints`, named after its operation id, every
schema a type in a namespace of its document. Signed operations of governance take their payload;
the client signs it. Without `--app` only the endpoints that every application has are taken from
/app, as in the package itself; with it, those of the application that runs there as well.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "src"
COMMON = frozenset({"/app/api", "/app/commit", "/app/tx", "/app/receipt"})
VERBS = ("get", "head", "post", "put", "delete", "patch")
API_VERSION = "2024-07-01"
HEAD = "// Made by generate.py out of the OpenAPI documents of a service. Do not edit.\n"
BUILT_IN = frozenset({"boolean", "string", "number", "object", "unknown", "null"})
"""Names of TypeScript's own that a schema may have, too: then it is that type."""
PLAIN = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*").fullmatch

Document = Mapping[str, Any]


class Operation:
    """One operation of a document, resolved."""

    def __init__(self, space: str, document: Document, path: str, verb: str, told: Document):
        self.space = space
        self.path = path
        self.verb = verb.upper()
        words = re.split(r"[^A-Za-z0-9]+", str(told.get("operationId") or f"{verb} {path}"))
        joined = "".join(word[:1].upper() + word[1:] for word in words if word)
        self.name = joined[:1].lower() + joined[1:]
        self.summary = str(told.get("summary", ""))
        self.places = re.findall(r"\{(\w+)\}", path)
        declared = [_resolved(document, p) for p in told.get("parameters", ())]
        self.query = [p for p in declared if p.get("in") == "query" and p["name"] != "api-version"]
        self.versioned = any(p.get("name") == "api-version" for p in declared)
        self.message = told.get("x-ccf-message-type")
        body = _resolved(document, told.get("requestBody", {}))
        content = body.get("content", {})
        self.payload = body.get("x-ccf-payload")
        self.body = content.get("application/json", {}).get("schema")
        self.answers = [_answer(document, r) for s, r in told["responses"].items() if s[0] == "2"]

    @property
    def arguments(self) -> list[str]:
        """Names of the arguments that the method has."""
        found = ["params"] if self.places or self.query else []
        if self.message:
            found += ["payload"] if self.payload is not None else []
        elif self.body is not None:
            found.append("body")
        return found


def _resolved(document: Document, value: Document) -> Document:
    reference = value.get("$ref")
    while isinstance(reference, str):
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
        value, reference = found, found.get("$ref")
    return value


def _answer(document: Document, response: Document) -> Any:
    """Schema of what an answer holds; None for nothing."""
    content = _resolved(document, response).get("content", {})
    if not content:
        return None
    kind, told = next(iter(content.items()))
    return told.get("schema", {}) if kind == "application/json" else {"type": "string"}


def operations(space: str, document: Document, paths: Mapping[str, Any]) -> Iterator[Operation]:
    for path, item in sorted(paths.items()):
        for verb in VERBS:
            if verb in item:
                told = {**item[verb]}
                told["parameters"] = [*item.get("parameters", ()), *told.get("parameters", ())]
                yield Operation(space, document, path, verb, told)


# --- JavaScript -------------------------------------------------------------------------------


def script(found: list[Operation]) -> str:
    """The class `Endpoints`."""
    lines = [
        HEAD,
        "const at = (value) => {",
        '  if (value === undefined || value === "") {',
        '    throw new TypeError("a path parameter is missing");',
        "  }",
        "  return encodeURIComponent(value);",
        "};",
        "",
        "/** Every operation of a service; a subclass carries the requests. */",
        "export class Endpoints {",
    ]
    for one in found:
        if one.summary:
            lines.append(f"  /** {_comment(one.summary)} */")
        lines += [
            f"  {one.name}({', '.join(one.arguments)}) {{",
            f"    return {_call(one)};",
            "  }",
            "",
        ]
    lines[-1] = "}"
    return "\n".join(lines) + "\n"


def _call(one: Operation) -> str:
    path = re.sub(r"\{(\w+)\}", lambda p: "${at(params." + p[1] + ")}", one.path)
    target = f"`{path}`" if one.places else json.dumps(path)
    if one.message:
        payload = "payload" if one.payload is not None else "undefined"
        proposal = ", params.proposalId" if "proposalId" in one.places else ""
        return f"this.signed({target}, {json.dumps(one.message)}, {payload}{proposal})"
    query = [f'"api-version": "{API_VERSION}"'] if one.versioned else []
    given = "params" if all(p.get("required") for p in one.query) else "params?"
    query += [f"{_key(p['name'])}: {given}{_member(p['name'], given)}" for p in one.query]
    options = ", { json: body }" if one.body is not None else ""
    return f"this.answer({json.dumps(one.verb)}, {target}, {_object(query)}{options})"


def _object(members: list[str]) -> str:
    return "{ " + ", ".join(members) + " }" if members else "{}"


def _key(name: str) -> str:
    return name if PLAIN(name) else json.dumps(name)


def _member(name: str, owner: str) -> str:
    if PLAIN(name):
        return f".{name}"
    return f"{'.' if owner.endswith('?') else ''}[{json.dumps(name)}]"


def _comment(text: str) -> str:
    return " ".join(text.split()).replace("*/", "* /")


# --- types ------------------------------------------------------------------------------------


def types(found: list[Operation], documents: Mapping[str, Document]) -> str:
    """The types of `Endpoints` and of everything that is sent and answered."""
    lines = [HEAD]
    for space, document in documents.items():
        schemas = document.get("components", {}).get("schemas", {})
        lines.append(f"export namespace {space} {{")
        for name, schema in sorted(schemas.items()):
            if name not in BUILT_IN:
                lines.append(f"  type {_type_name(name)} = {_type(schema, '')};")
        lines += ["}", ""]
    lines.append("export class Endpoints {")
    for one in found:
        if one.summary:
            lines.append(f"  /** {_comment(one.summary)} */")
        lines.append(f"  {one.name}({_signature(one)}): Promise<{_result(one)}>;")
    lines.append("}")
    return "\n".join(lines) + "\n"


def _signature(one: Operation) -> str:
    prefix = f"{one.space}."
    found = []
    if "params" in one.arguments:
        members = [f"{name}: string" for name in one.places]
        optional = not one.places
        for p in one.query:
            required = p.get("required", False)
            optional = optional and not required
            kind = _type(p.get("schema", {}), prefix)
            members.append(f"{_key(p['name'])}{'' if required else '?'}: {kind}")
        found.append(f"params{'?' if optional else ''}: {{ {'; '.join(members)} }}")
    if "payload" in one.arguments:
        found.append(f"payload: {_type(one.payload, prefix)}")
    if "body" in one.arguments:
        found.append(f"body: {_type(one.body, prefix)}")
    return ", ".join(found)


def _result(one: Operation) -> str:
    kinds = {"null" if a is None else _type(a, f"{one.space}.") for a in one.answers}
    return " | ".join(sorted(kinds)) or "null"


def _type_name(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _type(schema: Any, prefix: str) -> str:
    """A schema as a type; `prefix` is the namespace that references are in."""
    if not isinstance(schema, dict):
        return "unknown"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return name if name in BUILT_IN else prefix + _type_name(name)
    kind = _bare_type(schema, prefix)
    return f"({kind}) | null" if schema.get("nullable") else kind


def _bare_type(schema: dict[str, Any], prefix: str) -> str:
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    for word, sign in (("allOf", " & "), ("oneOf", " | "), ("anyOf", " | ")):
        if schema.get(word):
            made = sign.join(f"({_type(part, prefix)})" for part in schema[word])
            rest = {k: v for k, v in schema.items() if k in ("properties", "required")}
            return f"({made}) & {_members(rest, prefix)}" if rest.get("properties") else made
    kind = schema.get("type")
    if kind == "array":
        return f"Array<{_type(schema.get('items', {}), prefix)}>"
    if kind == "object" or "properties" in schema:
        return _members(schema, prefix)
    return {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}.get(
        str(kind), "unknown"
    )


def _members(schema: dict[str, Any], prefix: str) -> str:
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    members = [
        f"{_key(name)}{'' if name in required else '?'}: {_type(part, prefix)}"
        for name, part in sorted(properties.items())
    ]
    more = schema.get("additionalProperties")
    if not members:
        return f"Record<string, {_type(more, prefix)}>"
    made = f"{{ {'; '.join(members)} }}"
    return f"{made} & Record<string, unknown>" if more is True else made


# --- both -------------------------------------------------------------------------------------


def generate(node: Document, gov: Document, app: Document, *, whole_app: bool) -> dict[str, str]:
    """The text of both files, by name."""
    paths = {p: item for p, item in app["paths"].items() if whole_app or p in COMMON}
    documents: dict[str, Document] = {"NodeApi": node, "GovApi": gov, "AppApi": app}
    if not whole_app:
        documents["AppApi"] = {**app, "paths": paths}
    found = [
        *operations("NodeApi", node, node["paths"]),
        *operations("GovApi", gov, gov["paths"]),
        *operations("AppApi", documents["AppApi"], paths),
    ]
    names = [one.name for one in found]
    assert len(names) == len(set(names)), "operation ids are unique"
    return {"generated.js": script(found), "generated.d.ts": types(found, documents)}


def main() -> None:
    from pyccf.client import Client

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("service_cert")
    parser.add_argument("--app", action="store_true", help="take the application's endpoints too")
    given = parser.parse_args()
    with Client(given.url, given.service_cert) as client:
        documents = [client.node_document(), client.gov_document(), client.app_document()]
    for document in documents:
        assert isinstance(document, dict), "an OpenAPI document"
    for name, text in generate(*documents, whole_app=given.app).items():  # type: ignore[arg-type]
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(f"wrote {FOLDER / name}")


if __name__ == "__main__":
    main()
