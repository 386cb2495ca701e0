"""Ready-to-paste lines for an application, made from its OpenAPI document: curl and our clients.

Values are invented from the schemas so that a record written by one line is the one read by the
next: every integer is 42, every text "hello". Endpoints that need a bearer token or a signed body
are left out, since curl alone cannot make those, and so are those for members only.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from pyccf.codec.text import dump_json
from pyccf.types import Json

INTEGER = 42
TEXT = "hello"
EXAMPLES_MAX = 6
SCHEMA_DEPTH_MAX = 8

_BUILT_IN = frozenset({"/api", "/commit", "/tx", "/receipt"})
_VERBS = ("post", "put", "get")
_BY_HAND = ("jwt", "cose", "member")
_UNTOLD = re.compile(r"\{([^{}]*)\}")


class Example(msgspec.Struct, frozen=True):
    """One request that can be made as it stands."""

    method: str
    path: str
    """With /app and query."""
    body: Json = None
    has_body: bool = False


def examples(document: Json) -> list[Example]:
    """Requests for an application, at most EXAMPLES_MAX.

    Where one path can be both written and read, pairs of a write and the read of what it wrote;
    otherwise whatever writes, then whatever reads.
    """
    paths = document.get("paths") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(paths, dict):
        return []
    writes: dict[str, Example] = {}
    reads: dict[str, Example] = {}
    for path, operations in paths.items():
        if not isinstance(operations, dict) or path.removeprefix("/app") in _BUILT_IN:
            continue
        for verb in _VERBS:
            operation = operations.get(verb)
            if isinstance(operation, dict):
                example = _example(document, verb, path, operation)
                if example is not None:
                    (reads if verb == "get" else writes).setdefault(path, example)
    half = EXAMPLES_MAX // 2
    pairs = [path for path in writes if path in reads][:half]
    if pairs:
        return [example for path in pairs for example in (writes[path], reads[path])]
    chosen = list(writes.values())[:half]
    return chosen + list(reads.values())[: EXAMPLES_MAX - len(chosen)]


def curl(example: Example, url: str, files: Mapping[str, str], *extra: str) -> str:
    """The curl line of a request; `files` are the values of --cacert, --cert and --key."""
    words = ["curl"]
    if example.method == "HEAD":
        words.append("--head")
    elif example.method != ("POST" if example.has_body else "GET"):
        words += ["-X", example.method]
    words.append(f"{url}{example.path}")
    for option, path in files.items():
        words += [f"--{option}", path]
    if example.has_body:
        words += ["-H", "content-type: application/json"]
        words += ["--data-binary", dump_json(example.body).decode()]
    words += extra
    return shlex.join(words)


def python_line(example: Example | None, url: str, files: Mapping[str, str]) -> str:
    """A line that makes a request with the Python client and prints what came of it.

    Without a request it asks for the node's version.
    """
    given = ", ".join(f"{name}={files[name]!r}" for name in ("cert", "key"))
    asked = "c.node_version()"
    if example is not None:
        body = f", json={example.body!r}" if example.has_body else ""
        asked = f"c.request({example.method!r}, {example.path!r}{body}).check().text()"
    program = (
        f"from pyccf.client import Client; c = Client({url!r}, {files['cacert']!r}, {given});"
        f" print({asked})"
    )
    return shlex.join([sys.executable, "-c", program])


def node_line(example: Example | None, url: str, files: Mapping[str, str], package: Path) -> str:
    """The same with the JavaScript client, which lies in the folder `package`."""
    told = {"serviceCert": files["cacert"], "cert": files["cert"], "key": files["key"]}
    asked = "await c.getNodeVersion()"
    if example is not None:
        body = f", {{ json: {json.dumps(example.body)} }}" if example.has_body else ""
        method, path = json.dumps(example.method), json.dumps(example.path)
        asked = f"(await c.request({method}, {path}{body})).check().text()"
    module = (package / "src" / "node.js").resolve().as_uri()
    program = (
        f"import {{ connect }} from {json.dumps(module)};"
        f" const c = await connect({json.dumps(url)}, {json.dumps(told)});"
        f" console.log({asked}); c.close()"
    )
    return shlex.join(["node", "--input-type=module", "-e", program])


def _example(
    document: Mapping[str, Json], verb: str, path: str, operation: Mapping[str, Json]
) -> Example | None:
    if _needs_more_than_curl(operation.get("security")):
        return None
    parameters = operation.get("parameters")
    query: dict[str, str] = {}
    for parameter in parameters if isinstance(parameters, list) else []:
        if not isinstance(parameter, dict):
            continue
        name = str(parameter.get("name", ""))
        value = _value(document, parameter.get("example", parameter.get("schema")), 0)
        if parameter.get("in") == "path":
            path = path.replace("{" + name + "}", quote(_plain(value), safe=""))
        elif parameter.get("in") == "query" and parameter.get("required") is True:
            query[name] = _plain(value)
    # Many applications do not describe the parameters of their paths.
    path = _UNTOLD.sub(lambda found: str(INTEGER) if found[1] == "id" else TEXT, path)
    full = path if path.startswith("/app/") else f"/app{path}"
    if query:
        full += "?" + urlencode(query)
    body, has_body = _body(document, operation)
    if verb in ("post", "put") and not has_body and "/log/" in path:
        body, has_body = {"id": INTEGER, "msg": TEXT}, True
    return Example(verb.upper(), full, body, has_body)


def _needs_more_than_curl(security: Json) -> bool:
    """Whether every way to authenticate is a token, a signature, or a member's certificate."""
    if not isinstance(security, list) or not security:
        return False
    ways = [name for entry in security if isinstance(entry, dict) for name in entry or [""]]
    return all(any(mark in name for mark in _BY_HAND) for name in ways)


def _plain(value: Json) -> str:
    return value if isinstance(value, str) else dump_json(value).decode()


def _body(document: Mapping[str, Json], operation: Mapping[str, Json]) -> tuple[Json, bool]:
    body: Json = operation.get("requestBody")
    for key in ("content", "application/json"):
        body = body.get(key) if isinstance(body, dict) else None
    if not isinstance(body, dict):
        return None, False
    if "example" in body:
        return body["example"], True
    return _value(document, body.get("schema"), 0), True


def _value(document: Mapping[str, Json], schema: Json, depth: int) -> Json:
    """A value that fits a schema; anything that is no schema stands for itself."""
    if not isinstance(schema, dict):
        return TEXT if schema is None else schema
    if depth > SCHEMA_DEPTH_MAX:
        return None
    reference = schema.get("$ref")
    if isinstance(reference, str):
        found: Json = dict(document)
        for part in reference.removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        return _value(document, found, depth + 1)
    for key in ("example", "default", "const"):
        if key in schema:
            return schema[key]
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    for key in ("anyOf", "oneOf", "allOf"):
        options = schema.get(key)
        if isinstance(options, list) and options:
            return _value(document, options[0], depth + 1)
    kind = schema.get("type")
    if kind in ("integer", "number"):
        least = schema.get("minimum")
        return least if isinstance(least, int) and least > INTEGER else INTEGER
    if kind == "boolean":
        return True
    if kind == "array":
        return [_value(document, schema.get("items"), depth + 1)]
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties")
        required = schema.get("required")
        names = properties if isinstance(properties, dict) else {}
        wanted = required if isinstance(required, list) else list(names)
        return {str(name): _value(document, names.get(str(name)), depth + 1) for name in wanted}
    return TEXT
