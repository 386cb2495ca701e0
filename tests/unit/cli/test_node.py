"""pyccf.cli.node: CCF's options and exit codes."""

from __future__ import annotations

import sys
import types

import pytest

from pyccf.cli import node


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Arguments the node program would be run with."""
    calls: list[tuple[object, ...]] = []

    def main(*arguments: object) -> int:
        calls.append(arguments)
        return 7

    fake = types.ModuleType("pyccf.shell.run")
    fake.main = main  # type: ignore[attr-defined]
    import pyccf.shell

    monkeypatch.setitem(sys.modules, "pyccf.shell.run", fake)
    monkeypatch.setattr(pyccf.shell, "run", fake, raising=False)
    return calls


def test_defaults(started: list[tuple[object, ...]]) -> None:
    assert node.main(["-c", "a.json"]) == 7
    assert started == [("a.json", 0, "info", False, None, None)]


def test_all_options_in_both_forms(started: list[tuple[object, ...]]) -> None:
    node.main(
        [
            *("--config=a=b.json", "--config-timeout", "10s", "--check", "--log-level=Fail"),
            *("--app", "m:o", "--package=f"),
        ]
    )
    assert started == [("a=b.json", 10_000_000, "fail", True, "m:o", "f")]


def test_levels_by_number_and_the_last_option_counts(started: list[tuple[object, ...]]) -> None:
    node.main(["-c", "a", "--log-level", "0", "--log-level", "4", "-c", "b"])
    assert started == [("b", 0, "fatal", False, None, None)]


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        ([], 106, "--config is required"),
        (["--check"], 106, "--config is required"),
        (["--config"], 106, "needs a value"),
        (["-c", "a", "--colour"], 109, "--colour"),
        (["-c", "a", "--check=1"], 109, "--check=1"),
        (["-c", "a", "b"], 109, "b"),
        (["-c", "a", "--log-level", "loud"], 105, "loud"),
        (["-c", "a", "--log-level", "5"], 105, "5"),
        (["-c", "a", "--config-timeout", "10 parsecs"], 105, "parsecs"),
    ],
)
def test_exit_codes(
    arguments: list[str],
    code: int,
    problem: str,
    started: list[tuple[object, ...]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert node.main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2
    assert problem in captured.err
    assert started == []


def test_help(started: list[tuple[object, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    assert node.main(["--nonsense", "--help"]) == 109
    capsys.readouterr()
    assert node.main(["-h"]) == 0
    assert "--config-timeout TIME" in capsys.readouterr().out
    assert started == []
