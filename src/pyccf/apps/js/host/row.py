"""A native function as a row of a table (the letters are those of native/natives.c)."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import msgspec


class Style(IntEnum):
    """How a wrong number of arguments is worded; ANY accepts every number."""

    COMMA = 0
    PLAIN = 1
    ANY = 2


class Scope(IntEnum):
    """Where a function is offered: application endpoints, governance reading, `apply`, and
    application endpoints that name indexes."""

    APP = 1
    GOV_RO = 2
    GOV_RW = 4
    ALL = 7
    INDEXED = 8


class Row(msgspec.Struct, frozen=True):
    """One native function.

    `spec` has one letter per argument: s text by String(), b ArrayBuffer, i integer, t truth,
    v any value (UNDEFINED, None, bool, int, float, str, bytes or OTHER), o options of ccf.crypto
    (a dict), j JSON text, d text as the console shows it; a star after the first letter applies it
    to every argument. `pure` tells that the result depends on the arguments alone and nothing else
    happens: only then may a module body that calls it be run once for many requests.
    """

    path: str
    name: str
    spec: str
    function: Callable[..., object] | None
    """None: the function is part of the native engine."""
    pure: bool = False
    scope: int = Scope.ALL
    style: Style = Style.COMMA
    minimum: int = -1
    """Mandatory arguments; by default all."""
    length: int = -1
    """The function's `length`; by default the mandatory arguments."""
    usual: str = ""
    """The number of arguments in words, by default the number."""

    def native(self) -> tuple[object, ...]:
        """As the engine takes it."""
        most = len(self.spec)
        least = most if self.minimum < 0 else self.minimum
        length = least if self.length < 0 else self.length
        usual = self.usual or str(most)
        return (
            self.path,
            self.name,
            length,
            self.spec,
            usual,
            least,
            most,
            int(self.style),
            self.pure,
            self.function,
        )
