"""docs/apps.md: the example runs, and what the page names is there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pyccf.appdev.bench import library_types
from pyccf.cli.main import main
from support.samples import SAMPLES

PAGE = (SAMPLES.parent / "docs" / "apps.md").read_text()


def test_the_example_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(SAMPLES / "logging" / "src", tmp_path / "src")
    shutil.copy(SAMPLES / "logging" / "app.json", tmp_path)
    (block,) = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "page.test.js").write_text(block)
    assert main(["app", "test", str(tmp_path)]) == 0, capsys.readouterr().out
    assert "3 passed" in capsys.readouterr().out


def test_every_matcher_is_on_the_page() -> None:
    body = library_types().split("interface Matchers")[1].split("interface Expectation")[0]
    told = PAGE.replace("(OrEqual)", "").replace("(Times, With)", "")
    for name in re.findall(r"\b(to[A-Z]\w+)\(", body):
        short = re.sub(r"(OrEqual|Times|With|Error)$", "", name)
        assert short in told, name


def test_options_on_the_page_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["app", "test"], ["app", "replay"], ["app", "deploy"], ["sandbox"], ["node"]):
        assert main([*command, "--help"]) == 0
    known = capsys.readouterr().out
    for option in set(re.findall(r"--[a-z][a-z-]+", PAGE)) - {"--no-source-maps"}:
        assert option in known, option
    assert "--no-source-maps" in known
