"""`pyccf app test`: an application's own unit tests, in the engine of a service."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pyccf.cli.bundle import PythonApp, find_app, problems_of
from pyccf.cli.options import json_option
from pyccf.cli.output import Output
from pyccf.errors import LocalError, PyccfError

if TYPE_CHECKING:
    from pyccf.appdev.testing import CaseResult, FileResult

WATCH_S = 0.5
_MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped", "todo": "todo"}


@click.command("test")
@click.argument("app_dir", default=".")
@click.argument("files", nargs=-1)
@click.option("--filter", "wanted", default="", metavar="TEXT", help="Only tests so named.")
@click.option(
    "--timeout",
    "timeout_ms",
    type=click.IntRange(1),
    default=5000,
    metavar="MS",
    help="How long one test may take (default 5000).",
)
@click.option("--watch", is_flag=True, help="Run again whenever a file changes.")
@click.option("--types", is_flag=True, help="Print TypeScript declarations of @pyccf/test.")
@json_option
def command(
    app_dir: str,
    files: tuple[str, ...],
    wanted: str,
    timeout_ms: int,
    watch: bool,
    types: bool,
    out: Output,
) -> int:
    """Run the unit tests of the JavaScript application in APP_DIR.

    Tests are in files named *.test.js or *.test.mjs, or in the FILES given; they import describe,
    it, expect and more from "@pyccf/test". They run in the engine of a service over tables in
    memory, without a service and without network. The exit code is 0 if all tests passed and a
    service could run the application.
    """
    from pyccf.appdev import bench

    if types:
        sys.stdout.write(bench.library_types())
        return 0
    folder = Path(app_dir)
    if not watch:
        return _run(folder, files, wanted, timeout_ms, out)
    return _watch(folder, files, wanted, timeout_ms, out)


def _run(folder: Path, files: Sequence[str], wanted: str, timeout_ms: int, out: Output) -> int:
    from pyccf.appdev.discover import test_files
    from pyccf.appdev.testing import run_file

    app = find_app(folder)
    if isinstance(app, PythonApp):
        raise LocalError(
            f"{folder} holds a Python application", hint="Test it with pytest, as any module."
        )
    modules = {module["name"]: module["module"] for module in app.modules}
    endpoints = app.metadata["endpoints"]
    assert isinstance(endpoints, dict), "find_app checked this"
    problems = problems_of(app)
    for problem in problems:
        out.line(f"The application cannot run as it is: {problem}")
    results = []
    for file in [_below(folder, file) for file in files] or test_files(folder):
        result = run_file(folder, file, modules, endpoints, wanted=wanted, timeout_ms=timeout_ms)
        results.append(result)
        _tell(result, out)
    return _summary(results, problems, wanted, out)


def _below(folder: Path, file: str) -> str:
    """Path from the folder of a file that may also be given from here, as a shell completes it."""
    path = Path(file)
    if not path.exists() or ((folder / path).exists() and not path.is_absolute()):
        return file
    path = path.resolve()
    if not path.is_relative_to(folder.resolve()):
        raise LocalError(f"{file} is not in {folder}", hint="Give files of the application.")
    return path.relative_to(folder.resolve()).as_posix()


def _watch(folder: Path, files: Sequence[str], wanted: str, timeout_ms: int, out: Output) -> int:
    """Run, and again after each change, until interrupted."""
    from pyccf.appdev.discover import fingerprint

    while True:
        before = fingerprint(folder)
        try:
            _run(folder, files, wanted, timeout_ms, out)
        except PyccfError as error:
            out.line(error.explain())
        out.line("Waiting for changes; Ctrl-C ends this.")
        while fingerprint(folder) == before:
            time.sleep(WATCH_S)


def _tell(result: FileResult, out: Output) -> None:
    out.line(result.file)
    if result.error is not None:
        out.line(f"  could not be loaded: {result.error.message}")
        _indented(result.error.trace, out)
    for test in result.tests:
        out.line(f"  {_MARKS[test.status]:<7} {' > '.join(test.path)} ({test.ms} ms)")
        if test.error is not None:
            _tell_failure(test, out)


def _tell_failure(test: CaseResult, out: Output) -> None:
    assert test.error is not None
    _indented(test.error.message, out)
    _indented(test.error.trace, out)
    for line in test.output:
        _indented(f"[{line.level}] {line.text}", out)


def _indented(text: str, out: Output) -> None:
    for line in text.splitlines():
        out.line(f"          {line}")


def _summary(results: list[FileResult], problems: list[str], wanted: str, out: Output) -> int:
    counts = dict.fromkeys(_MARKS, 0)
    for result in results:
        for test in result.tests:
            counts[test.status] += 1
    broken = sum(result.error is not None for result in results)
    out.result({"files": results, **counts, "not_loaded": broken, "problems": problems})
    told = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    if broken:
        told += f"{', ' if told else ''}{broken} file(s) not loaded"
    if not told:
        raise LocalError(
            f"No test is named like {wanted!r}" if wanted else "The files define no tests",
            hint="Tests are defined with it(name, function).",
        )
    if problems:
        told += ", but the application cannot run as it is"
    out.line(told)
    return 1 if problems or broken or counts["failed"] else 0
