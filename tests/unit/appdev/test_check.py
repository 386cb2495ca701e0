"""pyccf.appdev.check: what is wrong with scripts, with file and line."""

from __future__ import annotations

import pytest

from pyccf.appdev.check import NoScript, compile_script, problems
from pyccf.apps.js.engine import Interpreter
from pyccf.apps.js.host.host import Host
from pyccf.types import Json

LIMIT_MS = 50


def endpoint(module: str, function: str) -> dict[str, Json]:
    served = {"forwarding_required": "sometimes", "authn_policies": ["user_cert"]}
    return {"/x": {"get": {"js_module": module, "js_function": function, **served}}}


GOOD = {
    "a.js": "import { b } from './lib/b.js';\nexport function f() { return { body: b }; }",
    "lib/b.js": "export const b = ccf.strToBuf('made by the service alone');",
    "c.mjs": "export { f } from './a.js'; export default () => {}; export const late = void 0;",
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
        (
            {"a.js": "export const f = 1;"},
            ["GET /x: what a.js exports as f is not a function"],
        ),
        ({"a.js": "const t = ccf.kv['t']; export const f = () => t;"}, []),
    ],
)
def test_problems(changed: dict[str, str], told: list[str]) -> None:
    """Each once, of the module that has it."""
    modules = {"a.js": GOOD["a.js"], "lib/b.js": GOOD["lib/b.js"], **changed}
    found = problems(modules, endpoint("a.js", "f"))
    assert len(found) == len(told), found
    for one, beginning in zip(found, told, strict=True):
        assert one.startswith(beginning)


def test_a_body_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when it has to be stopped by force, within a function of the engine."""

    def impatient(host: Host, rows: tuple[object, ...]) -> Interpreter:
        made = Interpreter(host, rows)
        made.vm.limits(0, 0, LIMIT_MS, 0, 0, LIMIT_MS)
        return made

    monkeypatch.setattr("pyccf.appdev.check.Interpreter", impatient)
    for body in ("for (;;);", "Array.prototype.join.call({length: 2 ** 53 - 1});"):
        assert problems({"a.js": f"{body} export const f = 1;"}, endpoint("a.js", "f")) == []


def test_a_body_runs_once_for_all_its_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(host: Host, rows: tuple[object, ...]) -> Interpreter:
        made.append(Interpreter(host, rows))
        return made[-1]

    monkeypatch.setattr("pyccf.appdev.check.Interpreter", counted)
    (good,) = endpoint("a.js", "g").values()
    assert isinstance(good, dict)
    told = problems(GOOD, {"/x": good, "/y": {"put": good["get"]}})
    assert told == ["GET /x: a.js does not export g", "PUT /y: a.js does not export g"]
    assert len(made) == len(GOOD) - 1


def test_metadata_that_no_request_could_be_served_by() -> None:
    (good,) = endpoint("a.js", "f").values()
    assert isinstance(good, dict)
    served = good["get"]
    assert isinstance(served, dict)
    for changed, told in (
        ({"authn_policies": ["nobody"]}, "GET /x: Unknown auth policy: nobody"),
        ({"interpreter_reuse": {}}, "GET /x: Missing required field 'key' in object: {}"),
        ({"mode": "write"}, 'GET /x: "write" is not convertible to Mode'),
    ):
        assert problems(GOOD, {"/x": {"get": {**served, **changed}}}) == [told]
    assert problems(GOOD, {"/x": {"put": {}}}) == [
        "PUT /x: Missing required field 'forwarding_required' in object: {}"
    ]
    # Not of this form at all: the constitution says so.
    assert problems(GOOD, {"/x": 1, **endpoint("none.js", "f")}) == []


def test_a_script_alone() -> None:
    compile_script("x", "export function f() { return nobody; }")
    with pytest.raises(NoScript, match="SyntaxError") as caught:
        compile_script("x", "// one\nexport function f( {")
    assert caught.value.line == 2
    with pytest.raises(NoScript, match=r"It imports a\.js, and can import nothing"):
        compile_script("x", "import { a } from './a.js';")
