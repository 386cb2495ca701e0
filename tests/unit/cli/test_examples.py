"""pyccf.cli.examples: curl lines from an OpenAPI document."""

from __future__ import annotations

import ast
import shlex
from pathlib import Path

from pyccf.cli.examples import (
    EXAMPLES_MAX,
    Example,
    curl,
    examples,
    node_line,
    python_line,
)
from pyccf.types import Json

FILES = {"cacert": "s.pem", "cert": "u.pem", "key": "u key.pem"}


def document(**paths: Json) -> Json:
    return {
        "paths": {name.replace("_", "/"): value for name, value in paths.items()},
        "components": {
            "schemas": {
                "Record": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "integer"},
                        "msg": {"type": "string"},
                        "extra": {"type": "boolean"},
                    },
                    "required": ["id", "msg"],
                }
            }
        },
    }


BODY: Json = {
    "requestBody": {
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Record"}}}
    }
}
QUERY: Json = {
    "parameters": [
        {"name": "id", "in": "query", "required": True, "schema": {"type": "integer"}},
        {"name": "scope", "in": "query", "required": False, "schema": {"type": "string"}},
    ]
}


def test_what_is_written_is_what_is_read() -> None:
    found = examples(document(_app_log={"get": QUERY, "post": BODY}))
    assert found == [
        Example("POST", "/app/log", {"id": 42, "msg": "hello"}, True),
        Example("GET", "/app/log?id=42"),
    ]


def test_pairs_of_write_and_read_are_preferred() -> None:
    found = examples(
        document(
            _app_admin={"post": BODY},
            _app_all={"get": {}},
            _app_log={"get": QUERY, "post": BODY},
            _app_other={"get": QUERY, "put": BODY},
        )
    )
    assert [(e.method, e.path) for e in found] == [
        ("POST", "/app/log"),
        ("GET", "/app/log?id=42"),
        ("PUT", "/app/other"),
        ("GET", "/app/other?id=42"),
    ]


def test_paths_without_prefix_and_with_parameters() -> None:
    parameter: Json = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    found = examples(
        {"paths": {"/x/{id}": {"get": {"parameters": [parameter]}}, "/y/{name}/{id}": {"get": {}}}}
    )
    assert found == [Example("GET", "/app/x/hello"), Example("GET", "/app/y/hello/42")]


def test_built_in_endpoints_and_those_curl_cannot_call_are_left_out() -> None:
    signed: Json = {"security": [{"user_cose_sign1": []}]}
    token: Json = {"security": [{"jwt": []}]}
    either: Json = {"security": [{"jwt": []}, {"user_cert": []}]}
    found = examples(
        document(
            _app_commit={"get": {}},
            _app_api={"get": {}},
            _app_a={"post": signed, "get": token},
            _app_b={"get": either},
            _app_c={"get": {"security": []}},
            _app_d={"get": {"security": [{"member_cert": []}]}},
        )
    )
    assert found == [Example("GET", "/app/b"), Example("GET", "/app/c")]


def test_a_log_without_schema_is_given_a_record() -> None:
    found = examples(document(_app_log_private={"post": {}}))
    assert found == [Example("POST", "/app/log/private", {"id": 42, "msg": "hello"}, True)]


def test_schemas() -> None:
    schema: Json = {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "number", "minimum": 100}},
            "b": {"enum": ["x", "y"]},
            "c": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "d": {"type": "string", "example": "given"},
            "e": {},
        },
    }
    body: Json = {"requestBody": {"content": {"application/json": {"schema": schema}}}}
    (found,) = examples(document(_app_x={"put": body}))
    assert found.body == {"a": [100], "b": "x", "c": True, "d": "given", "e": "hello"}


def test_a_schema_that_refers_to_itself_ends() -> None:
    loop: Json = {"$ref": "#/components/schemas/Loop"}
    body: Json = {"requestBody": {"content": {"application/json": {"schema": loop}}}}
    looped: Json = {
        "paths": {"/app/x": {"post": body}},
        "components": {"schemas": {"Loop": {"type": "object", "properties": {"next": loop}}}},
    }
    assert len(examples(looped)) == 1


def test_not_too_many() -> None:
    paths: dict[str, Json] = {f"_app_{i}": {"get": {}, "post": {}} for i in range(20)}
    assert len(examples(document(**paths))) == EXAMPLES_MAX


def test_odd_documents_give_nothing() -> None:
    odd: list[Json] = [
        None,
        [],
        {},
        {"paths": 1},
        {"paths": {"/x": 1}},
        {"paths": {"/x": {"get": 1}}},
    ]
    for value in odd:
        assert examples(value) == []


def test_curl_lines_are_quoted_for_the_shell() -> None:
    line = curl(Example("POST", "/app/log?id=1", {"msg": "it's"}, True), "https://h:1", FILES)
    assert shlex.split(line) == [
        "curl",
        "https://h:1/app/log?id=1",
        *("--cacert", "s.pem", "--cert", "u.pem", "--key", "u key.pem"),
        *("-H", "content-type: application/json"),
        *("--data-binary", '{"msg":"it\'s"}'),
    ]
    for verb, words in {
        "DELETE": ["-X", "DELETE"],
        "POST": ["-X", "POST"],
        "HEAD": ["--head"],
        "GET": [],
    }.items():
        line = curl(Example(verb, "/a"), "https://h", {}, "-i")
        assert shlex.split(line) == ["curl", *words, "https://h/a", "-i"]


def test_lines_for_the_clients_quote_what_they_send() -> None:
    body: Json = {"msg": 'it\'s "quoted"', "yes": True, "none": None}
    example = Example("POST", "/app/log", body, True)
    python = shlex.split(python_line(example, "https://h:1", FILES))
    assert python[1] == "-c"
    tree = ast.parse(python[2])
    values = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    assert {"https://h:1", "s.pem", "u key.pem", "/app/log"} <= {v for v in values if v}
    node = shlex.split(node_line(example, "https://h:1", FILES, Path("/some where/js")))
    assert node[:3] == ["node", "--input-type=module", "-e"]
    assert '"file:///some%20where/js/src/node.js"' in node[3]
    assert 'json: {"msg": "it\'s \\"quoted\\"", "yes": true, "none": null}' in node[3]


def test_lines_for_the_clients_without_a_request() -> None:
    assert "node_version()" in python_line(None, "https://h:1", FILES)
    assert "getNodeVersion()" in node_line(None, "https://h:1", FILES, Path("js"))
    read = Example("GET", "/app/log?id=42")
    assert "json" not in python_line(read, "https://h:1", FILES)
