"""pyccf.cli.app_test: the command `pyccf app test`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pyccf.appdev.bench import library_types
from pyccf.cli import app_test
from pyccf.cli.main import main
from support.samples import SAMPLES

SERVED = {"forwarding_required": "sometimes", "authn_policies": ["no_auth"]}
APP = {"endpoints": {"/x": {"get": {**SERVED, "js_module": "a.js", "js_function": "f"}}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "app.json").write_text(json.dumps(APP))
    (tmp_path / "src" / "a.js").write_text("export const f = () => ({});")
    write(tmp_path, "it('good one', () => {});")
    return tmp_path


def write(folder: Path, body: str, name: str = "a.test.js") -> None:
    (folder / "src" / name).write_text(f"import {{ it }} from '@pyccf/test'; {body}")


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was printed, whatever it took."""
    return re.sub(r"\(\d+ ms\)", "(N ms)", capsys.readouterr().out).splitlines()


def test_all_pass(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "test", str(folder)]) == 0
    assert lines(capsys) == [
        "src/a.test.js",
        "  ok      good one (N ms)",
        "1 passed",
    ]


def test_one_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, "it('bad', () => { console.warn('look'); throw Error('no'); });")
    assert main(["app", "test", str(folder)]) == 1
    assert lines(capsys)[1:] == [
        "  FAILED  bad (N ms)",
        "          Error: no",
        "              at <anonymous> (src/a.test.js:1)",
        "          [fail] look",
        "1 failed",
    ]


def test_a_broken_application_is_told_of_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "src" / "a.js").write_text("export const f = () => ({;")
    assert main(["app", "test", str(folder)]) == 1
    told = lines(capsys)
    assert told[0].startswith("The application cannot run as it is: a.js:1: SyntaxError:")
    assert told[-1] == "1 passed, but the application cannot run as it is"
    assert main(["app", "test", str(folder), "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem.startswith("a.js:1: SyntaxError:")


def test_files_are_named_from_there_or_from_here(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "it('other', () => {});", "b.test.js")
    monkeypatch.chdir(folder.parent)
    for file in ("src/b.test.js", f"{folder.name}/src/b.test.js", str(folder / "src/b.test.js")):
        assert main(["app", "test", folder.name, file]) == 0
        assert lines(capsys) == ["src/b.test.js", "  ok      other (N ms)", "1 passed"]
    (folder.parent / "c.test.js").write_text("")
    assert main(["app", "test", folder.name, "c.test.js"]) == 1
    assert "c.test.js is not in" in capsys.readouterr().err


def test_json_and_filter(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, "it('bad', () => { throw Error('no'); });", "b.test.js")
    write(folder, "syntax error", "c.test.js")
    assert main(["app", "test", str(folder), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [told[k] for k in ("passed", "failed", "skipped", "todo", "not_loaded")] == [
        *(1, 1, 0, 0, 1)
    ]
    assert told["files"][1]["tests"][0]["error"]["message"] == "Error: no"
    assert "SyntaxError" in told["files"][2]["error"]["message"]
    only = ["src/a.test.js", "src/b.test.js", "--filter", "GOOD"]
    assert main(["app", "test", str(folder), *only]) == 0
    assert "1 passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--filter", "nothing"], "No test is named like 'nothing'"),
        (["src/none.test.js"], ""),
    ],
)
def test_nothing_to_run(
    folder: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["app", "test", str(folder), *arguments]) == 1
    output = capsys.readouterr()
    assert told in output.err
    assert told or "src/none.test.js is not there" in output.out


def test_python_applications_have_other_tests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "test", str(SAMPLES / "logging-py")]) == 1
    assert "pytest" in capsys.readouterr().err


def test_watch_runs_again_after_a_change(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = 0

    def sleep(_: float) -> None:
        nonlocal slept
        slept += 1
        if slept == 2:
            write(folder, "syntax error")
        if slept == 3:
            (folder / "app.json").write_text("no")
        if slept == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(app_test.time, "sleep", sleep)
    assert main(["app", "test", str(folder), "--watch"]) == 130
    told = capsys.readouterr().out
    assert "1 passed" in told
    assert "1 file(s) not loaded" in told
    assert "app.json is not JSON" in told


def test_types(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "test", "--types"]) == 0
    assert capsys.readouterr().out == library_types()
    kept = SAMPLES / "logging-ts" / "types" / "pyccf-test.d.ts"
    assert kept.read_text() == library_types(), "renew it with pyccf app test --types"


def test_the_sample_passes_its_tests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "test", str(SAMPLES / "logging")]) == 0, capsys.readouterr().out


def test_tests_are_no_modules_of_the_application(folder: Path) -> None:
    from pyccf.cli.bundle import JsBundle, find_app

    found = find_app(folder)
    assert isinstance(found, JsBundle)
    assert [module["name"] for module in found.modules] == ["a.js"]
