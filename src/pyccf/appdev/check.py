"""What is wrong with scripts, found before a service is asked to take them.

A service says of a module that does not compile that it "could not be serialized", and of a
function that is not there nothing until somebody calls it. Here each problem comes with file and
line. Nothing is judged that depends on requests or tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing

from pyccf.apps.js.engine import NOT_A_FUNCTION, UNDEFINED_YET, Interpreter, JsError
from pyccf.apps.js.host.host import Host
from pyccf.apps.js.registry import BadMetadata, parse_metadata
from pyccf.codec.text import dump_json
from pyccf.kv.maps import AccessContext
from pyccf.types import Json

SCRIPTS = (".js", ".mjs")

_PLACE = re.compile(r":(\d+):\d+$")
"""Where in a source: line and column, at the end of the first line of a stack."""


class NoScript(Exception):
    """A source does not compile; `line` is where, if that is known."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def compile_script(name: str, source: str) -> None:
    """See that a script of governance compiles, which can import nothing. Raises NoScript."""
    modules = _Modules({name: source})
    try:
        modules.compile(name)
    except NoScript:
        if modules.asked:
            raise NoScript(f"It imports {modules.asked[0]}, and can import nothing", None) from None
        raise
    finally:
        modules.close()


def problems(modules: Mapping[str, str], endpoints: Mapping[str, Json]) -> list[str]:
    """What is wrong with an application: modules by name, endpoints as in app.json.

    Modules that do not compile, imports of what is not there, endpoints whose metadata cannot be
    used or whose function is not exported, or is none.
    """
    named = {name.lstrip("/"): text for name, text in modules.items()}
    wanted, of_metadata = _wanted(endpoints)
    of_modules: list[str] = []
    of_functions: list[str] = []
    for name in named:
        if name in wanted or name.endswith(SCRIPTS):
            with closing(_Modules(named)) as engine:
                try:
                    module = engine.link(name)
                except NoScript as error:
                    of_modules += _of_module(name, error, engine)
                else:
                    of_functions += _of_functions(name, wanted.get(name, ()), engine, module)
    return [*of_modules, *of_metadata, *of_functions]


def _wanted(
    endpoints: Mapping[str, Json],
) -> tuple[dict[str, list[tuple[str, str]]], list[str]]:
    """By module: endpoints and the functions they name. And what is wrong with metadata."""
    wanted: dict[str, list[tuple[str, str]]] = {}
    wrong = []
    for url, verbs in endpoints.items():
        for verb, metadata in verbs.items() if isinstance(verbs, dict) else ():
            endpoint = f"{verb.upper()} {url}"
            try:
                read = parse_metadata(dump_json(metadata))
            except BadMetadata as error:
                wrong.append(f"{endpoint}: {error}")
            else:
                wanted.setdefault(read.module.lstrip("/"), []).append((endpoint, read.function))
    return wanted, wrong


def _of_module(name: str, error: NoScript, engine: _Modules) -> Iterator[str]:
    missing = [other for other in engine.asked if not engine.has(other)]
    if error.line is not None:
        yield f"{name}:{error.line}: {error.message}"
    elif missing:
        yield f"{name} imports {missing[0]}, which is not in the bundle"
    elif engine.linking:
        yield f"{name}: {error.message}"
    # Else a module that it imports does not compile, which is told of that one.


def _of_functions(
    name: str, wanted: Iterable[tuple[str, str]], engine: _Modules, module: int
) -> Iterator[str]:
    for endpoint, function in wanted:
        found = engine.look(module, function)
        if found is None:
            yield f"{endpoint}: {name} does not export {function or 'anything'}"
        elif found == NOT_A_FUNCTION:
            yield f"{endpoint}: what {name} exports as {function} is not a function"


class _Modules:
    """An engine that knows some modules and nothing else: neither `ccf` nor `console`."""

    def __init__(self, named: Mapping[str, str]) -> None:
        self._named = named
        self.asked: list[str] = []
        """Modules that were imported."""
        self.linking = False
        """Whether all is compiled."""
        host = Host(AccessContext.APP_RW)
        host.load = self._load
        self._engine = Interpreter(host, ())

    def close(self) -> None:
        self._engine.vm.close()

    def has(self, name: str) -> bool:
        return name in self._named

    def _load(self, name: str) -> bytes | None:
        plain = name.lstrip("/")
        self.asked.append(plain)
        return self._source(plain) if plain in self._named else None

    def _source(self, name: str) -> bytes:
        return self._named[name].encode("utf-8", "surrogatepass")

    def compile(self, name: str) -> int:
        """Number of a module that compiles, with all it imports. Raises NoScript."""
        try:
            return self._engine.compile(name, self._source(name))
        except JsError as error:
            place = _PLACE.search((error.exact_trace or "").partition("\n")[0])
            raise NoScript(error.message, None if place is None else int(place[1])) from None

    def link(self, name: str) -> int:
        """The same, of one whose imports are exported where they come from. Raises NoScript.

        Its body runs; what it throws, without `ccf`, tells nothing.
        """
        module = self.compile(name)
        self.linking = True
        try:
            self._engine.evaluate(module)
        except JsError as error:
            if not error.timed_out:
                raise NoScript(error.message, None) from None
        return module

    def look(self, module: int, function: str) -> int | None:
        """What a linked module exports under a name, see `Interpreter.parameters`.

        UNDEFINED_YET if its body had to be stopped by force, after which nothing can be asked.
        """
        if self._engine.vm.broken:
            return UNDEFINED_YET
        return self._engine.parameters(module, function)
