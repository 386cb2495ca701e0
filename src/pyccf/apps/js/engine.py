"""One JavaScript interpreter: modules in, calls within limits, results and errors out.

`Interpreter` wraps a native `Vm`. It runs a script as the original does (spec: js-runtime.md §3):
modules by name, an error while a module body runs goes unnoticed, promises are never pumped, every
call has a bound of memory, stack and time. Deviations, all to the safe side: module loading and
the conversion of results are bounded too, in memory and stack (loading also in time) by the larger
of the configured limits and the defaults; the stack is never promised more than the thread has;
bytecode of the ledger is never executed.

`save` keeps the whole state of an interpreter, `restore` puts it back: what ran in between leaves
no trace. A fresh interpreter so costs a copy of its memory (about 200 KB).

Refuses (ImportError) any engine but the one of the pinned wheel.
"""

from __future__ import annotations

import ctypes
import importlib
from typing import TYPE_CHECKING, Final, TypeAlias

import _quickjs
import msgspec

if TYPE_CHECKING:
    from pyccf.apps.js import _native
    from pyccf.apps.js.host.host import Host
    from pyccf.types import Json
else:
    # The extension finds the engine's functions among the symbols of the wheel's shared object.
    ctypes.CDLL(_quickjs.__file__, ctypes.RTLD_GLOBAL)

from pyccf.apps.js._quickjs_api import ffi, lib

ENGINE_VERSION: Final = "0.17.0"
"""The only engine whose binary interface `native/abi.h` describes (wheel quickjs-ng 0.17.0.2)."""

VERSION_TEXT: Final = f"quickjs-ng {ENGINE_VERSION}"
"""What stands in the ledger's table of bytecode versions, and in /node/version."""

_found = ffi.string(lib.JS_GetVersion()).decode()
if _found != ENGINE_VERSION:
    raise ImportError(f"quickjs-ng {ENGINE_VERSION} is needed, found {_found}")
if lib.pyccf_install_native() != 0:
    raise ImportError("the JavaScript engine could not be set up")
if not TYPE_CHECKING:
    _native = importlib.import_module("pyccf.apps.js._native")

STACK_SCALE: Final = 1.71
"""Bytes of stack this engine needs where the original needs one (engine_differences.md §2)."""

OUTSIDE_HEAP_EXTRA: Final = 32 << 20
"""Bytes a request may use for its arguments and result beyond what its script may."""

HEAP_DEFAULT: Final = 104_857_600
STACK_DEFAULT: Final = 1_048_576
TIME_DEFAULT_MS: Final = 5_000
TIME_MAX_MS: Final = 1 << 40
"""Longer limits are taken for this one (34 years): the engine counts nanoseconds."""

NOT_A_FUNCTION: Final = -1
UNDEFINED_YET: Final = -2
"""What is exported but no function: another value, or none (a body that threw sets no more)."""

TIMED_OUT: Final = "Operation took too long to complete."
THREW: Final = "Exception thrown while executing."


class _Marker:
    """A value without a Python equivalent."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


UNDEFINED: Final = _Marker("UNDEFINED")
"""JavaScript's undefined (null is None)."""
NULL: Final = _Marker("NULL")
"""Returned by a native function that answers null (None answers undefined)."""
OTHER: Final = _Marker("OTHER")
"""An argument of a kind native functions have no use for: function, object, symbol, big integer."""


class Limits(msgspec.Struct, frozen=True):
    """What one call may use; 0 stands for no limit (spec: js-runtime.md §3.4)."""

    heap_bytes: int = HEAP_DEFAULT
    stack_bytes: int = STACK_DEFAULT
    """In bytes of the original engine; scaled by STACK_SCALE."""
    time_ms: int = TIME_DEFAULT_MS

    def raised(self) -> Limits:
        """These limits, none below its default."""
        return Limits(
            _larger(self.heap_bytes, HEAP_DEFAULT),
            _larger(self.stack_bytes, STACK_DEFAULT),
            _larger(self.time_ms, TIME_DEFAULT_MS),
        )


def _larger(limit: int, least: int) -> int:
    return 0 if limit == 0 else max(limit, least)


