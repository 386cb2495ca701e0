"""Runs the constitution and ballots (spec: js-runtime.md §4, governance.md).

Each call is a module of its own in a fresh interpreter over the proposal's transaction; nothing is
shared between calls. Limits are the service's options, never below the defaults.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Literal

from pyccf.apps.js.engine import (
    TIME_MAX_MS,
    Interpreter,
    JsArg,
    JsError,
    JsResult,
    JsSetupError,
    JsThrow,
    Limits,
    js_result,
)
from pyccf.apps.js.host import rows
from pyccf.apps.js.host.host import Host, Machine
from pyccf.apps.js.host.row import Scope
from pyccf.apps.js.options import runtime_options
from pyccf.errors import RpcError
from pyccf.kv.maps import AccessContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyccf.apps.context import GovernanceOperations
    from pyccf.kv.tx import Tx
    from pyccf.types import UnixSeconds

__all__ = ["JsArg", "JsError", "JsResult", "JsSetupError", "Limits", "limits_of", "run"]

COMPILED_MAX: Final = 8
"""How many compiled scripts are kept ready (a constitution is run three times per proposal)."""

_ACCESS = {
    "GOV_RO": (AccessContext.GOV_RO, Scope.GOV_RO),
    "GOV_RW": (AccessContext.GOV_RW, Scope.GOV_RW),
}

_Compiled = tuple[Interpreter, int]
_compiled: OrderedDict[tuple[str, str, str], _Compiled] = OrderedDict()
"""Interpreters with a script compiled, in their saved state. A cache: holds no state of a run."""
_blank: dict[str, Interpreter] = {}
"""One interpreter with nothing compiled for each kind of access, for scripts that run once."""


class _LogOnly:
    """A machine for scripts where the caller offers no more than a log."""

    def __init__(self, log: Callable[[str, str, str], None]) -> None:
        self._log = log

    def unix_time(self) -> UnixSeconds:
        raise JsThrow("InternalError", "Not available in this context")

    def random(self, n: int) -> bytes:
        raise JsThrow("InternalError", "Not available in this context")

    def log(self, level: str, tag: str, text: str, about: dict[str, str] | None = None) -> None:
        self._log(level, tag, text)


def limits_of(tx: Tx) -> Limits:
    """Limits of governance scripts: the stored options, none below its default.

    Options that cannot be read count as not set: only a proposal can mend them.
    """
    try:
        return runtime_options(tx).limits.raised()
    except RpcError:
        return Limits()


def run(
    source: str,
    module_name: str,
    function: str,
    args: list[JsArg],
    *,
    tx: Tx,
    access: Literal["GOV_RO", "GOV_RW"],
    limits: Limits | None = None,
    operations: GovernanceOperations | None = None,
    log: Callable[[str, str, str], None] | None = None,
    machine: Machine | None = None,
    keep: bool = True,
    make_host: Callable[[AccessContext], Host] = Host,
    wanted: tuple[str, ...] | None = (),
    within_ms: int = 0,
) -> JsResult:
    """Call an exported function of a script.

    Of the result its members named in `wanted` are looked at, or its text if there are none, or
    neither if that is None; whether it is true always is.

    `access` is GOV_RO for `validate`, `resolve` and ballots, GOV_RW for `apply` (which also gets
    `operations`). `machine` offers time, chance and log; with `log` alone there is no time and no
    chance. `keep` holds the compiled script ready for the next call; ballots, of which there are
    many, do without, and with `within_ms` end after so long altogether, however much of it goes
    into compiling and loading (0: the limits count for each). `make_host` gives the script another
    host than the usual one, for tools that look on. Raises JsSetupError when the script cannot be
    run, JsError when it throws or is stopped; what the transaction or a native function raises
    otherwise passes through.
    """
    if make_host is not Host:
        interpreter = _new(access, make_host)
        module = _compile(interpreter, module_name, source)
    elif keep:
        interpreter, module = _ready(access, module_name, source)
    else:
        interpreter, module = _once(access, module_name, source, within_ms)
    host = interpreter.host
    host.tx = tx
    host.operations = operations
    host.machine = machine if machine is not None else (None if log is None else _LogOnly(log))
    host.metrics = True
    host.said = 0
    interpreter.limit(limits_of(tx) if limits is None else limits)
    try:
        try:
            interpreter.evaluate(module)
        except JsError as e:
            if e.timed_out:
                raise
            raise JsSetupError(f"Failed to execute {module_name}: {e.message}") from None
        found = interpreter.parameters(module, function)
        if found is None:
            raise JsSetupError(f"Failed to find export '{function}' in module '{module_name}'")
        if found < 0:
            raise JsSetupError(f"Export '{function}' of module '{module_name}' is not a function")
        return js_result(interpreter.vm.call(module, function, tuple(args), wanted))
    finally:
        host.release()
        if make_host is not Host:
            interpreter.vm.close()
        elif keep:
            _compiled[access, module_name, source] = (interpreter, module)
            while len(_compiled) > COMPILED_MAX:
                _compiled.popitem(last=False)[1][0].vm.close()
        else:
            _blank[access] = interpreter


def _ready(access: str, module_name: str, source: str) -> _Compiled:
    """An interpreter with the script compiled and nothing run. Taken out of the cache."""
    kept = _compiled.pop((access, module_name, source), None)
    if kept is not None:
        kept[0].vm.restore()
        return kept
    interpreter = _new(access)
    module = _compile(interpreter, module_name, source)
    interpreter.vm.save()
    return interpreter, module


def _once(access: str, module_name: str, source: str, within_ms: int) -> _Compiled:
    """The blank interpreter with the script compiled; what is done with it is undone next time."""
    interpreter = _blank.pop(access, None)
    if interpreter is None:
        interpreter = _new(access)
        interpreter.vm.save()
    else:
        interpreter.vm.restore()
        interpreter.limit(Limits())
    interpreter.vm.together(min(within_ms, TIME_MAX_MS))
    return interpreter, _compile(interpreter, module_name, source)


def _new(access: str, make_host: Callable[[AccessContext], Host] = Host) -> Interpreter:
    context, scope = _ACCESS[access]
    host = make_host(context)
    host.tag = "gov"
    return Interpreter(host, rows(scope))


def _compile(interpreter: Interpreter, module_name: str, source: str) -> int:
    """The script's module. An interpreter that could not compile it is not used again.

    Raises JsError when it takes too long, JsSetupError when it cannot be compiled.
    """
    try:
        return interpreter.compile(module_name, source.encode("utf-8", "surrogatepass"))
    except JsError as e:
        interpreter.vm.close()
        if e.timed_out:
            raise
        raise JsSetupError(f"Failed to compile {module_name}") from None
