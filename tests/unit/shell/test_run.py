"""pyccf.shell.run: what a node says before it starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyccf.crypto import hashing
from pyccf.ledger import sealing
from pyccf.shell import run
from support.process import make_config


@pytest.mark.parametrize(
    ("sealed", "hashed", "says"),
    [
        (True, True, ""),
        (False, True, ", entries sealed in Python"),
        (True, False, ", Merkle tree hashed in Python"),
        (False, False, ", entries sealed in Python, Merkle tree hashed in Python"),
    ],
)
def test_the_first_line_tells_what_is_not_in_c(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    sealed: bool,
    hashed: bool,
    says: str,
) -> None:
    monkeypatch.setattr(sealing, "NATIVE", sealed)
    monkeypatch.setattr(hashing, "NATIVE", hashed)
    config = tmp_path / "node.json"
    config.write_text(json.dumps(make_config(tmp_path)))
    assert run.main(str(config), check=True) == 0
    first, *_ = capfd.readouterr().out.splitlines()
    assert first.endswith((f"interpreted{says})", f"compiled{says})"))
