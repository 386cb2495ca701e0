"""Work of the engine that never looks at the clock ends with the time limit all the same."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest

from pyccf.apps.js.engine import Interpreter, JsError, Limits
from pyccf.apps.js.host.host import Host
from pyccf.apps.js.host.row import Row
from pyccf.kv.maps import AccessContext
from support.js_app import JsBench

LIMIT_MS = 50
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")
"""Run by `make sanitize-js`: everything is slow, and memory functions are not the C library's."""

MARGIN_S = 10.0 if SANITIZED else 1.0
"""What may pass beyond the limit; none of the snippets would end by itself within that."""

TIMED_OUT = b"Operation took too long to complete."

APP = """
export function run(request) { return new Function(request.body.text())(); }
let n = 0;
export function count() { return {body: ++n}; }
"""

ENDLESS = "{length: 2 ** 53 - 1}"
HOLES = "new Array(4294967295)"
SPIN = f"Array.prototype.join.call({ENDLESS})"
"""An expression that would take years, all of them in one built-in function."""

ONES = "{[Symbol.iterator]: () => ({next: Object.bind(null, {value: 1})})}"
"""An endless iterator without bytecode."""

HOSTILE = [
    *(
        f"Array.prototype.{name}.call({ENDLESS}, 0, 1)"
        for name in (
            "copyWithin",
            "flat",
            "includes",
            "join",
            "reverse",
            "shift",
            "splice",
            "toLocaleString",
        )
    ),
    f"Array.prototype.lastIndexOf.call({ENDLESS}, 0)",
    f"Array.prototype.sort.call({ENDLESS})",
    f"Array.prototype.flatMap.call({ENDLESS}, Math.abs)",
    f"Array.prototype.reduce.call({ENDLESS}, Math.max)",
    *(
        f"{HOLES}.{call}"
        for call in (
            "concat([1])",
            "forEach(Math.abs)",
            "reverse()",
            "sort()",
            "unshift(1)",
        )
    ),
    f"[].concat({{...{ENDLESS}, [Symbol.isConcatSpreadable]: true}})",
    f"const a = {HOLES}; a.fill(1, 0, 10); a.sort(Math.max)",
    "'a'.repeat(4e6).indexOf('a'.repeat(2e6) + 'b')",
    "'a'.repeat(4e6).split('a'.repeat(2e6) + 'b')",
    "'a'.repeat(4e6).replaceAll('a'.repeat(2e6) + 'b', '')",
    "'\\u0315\\u0300'.repeat(4e5).normalize('NFC')",
    "const s = 'a'.repeat(1e6); for (;;) s.padStart(2e7, 'xy')",
    "const a = 'x'.repeat(2e7), b = a.slice(1) + 'x'; for (;;) a === b",
    "const s = '9'.repeat(1e6); for (;;) parseInt(s)",
    f"String.raw({{raw: {ENDLESS}}})",
    "/^(a+)+$/.test('a'.repeat(40) + 'b')",
    "new RegExp('(?:' + 'a|'.repeat(1e6) + ')*')",
    "const x = (1n << 520000n) - 1n; for (;;) x * x",
    "for (;;) 3n ** 600000n",
    "for (;;) (1n << 1048000n).toString()",
    "const s = '9'.repeat(310000); for (;;) 1n < s",
    "const x = (1n << 9n * 100000n) - 1n, y = (1n << 450000n) - 3n; for (;;) x / y",
    "for (;;) new Uint8Array(1e6).join()",
    "const a = new Uint8Array(3e7); new Array(1e5).fill().forEach(a.fill.bind(a, 1, 0, 3e7))",
    "new Uint8Array(5e7).set({length: 5e7})",
    "let o = [1]; for (let i = 0; i < 60; i++) o = [o, o]; JSON.stringify(o)",
    "let o = [1]; for (let i = 0; i < 60; i++) o = [o, o]; ccf.jsonCompatibleToBuf(o)",
    "let o = [1]; for (let i = 0; i < 60; i++) o = [o, o]; console.log(o)",
    "const b = ccf.strToBuf('[' + '1,'.repeat(1e6) + '1]'); for (;;) ccf.bufToJsonCompatible(b)",
    "const v = Array(3e4).fill().map((x, i) => 'v' + i);"
    "for (;;) eval(`(function(){let ${v.join()};return ()=>${v.join('+')}})`)",
    f"ccf.pemToId({{toString: () => {SPIN}}})",
    f"ccf.crypto.generateAesKey({{valueOf: () => {SPIN}}})",
    f"ccf.crypto.sign({{get name() {{ {SPIN} }}}}, '', new ArrayBuffer(1))",
    f"ccf.kv[{{toString: () => {SPIN}}}]",
    f"ccf.kv.t.get.call({{get _map_name() {{ {SPIN} }}}}, new ArrayBuffer(1))",
    f"const t = ccf.kv.t, b = new ArrayBuffer(1); t.set(b, b); t.forEach(() => {SPIN})",
    # looking at what the handler gave
    f"return {{body: {{toJSON: () => {SPIN}}}}}",
    f"return {{get body() {{ {SPIN} }}}}",
    f"return {{headers: {{a: {{toString: () => {SPIN}}}}}}}",
    f"return {{headers: new Proxy({{}}, {{ownKeys: () => {SPIN}}})}}",
    f"return {{get statusCode() {{ {SPIN} }}}}",
    f"throw {{toJSON: () => {SPIN}}}",
    f"const e = new Error(); Object.defineProperty(e, 'stack', {{get: () => {SPIN}}}); throw e",
]


