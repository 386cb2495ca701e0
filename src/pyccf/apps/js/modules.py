"""Application modules: names, sources, and why one cannot be run (spec: js-runtime.md §3.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyccf.apps.js.engine import TIMED_OUT, Interpreter, JsError, JsSetupError
from pyccf.service import tables

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

Loader = Callable[[str], bytes | None]


def loader(tx: Tx, table: str = tables.MODULES) -> Loader:
    """Sources of the application by module name, with or without the leading slash."""

    def load(name: str) -> bytes | None:
        return tx.map(table).get(key_of(name).encode("utf-8", "surrogatepass"))

    return load


def key_of(name: str) -> str:
    """A module's name in the table."""
    return name if name.startswith("/") else "/" + name


def compile_module(interpreter: Interpreter, stored: str, *, rooted: bool) -> int:
    """Compile an endpoint's module and all it imports; its number.

    `stored` is the name in the endpoint's metadata. `rooted` keeps the leading slash in the names
    of modules, as if they had been loaded from bytecode. Raises JsSetupError.
    """
    key = key_of(stored)
    source = interpreter.host.load(key) if stored else None
    if source is None:
        raise JsSetupError(f"Module '{stored}' could not be loaded")
    try:
        return interpreter.compile(key if rooted else key[1:], source)
    except JsError as e:
        raise JsSetupError(f"Failed to compile module '{stored}': {e.message}") from None


def evaluate_module(interpreter: Interpreter, number: int, stored: str) -> None:
    """Run a compiled module's body. Raises JsSetupError when it cannot be linked.

    Running too long is told like in a call; other exceptions of the body go unnoticed.
    """
    try:
        interpreter.evaluate(number)
    except JsError as e:
        if e.timed_out:
            raise JsSetupError(TIMED_OUT) from None
        raise JsSetupError(f"Failed to execute {stored}: {e.message}") from None
