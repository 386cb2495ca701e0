"""Runs files of unit tests in the engine and says what became of each test.

Promises run to completion; a promise that nothing can settle any more fails its test, as does one
that takes too long. After each test the tables are as they were before it, after each `describe`
as they were before its `beforeAll`. Each file has an interpreter and tables of its own. Traces name
the sources where modules have maps, and leave out the frames of the test library.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from pyccf.appdev.bench import Bench, furnished
from pyccf.appdev.memory import LogLine, MemoryService
from pyccf.apps.js.engine import Interpreter, JsError, Limits
from pyccf.apps.js.host.host import Host
from pyccf.apps.js.traces import Traces
from pyccf.codec.text import load_json
from pyccf.kv.maps import AccessContext
from pyccf.types import Json

TIMEOUT_MS: Final = 5_000
"""How long one test may take, by default."""
HEAP_BYTES: Final = 512 << 20
JOBS_AT_ONCE: Final = 10_000

PASSED, FAILED, SKIPPED, TODO = "passed", "failed", "skipped", "todo"


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a test failed. `expected` and `actual` are there if a matcher did not hold."""

    message: str
    trace: str = ""
    expected: str | None = None
    actual: str | None = None


class CaseResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """One test: its name under the names of its suites, and what became of it."""

    path: tuple[str, ...]
    status: str
    ms: int = 0
    error: Failure | None = None
    output: list[LogLine] = []


class FileResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file; `error` is there if it could not be loaded."""

    file: str
    tests: list[CaseResult] = []
    error: Failure | None = None

    @property
    def failed(self) -> bool:
        """Whether something in it is wrong."""
        return self.error is not None or any(test.status == FAILED for test in self.tests)


class _Stopped(Exception):
    """The engine had to be stopped by force: nothing more can run in this file."""


def run_file(
    folder: Path,
    file: str,
    modules: Mapping[str, str],
    endpoints: Mapping[str, Json],
    *,
    wanted: str = "",
    timeout_ms: int = TIMEOUT_MS,
) -> FileResult:
    """Run one file, given by its path from the application's folder.

    `wanted` leaves only tests whose full name contains it. Raises LocalError when the application
    cannot be installed.
    """
    service = MemoryService(modules, endpoints)
    bench = Bench(service, folder, modules)
    interpreter, runner = furnished(bench)
    interpreter.limit(Limits(heap_bytes=HEAP_BYTES, time_ms=timeout_ms))
    run = _Run(interpreter, runner, bench, wanted.lower(), timeout_ms)
    try:
        failure = run.load(file)
        if failure is not None:
            return FileResult(file, error=failure)
        return FileResult(file, run.all())
    except _Stopped:
        return FileResult(file, error=Failure("The engine had to be stopped while it was loaded"))
    except JsError as e:
        # The file took away what the library itself is made of.
        return FileResult(file, error=Failure(f"The test library cannot go on: {e.message}"))
    finally:
        interpreter.vm.close()


class _Run:
    """One file at work."""

    def __init__(
        self, interpreter: Interpreter, runner: int, bench: Bench, wanted: str, timeout_ms: int
    ) -> None:
        self._interpreter = interpreter
        self._runner = runner
        self._bench = bench
        self._service = bench.service
        self._wanted = wanted
        self._timeout_ms = timeout_ms
        self._traces = Traces()

    # -- steps ----------------------------------------------------------------------------------

    def load(self, file: str) -> Failure | None:
        """Load the file; why that failed, if it did."""
        source = self._bench.find(file)
        if source is None:
            return Failure(f"{file} is not there")
        try:
            self._interpreter.compile(file, source)
        except JsError as e:
            return self._uncompiled(e)
        return self._step("load", file)

    def _uncompiled(self, error: JsError) -> Failure:
        """A module that cannot be imported gives the engine's caller no reason: find it."""
        if error.message != "null":
            return self._failure(error.message, error.trace or "")
        if self._bench.missing is not None:
            name = self._bench.missing
            return Failure(
                f"There is no module {name}. Imports name files, relative to the importing one and"
                " with their extension; packages must be bundled."
            )
        for name, source in self._bench.loaded.items():
            host = Host(AccessContext.APP_RW)
            host.load = lambda _: b""
            alone = Interpreter(host, ())
            try:
                alone.compile(name, source)
            except JsError as e:
                if e.message == "null":
                    return Failure(f"{name} imports a path outside of the application's folder")
                return self._failure(f"{e.message} (in {name})", e.trace or "")
            finally:
                alone.vm.close()
        return Failure("A module could not be imported")

    def _step(self, kind: str, argument: str | int) -> Failure | None:
        """One step of the library, its promises included."""
        vm = self._interpreter.vm
        deadline = time.monotonic() + self._timeout_ms / 1000
        try:
            vm.call(self._runner, "begin", (kind, argument), None)
            while True:
                ran = vm.jobs(JOBS_AT_ONCE)
                text = vm.call(self._runner, "ended", (), ())[2]
                if text:
                    return self._outcome(load_json(text))
                if ran == 0:
                    return Failure(
                        "A promise was awaited that nothing will ever settle: there are no timers"
                        " and no network here."
                    )
                if time.monotonic() > deadline:
                    return Failure(self._too_long())
        except JsError as e:
            if vm.broken:
                raise _Stopped from None
            if e.timed_out:
                return self._failure(self._too_long(), e.trace or "")
            return self._failure(e.message, e.trace or "")

    def _too_long(self) -> str:
        return f"Took longer than {self._timeout_ms} ms"

    def _outcome(self, value: Json) -> Failure | None:
        assert isinstance(value, dict), "the library answers with an object"
        error = value.get("error")
        if not isinstance(error, dict):
            return None
        name, message = str(error.get("name", "")), str(error.get("message", ""))
        expected, actual = error.get("expected"), error.get("actual")
        return self._failure(
            message if name in ("", "Mismatch") else f"{name}: {message}",
            str(error.get("stack", "")),
            expected if isinstance(expected, str) else None,
            actual if isinstance(actual, str) else None,
        )

    def _failure(
        self, message: str, stack: str, expected: str | None = None, actual: str | None = None
    ) -> Failure:
        mapped = self._traces.mapped(stack, stack, self._bench.loaded.get)
        frames = [line for line in mapped.split("\n") if line.strip() and "@pyccf/" not in line]
        return Failure(message, "\n".join(frames), expected, actual)

    # -- the tests ------------------------------------------------------------------------------

    def all(self) -> list[CaseResult]:
        """Every test of the file, in order."""
        plan = load_json(self._interpreter.vm.call(self._runner, "planned", (), ())[2])
        assert isinstance(plan, dict), "the library answers with an object"
        results: list[CaseResult] = []
        try:
            self._suite({**plan, "id": 0}, (), results)
        except _Stopped:
            reason = Failure("The engine had to be stopped here; nothing after it was run")
            results.append(CaseResult(("(the file)",), FAILED, error=reason))
        return results

    def _suite(
        self, suite: dict[str, Json], path: tuple[str, ...], results: list[CaseResult]
    ) -> None:
        waiting = [one for one in _tests(suite, path) if self._is_wanted(*one)]
        mark = self._marked()
        broken: Failure | None = None
        if any(test["mode"] == "run" for test, _ in waiting):
            broken = self._hooks("beforeAll", suite, path, results)
        for item in _items(suite):
            name = (*path, str(item["name"]))
            if "items" in item and broken is None:
                self._suite(item, name, results)
            elif "items" in item:
                for test, full in _tests(item, name):
                    self._test(test, full, broken, results)
            else:
                self._test(item, name, broken, results)
        if broken is None and any(test["mode"] == "run" for test, _ in waiting):
            self._hooks("afterAll", suite, path, results)
        self._undo(mark)

    def _hooks(
        self, kind: str, suite: dict[str, Json], path: tuple[str, ...], results: list[CaseResult]
    ) -> Failure | None:
        first = len(self._service.node.lines)
        identifier = suite["id"]
        assert isinstance(identifier, int), "the library numbers suites"
        failure = self._step(kind, identifier)
        if failure is not None:
            output = self._service.node.lines[first:]
            results.append(CaseResult((*path, f"({kind})"), FAILED, error=failure, output=output))
        return failure

    def _test(
        self,
        test: dict[str, Json],
        name: tuple[str, ...],
        broken: Failure | None,
        results: list[CaseResult],
    ) -> None:
        if not self._is_wanted(test, name):
            return
        mode = test["mode"]
        if mode != "run":
            results.append(CaseResult(name, TODO if mode == "todo" else SKIPPED))
            return
        if broken is not None:
            told = Failure("Not run, because beforeAll failed")
            results.append(CaseResult(name, FAILED, error=told))
            return
        mark = self._marked()
        first = len(self._service.node.lines)
        started = time.monotonic()
        identifier = test["id"]
        assert isinstance(identifier, int), "the library numbers tests"
        failure = self._step("test", identifier)
        ms = int((time.monotonic() - started) * 1000)
        output = self._service.node.lines[first:]
        status = PASSED if failure is None else FAILED
        results.append(CaseResult(name, status, ms, failure, output))
        self._undo(mark)

    def _is_wanted(self, test: dict[str, Json], name: tuple[str, ...]) -> bool:
        return self._wanted in " ".join(name).lower()

    def _marked(self) -> int:
        self._bench.settle()
        return self._service.mark()

    def _undo(self, mark: int) -> None:
        self._service.back_to(mark)
        self._service.node.fetching = 0
        self._bench.begin()


def _items(suite: dict[str, Json]) -> Iterator[dict[str, Json]]:
    items = suite["items"]
    assert isinstance(items, list), "the library lists items"
    for item in items:
        assert isinstance(item, dict), "the library describes items"
        yield item


def _tests(
    suite: dict[str, Json], path: tuple[str, ...]
) -> Iterator[tuple[dict[str, Json], tuple[str, ...]]]:
    """Tests of a suite and of those in it, with their names."""
    for item in _items(suite):
        name = (*path, str(item["name"]))
        if "items" in item:
            yield from _tests(item, name)
        else:
            yield item, name
