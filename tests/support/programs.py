"""Other people's programs that tests talk to: curl, Node, h2load, a browser.

Where one is missing, its tests are skipped by name, and pytest lists them in the end (`-rs`).
"""

from __future__ import annotations

import shutil

import pytest


def program(*names: str) -> str:
    """Where a program is, the first of these names that there is; skips the test if none is."""
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.skip(f"not on this machine: {' or '.join(names)}")
