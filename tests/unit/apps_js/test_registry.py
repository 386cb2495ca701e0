"""The installed application: lookup, answers, failures, what is written."""

from __future__ import annotations

import re

import pytest

from pyccf.appdev.memory import PastState
from pyccf.apps.js.host.console import LINE_COST, SAID_MAX
from pyccf.apps.js.registry import BadMetadata, JsApp
from pyccf.apps.router import AmbiguousPath
from pyccf.errors import Conflict
from pyccf.kv.tx import Tx
from pyccf.service import tables
from pyccf.types import Json, TxID
from support.js_app import JsBench

APP = """
let calls = 0;
export function count() { return {body: {calls: ++calls}}; }
export function put(request) {
  const record = request.body.json();
  ccf.kv["records"].set(ccf.strToBuf(record.id), ccf.strToBuf(record.text));
  return {statusCode: 201, headers: {"X-Kind": "record"}};
}
export function get(request) {
  const value = ccf.kv["records"].get(ccf.strToBuf(request.params.id));
  return value === undefined ? {statusCode: 404} : {body: ccf.bufToStr(value)};
}
export function boom() { throw new RangeError("too far"); }
export function loop() { for (;;); }
export function recurse() { return recurse() + 1; }
export function fill() { const a = []; for (;;) a.push(new ArrayBuffer(1 << 20)); }
export function odd(request) { return eval(request.body.text()); }
export function claim() { ccf.rpc.setClaimsDigest(new ArrayBuffer(32)); return {}; }
"""

ENDPOINTS = {
    "POST /count": "app.js:count",
    "POST /put": "app.js:put",
    "GET /get/{id}": "app.js:get",
    "POST /boom": "app.js:boom",
    "POST /loop": "app.js:loop",
    "POST /recurse": "app.js:recurse",
    "POST /fill": "app.js:fill",
    "POST /odd": "app.js:odd",
    "POST /claim": "app.js:claim",
}


@pytest.fixture
def bench() -> JsBench:
    made = JsBench()
    made.install({"app.js": APP}, ENDPOINTS)
    return made


def _limit_loops(bench: JsBench, message: str) -> None:
    """What ends otherwise has the time for it, however busy the machine is."""
    loops = message == "Operation took too long to complete."
    bench.options(max_execution_time_ms=200 if loops else 60_000)


def _error(message: str, *details: Json) -> Json:
    error: dict[str, Json] = {"code": "InternalError", "message": message}
    if details:
        error["details"] = list(details)
    return {"error": error}


# -- lookup --------------------------------------------------------------------------------------


def test_without_an_application_nothing_is_found() -> None:
    bench = JsBench()
    tx = bench.store.tx()
    assert JsApp().lookup(tx, "GET", "/x") is None
    assert tx.read_txid is not None


def test_path_parameters_come_raw(bench: JsBench) -> None:
    found = bench.app.lookup(bench.store.tx(), "GET", "/get/a%20b")
    assert found is not None
    endpoint, params = found
    assert (endpoint.path, params) == ("/get/{id}", {"id": "a%20b"})


def test_exact_paths_win_and_two_templates_clash(bench: JsBench) -> None:
    bench.install(
        {"app.js": APP},
        {"GET /a/{x}": "app.js:get", "GET /{y}/b": "app.js:get", "GET /a/c": "app.js:count"},
    )
    tx = bench.store.tx()
    found = bench.app.lookup(tx, "GET", "/a/c")
    assert found is not None
    assert found[0].path == "/a/c"
    with pytest.raises(AmbiguousPath, match="Multiple potential matches"):
        bench.app.lookup(tx, "GET", "/a/b")


def test_verbs_of_a_path(bench: JsBench) -> None:
    bench.install({"app.js": APP}, {"GET /a/{x}": "app.js:get", "PUT /a/b": "app.js:get"})
    assert bench.app.verbs(bench.store.tx(), "/a/b") == {"GET", "PUT"}
    assert bench.app.verbs(bench.store.tx(), "/z") == set()


