"""Fresh interpreters are fresh, shared ones are shared."""

from __future__ import annotations

import pytest

from pyccf.apps.context import Context
from pyccf.apps.js import engine
from pyccf.apps.js.engine import Limits
from pyccf.apps.js.host.host import Host
from pyccf.apps.js.host.row import Scope
from pyccf.apps.js.pool import TEMPLATES_MAX, Template
from pyccf.apps.js.registry import JsApp
from pyccf.kv.maps import AccessContext
from pyccf.types import Json
from support.js_app import JsBench


def _template(source: str) -> Template:
    host = Host(AccessContext.APP_RO)
    host.load = lambda name: source.encode() if name == "/a.js" else None
    return Template(host, Scope.APP, "/a.js", Limits(), rooted=False, trial=True)


@pytest.mark.parametrize(
    "body",
    [
        "let n = 0;",
        "const table = new Map([[1, 2]]); class A { #x = 1; }",
        "const key = ccf.strToBuf('k'); const id = ccf.crypto.digest('SHA-256', key);",
        "function now() { return Date.now(); }",
        "throw new Error('unnoticed');",
        "const soon = await Promise.resolve(1);",
    ],
)
def test_bodies_that_only_look_inward_are_run_once(body: str) -> None:
    assert _template(f"{body}\nexport function f() {{}}").evaluated


@pytest.mark.parametrize(
    "body",
    [
        "ccf.kv['x'].get(ccf.strToBuf('k'));",
        "const t = ccf.kv['x'];",
        "const now = Date.now();",
        "const D = globalThis['Da' + 'te'];",
        "const r = Math.random();",
        "console.log('loaded');",
        "const k = ccf.crypto.generateAesKey(128);",
        "ccf.rpc.setApplyWrites(true);",
        "try { console.log(1); } catch {}",
        "ccf.enableMetricsLogging(false);",
    ],
)
def test_bodies_that_look_at_the_world_run_for_each_request(body: str) -> None:
    assert not _template(f"{body}\nexport function f() {{}}").evaluated


def test_a_trial_run_has_no_effects() -> None:
    bench = JsBench()
    source = """
    console.log("loading");
    const table = ccf.kv["public:loads"];
    const key = ccf.strToBuf("n");
    const before = table.get(key);
    const n = before === undefined ? 1 : Number(ccf.bufToStr(before)) + 1;
    table.set(key, ccf.strToBuf(String(n)));
    export function f() { return {body: {n}}; }
    """
    bench.install({"a.js": source}, {"GET /f": "a.js:f"})
    assert [bench.call("GET", "/f").json()["n"] for _ in range(3)] == [1, 2, 3]
    assert [line[2] for line in bench.services.lines] == ["loading"] * 3


def test_date_is_itself_after_a_trial_run() -> None:
    bench = JsBench()
    source = """
    export function f() {
      const d = Object.getOwnPropertyDescriptor(globalThis, "Date");
      return {body: [d.writable, d.enumerable, d.configurable, typeof d.value, Date.now() > 1e12]};
    }
    """
    bench.install({"a.js": source}, {"GET /f": "a.js:f"})
    assert bench.call("GET", "/f").json() == [True, False, True, "function", True]


SPOIL = """
let n = 0;
const list = [1];
export class A { static x = 0; }
export function f() {
  n++; A.x++; list.push(2);
  globalThis.mark = (globalThis.mark || 0) + 1;
  Array.prototype.extra = (Array.prototype.extra || 0) + 1;
  const value = (({}).more || 0) + 1;
  Object.defineProperty(Object.prototype, "more", {value, configurable: true});
  const seen = [n, A.x, list.length, mark, Array.prototype.extra, ({}).more, typeof ccf.kv];
  delete globalThis.ccf; delete globalThis.JSON; Function.prototype.call = null;
  return {body: seen};
}
"""
FRESH: Json = [1, 1, 2, 1, 1, 1, "object"]


def test_nothing_a_request_does_is_seen_by_the_next() -> None:
    bench = JsBench()
    bench.install({"a.js": SPOIL}, {"GET /f": "a.js:f"})
    assert [bench.call("GET", "/f").json() for _ in range(4)] == [FRESH] * 4


