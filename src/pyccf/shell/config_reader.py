"""Reading one JSON object of a configuration, key by key, with errors that a person can act on.

A `Reader` is asked for each key it may hold, by kind; afterwards `done` refuses whatever nobody
asked for. Every refusal is a `ConfigError` with the full key on its first line and what is allowed
on its second. Knows nothing of what the keys mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import Enum
from typing import NoReturn, TypeVar

from pyccf.codec.text import parse_size, parse_time_us
from pyccf.errors import ConfigError
from pyccf.shell.config_schema import Address
from pyccf.types import Json

VALUE_SHOWN_MAX = 60
"""Characters of an offending value that an error message repeats."""
SIZE_FORM = "a string of an integer and an optional unit B, KB, MB, GB, TB, PB"
TIME_FORM = "a string of an integer and an optional unit us, ms, s, min, h"
ADDRESS_FORM = 'a string "host:port"'

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


def decode(text: str, name: str) -> dict[str, Json]:
    """The JSON object that `text` holds; `name` stands for it in errors. Raises ConfigError."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"Error parsing configuration file {name}: {error}", hint="The file must be JSON."
        ) from error
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: must be a JSON object, found {shown(value)}")
    return value


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def shown(value: Json) -> str:
    """A value as an error message repeats it, cut to VALUE_SHOWN_MAX characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_SHOWN_MAX else text[: VALUE_SHOWN_MAX - 3] + "..."


class Reader:
    """One object of the configuration: hands out its values by kind and notes which were asked for.

    Not `active` means that the object belongs to a command that is not run: types are judged, but
    nothing needs to be there, ranges and syntaxes are let pass and so are unknown keys.
    """

    def __init__(
        self,
        data: dict[str, Json],
        path: str,
        active: bool,
        ignored: list[str],
        present: bool = True,
    ) -> None:
        self._data = data
        self._path = path
        self._active = active
        self._ignored = ignored
        self._known: list[str] = []
        self.present = present

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def has(self, key: str) -> bool:
        self._known.append(key)
        return key in self._data

    def refuse(self, key: str, problem: str, allowed: str) -> NoReturn:
        raise ConfigError(
            f"{self._full(key)}: {problem}", hint=f"Allowed: {allowed}." if allowed else ""
        )

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self._unknown():
            where = self._path or "the configuration"
            if self._active:
                raise ConfigError(
                    f"{self._full(key)}: unknown key{self._meant(key)}",
                    hint=f"Allowed in {where}: {', '.join(sorted(self._known))}.",
                )

    def pass_over_unknown(self) -> None:
        """Note keys that nobody asked for and let them pass."""
        self._ignored.extend(self._full(key) for key in self._unknown())

    def section(self, key: str, *, required: bool = False, active: bool = True) -> Reader:
        value = self._get(key, dict, "an object", required)
        data: dict[str, Json] = {} if value is None else value
        return Reader(
            data, self._full(key), self._active and active, self._ignored, value is not None
        )

    def sections(self, key: str, *, required: bool = False) -> list[Reader]:
        values: list[Json] = self._get(key, list, "a list of objects", required) or []
        found = []
        for i, value in enumerate(values):
            if not isinstance(value, dict):
                self.refuse(f"{key}[{i}]", f"found {shown(value)}", "an object")
            found.append(Reader(value, self._full(f"{key}[{i}]"), self._active, self._ignored))
        return found

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        values: list[Json] = self._get(key, list, "a list of strings", required) or []
        found = []
        for i, value in enumerate(values):
            if not isinstance(value, str):
                self.refuse(f"{key}[{i}]", f"found {shown(value)}", "a string")
            found.append(value)
        return tuple(found)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, str, "a string", default is None)
        return (default or "") if value is None else value

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, bool, "true or false", False)
        return default if value is None else value

    def integer(
        self, key: str, default: int | None, *, least: int = 0, most: int | None = None
    ) -> int:
        allowed = f"an integer, at least {least}"
        if most is not None:
            allowed = f"an integer from {least} to {most}"
        value = self._get(key, int, allowed, default is None)
        if value is None:
            return default or 0
        if self._active and (value < least or (most is not None and value > most)):
            self.refuse(key, f"{value} is too {'small' if value < least else 'large'}", allowed)
        return value

    def choice(self, key: str, kind: type[E], default: E | None, *, required: bool = False) -> E:
        allowed = ", ".join(f'"{member.value}"' for member in kind)
        value = self._get(key, str, allowed, default is None or required)
        for member in kind:
            if member.value == value:
                return member
        if value is not None and self._active:
            self.refuse(key, f"found {shown(value)}", allowed)
        return default if default is not None else next(iter(kind))

    def size(self, key: str, default: int, *, least: int = 0, most: int | None = None) -> int:
        value = self._convert(key, parse_size, SIZE_FORM)
        if value is None:
            return default
        if self._active and (value < least or (most is not None and value > most)):
            self.refuse(key, f"{value} bytes is out of range", f"{least} to {most} bytes")
        return value

    def time_us(self, key: str, default: int) -> int:
        value = self._convert(key, parse_time_us, TIME_FORM)
        return default if value is None else value

    def time_ms(self, key: str, default: int = 0) -> int:
        value = self._convert(key, _parse_time_ms, TIME_FORM)
        return default if value is None else value

    def address(self, key: str) -> Address:
        value = self._convert(key, Address.parse, ADDRESS_FORM, required=True)
        if value is None:
            return Address("", 0)  # an address that no command in force needs
        if not value.host and self._active:
            self.refuse(key, "the host is missing", ADDRESS_FORM)
        return value

    def optional_address(self, key: str) -> Address | None:
        """An address; none when absent or empty."""
        if self._data.get(key) == "":
            self._known.append(key)
            return None
        return self.address(key) if self.has(key) else None

    def nullable(self, key: str, read: Callable[[str], T], default: T | None = None) -> T | None:
        """A value that may be null: `default` when absent, None when null."""
        if not self.has(key):
            return default
        return None if self._data[key] is None else read(key)

    def _convert(
        self, key: str, convert: Callable[[str], T], form: str, required: bool = False
    ) -> T | None:
        text = self._get(key, str, form, required)
        if text is not None:
            try:
                return convert(text)
            except ValueError as error:
                if self._active:
                    self.refuse(key, f"found {shown(text)}: {error}", form)
        return None

    def _get(self, key: str, kind: type[T], allowed: str, required: bool) -> T | None:
        self._known.append(key)
        if key not in self._data:
            if required and self._active:
                self.refuse(key, "missing", allowed)
            return None
        value = self._data[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.refuse(key, f"found {shown(value)}", allowed)
        return value

    def _full(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _unknown(self) -> list[str]:
        known = set(self._known)
        return [key for key in self._data if key not in known]

    def _meant(self, key: str) -> str:
        from difflib import get_close_matches  # only needed to word an error

        close = get_close_matches(key, self._known, n=1)
        return f" (did you mean {close[0]}?)" if close else ""


def _parse_time_ms(text: str) -> int:
    return -(-parse_time_us(text) // 1000)
