"""A whole service on this machine: keys, a node as a child process, and governance up to opening.

Everything goes the way a real consortium goes: the node gets a configuration file, members
acknowledge the state, and each change is a signed proposal over HTTPS. The workspace keeps all
keys, the node's folder with ledger and logs, and `sandbox.json`, which says where everything is.

Refuses a workspace that holds anything but an earlier sandbox, and one whose sandbox still runs.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

import msgspec

from pyccf.cli.bundle import JsBundle, PythonApp
from pyccf.cli.keys import KeyFiles, make_identity
from pyccf.cli.options import SANDBOX_FILE, Party, SandboxInfo, SandboxNode
from pyccf.client import Client, Identity, ServiceError, Unreachable
from pyccf.client.types import Action, Proposal
from pyccf.codec.text import load_json
from pyccf.constitutions import sample
from pyccf.errors import LocalError
from pyccf.shell.hardware import SystemEntropy
from pyccf.types import Json

INTERFACE = "primary_rpc_interface"
NODE_FOLDER = "node0"
LOCK_FILE = ".lock"

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
GOVERNANCE_TIMEOUT_S = 30.0
POLL_S = 0.02
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal to get when the parent dies."""

SIGNATURE_DELAY = "100ms"
"""A sandbox commits faster than the default of 1 s, so that nobody waits."""
CERTIFICATE_DAYS = 90

Report = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True):
    """What service to make."""

    app: JsBundle | PythonApp
    workspace: Path
    members: int = 1
    users: int = 1
    port: int = 0


class Cancelled(Exception):
    """Told to stop before the service was open."""


