"""One interpreter: limits, errors in both directions, saved states."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from pyccf.apps.js.engine import (
    NULL,
    OTHER,
    UNDEFINED,
    Interpreter,
    JsError,
    JsThrow,
    Limits,
)
from pyccf.apps.js.host.host import Host
from pyccf.apps.js.host.row import Row, Style
from pyccf.kv.maps import AccessContext


def _interpreter(*natives: Row, **modules: str) -> Interpreter:
    host = Host(AccessContext.APP_RW)
    host.load = lambda name: modules[name].encode() if name in modules else None
    return Interpreter(host, tuple(row.native() for row in natives))


def _eval(interpreter: Interpreter, text: str) -> str:
    """String() of what a function body returns."""
    module = interpreter.compile("m.js", f"export function f() {{ {text} }}".encode())
    interpreter.evaluate(module)
    return interpreter.vm.call(module, "f", (), ())[2]


def test_a_bare_interpreter_has_no_ccf() -> None:
    assert _eval(_interpreter(), "return typeof ccf + typeof console + typeof WeakRef") == (
        "undefined" * 3
    )


@pytest.mark.parametrize(
    ("limits", "text", "message", "timed_out"),
    [
        (Limits(time_ms=50), "for (;;);", "InternalError: interrupted", True),
        (Limits(time_ms=50), "/^(a+)+$/.test('a'.repeat(40) + 'b')", "interrupted", True),
        (
            Limits(heap_bytes=5_000_000),
            "const a = []; for (;;) a.push(new ArrayBuffer(1e5))",
            "out of memory",
            False,
        ),
        # No memory is left for the error itself.
        (Limits(heap_bytes=5_000_000), "const a = []; for (;;) a.push({})", "null", False),
        (Limits(stack_bytes=65_536), "return f() + 1", "stack overflow", False),
        (Limits(heap_bytes=1), "return {}", "", False),
        (Limits(stack_bytes=1), "return [1].map(x => x)", "stack overflow", False),
    ],
)
def test_limits(limits: Limits, text: str, message: str, timed_out: bool) -> None:
    interpreter = _interpreter()
    if timed_out:
        interpreter.vm.save()
    interpreter.limit(limits)
    with pytest.raises(JsError) as caught:
        _eval(interpreter, text)
    assert message in caught.value.message
    assert caught.value.timed_out is timed_out
    interpreter.limit(Limits())
    if timed_out:  # where the machine was slow, it was left by the alarm, in no state to go on
        interpreter.vm.restore()
    assert _eval(interpreter, "return 1 + 1") == "2"


@pytest.mark.parametrize("much", [1 << 53, (1 << 63) - 1])
def test_limits_of_any_size(much: int) -> None:
    interpreter = _interpreter()
    interpreter.limit(Limits(heap_bytes=much, stack_bytes=much, time_ms=much))
    assert _eval(interpreter, "let n = 0; for (let i = 0; i < 1e5; i++) n += i; return n") == (
        "4999950000"
    )


def test_local_time_is_utc_wherever_the_node_stands() -> None:
    program = (
        "from pyccf.apps.js import governance\n"
        "from pyccf.kv.store import Store\n"
        "text = 'export function f() { return new Date(0).getHours() + String(new Date(0)) }'\n"
        "made = governance.run(text, 'c', 'f', [], tx=Store(2).tx(), access='GOV_RO',"
        " machine=type('M', (), {'unix_time': lambda self: 0})())\n"
        "print(made.text)"
    )
    for zone in ("America/New_York", "XXX-5:30"):
        told = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout == "0Thu Jan 01 1970 00:00:00 GMT+0000\n"


def test_more_stack_than_the_thread_has_is_never_used() -> None:
    interpreter = _interpreter()
    interpreter.limit(Limits(stack_bytes=1 << 40, time_ms=60_000))
    deep = "function g(n) { return n + g(n + 1); } return g(0)"
    with pytest.raises(JsError, match="stack overflow"):
        _eval(interpreter, deep)
    with pytest.raises(JsError, match="stack overflow"):
        _eval(interpreter, "let o = {}; for (let i = 0; i < 2e5; i++) o = {o}; JSON.stringify(o)")


def _echo(host: Host, *values: object) -> object:
    return repr(values)


@pytest.mark.parametrize(
    ("spec", "argument", "seen"),
    [
        ("v", "undefined", UNDEFINED),
        ("v", "null", None),
        ("v", "true", True),
        ("v", "1.5", 1.5),
        ("v", "-7", -7),
        ("v", "'a\\0\\u20ac'", "a\0€"),
        ("v", "'\\ud83d'", "\ud83d"),
        ("v", "new Uint8Array([1, 2]).buffer", b"\x01\x02"),
        ("v", "new Uint8Array(2)", OTHER),
        ("v", "{}", OTHER),
        ("v", "1n", OTHER),
        ("s", "'a\\0b'", "a"),
        ("s", "12", "12"),
        ("s", "undefined", "undefined"),
        ("i", "'256'", 256),
        ("i", "2.9", 2),
        ("i", "NaN", 0),
        ("t", "''", False),
        ("b", "new ArrayBuffer(2)", b"\0\0"),
        ("j", "{b: 1, a: [null]}", '{"b":1,"a":[null]}'),
        ("j", "undefined", OTHER),
        ("d", "new Error('e')", "Error: e"),
        ("d", "[1]", "[1]"),
        ("d", "() => 1", "undefined"),
        ("o", "{name: 'X', saltLength: 3}", None),
    ],
)
def test_arguments(spec: str, argument: str, seen: object) -> None:
    got: list[object] = []

    def take(host: Host, value: object) -> None:
        got.append(value)

    interpreter = _interpreter(Row("ccf", "take", spec, take))
    assert _eval(interpreter, f"return ccf.take({argument})") == "undefined"
    if spec == "o":
        (options,) = got
        assert isinstance(options, dict)
        assert options["name"] == "X"
        assert options["saltLength"] == 3
        assert options["label"] is UNDEFINED
    else:
        assert got == [seen]
        assert type(got[0]) is type(seen)


@pytest.mark.parametrize(
    ("spec", "argument", "message"),
    [
        ("s", "Symbol()", "TypeError: value is not a string"),
        ("s", "{toString() { throw 1 }}", "TypeError: value is not a string"),
        ("b", "'x'", "TypeError: ArrayBuffer object expected"),
        ("b", "new Uint8Array(1)", "TypeError: ArrayBuffer object expected"),
        ("i", "1n", "TypeError: cannot convert bigint to number"),
        ("i", "Symbol()", "TypeError: cannot convert symbol to number"),
        ("j", "1n", "TypeError: value is not a string"),
        ("o", "undefined", "TypeError: cannot read property 'name' of undefined"),
        ("v", "", "TypeError: Passed 0 arguments, but expected 1"),
        ("v", "1, 2", "TypeError: Passed 2 arguments, but expected 1"),
    ],
)
def test_arguments_that_are_refused(spec: str, argument: str, message: str) -> None:
    interpreter = _interpreter(Row("ccf", "take", spec, _echo))
    with pytest.raises(JsError) as caught:
        _eval(interpreter, f"ccf.take({argument})")
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, "undefined"),
        (NULL, "null"),
        (UNDEFINED, "undefined"),
        (True, "true"),
        (1 << 40, "1099511627776"),
        (-5, "-5"),
        (0.25, "0.25"),
        ("a\0€\ud83d", '"a\\u0000€\\ud83d"'),
        ([1, None, {"a": "b"}], '[1,null,{"a":"b"}]'),
        ((), "[]"),
        ({"__proto__": 1, "b": 2}, '{"__proto__":1,"b":2}'),
    ],
)
def test_results(value: object, seen: str) -> None:
    interpreter = _interpreter(Row("ccf", "give", "", lambda host: value))
    assert _eval(interpreter, "return JSON.stringify(ccf.give())") == seen


def test_bytes_become_an_array_buffer() -> None:
    interpreter = _interpreter(Row("ccf", "give", "", lambda host: b"\x01\x02"))
    text = "const b = ccf.give(); return [b instanceof ArrayBuffer, ...new Uint8Array(b)].join()"
    assert _eval(interpreter, text) == "true,1,2"


@pytest.mark.parametrize(
    "kind", ["TypeError", "RangeError", "InternalError", "SyntaxError", "Error"]
)
def test_errors_of_native_functions_tell_as_much_as_the_originals(kind: str) -> None:
    def fail(host: Host) -> None:
        raise JsThrow(kind, "x" * 1000)

    interpreter = _interpreter(Row("ccf", "fail", "", fail))
    text = "try { ccf.fail() } catch (e) { return [e.name, e.message.length, e.stack].join() }"
    assert _eval(interpreter, text) == f"{kind},255,    at fail (native)\n    at f (m.js)\n"


class Odd(BaseException):
    """Nothing the engine knows."""


@pytest.mark.parametrize("error", [Odd, KeyError, RecursionError])
def test_other_exceptions_cannot_be_caught_and_pass_through(error: type[BaseException]) -> None:
    def fail(host: Host) -> None:
        raise error("through")

    interpreter = _interpreter(Row("ccf", "fail", "", fail))
    for text in (
        "try { ccf.fail() } catch (e) { return 1 } finally { return 2 }",
        "return [1].map(() => { try { ccf.fail() } catch { } })",
        "(async () => ccf.fail())().catch(() => 1); return 3",
        "return JSON.stringify({toJSON() { ccf.fail() }})",
    ):
        with pytest.raises(error, match="through"):
            _eval(interpreter, text)
    assert _eval(interpreter, "return 'alive'") == "alive"


def test_results_without_a_javascript_value_are_our_mistake() -> None:
    interpreter = _interpreter(Row("ccf", "give", "", lambda host: object()))
    with pytest.raises(TypeError, match="no JavaScript value for object"):
        _eval(interpreter, "return ccf.give()")


def test_an_interpreter_is_not_entered_twice() -> None:
    inner: list[Callable[[], object]] = []
    interpreter = _interpreter(Row("ccf", "again", "", lambda host: inner[0]()))
    inner.append(lambda: _eval(interpreter, "return 1"))
    with pytest.raises(RuntimeError, match="is running"):
        _eval(interpreter, "return ccf.again()")


def test_variadic_functions() -> None:
    row = Row("ccf", "all", "v*", _echo, style=Style.ANY, length=1)
    interpreter = _interpreter(row)
    assert _eval(interpreter, "return ccf.all()") == "()"
    many = ",".join(map(str, range(40)))
    assert _eval(interpreter, f"return ccf.all({many})") == repr(tuple(range(40)))


def test_modules_are_found_relative_to_the_importer() -> None:
    files = {
        "dir/a.js": "import {b} from './sub/../b.js'; export const a = b + 1;",
        "dir/b.js": "export const b = 1;",
        "c.js": "export const c = 10;",
    }
    host = Host(AccessContext.APP_RW)
    host.load = lambda name: files[name].encode() if name in files else None
    interpreter = Interpreter(host, ())
    source = b"""
    import {a} from './dir/a.js';
    import {c} from 'c.js';
    export function f() { return a + c }
    """
    module = interpreter.compile("main.js", source)
    interpreter.evaluate(module)
    assert interpreter.vm.call(module, "f", (), ())[2] == "12"
    with pytest.raises(JsError, match="null"):
        interpreter.compile("x.js", b"import '../c.js'")


def test_a_loader_that_fails_stops_the_compilation() -> None:
    host = Host(AccessContext.APP_RW)

    def load(name: str) -> bytes | None:
        raise KeyError(name)

    host.load = load
    with pytest.raises(KeyError, match=r"a\.js"):
        Interpreter(host, ()).compile("m.js", b"import 'a.js'")


def test_saved_states() -> None:
    interpreter = _interpreter()
    module = interpreter.compile("m.js", b"let n = 0; export function f() { return ++n }")
    interpreter.evaluate(module)
    interpreter.vm.call(module, "f", (), ())
    size = interpreter.vm.save()
    assert 100_000 < size < 2_000_000
    for _ in range(3):
        assert interpreter.vm.call(module, "f", (), ())[2] == "2"
        assert interpreter.vm.call(module, "f", (), ())[2] == "3"
        interpreter.vm.restore()


def test_a_state_that_grew_much_is_given_back() -> None:
    interpreter = _interpreter()
    module = interpreter.compile(
        "m.js", b"export function f() { return new Uint8Array(50e6).fill(1).length }"
    )
    interpreter.evaluate(module)
    interpreter.vm.save()
    for _ in range(3):
        assert interpreter.vm.call(module, "f", (), ())[2] == "50000000"
        interpreter.vm.restore()


def test_closed_and_unsaved_interpreters_refuse() -> None:
    interpreter = _interpreter()
    with pytest.raises(RuntimeError, match="nothing to restore"):
        interpreter.vm.restore()
    interpreter.vm.close()
    with pytest.raises(RuntimeError, match="closed"):
        interpreter.compile("m.js", b"")
    with pytest.raises(IndexError):
        interpreter.evaluate(3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("JSON.parse('{')", "SyntaxError: expecting property name"),
        ("JSON.parse('{\"a\" 1}')", "SyntaxError: expecting ':'"),
        ("JSON.parse('')", "SyntaxError: unexpected end of input"),
        ("missing", "ReferenceError: 'missing' is not defined"),
        ("1n / 0n", "RangeError: invalid operation"),
        ("JSON.stringify(1n)", "TypeError: bigint are forbidden in JSON.stringify"),
        ("new WeakMap().set(1, 1)", "TypeError: not an object"),
        ("(1).toString(1)", "RangeError: radix must be between 2 and 36"),
        ("'a'.repeat(2 ** 30)", "InternalError: string too long"),
        ("(function f() { return f() + 1; })()", "InternalError: stack overflow"),
        ("Error('x is not defined')", "Error: x is not defined"),
        (
            "throwing(class extends RangeError { get name() { throw 1; } })",
            "1",
        ),
    ],
)
def test_errors_are_worded_like_the_originals(text: str, told: str) -> None:
    source = (
        "const throwing = (C) => { throw new C('Maximum call stack size exceeded'); };"
        f" try {{ const e = {text}; return String(e); }}"
        " catch (e) { try { return String(e); } catch (inner) { return String(inner); } }"
    )
    assert _eval(_interpreter(), source) == told


def test_an_error_has_what_the_originals_has() -> None:
    interpreter = _interpreter()
    text = "const e = Error('m'); return Object.getOwnPropertyNames(e).join()"
    assert _eval(interpreter, text) == "message,stack"
    text = "const e = Error('m'); e.stack = 5; try { throw e } catch (c) { return c.stack }"
    assert _eval(interpreter, text) == "5"
    text = "try { new Function('(') } catch (e) { return e.fileName + typeof e.lineNumber }"
    assert _eval(interpreter, text) == "<input>number"
    many = "let n = 0; for (let i = 0; i < 1e5; i++) try { null.x } catch (e) { n++ } return n"
    assert _eval(interpreter, many) == "100000"


def test_another_engine_is_refused() -> None:
    code = (
        "import pyccf.apps.js._quickjs_api as api, types, sys\n"
        "class Lib:\n"
        "    def JS_GetVersion(self): return b'x'\n"
        "fake = types.ModuleType('pyccf.apps.js._quickjs_api')\n"
        "fake.lib = Lib(); fake.ffi = types.SimpleNamespace(string=lambda t: b'0.1.0')\n"
        "sys.modules[fake.__name__] = fake\n"
        "import pyccf.apps.js as js; js._quickjs_api = fake\n"
        "try:\n"
        "    import pyccf.apps.js.engine\n"
        "except ImportError as e:\n"
        "    print(e)\n"
    )
    preload = "import ctypes, _quickjs; ctypes.CDLL(_quickjs.__file__, ctypes.RTLD_GLOBAL)\n"
    done = subprocess.run(
        [sys.executable, "-c", preload + code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "quickjs-ng 0.17.0 is needed, found 0.1.0\n"
