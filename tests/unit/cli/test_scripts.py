"""pyccf.cli.scripts: ballots and constitutions are seen to compile before anything is signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.cli.scripts import read_ballot, read_constitution, sandbox_constitution
from pyccf.errors import LocalError


def test_a_ballot(tmp_path: Path) -> None:
    file = tmp_path / "b.js"
    file.write_text("export function vote(proposal) { return true; }")
    assert read_ballot(str(file)) == file.read_text()
    file.write_text("\nexport function vote(proposal { return true; }")
    with pytest.raises(LocalError, match=rf"^{file}:2: SyntaxError") as caught:
        read_ballot(str(file))
    assert caught.value.explain().endswith("A ballot exports vote().")


def test_a_constitution_of_files_and_folders(tmp_path: Path) -> None:
    for name, text in (("a.js", "const a = 1;"), ("more/b.js", "const b = a;")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    places = [str(tmp_path / "a.js"), str(tmp_path / "more")]
    assert read_constitution(places) == "const a = 1;\nconst b = a;"
    (tmp_path / "more" / "b.js").write_text("const b = 1;\nconst a = 2;")
    with pytest.raises(LocalError, match=r"more/b\.js:2: SyntaxError: invalid redefinition"):
        read_constitution(places)
    (tmp_path / "a.js").write_text("const a = {")
    with pytest.raises(LocalError, match=r"a\.js:1: SyntaxError"):
        read_constitution(places)


def test_the_constitution_of_a_sandbox(tmp_path: Path) -> None:
    usual = [text for _, text in sandbox_constitution()]
    assert 'return "Accepted"' in usual[-2]
    more = tmp_path / "more.js"
    more.write_text("actions.set('greet', new Action(checkNone, () => {}));")
    assert [text for _, text in sandbox_constitution([str(more)])] == [*usual, more.read_text()]
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "all.js").write_text("const actions = new Map(); class Action {}")
    texts = [text for _, text in sandbox_constitution([str(more), str(whole)])]
    assert texts == [(whole / "all.js").read_text(), more.read_text()]
    more.write_text("actions.set(")
    with pytest.raises(LocalError, match=r"more\.js:1: SyntaxError"):
        sandbox_constitution([str(more)])
    with pytest.raises(LocalError, match="absent"):
        sandbox_constitution([str(tmp_path / "absent.js")])
