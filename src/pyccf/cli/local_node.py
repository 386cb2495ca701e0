"""One node as a child process: started in a folder of its own, looked after, and ended.

The folder holds its configuration, its ledger, what it printed (`out`, `err`) and the files it
writes. The child is told to stop should this process die without a word (Linux).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pyccf.cli.bundle import JsBundle, PythonApp
from pyccf.cli.local_config import CONFIG_FILE, INTERFACE, RPC_ADDRESSES_FILE
from pyccf.codec.text import load_json
from pyccf.errors import LocalError

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal to get when the parent dies."""


class LocalNode:
    """A node that is started once. `title` is what a person calls it."""

    def __init__(self, title: str, folder: Path) -> None:
        self.title = title
        self.folder = folder
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def ledger(self) -> Path:
        """Where its ledger lies."""
        return self.folder / "ledger"

    @property
    def pid(self) -> int:
        """Id of the process."""
        assert self._process is not None, "asked of a node that was started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def ended(self) -> bool:
        """Whether the process was started and has ended."""
        return self._process is not None and self._process.poll() is not None

    def start(self, config: Mapping[str, object], app: JsBundle | PythonApp) -> None:
        """Write the configuration and start the process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(config).decode(), indent=2)
        (self.folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pyccf.cli.main", "node", "--config", CONFIG_FILE]
        environment = dict(os.environ)
        if isinstance(app, PythonApp):
            command += ["--app", app.target]
            path = environment.get("PYTHONPATH")
            folder = str(app.folder)
            environment["PYTHONPATH"] = folder if not path else f"{folder}{os.pathsep}{path}"
        with open(self.folder / "out", "wb") as out, open(self.folder / "err", "wb") as err:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # a Ctrl-C at the terminal is for us, we stop the node
                preexec_fn=_end_with_parent,
            )

    def listens(self) -> bool:
        """Whether the node has said where it listens; from then on `url` is known."""
        addresses = self.folder / RPC_ADDRESSES_FILE
        if not addresses.exists():
            return False
        listed = load_json(addresses.read_bytes())
        assert isinstance(listed, dict), "the node writes an object"
        self.url = f"https://{listed[INTERFACE]}"
        return True

    def tell_to_stop(self) -> None:
        """Ask the process to end, also one that is paused."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)

    def wait(self, until: float) -> int | None:
        """Exit code, None if it was never started.

        A process that runs at the (monotonic) time `until` is killed.
        """
        if self._process is None:
            return None
        try:
            return self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def explain_end(self) -> LocalError:
        """Why the process has ended, as far as it said."""
        assert self._process is not None, "asked of a node that was started"
        code = self._process.returncode
        reason = signal.Signals(-code).name if code < 0 else self._last_words()
        return LocalError(
            f"{self.title} ended with exit code {code}: {reason}",
            hint=f"Its log is {self.folder / 'out'}",
        )

    def _last_words(self) -> str:
        for name in ("err", "out"):
            lines = (self.folder / name).read_text("utf-8", "replace").strip().splitlines()
            if lines:
                # Of a traceback only the last line says what; else the last two explain.
                kept = 1 if any(line.startswith("Traceback") for line in lines) else 2
                return " / ".join(line.strip() for line in lines[-kept:])
        return "it said nothing"


def _end_with_parent() -> None:
    """In the child: be told to stop should the sandbox die without a word (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
