"""pyccf.cli.completion: what shells are told; bash is asked as a person asks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pyccf import constitutions
from pyccf.cli.main import main
from support.programs import program


def complete(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> list[str]:
    monkeypatch.setenv("_PYCCF_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    with pytest.raises(SystemExit):
        main([])
    return [line for line in capsys.readouterr().out.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("pyccf prop", ["plain,proposal"]),
        ("pyccf nothing", []),
        ("pyccf app deploy sam", ["file,sam"]),
        ("pyccf ledger verify ", ["file,"]),
        ("pyccf call --cert ", ["file,"]),
        ("pyccf call --nothing", []),
        ("pyccf proposal new set_user --cert ", ["file,"]),
        ("pyccf constitution show ", [f"plain,{name}" for name in constitutions.ABOUT]),
        ("pyccf proposal prepare p.json --type sta", ["plain,state_digest"]),
    ],
)
def test_what_a_shell_is_told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    told: list[str],
) -> None:
    assert complete(monkeypatch, capsys, words) == told


def test_bash_takes_it(tmp_path: Path) -> None:
    """The script that docs/governance.md has people evaluate."""
    (tmp_path / "pyccf").write_text(f'#!/bin/sh\nexec {sys.executable} -m pyccf.cli.main "$@"\n')
    (tmp_path / "pyccf").chmod(0o755)
    (tmp_path / "my certificate.pem").touch()
    script = """
    PATH=$1:$PATH; cd "$1"
    eval "$(_PYCCF_COMPLETE=bash_source pyccf)"
    compopt() { printf 'compopt %s %s\n' "$@"; }
    try() {
      COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
      _pyccf_completion pyccf; echo "${COMPREPLY[*]}"
    }
    try pyccf proposal new set_js_app --b
    try pyccf call --cert my
    """
    done = subprocess.run(
        [program("bash"), "--norc", "-c", script, "bash", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["--bundle", "compopt -o default", ""], done.stderr
