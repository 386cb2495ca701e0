"""Extensions of ours that Python stands in for: their absence must not pass for success.

`PYCCF_PURE` in the environment says that it is meant (docs/adr/0009).
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest


def native(name: str) -> ModuleType:
    """The extension `name`; what is tested with it fails, or with `PYCCF_PURE` is skipped, if it
    is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as e:
        if os.environ.get("PYCCF_PURE"):
            pytest.skip(f"PYCCF_PURE is set, and: {e}", allow_module_level=True)
        pytest.fail(
            f"{name} cannot be tested: {e}. Run `make -B install`, or set PYCCF_PURE=1 to test"
            " what stands in for it.",
            pytrace=False,
        )