def _bench(*, reuse: bool = False) -> JsBench:
    made = JsBench()
    extra = {"interpreter_reuse": {"key": "k"}} if reuse else {}
    made.install(
        {"a.js": APP},
        {
            "POST /run": {"js_module": "a.js", "js_function": "run", **extra},
            "POST /count": {"js_module": "a.js", "js_function": "count", **extra},
        },
    )
    made.options(max_execution_time_ms=LIMIT_MS)
    return made


@pytest.fixture(scope="module")
def shared() -> JsBench:
    return _bench()


@pytest.fixture
def bench(shared: JsBench) -> JsBench:
    shared.options(max_execution_time_ms=LIMIT_MS)
    return shared


def _count(bench: JsBench) -> bytes:
    """How often its interpreter counted, without a limit that a busy machine might reach."""
    bench.options()
    answer = bench.call("POST", "/count")
    bench.options(max_execution_time_ms=LIMIT_MS)
    return answer.body


def _ends(bench: JsBench, snippet: str) -> None:
    # What this process was given to do it: on a busy machine nobody knows when that is.
    started = time.process_time()
    answer = bench.call("POST", "/run", snippet.encode())
    took = time.process_time() - started
    assert answer.status == 500
    assert TIMED_OUT in answer.body
    assert took < LIMIT_MS / 1000 + MARGIN_S


@pytest.mark.parametrize("snippet", HOSTILE)
def test_hostile_calls_end(bench: JsBench, snippet: str) -> None:
    _ends(bench, snippet)
    assert _count(bench) == b"1"


@pytest.mark.parametrize(
    "snippet",
    [
        "Array.from({length: 4e9})",
        f"{HOLES}.fill(0)",
        f"Math.max.apply(null, {ENDLESS})",
        "let s = 'a'; for (;;) s += s",
        "let x = 3n; for (;;) x *= x",
        f"[...{ONES}]",
    ],
)
def test_what_fills_memory_ends_earlier(bench: JsBench, snippet: str) -> None:
    bench.options(max_execution_time_ms=20_000, max_heap_bytes=20_000_000)
    answer = bench.call("POST", "/run", snippet.encode())
    assert answer.status == 500
    assert b"Exception thrown while executing." in answer.body
    assert _count(bench) == b"1"


def test_what_was_written_is_not_kept(bench: JsBench) -> None:
    before = bench.store.version
    _ends(bench, f"const b = new ArrayBuffer(1); ccf.kv.t.set(b, b); {SPIN}")
    assert bench.store.version == before


def test_it_cannot_be_caught(bench: JsBench) -> None:
    _ends(bench, f"try {{ {SPIN} }} catch {{ return {{}} }} finally {{ return {{}} }}")


def test_a_shared_interpreter_is_replaced() -> None:
    bench = _bench(reuse=True)
    bodies = [_count(bench) for _ in range(2)]
    assert bodies == [b"1", b"2"]
    _ends(bench, "for (;;);")
    assert _count(bench) == b"3"
    _ends(bench, SPIN)
    bodies = [_count(bench) for _ in range(2)]
    assert bodies == [b"1", b"2"]


