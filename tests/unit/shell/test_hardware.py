"""The operating system's chance."""

from __future__ import annotations

import pytest

from pyccf.shell.hardware import SystemEntropy


def test_system_entropy() -> None:
    entropy = SystemEntropy()
    first, second = entropy.bytes(32), entropy.bytes(32)
    assert len(first) == len(second) == 32
    assert first != second
    assert entropy.bytes(0) == b""
    with pytest.raises(AssertionError):
        entropy.bytes(-1)
