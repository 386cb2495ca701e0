"""Runs a Python program whose wall clock stands where a file says.

    python clock.py FILE python -m pyccf.cli.main node ...

FILE holds seconds since 1970 as a native double and may change at any time. Tokens and certificates
of a recording are judged at the time it was made; elapsed time is the real one.
"""

from __future__ import annotations

import mmap
import runpy
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

_SECONDS = struct.Struct("d")


def write(path: Path, seconds: float) -> None:
    """Set the clock."""
    if not path.exists():
        path.write_bytes(_SECONDS.pack(seconds))
    with path.open("r+b") as file:
        file.write(_SECONDS.pack(seconds))


def reader(path: Path) -> Callable[[], float]:
    """What time it is, by the file."""
    with path.open("rb") as file:
        shown = mmap.mmap(file.fileno(), _SECONDS.size, access=mmap.ACCESS_READ)

    def now() -> float:
        (seconds,) = _SECONDS.unpack(shown[: _SECONDS.size])
        assert isinstance(seconds, float)
        return seconds

    return now


def main() -> None:
    file, _python, _m, module, *arguments = sys.argv[1:]
    time.time = reader(Path(file))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