class LocalService:
    """One service with one node. `start` opens it, `stop` ends it; the workspace stays."""

    def __init__(
        self, plan: Plan, report: Report, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """`report` is told each step, in words for a person. Once `cancelled` says so, `start`
        raises Cancelled at its next step.
        """
        self.plan = plan
        self.workspace = plan.workspace.absolute()
        self.folder = self.workspace / NODE_FOLDER
        self.members: list[KeyFiles] = []
        self.users: list[KeyFiles] = []
        self.url = ""
        self._report_to = report
        self._cancelled = cancelled
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: TextIO | None = None

    # -- the whole way ---------------------------------------------------------------------------

    def start(self) -> SandboxInfo:
        """Make and open the service. Raises PyccfError or Cancelled; then nothing is left
        running.
        """
        try:
            self._prepare_workspace()
            self._make_parties()
            self._write_node_files()
            self._start_node()
            with self._client() as client:
                node_id = client.node_state().node_id
                self._govern(client)
            return self._describe(node_id)
        except Unreachable:
            try:
                self.check_running()  # if the node ended, that is the better explanation
                raise
            finally:
                self.stop()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> int | None:
        """Stop the node and wait for it; its exit code (None if it never ran).

        A node that does not stop in time is killed.
        """
        process = self._process
        code: int | None = None
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        return code

    def check_running(self) -> None:
        """Raise LocalError if the node has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise self._ended()

    def _report(self, text: str) -> None:
        self._report_to(text)
        if self._cancelled():
            raise Cancelled

    # -- files -----------------------------------------------------------------------------------

    def _prepare_workspace(self) -> None:
        marker = self.workspace / LOCK_FILE
        try:
            self.workspace.mkdir(parents=True, exist_ok=True)
            occupied = any(self.workspace.iterdir())
            if occupied and not marker.exists():
                raise LocalError(
                    f"{self.workspace} is not empty and not a sandbox",
                    hint="Give an empty or new folder with --workspace.",
                )
            self._lock = open(marker, "a", encoding="utf-8")  # noqa: SIM115 (held until stop)
        except OSError as error:
            raise LocalError(
                f"Could not use the workspace {self.workspace}: {error.strerror}",
                hint="Give another folder with --workspace.",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(
                f"A sandbox is running in {self.workspace}",
                hint="Stop it, or give another folder with --workspace.",
            ) from None
        for path in self.workspace.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != marker:
                path.unlink()
        # Keys of a sandbox are for trying things out; still they are nobody else's business.
        (self.workspace / ".gitignore").write_text("*\n", encoding="utf-8")

    def _make_parties(self) -> None:
        entropy, now = SystemEntropy(), int(time.time())
        for i in range(self.plan.members):
            self.members.append(
                make_identity(
                    self.workspace, f"member{i}", entropy=entropy, now=now, encryption=True
                )
            )
        for i in range(self.plan.users):
            self.users.append(make_identity(self.workspace, f"user{i}", entropy=entropy, now=now))
        self._report(f"Made keys for {self.plan.members} member(s) and {self.plan.users} user(s)")

    def _write_node_files(self) -> None:
        constitution = self.folder / "constitution"
        constitution.mkdir(parents=True)
        names = []
        for number, (part, text) in enumerate(sample("sandbox", "virtual")):
            path = constitution / f"{number}_{part.replace('/', '_')}"
            path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
            names.append(str(path.relative_to(self.folder)))
        config = node_config(self.plan.port, names, self.members)
        text = msgspec.json.format(msgspec.json.encode(config).decode(), indent=2)
        (self.folder / "config.json").write_text(text + "\n", encoding="utf-8")

    # -- the node --------------------------------------------------------------------------------

    def _start_node(self) -> None:
        command = [sys.executable, "-m", "pyccf.cli.main", "node", "--config", "config.json"]
        environment = dict(os.environ)
        if isinstance(self.plan.app, PythonApp):
            command += ["--app", self.plan.app.target]
            path = environment.get("PYTHONPATH")
            folder = str(self.plan.app.folder)
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
        addresses = self.folder / "node.rpc_addresses"
        certificate = self.folder / "service_cert.pem"
        self._wait(
            "the node to start",
            lambda: addresses.exists() and certificate.exists(),
            START_TIMEOUT_S,
        )
        listed = load_json(addresses.read_bytes())
        assert isinstance(listed, dict), "the node writes an object"
        self.url = f"https://{listed[INTERFACE]}"
        shutil.copyfile(certificate, self.workspace / "service_cert.pem")
        with self._client() as client:
            self._wait("the node to answer", lambda: _answers(client), START_TIMEOUT_S)
        self._report(f"Started node {self._process.pid} at {self.url}")

    def _client(self) -> Client:
        first = self.members[0]
        return Client(self.url, self.workspace / "service_cert.pem", cert=first.cert, key=first.key)

    def _wait(self, what: str, done: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            self.check_running()
            if self._cancelled():
                raise Cancelled
            if time.monotonic() > deadline:
                raise LocalError(
                    f"Waited {timeout_s:g} s in vain for {what}",
                    hint=f"See the node's log, {self.folder / 'out'}",
                )
            time.sleep(POLL_S)

    def _ended(self) -> LocalError:
        assert self._process is not None
        code = self._process.returncode
        for name in ("err", "out"):
            lines = (self.folder / name).read_text("utf-8", "replace").strip().splitlines()
            if lines:
                # Of a traceback only the last line says what; else the last two explain.
                kept = 1 if any(line.startswith("Traceback") for line in lines) else 2
                reason = " / ".join(line.strip() for line in lines[-kept:])
                break
        else:
            reason = "it said nothing"
        return LocalError(
            f"The node ended with exit code {code}: {reason}",
            hint=f"Its log is {self.folder / 'out'}",
        )

    # -- governance ------------------------------------------------------------------------------

    def _govern(self, client: Client) -> None:
        identities = [Identity.load(member.cert, member.key) for member in self.members]
        for i, identity in enumerate(identities):
            self._acknowledge(client, identity)
            self._report(f"member{i} acknowledged the state and is active")
        for i, user in enumerate(self.users):
            cert = Path(user.cert).read_text(encoding="utf-8")
            self._propose(client, identities, f"set_user (user{i})", "set_user", {"cert": cert})
        if isinstance(self.plan.app, JsBundle):
            args: dict[str, Json] = {
                "bundle": self.plan.app.as_json(),
                "disable_bytecode_cache": not self.plan.app.compiles,
            }
            self._propose(client, identities, "set_js_app", "set_js_app", args)
        service = client.service_info()
        self._propose(
            client,
            identities,
            "transition_service_to_open",
            "transition_service_to_open",
            {"next_service_identity": service.certificate},
        )
        self._wait("the service to open", client.ready_for_app, GOVERNANCE_TIMEOUT_S)
        self._report("The service is open")

    def _acknowledge(self, client: Client, identity: Identity) -> None:
        deadline = time.monotonic() + GOVERNANCE_TIMEOUT_S
        while True:
            try:
                client.ack(signer=identity)
                return
            except ServiceError as error:
                # Before the first signature there is nothing to acknowledge.
                if error.code != "InternalError" or time.monotonic() > deadline:
                    raise
            self.check_running()
            if self._cancelled():
                raise Cancelled
            time.sleep(POLL_S)

    def _propose(
        self,
        client: Client,
        members: list[Identity],
        title: str,
        name: str,
        args: Mapping[str, Json],
    ) -> None:
        proposal = client.submit([Action(name, args)], signer=members[0])
        votes = 0
        for member in members:
            if proposal.proposal_state != "Open":
                break
            proposal = client.vote(proposal.proposal_id, True, signer=member)
            votes += 1
        if proposal.proposal_state != "Accepted":
            raise LocalError(
                f"The proposal {title} was not accepted, it is {proposal.proposal_state}",
                hint=_reason(proposal),
            )
        self._report(f"Proposal {title} accepted ({proposal.proposal_id[:16]}…, {votes} vote(s))")

    def _describe(self, node_id: str) -> SandboxInfo:
        assert self._process is not None
        info = SandboxInfo(
            nodes=[SandboxNode(url=self.url, node_id=node_id, pid=self._process.pid)],
            service_cert=str(self.workspace / "service_cert.pem"),
            members=[Party(m.cert, m.key, m.enc_key) for m in self.members],
            users=[Party(u.cert, u.key) for u in self.users],
            ledgers=[str(self.folder / "ledger")],
            workspace=str(self.workspace),
        )
        path = self.workspace / SANDBOX_FILE
        part = path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(info) + b"\n")
        part.replace(path)
        return info


def _end_with_parent() -> None:
    """In the child: be told to stop should the sandbox die without a word (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _answers(client: Client) -> bool:
    try:
        return client.ready_for_governance()
    except Unreachable:
        return False


def _reason(proposal: Proposal) -> str:
    return proposal.failure.reason if proposal.failure else "See: pyccf proposal show"


def node_config(port: int, constitution: list[str], members: list[KeyFiles]) -> dict[str, object]:
    """Configuration of the first node of a sandbox (spec: config-and-cli.md §3)."""
    return {
        "network": {
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": {INTERFACE: {"bind_address": f"127.0.0.1:{port}"}},
        },
        "node_certificate": {
            "subject_alt_names": ["iPAddress:127.0.0.1", "dNSName:localhost"],
            "initial_validity_days": CERTIFICATE_DAYS,
        },
        "command": {
            "type": "Start",
            "service_certificate_file": "service_cert.pem",
            "start": {
                "constitution_files": constitution,
                "members": [
                    {
                        "certificate_file": member.cert,
                        "encryption_public_key_file": member.enc_pub_key,
                    }
                    for member in members
                ],
                "service_configuration": {"recovery_threshold": 0},
                "initial_service_certificate_validity_days": CERTIFICATE_DAYS,
                "cose_signatures": {
                    "issuer": "service.example.com",
                    "subject": "ledger.signature",
                },
            },
        },
        "ledger_signatures": {"delay": SIGNATURE_DELAY},
        "output_files": {
            "node_certificate_file": "node.pem",
            "pid_file": "node.pid",
            "node_to_node_address_file": "node.node_address",
            "rpc_addresses_file": "node.rpc_addresses",
        },
    }