def test_also_not_after_failures() -> None:
    bench = JsBench()
    bench.install(
        {
            "a.js": SPOIL
            + """
            export function g(request) { n = 100; globalThis.mark = 5; eval(request.body.text()); }
            """
        },
        {"GET /f": "a.js:f", "POST /g": "a.js:g"},
    )
    for bad in (
        "throw 1",
        "for (;;);",
        "const a = []; for (;;) a.push(new Array(1e5).fill(a))",
        "(function f() { f(); })()",
        "ccf.kv['ccf.x']",
        "Array.from = Object.keys = JSON.stringify = () => { throw 1 }",
    ):
        bench.options(max_execution_time_ms=100, max_heap_bytes=20_000_000)
        assert bench.call("POST", "/g", bad.encode()).status == 500
        bench.options(max_heap_bytes=20_000_000)
        bench.app.refill()
        assert bench.call("GET", "/f").json() == FRESH, bad


def test_shared_interpreters_keep_state_by_key_and_access() -> None:
    bench = JsBench()
    source = "let n = 0; export function f() { return {body: {n: ++n}}; }"

    def shared(key: str, mode: str = "readwrite") -> dict[str, Json]:
        return {
            "js_module": "a.js",
            "js_function": "f",
            "mode": mode,
            "interpreter_reuse": {"key": key},
        }

    endpoints: dict[str, dict[str, Json]] = {
        "GET /k": shared("k"),
        "GET /k2": shared("k"),
        "GET /o": shared("o"),
        "GET /ro": shared("k", "readonly"),
    }
    bench.install({"a.js": source}, endpoints)
    assert [bench.call("GET", p).json()["n"] for p in ("/k", "/k2", "/o", "/ro", "/k")] == [
        1,
        2,
        1,
        1,
        3,
    ]
    bench.install({"a.js": source}, endpoints)
    assert bench.call("GET", "/k").json()["n"] == 1


