"""A service made by `pyccf sandbox`, as a process, for tests from end to end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import msgspec

from pyccf.cli.options import SandboxInfo
from pyccf.client import Client, Identity
from pyccf.client.types import Action
from pyccf.types import Json

STOP_TIMEOUT_S = 60


class Sandbox:
    """`with Sandbox(app, workspace) as sandbox:` the service is open and answers."""

    info: SandboxInfo

    def __init__(self, app: Path, workspace: Path, *options: str) -> None:
        self._command = [
            *(sys.executable, "-m", "pyccf.cli.main", "sandbox", str(app), "--json"),
            *("--workspace", str(workspace), *options),
        ]
        self._workspace = workspace

    def __enter__(self) -> Sandbox:
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            _, err = self.process.communicate()
            raise AssertionError(f"The sandbox did not start:\n{err}\n{self.log()}")
        self.info = msgspec.convert(json.loads(line), SandboxInfo)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.stop()

    def stop(self) -> int:
        """Stop it as Ctrl-C does; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        return self.process.returncode

    def log(self) -> str:
        """The end of what the node logged and what it said on standard error."""
        texts = []
        for name in ("out", "err"):
            path = self._workspace / "node0" / name
            if path.exists():
                texts.append(path.read_text()[-2000:])
        return "\n".join(texts)

    def client(self, name: str | None = None) -> Client:
        """A client of the service, as user0, member0 and so on, or as nobody."""
        party = None if name is None else self.info.party(name)
        return Client(
            self.info.nodes[0].url,
            self.info.service_cert,
            cert=None if party is None else party.cert,
            key=None if party is None else party.key,
        )

    def govern(self, name: str, args: dict[str, Json]) -> None:
        """Have one action accepted by all members."""
        signers = [Identity.load(m.cert, m.key) for m in self.info.members]
        with self.client("member0") as client:
            proposal = client.submit([Action(name, args)])
            for signer in signers:
                if proposal.proposal_state != "Open":
                    break
                proposal = client.vote(proposal.proposal_id, True, signer=signer)
        assert proposal.proposal_state == "Accepted", proposal
