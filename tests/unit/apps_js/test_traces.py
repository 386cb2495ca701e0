"""pyccf.apps.js.traces: a failing application tells the line of its own source."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time

import pytest

from pyccf.apps.js import governance
from pyccf.apps.js.engine import Interpreter, JsError, Limits
from pyccf.apps.js.host.console import SAID_MAX
from pyccf.apps.js.host.host import Host
from pyccf.apps.js.traces import MAPS_MAX, MARK, Traces
from pyccf.codec.sourcemap import encode_mappings
from pyccf.kv.maps import AccessContext
from pyccf.types import Json
from support.js_app import JsBench


def source_map(*lines: list[tuple[int, ...]], sources: list[str] | None = None) -> str:
    value = {
        "version": 3,
        "sources": sources or ["../../src/app.ts"],
        "names": [],
        "mappings": encode_mappings(lines),
    }
    raw = base64.b64encode(json.dumps(value).encode()).decode()
    return f"\n{MARK.decode()}data:application/json;base64,{raw}"


# Two functions in one generated line, 40 lines apart in the source: only the column tells.
CODE = "function a() { null.x; } export function f() { a(); return {}; }"
MAP = source_map([(0, 0, 10, 0), (CODE.index("export"), 0, 50, 0)])


def trace_of(body: object) -> str:
    assert isinstance(body, dict)
    details: Json = body["error"]["details"]
    assert isinstance(details, list)
    assert isinstance(details[0], dict)
    return str(details[0]["trace"])


@pytest.mark.parametrize("bytecode", [False, True])
def test_answer_and_log_name_the_source(bytecode: bool) -> None:
    bench = JsBench()
    bench.install({"app.js": CODE + MAP}, {"GET /f": "app.js:f"}, bytecode=bytecode)
    bench.options(return_exception_details=True, log_exception_details=True)
    answer = bench.call("GET", "/f")
    told = "    at a (src/app.ts:11)\n    at f (src/app.ts:51)\n"
    assert trace_of(answer.json()) == told
    level, tag, text = bench.services.lines[-1]
    assert (level, tag) == ("fail", "app")
    assert text.endswith(told)


def test_a_body_that_cannot_be_told_as_json_names_the_source() -> None:
    code = "export function f() { return {body: {toJSON() { throw Error('x'); }}}; }"
    bench = JsBench()
    bench.install({"app.js": code + source_map([(0, 0, 7, 0)])}, {"GET /f": "app.js:f"})
    bench.options(return_exception_details=True)
    assert "    at toJSON (src/app.ts:8)\n" in trace_of(bench.call("GET", "/f").json())


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "\n//# sourceMappingURL=app.js.map",
        "\n//# sourceMappingURL=data:application/json;base64,!!!",
        "\n//# sourceMappingURL=data:application/json;base64,bm8=",
        source_map([(0, 0, 10, 0)], sources=[""]).replace("base64,", "base64,AA"),
    ],
)
def test_without_a_map_that_can_be_read_frames_stay(bad: str) -> None:
    bench = JsBench()
    bench.install({"app.js": CODE + bad}, {"GET /f": "app.js:f"})
    bench.options(return_exception_details=True)
    assert trace_of(bench.call("GET", "/f").json()) == "    at a (app.js)\n    at f (app.js)\n"


def test_a_stack_that_a_script_set_is_told_by_lines() -> None:
    code = (
        "export function f() { const e = Error('x'); e.stack = '    at z (app.js:2)\\n'; throw e; }"
    )
    bench = JsBench()
    bench.install({"app.js": code + "\n" + source_map([], [(0, 0, 3, 0)])}, {"GET /f": "app.js:f"})
    bench.options(return_exception_details=True)
    assert trace_of(bench.call("GET", "/f").json()) == "    at z (src/app.ts:4)\n"


def test_a_stack_longer_than_any_of_the_engine_is_left_as_it_is() -> None:
    """To look through it would take longer than the script may take; the log is no place for it."""
    frame = "    at z (app.js:2)\n"
    code = f"""export function f() {{
        const e = Error('x'); e.stack = {json.dumps(frame)}.repeat(100000); throw e;
    }}"""
    bench = JsBench()
    bench.install({"app.js": code + "\n" + source_map([], [(0, 0, 3, 0)])}, {"GET /f": "app.js:f"})
    bench.options(return_exception_details=True, log_exception_details=True)
    assert trace_of(bench.call("GET", "/f").json()) == frame * 100000
    (line,) = bench.services.lines
    assert len(line[2]) == SAID_MAX


def test_few_maps_are_kept() -> None:
    traces = Traces()
    for i in range(3 * MAPS_MAX):
        modules = {"app.js": (CODE + f"/*{i}*/" + MAP).encode()}
        told = traces.mapped("    at a (app.js:1)", "    at a (app.js:1:16)", modules.get)
        assert told == "    at a (src/app.ts:11)"
    assert len(traces._maps) == MAPS_MAX


def test_lines_of_the_console_tell_the_state_and_the_request() -> None:
    bench = JsBench()
    code = "export function f() { console.log('hi'); ccf.kv.t.set(new ArrayBuffer(1), "
    code += "new ArrayBuffer(1)); console.warn('ho'); throw Error('no'); }"
    bench.install({"app.js": code}, {"POST /f/{id}": "app.js:f"})
    bench.options(log_exception_details=True)
    bench.call("POST", "/f/1?secret=2")
    assert [text.split("\n")[0] for _, _, text in bench.services.lines] == ["hi", "ho", "Error: no"]
    read = bench.services.last_committed()
    assert bench.services.about == [{"tx": str(read), "request": "POST /app/f/1"}] * 3


def test_lines_of_the_constitution_tell_the_state() -> None:
    bench = JsBench()
    bench.write({"public:x": {b"k": b"v"}})
    tx = bench.store.tx()
    tx.map("public:x")
    governance.run(
        "export function validate() { console.log('hi'); return {}; }",
        "constitution",
        "validate",
        [],
        tx=tx,
        access="GOV_RO",
        machine=bench.services,
    )
    assert bench.services.lines == [("info", "gov", "hi")]
    assert bench.services.about == [{"tx": "2.1"}]


def test_errors_cost_the_same_in_a_function_of_any_length() -> None:
    filler = "// " + 100 * "x" + "\n"
    source = (
        "export function f() {\n  for (let i = 0; i < 40_000; i++) { try { null.x } catch {} }\n"
        + 10_000 * filler
        + "return {} }"
    )
    bench = JsBench()
    bench.install({"a.js": source}, {"GET /f": "a.js:f"})
    bench.options(max_execution_time_ms=60_000)
    begun = time.process_time()
    assert bench.call("GET", "/f").status == 200
    assert time.process_time() - begun < 5, "copies of its text would take longer"


def test_a_function_on_one_line_has_a_line_in_the_log_alone() -> None:
    bench = JsBench()
    bench.options(return_exception_details=True, log_exception_details=True)
    source = """
    const inner = () => { throw new Error("far in"); };
    function outer() {
      return [1].map(inner);
    }
    export function f() { return outer(); }
    """
    bench.install({"a.js": source}, {"GET /f": "a.js:f"})
    detail = bench.call("GET", "/f").json()["error"]["details"][0]  # type: ignore
    assert detail["trace"] == (
        "    at inner (a.js)\n    at map (native)\n    at outer (a.js:4)\n    at f (a.js)\n"
    )
    _, _, line = bench.services.lines[-1]
    assert "at inner (a.js:2)" in line
    assert "at f (a.js:6)" in line


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        ("r()", "    at r (a.js)"),
        ("new Function('}')", "    at Function"),
        ("JSON.parse('{')", "    at parse (native)"),
        ("Object.assign(() => 1, {toString() { return 'x'; }})(); null.x", "    at f (a.js:"),
    ],
)
def test_traces_of_every_kind(call: str, shown: str) -> None:
    """Stack used up, errors of syntax, of natives, and functions with a text of their own."""
    bench = JsBench()
    source = f"""function r() {{ return r() + 1; }}
    export function f() {{
      try {{ {call} }} catch (e) {{ return {{body: e.stack}}; }}
    }}"""
    bench.install({"a.js": source}, {"GET /f": "a.js:f"})
    told = bench.call("GET", "/f").body.decode()
    assert shown in told
    assert "\x02" not in told


ODD = """
const odd = {};
for (const name of ["\\n", ")\\n(", "\\x02", ""]) odd[name] = {[name]() { null.x }}[name];
function deep(n) { if (n) return deep(n - 1) + 1; null.x }
export function names() {
  const told = [];
  for (const k in odd) try { odd[k]() } catch (e) { told.push(e.stack) }
  return {body: {told}};
}
export function full(request) {
  const kept = [];
  try { for (;;) kept.push(new ArrayBuffer(Number(request.query))); } catch (e) { kept.pop(); }
  let n = 0;
  for (let i = 0; i < 500; i++) {
    try { deep(i % 60) } catch (e) { n++; try { kept.push(e.stack) } catch {} }
  }
  kept.length = 0;
  return {body: String(n)};
}
"""


def test_names_that_look_like_a_trace() -> None:
    bench = JsBench()
    bench.install({"a.js": ODD}, {"GET /names": "a.js:names"})
    told = bench.call("GET", "/names").json()["told"]  # type: ignore
    assert len(told) == 4
    assert all("names (a.js:" in one for one in told)


@pytest.mark.parametrize("size", [1 << 20, 1000, 333, 40])
@pytest.mark.parametrize("heap", [3 << 20, 900_000])
def test_a_trace_is_left_out_where_no_memory_is_left(size: int, heap: int) -> None:
    bench = JsBench()
    bench.install({"a.js": ODD}, {"GET /full": "a.js:full", "GET /names": "a.js:names"})
    bench.options(max_heap_bytes=heap)
    answer = bench.receive("GET", f"/app/full?{size}", [], b"")
    # Where the last bytes go is the engine's affair: the script may not get to its end.
    assert answer.body == b"500" or answer.json()["error"]["code"] == "InternalError"  # type: ignore
    assert bench.call("GET", "/names").status == 200


def test_writing_a_trace_runs_nothing_of_the_script() -> None:
    """It is written without a limit of the stack."""
    source = """
    let ran = 0;
    const deep = () => { ran++; return deep() + 1; };
    for (const of of [Array.prototype, Object.prototype, Function.prototype, Error.prototype])
      for (const name of [0, 1, 2, 3, "getFunction", "getFileName", "isNative", "toString", "name"])
        try { Object.defineProperty(of, name, {get: deep, set: deep}); } catch {}
    Object.defineProperty(Error.prototype, "message", {get: deep});
    class Odd extends Error { get name() { return deep(); } get stack() { return deep(); } }
    export function f() {
      const before = ran;
      const odd = () => { throw new Odd(); };
      for (const make of [() => null.x, odd, () => missing, () => JSON.parse("{")])
        try { make(); } catch {}
      return {body: `${ran - before}`};
    }
    """
    bench = JsBench()
    bench.install({"a.js": source}, {"GET /f": "a.js:f"})
    answer = bench.call("GET", "/f")
    assert (answer.status, answer.body) == (200, b"0")


HOOK = """
let ran = 0;
const hook = () => { ran++; return hook() + 1; };
const getter = {configurable: true, get: hook};
const traps = new Proxy({}, {get: () => hook});
const fails = (call) => { try { call(); } catch (e) { if (typeof e.stack != "string") ran = -1; } };
"""
EVERYWHERE = """
Object.defineProperty(Function.prototype, "name", getter);
"""

HOSTILE = {
    "a native's name": "Object.defineProperty(JSON.parse, 'name', getter); @JSON.parse('{')@",
    "a name that becomes text": """
        for (const value of [{toString: hook}, {valueOf: hook, toString: null},
                             {[Symbol.toPrimitive]: hook}, new Proxy({}, traps), Symbol("name")]) {
          Object.defineProperty(JSON.parse, "name", {value});
          @JSON.parse("{")@
        }""",
    "a native that inherits its name": "delete JSON.parse.name; @JSON.parse('{')@",
    "a native behind a proxy": """
        delete JSON.parse.name;
        Object.setPrototypeOf(JSON.parse, new Proxy(Function.prototype, traps));
        @JSON.parse("{")@""",
    "a native of this engine": """
        Object.defineProperty(ccf.strToBuf, "name", getter);
        @ccf.strToBuf()@""",
    "a native that calls back": """
        Object.defineProperty(Array.prototype.map, "name", getter);
        @[1].map(() => null.x)@""",
    "constructors": """
        Object.defineProperty(Map, "name", getter);
        Object.defineProperty(Error, "name", getter);
        @new Map(1)@ @Map()@ @(class extends Error { constructor() { super("x"); null.x } }).call()@
        @new (class extends Map { constructor() { super(1) } })()@""",
    "a module": "@null.x@ try { null.x } catch {} try { throw new Error('x') } catch {}",
    "functions": """
        for (const f of [() => null.x, function () { null.x }, new Function("null.x"),
                         function () { eval("null.x") }, () => (0, eval)("null.x"),
                         {get x() { null.x }}.__lookupGetter__("x"), {x() { null.x }}.x,
                         (() => null.x).bind(1), new Proxy(() => null.x, {})]) {
          @f()@
          delete f.name;
          @f()@
          Object.defineProperty(f, "name", getter);
          @f()@
        }""",
    "generators": """
        const one = function* () { null.x }, two = async () => { null.x };
        const three = async function* () { null.x };
        for (const f of [one, two, three]) {
          @f().next()@
          Object.defineProperty(f, "name", getter);
          @f().next()@
        }""",
    "classes": """
        class Named { static get name() { return hook(); } constructor() { null.x } }
        class Field { static name = {toString: hook}; x = null.x }
        class Default extends Named {}
        delete Default.name;
        @new Named()@ @new Field()@ @new Default()@
        @(() => { class Block { static name() {} static { null.x } } })()@""",
    "errors": """
        const target = function () {};
        target.prototype = new Proxy(TypeError.prototype, new Proxy({}, {get: () => hook}));
        const made = Reflect.construct(TypeError, ["x is not defined"], target);
        @Reflect.construct(ReferenceError, ["x is not defined"], target)@
        try { throw made } catch {}""",
    "promises": "Promise.reject(1).then(hook, () => null.x); @new Promise(() => null.x)@",
}
"""Ways to have code run by who looks at the functions of a trace; between @ what throws."""


def hostile(case: str, where: str) -> str:
    """A module that throws at the top or in a handler, and tells how often the hook was run."""
    parts = HOSTILE[case].split("@")
    parts[1::2] = [
        f"fails(() => {{ {part} }}); try {{ {part} }} catch {{}}" for part in parts[1::2]
    ]
    body = EVERYWHERE + "".join(parts)
    if where == "top":
        return HOOK + body + "export function f() { return {body: `${ran}`}; }"
    return HOOK + "export function f() {" + body + "return {body: `${ran}`}; }"


def call_hostile(case: str, where: str) -> str:
    bench = JsBench()
    bench.install({"a.js": hostile(case, where)}, {"GET /f": "a.js:f"})
    return bench.call("GET", "/f").body.decode()


@pytest.mark.parametrize("where", ["top", "inner"])
def test_no_script_has_code_run_where_a_trace_is_written(where: str) -> None:
    """In a process of its own: what runs there has no limit of the stack."""
    program = (
        "from unit.apps_js.test_traces import HOSTILE, call_hostile\n"
        f"for case in HOSTILE: print(case, call_hostile(case, {where!r}), sep=': ', flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == [f"{case}: 0" for case in HOSTILE], done.stderr
    assert done.returncode == 0


def test_long_functions_in_a_trace_count_against_the_time_limit() -> None:
    source = """
    export function f() {
      const text = "if (n) return g(n - 1, g) + 1; null.x //" + "x".repeat(1e7);
      const g = new Function("n", "g", text);
      for (;;) try { g(60, g) } catch {}
    }
    export function after() {
      const deep = () => deep() + 1;
      try { deep() } catch (e) { return {body: e.stack} }
    }"""
    bench = JsBench()
    bench.install({"a.js": source}, {"GET /f": "a.js:f", "GET /after": "a.js:after"})
    bench.options(max_execution_time_ms=300)
    begun = time.process_time()
    answer = bench.receive("GET", "/app/f", [], b"")
    assert "too long" in json.dumps(answer.json())
    assert time.process_time() - begun < 2
    bench.options()
    assert b"    at deep (a.js)" in bench.call("GET", "/after").body


BARE = """
const kept = [], deep = (n) => { if (n) return deep(n - 1) + 1; null.x };
let bare = null;
export function f(size) {
  try { for (;;) kept.push(new ArrayBuffer(size)); } catch { kept.pop(); }
  for (let i = 0; i < 500 && !bare; i++)
    try { deep(i % 60) } catch (e) { if (e && e.stack === undefined) bare = e; else kept.push(e) }
  kept.length = 0;
  bare.stack = "made up";
  throw bare;
}
"""


def test_a_stack_that_a_script_set_where_the_engine_wrote_none() -> None:
    told: set[tuple[str | None, str | None]] = set()
    sizes = iter(range(300, 6000, 111))  # some leave memory for an error and not for its trace
    while ("made up", None) not in told and (size := next(sizes, None)) is not None:
        interpreter = Interpreter(Host(AccessContext.APP_RW), ())
        interpreter.limit(Limits(heap_bytes=900_000))
        module = interpreter.compile("a.js", BARE.encode())
        interpreter.evaluate(module)
        with pytest.raises(JsError) as caught:
            interpreter.vm.call(module, "f", (size,), ())
        told.add((caught.value.trace, caught.value.exact_trace))
    assert ("made up", None) in told
    assert ("made up", "undefined") not in told
