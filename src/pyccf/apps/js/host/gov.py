"""`ccf.gov.validateConstitution` (spec: js-runtime.md §4.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.apps.js.engine import TIME_DEFAULT_MS, Interpreter, JsError, JsThrow
from pyccf.apps.js.host.row import Row

if TYPE_CHECKING:
    from pyccf.apps.js.host.host import Host

MODULE = "proposed constitution"

_FUNCTIONS = (
    ("apply", 2, 2, "(proposal, proposerId)"),
    ("resolve", 3, 4, "(proposal, proposerId, votes[, proposalId])"),
    ("validate", 1, 1, "(input)"),
)


def validate_constitution(text: str) -> None:
    """Check that a text exports the three functions of a constitution, without calling any.

    It is loaded once, in a bare interpreter, and has one time limit. Raises JsThrow with the
    TypeError a script gets.
    """
    from pyccf.apps.js.host.host import Host
    from pyccf.kv.maps import AccessContext

    if not text:
        raise JsThrow("TypeError", "constitution is empty")
    bare = Interpreter(Host(AccessContext.GOV_RO), ())
    bare.vm.together(TIME_DEFAULT_MS)
    name = _FUNCTIONS[0][0]
    try:
        module = _load(bare, text.encode("utf-8", "surrogatepass"))
        for name, least, most, names in _FUNCTIONS:
            count = _parameters(bare, module, name)
            if not least <= count <= most:
                raise JsThrow("TypeError", _unfit(name, count, least, most, names))
    except ValueError as e:
        raise JsThrow(
            "TypeError", f"proposed constitution does not export a function named {name}: {e}"
        ) from None
    finally:
        bare.vm.close()


def _load(bare: Interpreter, source: bytes) -> int:
    """The module, its body run. Raises ValueError."""
    try:
        module = bare.compile(MODULE, source)
    except JsError:
        raise ValueError(f"Failed to compile {MODULE}") from None
    try:
        bare.evaluate(module)
    except JsError as e:
        raise ValueError(f"Failed to execute {MODULE}: {e.message}") from None
    return module


def _parameters(bare: Interpreter, module: int, name: str) -> int:
    """Number of parameters of an exported function. Raises ValueError."""
    count = bare.parameters(module, name)
    if count is None:
        raise ValueError(f"Failed to find export '{name}' in module '{MODULE}'")
    if count < 0:
        raise ValueError(f"Export '{name}' of module '{MODULE}' is not a function")
    return count


def _unfit(name: str, count: int, least: int, most: int, names: str) -> str:
    given = f"{count} arg" if count == 1 else f"{count} args"
    if least == most:
        wanted = f"{least} arg" if least == 1 else f"{least} args"
    else:
        wanted = f"between {least} and {most} args"
    return f"proposed constitution exports function {name} with {given}, expected {wanted} {names}"


def _validate(host: Host, text: object) -> bool:
    if not isinstance(text, str):
        raise JsThrow("TypeError", "constitution is not a string")
    validate_constitution(text.partition("\0")[0])
    return True


ROWS: tuple[Row, ...] = (Row("ccf.gov", "validateConstitution", "v", _validate, pure=True),)
