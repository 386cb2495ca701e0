"""`pyccf constitution`: see the sample constitutions, and test one's own before proposing it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from click.shell_completion import CompletionItem

from pyccf import constitutions
from pyccf.cli.options import json_option
from pyccf.cli.output import Output
from pyccf.cli.scripts import checked
from pyccf.constitutions.folder import FILES, TESTS, Parts, locate, parts, test_files
from pyccf.errors import LocalError

if TYPE_CHECKING:
    from pyccf.constitutions.cases import Result

_LINE = re.compile(r"public:ccf\.gov\.constitution\[0\]:(\d+)")
"""A line of a constitution in a stack trace."""


@click.group("constitution")
def command() -> None:
    """See the sample constitutions, and test one's own."""


@command.command("test")
@click.argument("folder", metavar="DIR")
@click.option("--only", metavar="TEXT", help="Run the cases alone whose name holds this.")
@json_option
def test(folder: str, only: str | None, out: Output) -> int:
    """Run the tests of the constitution in DIR, offline, in the engine of a node.

    The constitution is made of all *.js in DIR in order of their names, or of the files that
    constitution.json lists. Tests are DIR/tests/*.json and DIR/*.test.json: members, proposals and
    votes, and what must come of them. Exit code 1 says that something came out otherwise.
    """
    from pyccf.constitutions import cases

    place = Path(folder)
    files = parts(place)
    text = checked(files)
    results = []
    for file in test_files(place):
        suite = cases.read_suite(file)
        chosen = [case for case in suite.cases if only is None or only in case.name]
        for case in chosen:
            result = _placed(cases.run_case(text, file, suite, case), files)
            results.append(result)
            _tell(out, result)
    if not results:
        raise LocalError("No case was run", hint="See the names of the cases, or leave --only out.")
    failed = sum(not result.passed for result in results)
    out.result({"passed": len(results) - failed, "failed": failed, "cases": results})
    out.line(f"{len(results) - failed} passed, {failed} failed.")
    return 1 if failed else 0


def _placed(result: Result, files: Parts) -> Result:
    """The result with lines of the whole constitution as lines of its files."""
    problem = _LINE.sub(lambda found: locate(files, int(found[1])), result.problem.rstrip())
    return msgspec.structs.replace(result, problem=problem)


def _tell(out: Output, result: Result) -> None:
    mark = "ok  " if result.passed else "FAIL"
    out.line(f"{mark}  {result.file}: {result.case}")
    if result.passed:
        return
    where = f"step {result.step}" if result.step else "the beginning"
    out.line(f"      {where}: {result.problem}".replace("\n", "\n      "))
    for line in result.diff.splitlines():
        out.line(f"        {line}")
    for line in result.log:
        out.line(f"        log {line}")


@command.command("show")
@click.argument("name", required=False, shell_complete=lambda _c, _p, text: _names(text))
@click.option("--out", "folder", metavar="DIR", help="Write its files and tests there.")
@click.option(
    "--with",
    "extras",
    multiple=True,
    type=click.Choice(list(constitutions.EXTRAS)),
    help="Further actions to take up; may be repeated.",
)
@json_option
def show(name: str | None, folder: str | None, extras: tuple[str, ...], out: Output) -> None:
    """Print the sample constitution NAME, or write it to a folder; without NAME, list them.

    A folder is written ready for changes: `pyccf constitution test DIR` runs its tests.
    """
    if name is None:
        out.result([{"name": one, "about": about} for one, about in constitutions.ABOUT.items()])
        rows = list(constitutions.ABOUT.items())
        out.table(("constitution", "how it decides"), rows, "There are none.")
        return
    parts = constitutions.sample(name, *extras)
    if folder is None:
        text = "\n".join(part for _, part in parts)
        out.result({"name": name, "files": [file for file, _ in parts], "text": text})
        out.line(text)
        return
    # Tests of further actions vote, for which nothing is left where all is accepted at once.
    tested = (name,) if name == constitutions.AT_ONCE else (name, *dict.fromkeys(extras))
    tests = [test for one in tested for test in constitutions.tests(one)]
    written = _write(Path(folder), parts, tests)
    out.result({"name": name, "files": written})
    out.line(f"Wrote {len(written)} files to {folder}. Test it: pyccf constitution test {folder}")


def _names(beginning: str) -> list[CompletionItem]:
    """Sample constitutions that begin so, for the shell."""
    return [
        CompletionItem(name, help=about)
        for name, about in constitutions.ABOUT.items()
        if name.startswith(beginning)
    ]


def _write(folder: Path, parts: list[tuple[str, str]], tests: list[tuple[str, str]]) -> list[str]:
    """Write parts and tests, and the list of the parts; nothing that exists is replaced."""
    listed = [file.replace("/", "_") for file, _ in parts]
    document = msgspec.json.format(msgspec.json.encode({"files": listed}), indent=2).decode()
    files = dict(zip(listed, (text for _, text in parts), strict=True))
    files[FILES] = document + "\n"
    files |= {f"{TESTS}/{test_name}": text for test_name, text in tests}
    try:
        for path in (folder, folder / TESTS):
            path.mkdir(parents=True, exist_ok=True)
        for file in files:
            if (folder / file).exists():
                raise LocalError(
                    f"{folder / file} exists already", hint="Give an empty or a new folder."
                )
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise LocalError(f"Could not write to {folder}: {error.strerror}") from error
    return list(files)
