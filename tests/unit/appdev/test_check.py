"""pyccf.appdev.check: what is wrong with scripts, with file and line."""

from __future__ import annotations

import pytest

from pyccf.appdev.check import NoScript, compile_script, problems
from pyccf.types import Json


def endpoint(module: str, function: str) -> dict[str, Json]:
    return {"/x": {"get": {"js_module": module, "js_function": function}}}


GOOD = {
    "a.js": "import { b } from './lib/b.js';\nexport function f() { return { body: b }; }",
    "lib/b.js": "export const b = ccf.strToBuf('made by the service alone');",
    "c.mjs": "export { f } from './a.js'; export default 1; export const late = (() => {})();",
    "data.txt": "no script {",
}


@pytest.mark.parametrize(
    ("module", "function"),
    [("a.js", "f"), ("/a.js", "f"), ("c.mjs", "f"), ("c.mjs", "default"), ("c.mjs", "late")],
)
def test_nothing_is_wrong(module: str, function: str) -> None:
    assert problems(GOOD, endpoint(module, function)) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"lib/b.js": "\n\nexport const b = {"}, ["lib/b.js:3: SyntaxError: "]),
        ({"lib/b.js": "let x;\nlet x;"}, ["lib/b.js:2: SyntaxError: invalid redefinition"]),
        ({"lib/b.js": "export const c = 1;"}, ["a.js: SyntaxError: Could not find export 'b'"]),
        ({"a.js": "export {};"}, ["GET /x: a.js does not export f"]),
        (
            {"a.js": "import './gone.js'; export const f = 1;"},
            ["a.js imports gone.js, which is not in the bundle"],
        ),
        ({"c.mjs": "throw new Error('while the body runs')"}, []),
    ],
)
def test_problems(changed: dict[str, str], told: list[str]) -> None:
    """Each once, of the module that has it."""
    modules = {"a.js": GOOD["a.js"], "lib/b.js": GOOD["lib/b.js"], **changed}
    found = problems(modules, endpoint("a.js", "f"))
    assert len(found) == len(told), found
    for one, beginning in zip(found, told, strict=True):
        assert one.startswith(beginning)


def test_metadata_of_other_forms_is_judged_elsewhere() -> None:
    endpoints: dict[str, Json] = {"/x": 1, "/y": {"get": 2, "put": {}}, **endpoint("none.js", "f")}
    assert problems(GOOD, endpoints) == []


def test_a_script_alone() -> None:
    compile_script("x", "export function f() { return nobody; }")
    with pytest.raises(NoScript, match="SyntaxError") as caught:
        compile_script("x", "// one\nexport function f( {")
    assert caught.value.line == 2
