"""What running a command leaves, for tests of the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple


class Ran(NamedTuple):
    """Exit code and what was printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as its one line of JSON."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Run = Callable[..., Ran]
