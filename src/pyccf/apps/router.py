"""Endpoints and how a request finds its own.

An endpoint is keyed by (path template, verb). Exact paths win; otherwise exactly one template of
the verb must match (spec: http-api.md §1.2, §3). A `Registry` is a frontend's table of built-in
endpoints; apps put a dynamic lookup in front of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from pyccf.http.methods import VERBS
from pyccf.types import Json

if TYPE_CHECKING:
    from pyccf.apps.auth import Policy
    from pyccf.apps.context import Context


class Mode(Enum):
    """What a handler may do with the key-value store."""

    READWRITE = "readwrite"
    READONLY = "readonly"
    HISTORICAL = "historical"
    COMMAND = "command"
    """Opens no table; its answers carry no transaction id of their own."""


class Forwarding(Enum):
    """Whether a node that is not primary passes a request on."""

    SOMETIMES = "sometimes"
    ALWAYS = "always"
    NEVER = "never"


class Redirection(Enum):
    """Where a node sends the client, on interfaces configured to redirect."""

    NONE = "none"
    TO_PRIMARY = "to_primary"
    TO_BACKUP = "to_backup"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One verb on one path template, and everything the frontend must know before running it."""

    verb: str
    path: str
    """Template without the frontend's prefix, e.g. /log/{id}."""
    execute: Callable[[Context], None]
    mode: Mode = Mode.READWRITE
    forwarding: Forwarding = Forwarding.ALWAYS
    redirection: Redirection = Redirection.TO_PRIMARY
    auth: tuple[Policy, ...] = ()
    hidden: bool = False
    """Not listed in the OpenAPI document."""
    openapi: dict[str, Json] | None = None
    """Operation object of the OpenAPI document, or None for a generated minimum."""


class AmbiguousPath(Exception):
    """Several templates match one path; the text lists them (spec: http-api.md §1.2)."""

    def __init__(self, path: str, templates: Iterable[str]) -> None:
        listed = "".join(f"\n  {t}" for t in templates)
        super().__init__(f"Multiple potential matches for path: {path}{listed}")


_PARAM = re.compile(r"\{([^}]*)\}")
_CERTAIN = re.compile(r"[A-Za-z0-9/_~:@!&',;=%-]?").fullmatch
"""What stands for itself in a pattern: a parameter that it follows ends in one place only."""
MATCH_STEPS_MAX = 4_000_000
"""How often a path may be divided anew among parameters that may end in many places (0.05 s)."""


def _length_max(uncertain: int) -> int:
    """The longest path to compare with a template of so many such parameters."""
    parts = uncertain + 1
    return int((MATCH_STEPS_MAX * math.factorial(parts)) ** (1 / parts))


def compile_template(template: str) -> re.Pattern[str] | None:
    """Pattern of a path template, or None when it has no parameter.

    `{name}` stands for one or more characters other than "/", nor the character that follows the
    closing brace; the rest is used as it is (spec: http-api.md §1.2), so that a dot is any
    character. Where that lets a path match in very many ways, long ones do not match. Raises
    ValueError for an unclosed brace, a name given twice, or a rest that is no pattern.
    """
    if "{" not in template:
        return None
    out: list[str] = []
    names: list[str] = []
    rest = template
    uncertain = 0
    while True:
        start = rest.find("{")
        if start < 0:
            out.append(rest)
            break
        end = rest.find("}", start)
        if end < 0:
            raise ValueError(f"Invalid templated path, missing closing curly bracket: {template}")
        out.append(rest[:start])
        name = rest[start + 1 : end]
        if name in names:
            raise ValueError(f"Duplicate templated path parameter: {name}")
        following = rest[end + 1 : end + 2]
        uncertain += _CERTAIN(following) is None
        stop = "/" if following in ("", "/") else "/" + re.escape(following)
        out.append(f"(?P<p{len(names)}>[^{stop}]+)")
        names.append(name)
        rest = rest[end + 1 :]
    if uncertain:
        out.insert(0, f"(?=.{{0,{_length_max(uncertain)}}}\\Z)")
    try:
        return re.compile("".join(out))
    except (re.error, RecursionError, OverflowError) as e:
        raise ValueError(f"Invalid templated path {template}: {e}") from None


def template_names(template: str) -> tuple[str, ...]:
    """Parameter names of a template in order."""
    return tuple(_PARAM.findall(template))


_VERB_ORDER = {verb: i for i, verb in enumerate(VERBS)}


class Templates:
    """A set of endpoints of any kind, looked up by verb and path."""

    def __init__(self) -> None:
        self._exact: dict[tuple[str, str], Endpoint] = {}
        self._templated: dict[str, list[tuple[re.Pattern[str], tuple[str, ...], Endpoint]]] = {}

    def add(self, endpoint: Endpoint) -> None:
        """Install an endpoint; a later one with the same verb and path replaces the earlier."""
        pattern = compile_template(endpoint.path)
        if pattern is None:
            self._exact[endpoint.verb, endpoint.path] = endpoint
            return
        rows = self._templated.setdefault(endpoint.verb, [])
        rows[:] = [row for row in rows if row[2].path != endpoint.path]
        rows.append((pattern, template_names(endpoint.path), endpoint))

    def find(self, verb: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint and its raw path parameters; None if there is none.

        Raises AmbiguousPath when several templates match.
        """
        exact = self._exact.get((verb, path))
        if exact is not None:
            return exact, {}
        hits = [
            (endpoint, dict(zip(names, match.groups(), strict=True)))
            for pattern, names, endpoint in self._templated.get(verb, ())
            if (match := pattern.fullmatch(path))
        ]
        if len(hits) > 1:
            raise AmbiguousPath(path, [endpoint.path for endpoint, _ in hits])
        return hits[0] if hits else None

    def verbs(self, path: str) -> set[str]:
        """All verbs registered for this path, exactly or by template."""
        found = {verb for verb, p in self._exact if p == path}
        for verb, rows in self._templated.items():
            if any(pattern.fullmatch(path) for pattern, _, _ in rows):
                found.add(verb)
        return found

    def all(self) -> list[Endpoint]:
        """Every endpoint, by path and verb."""
        rows = [row[2] for rows in self._templated.values() for row in rows]
        return sorted([*self._exact.values(), *rows], key=lambda e: (e.path, e.verb))


def allow_header(verbs: Iterable[str]) -> str:
    """Value of the `allow` header: OPTIONS first, the rest in the parser's order."""
    return ", ".join(["OPTIONS", *sorted(verbs, key=lambda v: _VERB_ORDER.get(v, len(VERBS)))])