def test_notifying_takes_no_lock(bench: JsBench) -> None:
    """Work may be left anywhere in the engine, so nothing there may hold a lock of the process."""
    make = "const a = new Int32Array(new SharedArrayBuffer(4)), f = Atomics.notify.bind(0, a, 0);"
    _ends(bench, f"{make} for (const b = Array(2e5).fill(); ;) b.forEach(f)")
    bench.options()
    answer = bench.call("POST", "/run", f"{make} return {{body: [f(), f(1)]}}".encode())
    assert answer.body == b"[0,0]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "TypeError"),
        ("[1], 0", "TypeError"),
        ("new Float64Array(1), 0", "TypeError"),
        ("new Int32Array(1), 1", "RangeError: out-of-bound access"),
        ("new Int32Array(1), 0, 1n", "TypeError"),
    ],
)
def test_notify_checks_its_arguments(bench: JsBench, arguments: str, message: str) -> None:
    bench.options()
    text = f"try {{ Atomics.notify({arguments}) }} catch (e) {{ return {{body: String(e)}} }}"
    assert bench.call("POST", "/run", text.encode()).body.startswith(message.encode())


def test_notify_looks_like_before(bench: JsBench) -> None:
    bench.options()
    text = """
    const d = Object.getOwnPropertyDescriptor(Atomics, 'notify'), f = d.value;
    const names = Object.getOwnPropertyNames(f).join();
    return {body: [f.name, f.length, String(f), d.writable, d.enumerable, d.configurable, names]};
    """
    shown = [
        "notify",
        3,
        "function notify() {\n    [native code]\n}",
        True,
        False,
        True,
        "length,name",
    ]
    assert bench.call("POST", "/run", text.encode()).json() == shown


# -- the interpreter alone -----------------------------------------------------------------------


def _interpreter(*natives: Row) -> Interpreter:
    interpreter = Interpreter(Host(AccessContext.APP_RW), tuple(row.native() for row in natives))
    interpreter.vm.limits(0, 0, LIMIT_MS, 0, 0, LIMIT_MS)
    return interpreter


def _module(interpreter: Interpreter, text: str) -> int:
    module = interpreter.compile("m.js", f"export function f() {{ {text} }}".encode())
    interpreter.evaluate(module)
    return module


def test_without_a_saved_state_it_is_broken() -> None:
    interpreter = _interpreter()
    module = _module(interpreter, SPIN)
    assert not interpreter.vm.broken
    with pytest.raises(JsError) as caught:
        interpreter.vm.call(module, "f", (), ())
    assert (caught.value.timed_out, caught.value.trace) == (True, "")
    assert caught.value.message == "InternalError: interrupted"
    assert LIMIT_MS <= caught.value.call_ms < LIMIT_MS + MARGIN_S * 1000
    assert interpreter.vm.broken
    with pytest.raises(RuntimeError, match="has to be restored first"):
        interpreter.vm.call(module, "f", (), ())
    interpreter.vm.close()


def test_a_saved_state_is_as_good_as_before() -> None:
    interpreter = _interpreter()
    module = interpreter.compile(
        "m.js", f"let n = 0; export function f() {{ if (n++) {SPIN}; return n }}".encode()
    )
    interpreter.evaluate(module)
    interpreter.vm.save()
    for _ in range(3):
        assert interpreter.vm.call(module, "f", (), ())[2] == "1"
        with pytest.raises(JsError):
            interpreter.vm.call(module, "f", (), ())
        assert not interpreter.vm.broken
        interpreter.vm.restore()


def test_module_bodies_and_compilation_end() -> None:
    interpreter = _interpreter()
    module = interpreter.compile("m.js", SPIN.encode())
    with pytest.raises(JsError) as caught:
        interpreter.evaluate(module)
    assert caught.value.timed_out
    interpreter = _interpreter()
    names = [f"v{i}" for i in range(60_000)]
    source = f"function f() {{ let {','.join(names)}; return () => {'+'.join(names)} }}"
    with pytest.raises(JsError) as caught:
        interpreter.compile("m.js", (source * 5).encode())
    assert caught.value.timed_out