def test_a_broken_row_fails_only_its_own_requests(bench: JsBench) -> None:
    bench.write({tables.ENDPOINTS: {b"GET /bad": b"{}", b"no blank": b"{}"}})
    tx = bench.store.tx()
    assert bench.app.lookup(tx, "POST", "/put") is not None
    with pytest.raises(BadMetadata, match="Missing required field 'forwarding_required'"):
        bench.app.lookup(tx, "GET", "/bad")


def test_a_broken_template_fails_what_it_might_have_matched(bench: JsBench) -> None:
    bench.write({tables.ENDPOINTS: {b"GET /x/{id": b"{}", b"POST /{a}/{a}": b"{}"}})
    tx = bench.store.tx()
    with pytest.raises(BadMetadata, match="missing closing"):
        bench.app.lookup(tx, "GET", "/get/1")
    assert bench.app.lookup(tx, "POST", "/put") is not None


def test_endpoints_follow_the_tables(bench: JsBench) -> None:
    assert bench.call("POST", "/count").json() == {"calls": 1}
    bench.install(
        {"app.js": "export function f() { return {body: 'new'}; }"}, {"GET /n": "app.js:f"}
    )
    assert bench.app.lookup(bench.store.tx(), "POST", "/count") is None
    assert bench.call("GET", "/n").body == b"new"


# -- answers -------------------------------------------------------------------------------------


def test_a_record_is_written_and_read(bench: JsBench) -> None:
    answer = bench.call("POST", "/put", b'{"id": "1", "text": "hello"}')
    assert (answer.status, answer.headers, answer.body) == (201, {"x-kind": "record"}, b"")
    assert answer.txid is not None
    read = bench.call("GET", "/get/1")
    assert (read.headers, read.body) == ({"content-type": "text/plain"}, b"hello")
    assert bench.call("GET", "/get/2").status == 404


def test_every_request_gets_a_fresh_interpreter(bench: JsBench) -> None:
    assert [bench.call("POST", "/count").json() for _ in range(3)] == [{"calls": 1}] * 3


def test_claims_reach_the_context(bench: JsBench) -> None:
    assert bench.call("POST", "/claim").claims == bytes(32)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("5", "Invalid endpoint function return value (not an object)."),
        ("undefined", "Invalid endpoint function return value (not an object)."),
        ("({statusCode: 'x'})", "Invalid endpoint function return value (status code type)."),
        ("({statusCode: 250})", "Invalid endpoint function return value (status code type)."),
        ("({statusCode: 100})", "Invalid endpoint function return value (status code type)."),
        ("({statusCode: 199})", "Invalid endpoint function return value (status code type)."),
        ("({statusCode: -1})", "Invalid endpoint function return value (status code type)."),
        ("({headers: {'a b': 1}})", "Invalid endpoint function return value (header type)."),
        (
            "({headers: {a: Symbol()}})",
            "Invalid endpoint function return value (header value type).",
        ),
        (
            "const o = {}; o.o = o; ({body: o})",
            "Invalid endpoint function return value (error during JSON conversion of body).",
        ),
        ("({body: {toJSON() { for (;;); }}})", "Operation took too long to complete."),
        ("({headers: {a: {toString() { for (;;); }}}})", "Operation took too long to complete."),
    ],
)
def test_unusable_results(bench: JsBench, result: str, message: str) -> None:
    _limit_loops(bench, message)
    answer = bench.call("POST", "/odd", result.encode())
    assert (answer.status, answer.json()) == (500, _error(message))
    bench.options()
    assert bench.call("POST", "/odd", b"({body: 'still there'})").body == b"still there"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/boom", "Exception thrown while executing."),
        ("/loop", "Operation took too long to complete."),
        ("/recurse", "Exception thrown while executing."),
        ("/fill", "Exception thrown while executing."),
    ],
)
def test_failing_handlers_write_nothing(bench: JsBench, path: str, message: str) -> None:
    _limit_loops(bench, message)
    before = bench.store.version
    answer = bench.call("POST", path)
    assert (answer.status, answer.json()) == (500, _error(message))
    assert bench.store.version == before
    bench.options()
    assert bench.call("POST", "/count").json() == {"calls": 1}