@pytest.mark.parametrize("stop", ["if (ccf.stall) for (;;);", "ccf.kv['ccf.x'];"])
def test_a_body_that_was_stopped_leaves_nothing_to_later_requests(
    stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its half made module nor its transaction, in which their writes would be lost."""
    monkeypatch.setattr(engine, "TIME_DEFAULT_MS", 300)
    stopped = f"""
    const rows = ccf.kv["rows"];
    rows.set(ccf.strToBuf("k"), ccf.strToBuf("stopped"));
    {stop}
    let n = 0;
    export function f() {{ return {{body: {{n: ++n}}}}; }}
    """
    good = """
    const rows = ccf.kv["rows"], key = ccf.strToBuf("k");
    export function stall() { ccf.stall = true; return {}; }
    export function go() { ccf.stall = false; return {}; }
    export function put() { rows.set(key, ccf.strToBuf("kept")); return {}; }
    export function get() {
      const found = rows.get(key);
      return found === undefined ? {} : {body: ccf.bufToStr(found)};
    }
    """
    bench = JsBench()
    bench.options(max_execution_time_ms=300)
    endpoints: dict[str, dict[str, Json]] = {
        f"GET /{function}": {
            "js_module": module,
            "js_function": function,
            "interpreter_reuse": {"key": "k"},
        }
        for module, function in (
            ("stopped.js", "f"),
            *(("good.js", function) for function in ("stall", "go", "put", "get")),
        )
    }
    bench.install({"stopped.js": stopped, "good.js": good}, endpoints)
    bench.call("GET", "/stall")
    assert bench.call("GET", "/f").status == 500
    assert bench.call("GET", "/put").txid is not None
    assert bench.call("GET", "/get").body == b"kept"
    bench.call("GET", "/go")
    if "stall" in stop:
        assert bench.call("GET", "/f").json() == {"n": 1}


def test_the_least_recently_used_interpreter_goes_first() -> None:
    bench = JsBench()
    source = "let n = 0; export function f() { return {body: {n: ++n}}; }"
    bench.install(
        {"a.js": source},
        {
            f"GET /{key}": {
                "js_module": "a.js",
                "js_function": "f",
                "interpreter_reuse": {"key": key},
            }
            for key in "abc"
        },
    )
    bench.options(max_cached_interpreters=2)
    seen = [bench.call("GET", f"/{key}").json()["n"] for key in "abacab"]
    assert seen == [1, 1, 2, 1, 3, 1]
    bench.options(max_cached_interpreters=0)
    assert [bench.call("GET", "/a").json()["n"] for _ in range(2)] == [4, 1]


def test_an_old_request_object_keeps_what_was_copied() -> None:
    bench = JsBench()
    source = """
    export function f(request) {
      globalThis.old = globalThis.old || request;
      return {body: [old.headers["x-n"], old.path, old.hostname, old.body.text(), old === request]};
    }
    """
    row: dict[str, Json] = {
        "js_module": "a.js",
        "js_function": "f",
        "interpreter_reuse": {"key": "k"},
    }
    bench.install({"a.js": source}, {"POST /f/{n}": row})
    bench.call("POST", "/f/1", b"one", {"x-n": "1", "host": "h1"})
    later = bench.call("POST", "/f/2", b"two", {"x-n": "2", "host": "h2"})
    assert later.json() == ["1", "/app/f/1", "h1", "two", False]


def test_an_old_request_object_keeps_what_nobody_looked_at() -> None:
    bench = JsBench()
    source = """
    const kept = [];
    export function f(request) {
      if (kept.length < 3)
        kept.push(request);
      return {body: request.path};
    }
    export function g() {
      return {body: kept.map((r) => [r.headers["x-n"], r.hostname, r.caller.policy])};
    }
    """
    reuse: Json = {"key": "k"}
    rows: dict[str, dict[str, Json]] = {
        f"GET /{name}": {"js_module": "a.js", "js_function": name, "interpreter_reuse": reuse}
        for name in "fg"
    }
    bench.install({"a.js": source}, rows)
    for i in range(4):
        bench.call("GET", "/f", b"", {"x-n": f"{i}", "host": f"h{i}"})
    assert bench.call("GET", "/g").json() == [[f"{i}", f"h{i}", "no_auth"] for i in range(3)]


def test_what_nobody_looks_at_is_not_made() -> None:
    made: list[str] = []

    class Watched(Host):
        def headers_object(self, ctx: Context) -> dict[str, str]:
            made.append("headers")
            return super().headers_object(ctx)

        def caller_object(self, ctx: Context) -> object:
            made.append("caller")
            return super().caller_object(ctx)

    bench = JsBench()
    bench.app = JsApp(make_host=Watched)
    source = """
    const ID = /([0-9]+)/;
    export const f = (request) => {
      const [, id] = ID.exec(request.query) ?? [];
      return {body: [id, request.body.text(), request.path]};
    };
    export const g = (request) => ({body: request.headers});
    """
    bench.install({"a.js": source}, {"POST /f": "a.js:f", "POST /g": "a.js:g"})
    for i in range(3):
        assert bench.receive("POST", f"/app/f?{i}", [], b"x").json()[0] == f"{i}"
    assert made == []
    bench.call("POST", "/g")
    assert made == ["headers"]


def test_a_timeout_while_loading_is_told() -> None:
    bench = JsBench()
    bench.options(max_execution_time_ms=1)
    bench.install({"a.js": "export function f() { return {}; }"}, {"GET /f": "a.js:f"})
    # Loading has the default time at least, however short calls may be.
    assert bench.call("GET", "/f").status == 200


def test_bodies_may_use_what_members_allow() -> None:
    """More than the defaults: they are run before there is a request to bound."""
    bench = JsBench()
    source = "const big = new ArrayBuffer(160e6); export const f = () => ({body: big.byteLength})"
    bench.install({"a.js": source}, {"GET /x": "a.js:f"})
    assert bench.call("GET", "/x").status == 500
    bench.options(max_heap_bytes=200_000_000)
    assert bench.call("GET", "/x").json() == 160_000_000


def test_templates_are_limited() -> None:
    bench = JsBench()
    names = [f"m{i}.js" for i in range(TEMPLATES_MAX + 3)]
    bench.install(
        dict.fromkeys(names, "export function f() { return {body: 1}; }"),
        {f"GET /{name}": f"{name}:f" for name in names},
    )
    for name in (*names, names[0]):
        assert bench.call("GET", f"/{name}").body == b"1"


def test_templates_of_large_modules_are_fewer() -> None:
    bench = JsBench()
    names = [f"m{i}.js" for i in range(5)]
    bench.install(
        {
            n: f"const a = new Uint8Array(9e7); export const f = () => ({{body: '{n}'}})"
            for n in names
        },
        {f"GET /{name}": f"{name}:f" for name in names},
    )
    for name in (*names, names[0]):
        assert bench.call("GET", f"/{name}").body == name.encode()
    kept = bench.app.pool._templates
    assert [stored for stored, *_ in kept] == [f"/{names[-1]}", f"/{names[0]}"]


def test_a_template_of_any_size_is_kept() -> None:
    bench = JsBench()
    source = "const big = new ArrayBuffer(300e6); export const f = () => ({body: big.byteLength})"
    bench.install({"a.js": source}, {"GET /x": "a.js:f"})
    bench.options(max_heap_bytes=400_000_000)
    for _ in range(2):
        assert bench.call("GET", "/x").json() == 300_000_000
    assert len(bench.app.pool._templates) == 1
