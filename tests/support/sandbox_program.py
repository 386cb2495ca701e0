"""`pyccf sandbox` as a person runs it: what it prints, its exit code, and other commands beside."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

READY_S = 60
STOP_S = 60
PROGRAM = [sys.executable, "-m", "pyccf.cli.main"]


class Sandbox:
    """A running `pyccf sandbox`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.workspace = folder / "ws"
        self.out = folder / "sandbox.out"
        self.err = folder / "sandbox.err"
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [*PROGRAM, "sandbox", "--workspace", str(self.workspace), *arguments],
                cwd=folder,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
            )

    def wait_for(self, text: str) -> str:
        """All output so far, once `text` is in it."""
        deadline = time.monotonic() + READY_S
        while text not in (said := self.out.read_text()):
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < deadline, said
            time.sleep(0.02)
        return said

    def wait_for_error(self, text: str) -> None:
        """Wait until `text` stands on standard error."""
        deadline = time.monotonic() + READY_S
        while text not in (said := self.err.read_text()):
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(STOP_S)

    @property
    def info(self) -> dict[str, list[dict[str, str]]]:
        found = json.loads(self.wait_for("\n").splitlines()[0])
        assert isinstance(found, dict)
        return found


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def run_line(line: str, cwd: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a printed line as it stands (and with further arguments)."""
    return subprocess.run(
        [*shlex.split(line), *more], cwd=cwd, capture_output=True, text=True, timeout=120
    )