def test_details_only_where_they_are_wanted(bench: JsBench) -> None:
    bench.options(return_exception_details=True, log_exception_details=True)
    detail = {
        "code": "JSException",
        "message": "RangeError: too far",
        "trace": "    at boom (app.js)\n",
    }
    assert bench.call("POST", "/boom").json() == _error("Exception thrown while executing.", detail)
    assert bench.services.lines == [
        ("fail", "app", "RangeError: too far\n    at boom (app.js:13)\n")
    ]


def test_uncaught_errors_are_worded_like_the_original(bench: JsBench) -> None:
    bench.options(return_exception_details=True)
    answer = bench.call("POST", "/recurse").json()
    assert answer["error"]["details"][0]["message"] == "InternalError: stack overflow"
    answer = bench.call("POST", "/odd", b"nowhere").json()
    assert answer["error"]["details"][0]["message"] == "ReferenceError: 'nowhere' is not defined"


def test_texts_that_no_answer_can_carry(bench: JsBench) -> None:
    answer = bench.call("POST", "/odd", b"ccf.tcbHexToPolicy('\\ud83d', '')")
    assert answer.json() == _error("Input string '\ufffd' is not of even length: 3")


def test_the_time_limit_is_logged(bench: JsBench) -> None:
    bench.options(max_execution_time_ms=30)
    bench.call("POST", "/loop")
    (line,) = bench.services.lines
    assert line[:2] == ("info", "js")
    found = re.fullmatch(r"JS execution has timed out after (\d+)ms \(max is 30ms\)", line[2])
    assert found is not None
    assert int(found[1]) >= 30


def test_options_that_cannot_be_read_refuse_every_request(bench: JsBench) -> None:
    bench.options(max_heap_bytes=None)
    answer = bench.call("POST", "/count")
    assert (answer.status, answer.json()["error"]["code"]) == (400, "InvalidInput")


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("shared", [False, True])
def test_a_call_writes_only_so_much_to_the_log(size: int, shared: bool) -> None:
    bench = JsBench()
    source = f"export function f() {{ for (;;) console.log('x'.repeat({size})); }}"
    row: dict[str, Json] = {"js_module": "a.js", "js_function": "f"}
    if shared:
        row["interpreter_reuse"] = {"key": "k"}
    bench.install({"a.js": source}, {"GET /f": row})
    bench.options(max_execution_time_ms=1000)
    for _ in range(2):  # and the next call just as much
        first = len(bench.services.lines)
        assert bench.call("GET", "/f").status == 500
        *lines, last, timed_out = bench.services.lines[first:]
        assert (
            SAID_MAX - 201 <= sum(len(text) + LINE_COST for _, _, text in lines) <= SAID_MAX + 200
        )
        assert last == (
            "fail",
            "app",
            f"This call wrote {SAID_MAX} characters to the log; it can write no more.",
        )
        assert "timed out" in timed_out[2]


def test_calls_are_logged_on_demand() -> None:
    bench = JsBench(log_calls=True)
    source = "export function f() { ccf.enableMetricsLogging(%s); return {statusCode: 202}; }"
    bench.install(
        {"on.js": source % "true", "off.js": source % "false"},
        {"GET /on": "on.js:f", "GET /off": "off.js:f"},
    )
    bench.call("GET", "/off")
    bench.call("GET", "/on")
    (line,) = bench.services.lines
    assert line == (
        "info",
        "js",
        "JS execution complete: Method=GET, Path=/app/on, Status=202, ExecMilliseconds=0",
    )


def test_what_the_transaction_raises_passes_through(bench: JsBench) -> None:
    bench.install(
        {"a.js": "export function f() { try { ccf.kv['x'].get(ccf.strToBuf('k')); } catch {} }"},
        {"GET /f": "a.js:f"},
    )

    def conflict(*_: object) -> None:
        raise Conflict("made up")

    tx = bench.store.tx()
    found = bench.app.lookup(tx, "GET", "/f")
    assert found is not None
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        patched.setattr("pyccf.kv.tx.MapHandle.get", conflict)
        with pytest.raises(Conflict, match="made up"):
            bench.call("GET", "/f")


