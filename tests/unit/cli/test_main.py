"""pyccf.cli.main: versions, help, and errors in two lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pyccf.cli import main as program
from support.cli import Run

VERSION = "CCF host: ccf-7.0.0-dev5\nPlatform: Virtual\n"


@pytest.mark.parametrize(
    "arguments", [["--version"], ["-v"], ["node", "--version"], ["node", "-v"]]
)
def test_version(run: Run, arguments: list[str]) -> None:
    assert run(*arguments) == (0, VERSION, "")


def test_help_lists_every_command_without_importing_it(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    names = [line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line]
    assert names == [
        *("node", "sandbox", "network", "key", "app", "proposal", "constitution", "member"),
        *("recover", "ledger", "receipt", "call"),
    ]


def test_no_arguments_show_help(run: Run) -> None:
    code, out, _ = run()
    assert code == 2
    assert "sandbox" in out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nonsense"], "nonsense"),
        (["non\x1b[2Jsense"], r"non\x1b[2Jsense"),
        (["key", "new"], "NAME"),
        (["call", "/x", "-X", "ü", "--url", "x", "--service-cert", "c"], "not an HTTP method"),
        (["key", "new", "a", "--nonsense"], "nonsense"),
        (["key", "new", "a", "--curve", "p1"], "p1"),
        (["proposal", "create"], "FILE or --action"),
        (["proposal", "create", "f", "--args", "1"], "--args belongs"),
    ],
)
def test_a_wrong_call_is_two_lines(run: Run, arguments: list[str], problem: str) -> None:
    code, out, err = run(*arguments, *(["--url", "x"] if "create" in arguments else []))
    assert (code, out) == (2, "") or "create" in arguments
    if "create" in arguments:
        code, out, err = run(
            *arguments, "--url", "https://x", "--service-cert", "c", "--cert", "c", "--key", "k"
        )
        assert (code, out) == (2, "")
    assert len(err.splitlines()) == 2
    assert err.startswith("Error: ")
    assert problem in err


def test_a_failure_is_two_lines(run: Run, tmp_path: Path) -> None:
    assert run("key", "new", "a", "--out", tmp_path).code == 0
    code, out, err = run("key", "new", "a", "--out", tmp_path)
    assert (code, out) == (1, "")
    assert err.splitlines()[0].endswith("a_privk.pem exists already and is not replaced")
    assert len(err.splitlines()) == 2


def test_a_full_disk_is_two_lines(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "pyccf.cli.main", "key", "new", "a", "--json"]
        ran = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False
        )
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[0].startswith("Error: Could not write the output: No space left")
    assert len(ran.stderr.splitlines()) == 2


def test_an_error_without_a_hint_still_has_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert program._fail("a\nb", "", 1) == 1
    assert capsys.readouterr().err == "Error: a b\nSee: pyccf --help\n"


def test_output_cut_short_is_no_traceback() -> None:
    """`pyccf --help | head -0`: the reader goes away, we end quietly."""
    code = "import sys; from pyccf.cli.main import main; sys.exit(main(['key', '--help']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    process.wait(20)
    assert b"Traceback" not in error


def test_a_node_starts_without_the_machinery_of_other_commands() -> None:
    """Neither click nor rich nor the HTTP client is imported on the way to a node."""
    code = (
        "import sys; from pyccf.cli.main import main; code = main(['node', '--help']);"
        "import pyccf.shell.config, pyccf.observe.log;"
        "print(sorted({'click', 'rich', 'httpx2', 'ssl', 'asyncio'} & set(sys.modules)), code)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20
    )
    assert ran.stdout.splitlines()[-1] == "[] 0"
