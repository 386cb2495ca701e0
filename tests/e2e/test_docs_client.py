"""What docs/client.md shows runs as it stands, against a sandbox."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
ADDRESS = "https://127.0.0.1:8000"


def test_the_examples_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(page)
    assert len(blocks) >= 7
    with Sandbox(ROOT / "samples" / "logging", tmp_path / ".pyccf" / "sandbox") as sandbox:
        monkeypatch.chdir(tmp_path)
        names: dict[str, object] = {}
        for block in blocks:
            exec(block.replace(ADDRESS, sandbox.info.nodes[0].url), names)
        for name in ("user", "member", "stranger"):
            names[name].close()  # type: ignore[attr-defined]
    said = capsys.readouterr().out
    assert "PartOfNetwork" in said
    assert "401 InvalidAuthenticationInfo" in said
    assert "Accepted" in said