def test_a_reserved_table_ends_the_request_whatever_the_script_catches(bench: JsBench) -> None:
    answer = bench.call("POST", "/odd", b"try { ccf.kv['ccf.x'] } catch {} ({})")
    assert answer.status == 500
    assert answer.json() == _error("Map name 'ccf.x' includes disallowed reserved prefix 'ccf.'")


def test_exports_that_cannot_be_called(bench: JsBench) -> None:
    bench.install(
        {"a.js": "export const n = 1; import './gone.js';", "b.js": "export const n = 1;"},
        {"GET /a": "a.js:n", "GET /b": "b.js:n", "GET /c": "b.js:m", "GET /d": "d.js:f"},
    )
    messages = {
        p: bench.call("GET", p).json()["error"]["message"] for p in ("/a", "/b", "/c", "/d")
    }
    assert messages == {
        "/a": "Failed to compile module '/a.js': null",
        "/b": "Export 'n' of module '/b.js' is not a function",
        "/c": "Failed to find export 'm' in module '/b.js'",
        "/d": "Module '/d.js' could not be loaded",
    }


def test_metrics(bench: JsBench) -> None:
    bench.options(max_execution_time_ms=7)
    assert bench.app.metrics(bench.store.tx()) == {
        "bytecode_size": 0,
        "bytecode_used": False,
        "max_cached_interpreters": 10,
        "max_execution_time": 7,
        "max_heap_size": 104857600,
        "max_stack_size": 1048576,
    }
    bench.install({"app.js": APP}, ENDPOINTS, bytecode=True)
    after = bench.app.metrics(bench.store.tx())
    assert after["bytecode_used"] is True
    assert isinstance(after["bytecode_size"], int)
    assert after["bytecode_size"] > 100


KEEPING = {
    "values": "t.set(ccf.strToBuf(`${i}`), large)",
    "keys": "new Uint32Array(large)[0] = i; t.set(large, empty)",
    "keys looked up": "new Uint32Array(large)[0] = i; t.has(large)",
    "versions looked up": "new Uint32Array(large)[0] = i; t.getVersionOfPreviousWrite(large)",
    "small rows": "for (let j = 0; j < 1e4; j++) t.set(ccf.strToBuf(`${i}/${j}`), empty)",
    "removals": "for (let j = 0; j < 1e4; j++) t.delete(ccf.strToBuf(`${i}/${j}`))",
    "names": "ccf.kv['n'.repeat(1e6) + i]",
    "names used": "t._map_name = 'n'.repeat(1e6) + i; t.has(ccf.strToBuf('k'))",
}


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("statement", KEEPING.values(), ids=KEEPING.keys())
def test_what_tables_keep_for_a_script_is_bounded_like_its_heap(
    statement: str, reuse: bool
) -> None:
    code = f"""export function f() {{
        const large = new ArrayBuffer(1e6), empty = new ArrayBuffer(0), t = ccf.kv["t"];
        let i = 0;
        try {{ for (; i < 100; i++) {{ {statement} }} }}
        catch (e) {{ return {{body: `${{i}} ${{e}}`, statusCode: 404}} }}
        return {{body: "all"}};
    }}"""
    bench = JsBench()
    shared: dict[str, Json] = {"interpreter_reuse": {"key": "k"}} if reuse else {}
    bench.install({"m.js": code}, {"POST /f": {"js_module": "m.js", "js_function": "f", **shared}})
    bench.options(max_heap_bytes=12_000_000, max_execution_time_ms=60_000)
    for _ in range(2):
        done, _, error = bench.call("POST", "/f").body.decode().partition(" ")
        assert error == "InternalError: out of memory"
        assert 5 <= int(done) <= 12


