"""Fixtures of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyccf.shell import sender
from support.listening import SHARED


@pytest.fixture(params=[False, True], ids=["alone", "shared"])
def sending(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connections write by themselves; then all they say goes through a second thread."""
    monkeypatch.setattr(sender, "SHARED_MIN", 1)
    token = SHARED.set(request.param)
    yield
    SHARED.reset(token)
