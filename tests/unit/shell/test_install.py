"""An application is all its files: each counts in the digest of the code that runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pyccf.shell.install import AppSource, load_app

APP = """
from pyccf.apps.python import App
from {package} import part
import {package}.deep.most
app = App()
"""


def test_the_files_of_an_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "an_application"
    (package / "deep").mkdir(parents=True)
    for name in ("__init__.py", "part.py", "unused.py", "deep/__init__.py", "deep/most.py"):
        (package / name).touch()
    (tmp_path / "its_main.py").write_text(APP.format(package=package.name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    loaded = load_app(AppSource("its_main:app"))
    assert [path.relative_to(tmp_path).as_posix() for path in loaded.roots] == [
        "its_main.py",
        "an_application/__init__.py",
        "an_application/deep/__init__.py",
        "an_application/deep/most.py",
        "an_application/part.py",
    ]