def test_the_past_keeps_no_more(bench: JsBench) -> None:
    code = """export function f() {
        const key = new ArrayBuffer(1e6), t = ccf.historicalState.kv["t"];
        let i = 0;
        try { for (; i < 100; i++) { new Uint32Array(key)[0] = i; t.has(key) } }
        catch (e) { return {body: `${i} ${e}`} }
        return {body: "all"};
    }"""
    bench.install(
        {"m.js": code}, {"GET /f": {"js_module": "m.js", "js_function": "f", "mode": "historical"}}
    )
    bench.options(max_heap_bytes=12_000_000, max_execution_time_ms=60_000)
    bench.past = PastState(TxID(2, 1), {"t": {b"k": b"v"}})
    done, _, error = bench.call("GET", "/f").body.decode().partition(" ")
    assert error == "InternalError: out of memory"
    assert 5 <= int(done) <= 12


def test_what_is_given_again_is_kept_once(bench: JsBench) -> None:
    code = """export function f() {
        const large = new ArrayBuffer(1e6), k = ccf.strToBuf("k"), t = ccf.kv["t"];
        for (let i = 0; i < 30; i++) { t.set(k, large); t.has(large); ccf.kv["n".repeat(1e6)]; }
        return {body: t.get(k).byteLength};
    }"""
    bench.install({"m.js": code}, {"POST /f": "m.js:f"})
    bench.options(max_heap_bytes=16_000_000, max_execution_time_ms=60_000)
    assert bench.call("POST", "/f").body == b"1000000"


def test_one_text_in_many_headers_is_bounded_like_the_heap(bench: JsBench) -> None:
    code = """export function f() {
        const headers = {}, text = "x".repeat(1e6);
        for (let i = 0; i < 300; i++) headers["a" + i] = text;
        return {headers};
    }"""
    bench.install({"m.js": code}, {"POST /f": "m.js:f"})
    bench.options(max_heap_bytes=12_000_000)
    answer = bench.call("POST", "/f")
    assert answer.status == 500
    assert answer.headers == {"content-type": "application/json"}
    assert answer.json() == _error("Invalid endpoint function return value (header value type).")


def test_the_console_looks_at_no_more_than_it_shows(bench: JsBench) -> None:
    code = """export function f() {
        let seen = 0;
        const text = {toJSON() { seen++; return "x".repeat(4e5) }};
        console.log(...new Array(100).fill(text));
        return {body: `${seen}`};
    }"""
    bench.install({"m.js": code}, {"POST /f": "m.js:f"})
    assert bench.call("POST", "/f").body == b"3"


def test_large_keys_are_refused_in_no_time(bench: JsBench) -> None:
    """To make one would take longer than a node may be away."""
    code = "export function f() { return {body: ccf.crypto.generateRsaKeyPair(4104)}; }"
    bench.install({"m.js": code}, {"POST /f": "m.js:f"})
    bench.options(return_exception_details=True)
    told = "InternalError: Failed to generate RSA key pair: at most 4096 bits"
    assert told.encode() in bench.call("POST", "/f").body


def test_states_of_the_past_cost_nothing_until_they_are_looked_at(bench: JsBench) -> None:
    made: list[int] = []

    class Counted(PastState):
        def tx(self) -> Tx:
            made.append(self.txid.seqno)
            return super().tx()

    code = """export function f() {
        const states = ccf.historical.getStateRange(1, 1, 5, 60);
        if (states === null) return {statusCode: 202};
        states[1].kv["t"].size;
        return {body: states[1].kv["t"].size};
    }"""
    bench.install({"m.js": code}, {"GET /f": "m.js:f"})
    for i in range(4):
        bench.write({"t": {b"%d" % i: b"v"}})
    for seqno, state in bench.services.states.items():
        bench.services.states[seqno] = Counted(state.txid, state.maps)
    assert bench.call("GET", "/f").status == 202
    assert bench.call("GET", "/f").status == 200
    assert made == [2]


def test_a_range_of_any_length_is_judged_at_once(bench: JsBench) -> None:
    code = """export function f() {
        return {body: ccf.historical.getStateRange(1, 1, 2 ** 63 - 1024, 60)};
    }"""
    bench.install({"m.js": code}, {"GET /f": "m.js:f"})
    assert bench.call("GET", "/f").json() is None
