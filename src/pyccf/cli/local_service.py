"""A whole service on this machine: keys, nodes as child processes, and governance up to opening.

Everything goes the way a real consortium goes: nodes get configuration files, the first starts the
service and the others join it, members acknowledge the state, and each change is a signed proposal
over HTTPS. The workspace keeps all keys, a folder for each node with ledger and logs, and
`sandbox.json`, which says where everything is.

A node that ends is told of, and the service goes on while those left are a majority of the nodes
that it trusts; nodes that were retired before do not count. Below that the sandbox ends.

Refuses a workspace that holds anything but an earlier sandbox, and one whose sandbox still runs.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import TextIO

import msgspec

from pyccf.cli.bundle import JsBundle, PythonApp
from pyccf.cli.governing import decide
from pyccf.cli.keys import KeyFiles, make_identity
from pyccf.cli.local_config import MAX_BODY_SIZE, SERVICE_CERT_FILE, join_config, start_config
from pyccf.cli.local_node import LocalNode
from pyccf.cli.network_view import TRUSTED, NetworkView, look
from pyccf.cli.options import Party, SandboxInfo, SandboxNode, Target
from pyccf.cli.scripts import sandbox_constitution
from pyccf.client import Client, Identity, ServiceError, Unreachable
from pyccf.client.types import Action, Proposal
from pyccf.constitutions.folder import Parts
from pyccf.errors import LocalError, PyccfError
from pyccf.shell.hardware import SystemEntropy
from pyccf.types import Json

LOCK_FILE = ".lock"
MARK = "pyccf sandbox: the next one empties this folder.\n"
"""What the lock file holds, so that nobody else's is taken for it."""

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
SETTLE_TIMEOUT_S = 2.0
"""Patience, before stopping, with entries that are not committed yet."""
GOVERNANCE_TIMEOUT_S = 30.0
POLL_S = 0.02
LOOK_TIMEOUT_S = 5.0

Report = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True):
    """What service to make."""

    app: JsBundle | PythonApp
    workspace: Path
    members: int = 1
    users: int = 1
    port: int = 0
    """Port of the first node; the others take the ports after it. 0 is any free one for each."""
    nodes: int = 1
    constitution: Parts = msgspec.field(default_factory=sandbox_constitution)
    jwt_issuers: tuple[dict[str, Json], ...] = ()
    """Arguments of `set_jwt_issuer`, one for each."""
    max_body_size: int = MAX_BODY_SIZE


class Cancelled(Exception):
    """Told to stop before the service was open."""


