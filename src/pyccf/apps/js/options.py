"""Options of the JavaScript runtime as members set them (spec: js-runtime.md §3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pyccf.apps.js.engine import HEAP_DEFAULT, STACK_DEFAULT, TIME_DEFAULT_MS, Limits
from pyccf.codec.text import load_json
from pyccf.errors import RpcError
from pyccf.kv.changes import UNIT
from pyccf.service import tables

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

INTERPRETERS_DEFAULT = 10
_SIZE_MAX = 1 << 63


class RuntimeOptions(msgspec.Struct, frozen=True):
    """What bounds application calls and what clients and operators learn of failures."""

    limits: Limits = Limits()
    log_exception_details: bool = False
    return_exception_details: bool = False
    max_cached_interpreters: int = INTERPRETERS_DEFAULT


DEFAULT = RuntimeOptions()


def parse_options(raw: bytes | None) -> RuntimeOptions:
    """Options from the stored row; defaults where a field or the row is missing.

    Raises RpcError 400 for a field that is no number or no boolean (null included): that is what
    every request to the application then gets (recorded behaviour).
    """
    if raw is None:
        return DEFAULT
    try:
        value = load_json(raw)
    except ValueError as e:
        raise _unusable(str(e)) from None
    if not isinstance(value, dict):
        raise _unusable("not an object")

    def number(name: str, default: int, least: int = 1) -> int:
        # Nought allows nothing (in `Limits` it would mean: no limit).
        found = value.get(name, default)
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < _SIZE_MAX:
            raise _unusable(f"{name} is not a number")
        return max(found, least)

    def flag(name: str) -> bool:
        found = value.get(name, False)
        if not isinstance(found, bool):
            raise _unusable(f"{name} is not a boolean")
        return found

    return RuntimeOptions(
        limits=Limits(
            number("max_heap_bytes", HEAP_DEFAULT),
            number("max_stack_bytes", STACK_DEFAULT),
            number("max_execution_time_ms", TIME_DEFAULT_MS),
        ),
        log_exception_details=flag("log_exception_details"),
        return_exception_details=flag("return_exception_details"),
        max_cached_interpreters=number("max_cached_interpreters", INTERPRETERS_DEFAULT, 0),
    )


def _unusable(reason: str) -> RpcError:
    return RpcError(400, "InvalidInput", f"Cannot read the JavaScript runtime options: {reason}")


def runtime_options(tx: Tx, table: str = tables.JS_RUNTIME_OPTIONS) -> RuntimeOptions:
    """The options in force."""
    return parse_options(tx.map(table).get(UNIT))