def test_a_length_that_does_not_end() -> None:
    interpreter = _interpreter()
    source = f"export class A {{ static get length() {{ {SPIN} }} }}"
    module = interpreter.compile("m.js", source.encode())
    interpreter.evaluate(module)
    with pytest.raises(JsError) as caught:
        interpreter.parameters(module, "A")
    assert caught.value.timed_out


def test_references_to_arguments_are_released() -> None:
    """A native function had some of its arguments when the next one did not end."""
    calls: list[object] = []

    def take(host: Host, *values: object) -> None:
        calls.append(values)

    many = "b" * 7 + "s"
    interpreter = _interpreter(Row("ccf", "take", many, take), Row("ccf", "all", "b*", take))
    # Enough for the seven also where this process has to wait for its turn.
    interpreter.limit(Limits(time_ms=500))
    big = "new ArrayBuffer(1e6)"
    bigs = ", ".join([big] * 7)
    module = _module(interpreter, f"ccf.take({bigs}, {{toString: () => {SPIN}}})")
    interpreter.vm.save()
    tracemalloc.start()
    try:
        for _ in range(2):
            with pytest.raises(JsError):
                interpreter.vm.call(module, "f", (), ())
            interpreter.vm.restore()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not calls
    assert peak > 7_000_000
    assert kept < 1_000_000


def test_a_script_run_by_another_one_ends_alone() -> None:
    inner = _interpreter()
    module = _module(inner, SPIN)

    def run(host: Host) -> str:
        with pytest.raises(JsError) as caught:
            inner.vm.call(module, "f", (), ())
        return caught.value.message

    outer = _interpreter(Row("ccf", "run", "", run))
    outer.limit(Limits(time_ms=10_000))
    again = _module(outer, "return ccf.run()")
    assert outer.vm.call(again, "f", (), ())[2] == "InternalError: interrupted"
    assert inner.vm.broken
    assert not outer.vm.broken


def test_time_in_native_functions_is_left_to_them() -> None:
    """The limit never cuts into Python; the script is stopped when it goes on."""
    done: list[int] = []

    def wait(host: Host) -> None:
        time.sleep(0.5)
        done.append(1)

    interpreter = _interpreter(Row("ccf", "wait", "", wait))
    module = _module(interpreter, f"ccf.wait(); {SPIN}")
    with pytest.raises(JsError):
        interpreter.vm.call(module, "f", (), ())
    assert done == [1]


def test_a_loop_of_slow_native_functions_ends() -> None:
    """The engine itself looks at the clock once in ten thousand rounds."""
    done: list[int] = []

    def wait(host: Host) -> None:
        time.sleep(0.03)
        done.append(1)

    interpreter = _interpreter(Row("ccf", "wait", "", wait))
    module = _module(interpreter, "for (;;) try { ccf.wait() } catch {}")
    with pytest.raises(JsError) as caught:
        interpreter.vm.call(module, "f", (), ())
    assert caught.value.timed_out
    assert 1 <= len(done) <= 5
    assert not interpreter.vm.broken


def test_any_thread() -> None:
    seen: list[bool] = []

    def work() -> None:
        interpreter = _interpreter()
        module = _module(interpreter, SPIN)
        try:
            interpreter.vm.call(module, "f", (), ())
        except JsError as e:
            seen.append(e.timed_out)

    for _ in range(2):
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [True] * 6


_FORKING = f"""
import os, sys, time
from pyccf.apps.js.engine import Interpreter, JsError
from pyccf.apps.js.host.host import Host
from pyccf.kv.maps import AccessContext

def ends():
    interpreter = Interpreter(Host(AccessContext.APP_RW), ())
    interpreter.vm.limits(0, 0, {LIMIT_MS}, 0, 0, {LIMIT_MS})
    module = interpreter.compile("m.js", b"export function f() {{ {SPIN} }}")
    interpreter.evaluate(module)
    try:
        interpreter.vm.call(module, "f", (), ())
    except JsError as e:
        return e.timed_out

assert ends()
child = os.fork()
if not child:
    os._exit(0 if ends() else 1)
assert os.waitpid(child, 0)[1] == 0
time.sleep(2.5)  # the watcher has gone to sleep
assert ends()
print("fine")
"""


def test_a_child_process_has_a_watcher_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORKING],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "fine\n"