class LocalService:
    """One service with its nodes. `start` opens it, `stop` ends it; the workspace stays."""

    def __init__(
        self, plan: Plan, report: Report, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """`report` is told each step, in words for a person. Once `cancelled` says so, `start`
        raises Cancelled at its next step.
        """
        self.plan = plan
        self.workspace = plan.workspace.absolute()
        self.service_cert = self.workspace / SERVICE_CERT_FILE
        self.members: list[KeyFiles] = []
        self.users: list[KeyFiles] = []
        self.nodes = [
            LocalNode("The node" if plan.nodes == 1 else f"node{i}", self.workspace / f"node{i}")
            for i in range(plan.nodes)
        ]
        self._report_to = report
        self._cancelled = cancelled
        self._info: SandboxInfo | None = None
        self._gone: list[LocalNode] = []
        self._lock: TextIO | None = None

    # -- the whole way ---------------------------------------------------------------------------

    def start(self) -> SandboxInfo:
        """Make and open the service. Raises PyccfError or Cancelled; then nothing is left
        running.
        """
        try:
            self._prepare_workspace()
            self._make_parties()
            self._start_first()
            first = self.nodes[0]
            with self._client(first) as client:
                # While the service is opening, nodes that join are trusted at once; and they start
                # while the members are at work.
                for number in range(1, len(self.nodes)):
                    self._start_further(number)
                self._prepare(client)
                for node in self.nodes[1:]:
                    self._await_further(node)
                self._open(client)
            self._info = self._describe()
            return self._info
        except Unreachable:
            try:
                self._check_all_run()  # if a node ended, that is the better explanation
                raise
            finally:
                self.stop()
        except BaseException:
            self.stop()
            raise

    def look_after(self) -> list[str]:
        """What happened to nodes since the last call, in words; usually nothing.

        Raises LocalError when so many have ended that those left cannot decide anything.
        """
        ended = [node for node in self.nodes if node.ended and node not in self._gone]
        if not ended:
            return []
        self._gone += ended
        running = [node for node in self.nodes if node.running]
        if not self._majority_runs(running):
            if len(self.nodes) == 1:
                raise ended[0].explain_end()
            raise LocalError(
                f"Too few nodes are left for a majority: {ended[0].explain_end().message}",
                hint=f"Its log is {ended[0].folder / 'out'}. {self._way_back()}",
            )
        count = f"{len(running)} of {len(self.nodes)} nodes run"
        return [f"{node.explain_end().message}; {count}" for node in ended]

    def _way_back(self) -> str:
        """What an operator does when a majority is gone for good."""
        left = [
            quote(str(node.folder / name))
            for node in self.nodes
            for name in ("ledger", "snapshots")
            if (node.folder / name).is_dir()
        ]
        base = quote(str(self.nodes[0].folder / "config.json"))
        return (
            "To bring the service back from its files (docs/recovery.md): pyccf recover inspect"
            f" {' '.join(left)} --base {base} --write recovered/config.json"
        )

    def stop(self) -> dict[str, int]:
        """Stop all nodes and wait for them; the exit codes of those that ran.

        First what was done gets the time to be committed. The primary stops before the backups: it
        signs what is new and hands over while there is somebody to take it, so that all ledgers end
        alike even if clients go on. A node that does not stop in time is killed.
        """
        running = [node for node in self.nodes if node.running]
        first, last = running, list[LocalNode]()
        if self._info is not None and len(running) > 1:
            view = self._settle(running)
            primary = view.primary.url if view is not None and view.primary is not None else ""
            first = [node for node in running if node.url == primary]
            last = [node for node in running if node.url != primary]
        codes: dict[str, int] = {}
        for group in (first, last):
            for node in group:
                node.tell_to_stop()
            until = time.monotonic() + STOP_TIMEOUT_S
            for node in group:
                code = node.wait(until)
                assert code is not None, "it was running"
                codes[node.title] = code
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        return codes

    def _settle(self, running: Sequence[LocalNode]) -> NetworkView | None:
        """Wait a little until all is committed; how the network then looks, if it can be seen."""
        target = self._target(running)
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        view: NetworkView | None = None
        while True:
            try:
                view = look(target, LOOK_TIMEOUT_S)
            except PyccfError:
                return view
            primary = view.primary
            there = [node for node in view.trusted if node.problem is None]
            if primary and all(node.committed_seqno >= primary.seqno for node in there):
                return view
            if time.monotonic() > deadline:
                return view
            time.sleep(POLL_S)

    def _majority_runs(self, running: Sequence[LocalNode]) -> bool:
        """Whether the nodes that the service trusts, as far as they are ours, still are most."""
        if not running or self._info is None:
            return False
        ids = {known.url: known.node_id for known in self._info.nodes}
        trusted = set(ids.values())
        try:
            listed = look(self._target(running), LOOK_TIMEOUT_S).nodes
            trusted = {n.node_id for n in listed if n.status == TRUSTED and n.node_id is not None}
        except PyccfError as error:
            self._report_to(f"The nodes left could not be asked: {error.message}")
        lost = trusted & {ids[node.url] for node in self._gone}
        return 2 * (len(trusted) - len(lost)) > len(trusted)

    def _target(self, nodes: Sequence[LocalNode]) -> Target:
        return Target(tuple(node.url for node in nodes), str(self.service_cert))

    def _check_all_run(self) -> None:
        """Raise LocalError if a node has ended by itself."""
        for node in self.nodes:
            if node.ended:
                raise node.explain_end()

    def _report(self, text: str) -> None:
        self._report_to(text)
        if self._cancelled():
            raise Cancelled

    # -- files -----------------------------------------------------------------------------------

    def _prepare_workspace(self) -> None:
        marker = self.workspace / LOCK_FILE
        try:
            self.workspace.mkdir(parents=True, exist_ok=True)
            marked = marker.is_file() and marker.read_bytes() == MARK.encode()
            if not marked and any(path != marker for path in self.workspace.iterdir()):
                raise LocalError(
                    f"{self.workspace} is not empty and not a sandbox",
                    hint="Give an empty or new folder with --workspace.",
                )
            self._lock = open(marker, "a", encoding="utf-8")  # noqa: SIM115 (held until stop)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(
                f"A sandbox is running in {self.workspace}",
                hint="Stop it, or give another folder with --workspace.",
            ) from None
        try:
            if not marked:
                marker.write_text(MARK, encoding="utf-8")
            for path in self.workspace.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path != marker:
                    path.unlink()
            # Keys of a sandbox are for trying things out; still they are nobody else's business.
            (self.workspace / ".gitignore").write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> LocalError:
        return LocalError(
            f"Could not use the workspace {self.workspace}: {error.strerror or error}",
            hint="Give another folder with --workspace.",
        )

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

    def _write_constitution(self, folder: Path) -> list[str]:
        """The parts of the constitution as files; their names relative to the folder."""
        constitution = folder / "constitution"
        constitution.mkdir(parents=True)
        names = []
        for number, (part, text) in enumerate(self.plan.constitution):
            path = constitution / f"{number}_{part.name}"
            path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
            names.append(str(path.relative_to(folder)))
        return names

    # -- the nodes -------------------------------------------------------------------------------

    def _start_first(self) -> None:
        node = self.nodes[0]
        names = self._write_constitution(node.folder)
        plan = self.plan
        config = start_config(plan.port, names, self.members, plan.max_body_size)
        node.start(config, plan.app)
        written = node.folder / SERVICE_CERT_FILE
        self._wait(
            "the node to start", lambda: written.exists() and node.listens(), START_TIMEOUT_S, node
        )
        shutil.copyfile(written, self.service_cert)
        self._await_answers(node)
        self._report(f"Started node {node.pid} at {node.url}")

    def _start_further(self, number: int) -> None:
        target = self.nodes[0].url.removeprefix("https://")
        port = self.plan.port + number if self.plan.port else 0
        config = join_config(port, target, self.service_cert, self.plan.max_body_size)
        self.nodes[number].start(config, self.plan.app)

    def _await_further(self, node: LocalNode) -> None:
        self._wait(f"{node.title} to start", node.listens, START_TIMEOUT_S, node)
        self._await_answers(node)
        self._report(f"{node.title}, process {node.pid}, joined; it is at {node.url}")

    def _await_answers(self, node: LocalNode) -> None:
        with self._client(node) as client:
            what = f"{node.title[0].lower()}{node.title[1:]} to answer"
            self._wait(what, lambda: _answers(client), START_TIMEOUT_S, node)

    def _client(self, node: LocalNode) -> Client:
        first = self.members[0]
        return Client(
            node.url,
            self.service_cert,
            cert=first.cert,
            key=first.key,
            patience_s=GOVERNANCE_TIMEOUT_S,
        )

    def _wait(self, what: str, done: Callable[[], bool], timeout_s: float, node: LocalNode) -> None:
        """Wait for something of a node, or raise LocalError."""
        deadline = time.monotonic() + timeout_s
        while not done():
            self._check_all_run()
            if self._cancelled():
                raise Cancelled
            if time.monotonic() > deadline:
                raise LocalError(
                    f"Waited {timeout_s:g} s in vain for {what}",
                    hint=f"See the node's log, {node.folder / 'out'}",
                )
            time.sleep(POLL_S)

    # -- governance ------------------------------------------------------------------------------

    def _prepare(self, client: Client) -> None:
        """All that members decide before they open the service."""
        identities = self._identities()
        for i, identity in enumerate(identities):
            self._acknowledge(client, identity)
            self._report(f"member{i} acknowledged the state and is active")
        for i, user in enumerate(self.users):
            cert = Path(user.cert).read_text(encoding="utf-8")
            self._propose(client, identities, f"set_user (user{i})", "set_user", {"cert": cert})
        for issuer in self.plan.jwt_issuers:
            title = f"set_jwt_issuer ({issuer.get('issuer')})"
            self._propose(client, identities, title, "set_jwt_issuer", issuer)
        if isinstance(self.plan.app, JsBundle):
            args: dict[str, Json] = {
                "bundle": self.plan.app.as_json(),
                "disable_bytecode_cache": not self.plan.app.compiles,
            }
            self._propose(client, identities, "set_js_app", "set_js_app", args)

    def _open(self, client: Client) -> None:
        name = "transition_service_to_open"
        certificate = client.service_info().certificate
        self._propose(
            client, self._identities(), name, name, {"next_service_identity": certificate}
        )
        for node in self.nodes:
            with self._client(node) as one:
                self._wait("the service to open", one.ready_for_app, GOVERNANCE_TIMEOUT_S, node)
        self._report("The service is open")

    def _identities(self) -> list[Identity]:
        return [Identity.load(member.cert, member.key) for member in self.members]

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
            self._check_all_run()
            if self._cancelled():
                raise Cancelled
            time.sleep(POLL_S)

    def _propose(
        self,
        client: Client,
        members: list[Identity],
        title: str,
        name: str,
        args: dict[str, Json],
    ) -> None:
        proposal, votes = decide(client, [Action(name, args)], members)
        if proposal.proposal_state != "Accepted":
            raise LocalError(
                f"The proposal {title} was not accepted, it is {proposal.proposal_state}",
                hint=_reason(proposal),
            )
        self._report(f"Proposal {title} accepted ({proposal.proposal_id[:16]}…, {votes} vote(s))")

    def _describe(self) -> SandboxInfo:
        nodes = []
        for node in self.nodes:
            with self._client(node) as client:
                node_id = client.node_state().node_id
            nodes.append(SandboxNode(url=node.url, node_id=node_id, pid=node.pid))
        info = SandboxInfo(
            nodes=nodes,
            service_cert=str(self.service_cert),
            members=[Party(m.cert, m.key, m.enc_key) for m in self.members],
            users=[Party(u.cert, u.key) for u in self.users],
            ledgers=[str(node.ledger) for node in self.nodes],
            workspace=str(self.workspace),
        )
        info.save()
        return info


def _answers(client: Client) -> bool:
    try:
        return client.ready_for_governance()
    except Unreachable:
        return False


def _reason(proposal: Proposal) -> str:
    return proposal.failure.reason if proposal.failure else "See: pyccf proposal show"
