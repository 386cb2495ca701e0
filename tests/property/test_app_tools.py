"""What developers hand to their tools: any text gives a result or an error for a person."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pyccf.appdev.past import parse_secrets
from pyccf.appdev.requests import parse_request
from pyccf.appdev.testing import run_file
from pyccf.errors import LocalError

WORDS = [
    *("it(", "describe(", "beforeEach(", "'a', ", "() => {", "async () => {", "throw ", "await "),
    *("expect(", ").toBe(", ").not.toEqual(", ").rejects.toThrow(", "app.get('/x')", "kv.set("),
    *("history.add({t: {a: 1}})", "history.fetching(", "null", "1", "{}", "[]", "undefined", "NaN"),
    *(
        "Symbol()",
        "new Proxy({}, {})",
        "globalThis",
        "ccf.kv.t",
        "Promise.reject(1)",
        "import('x')",
    ),
    *(
        ")",
        "}",
        ";",
        "\n",
        ", ",
        "it.only(",
        "it.skip(",
        "it.each([[1]])(",
        "delete globalThis.ccf",
    ),
    *("Object.prototype.then = 1", "JSON.stringify = null", "Promise = null", "it('t', () => {"),
    *(
        "Array.prototype.map = null",
        "Array.prototype.push = null",
        "Error.prototype.stack = 1",
        "Object.freeze(",
        "fn()",
        "})",
    ),
]
LIBRARY = "import { app, describe, expect, fn, history, it, kv, beforeEach } from '@pyccf/test';\n"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=14).map("".join))
def test_any_file_of_tests_has_a_result(body: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.test.js").write_text(LIBRARY + body)
        result = run_file(Path(folder), "a.test.js", {}, {}, timeout_ms=200)
    assert result.error is None or result.error.message
    for one in result.tests:
        assert (one.status == "failed") == (one.error is not None)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text("aé/ {", max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text("ab", max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)
MEMBERS = ("method", "path", "headers", "body", "body_base64", "caller")
CALLERS = st.fixed_dictionaries(
    {"policy": st.one_of(json_values, st.just("user_cert"), st.just(["jwt", "user_cert"]))},
    optional=dict.fromkeys(("id", "data", "cert", "cose", "jwt", "user_cert"), json_values),
)


@given(
    st.fixed_dictionaries(
        {"method": st.just("GET"), "path": st.just("/x")},
        optional={**dict.fromkeys(MEMBERS[2:], json_values), "caller": CALLERS},
    )
)
def test_any_request_in_json_is_read_or_refused(value: dict[str, object]) -> None:
    with contextlib.suppress(LocalError):
        given_request = parse_request(json.dumps(value).encode())
        assert given_request.request.path == "/x"


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=40).map(b"GET / HTTP/1.1\r\n".__add__)))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for parse in (parse_request, parse_secrets):
        with contextlib.suppress(LocalError):
            parse(raw)
