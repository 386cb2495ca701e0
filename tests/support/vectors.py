"""Where the recorded data of the original lie, if they are there at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def find_vectors() -> Path | None:
    """The folder of vectors: PYCCF_VECTORS, or ../shared/vectors beside the project."""
    given = os.environ.get("PYCCF_VECTORS")
    if given:
        return Path(given)
    beside = Path(__file__).resolve().parents[3] / "shared" / "vectors"
    return beside if beside.is_dir() else None


def vectors_dir() -> Path:
    """The folder of vectors; skips the calling test when it is absent."""
    found = find_vectors()
    if found is None or not found.is_dir():
        pytest.skip("recorded data of the original not found (set PYCCF_VECTORS)")
    return found
