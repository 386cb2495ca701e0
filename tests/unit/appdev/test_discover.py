"""pyccf.appdev.discover: which files are tests, and what changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.appdev.discover import fingerprint, test_files
from pyccf.errors import LocalError

test_files.__test__ = False  # type: ignore[attr-defined]  # not one itself


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def test_tests_are_found_by_name_and_not_among_packages(tmp_path: Path) -> None:
    touch(tmp_path, "b.test.mjs", "a/c.test.js", "a/c.js", "test.js", "a/node_modules/x.test.js")
    touch(tmp_path, ".git/y.test.js", "a/d.test.ts")
    assert test_files(tmp_path) == ["b.test.mjs", "a/c.test.js"]


def test_without_tests_what_to_do_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="no tests"):
        test_files(tmp_path)
    touch(tmp_path, "a.test.ts")
    with pytest.raises(LocalError, match=r"not built yet \(a\.test\.ts\)") as caught:
        test_files(tmp_path)
    assert "@pyccf/test" in caught.value.explain()


def test_changes_are_noticed(tmp_path: Path) -> None:
    touch(tmp_path, "src/a.js", "notes.txt")
    before = fingerprint(tmp_path)
    touch(tmp_path, "notes2.txt")
    assert fingerprint(tmp_path) == before
    (tmp_path / "src" / "a.js").write_text("1")
    changed = fingerprint(tmp_path)
    assert changed != before
    touch(tmp_path, "src/b.json")
    assert fingerprint(tmp_path) != changed