class JsError(Exception):
    """A script threw, or was stopped.

    `message` is String() of an error, JSON of another object, String() of the rest; `trace` is the
    error's stack (None for what is not an error); `timed_out` tells that the time limit struck.
    """

    def __init__(
        self,
        message: str,
        trace: str | None,
        timed_out: bool,
        call_ms: float = 0.0,
        exact_trace: str | None = None,
    ) -> None:
        self.message = message
        super().__init__(self.message)
        self.trace = trace
        self.exact_trace = exact_trace
        """The stack as the engine took it, with columns; `trace` may be another, if a script set
        it."""
        self.timed_out = timed_out
        self.call_ms = int(call_ms)
        """How long the call took."""


class JsSetupError(Exception):
    """A script cannot be run: it does not compile, or lacks what is asked of it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class JsThrow(Exception):
    """Raised by native functions: throws an error of the named class in the script."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class BadResult(Exception):
    """What a handler returned is no response; `headers` were read before that was found."""

    def __init__(self, text: str, headers: dict[str, str], cause: JsError | None) -> None:
        super().__init__(text)
        self.text = text
        self.headers = headers
        self.cause = cause


class KvSpace:
    """Tables other than those of the running transaction, shown to scripts as a `kv` object."""

    __slots__ = ()


_native.configure(JsError, JsThrow, BadResult, KvSpace, UNDEFINED, NULL, OTHER)


class Interpreter:
    """One interpreter and the modules loaded into it.

    `rows` is the table of native functions (`host.rows`), empty for a bare interpreter without
    `ccf` and `console`. With `per_request` each request gets new `ccf.kv` and `ccf.rpc` objects;
    without, they are made once (for interpreters that are restored anyway).
    """

    __slots__ = ("host", "limits", "modules", "vm")

    def __init__(self, host: Host, rows: tuple[object, ...], per_request: bool = False) -> None:
        self.host = host
        self.vm = _native.Vm(host, rows, per_request)
        self.modules: dict[str, int] = {}
        """Modules evaluated by name, see `load`."""
        self.limits: Limits | None = None
        """Those in force."""
        self.limit(Limits())

    def limit(self, limits: Limits) -> None:
        """Bound all further calls."""
        self.limits = limits
        outside = limits.raised()
        self.vm.limits(
            limits.heap_bytes,
            int(limits.stack_bytes * STACK_SCALE),
            min(limits.time_ms, TIME_MAX_MS),
            outside.heap_bytes and outside.heap_bytes + OUTSIDE_HEAP_EXTRA,
            int(outside.stack_bytes * STACK_SCALE),
            min(outside.time_ms, TIME_MAX_MS),
        )

    def compile(self, name: str, source: bytes) -> int:
        """Compile a module and what it imports; its number. Raises JsError."""
        return self.vm.compile(name, source)

    def evaluate(self, module: int) -> None:
        """Link and run a module body. Raises JsError when it cannot be linked or takes too long."""
        self.vm.evaluate(module)

    def parameters(self, module: int, function: str) -> int | None:
        """Number of parameters of an exported function; None if there is no such export.

        UNDEFINED_YET and NOT_A_FUNCTION, both negative, if it has no value or another.
        """
        return self.vm.look(module, function)


class JsResult(msgspec.Struct, frozen=True):
    """A value a script returned, as far as governance looks at it."""

    is_object: bool
    truthy: bool
    text: str
    """String() of the value, up to a NUL; of a member only if it is a string. "" if not wanted."""
    fields: dict[str, JsResult]
    """The wanted members of an object by name (empty for other values)."""


def js_result(described: tuple[bool, bool, str, dict[str, object] | None]) -> JsResult:
    """From the native description."""
    is_object, truthy, text, members = described
    fields: dict[str, JsResult] = {}
    for name, member in (members or {}).items():
        fields[name] = js_result(member)  # type: ignore[arg-type]
    return JsResult(is_object, truthy, text, fields)


JsArg: TypeAlias = "Json | bytes"
"""What can be handed to a script: JSON data, or bytes as an ArrayBuffer."""
