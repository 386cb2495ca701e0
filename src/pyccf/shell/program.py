"""The node program at work: one node with its sockets, files and timers.

Does in order what the node asks for: append entries, tell it what is on disk, carry messages to
peers, deliver answers. A disk that fails stops the program before anything more is acknowledged;
a node that cannot go on (a joiner that was refused) stops it too. SIGTERM, SIGINT and SIGHUP end it
after the open signature is written and, on a primary, another node was asked to take over. So does
a mistake of ours in anything but the handling of one client's request: a node that no longer does
what it decided must not go on deciding (spec: node-lifecycle.md §3, §14).
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import re
import resource
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, assert_never

from pyccf.attest import virtual
from pyccf.errors import InvalidLedger, LocalError, PyccfError, StorageError
from pyccf.http.limits import SHARED_SIZE_MAX
from pyccf.http.message import Request
from pyccf.http.room import Room
from pyccf.http.session import Session
from pyccf.node.create import Parts
from pyccf.node.node import TAKES_PART, Node
from pyccf.node.outputs import (
    Append,
    Begin,
    BeginRecovery,
    Call,
    Certificate,
    Channel,
    Committed,
    EndRecovery,
    Fetch,
    LoadSpilled,
    Log,
    Replay,
    Respond,
    SaveSnapshot,
    Send,
    Stop,
    StoreSpilled,
    Truncate,
)
from pyccf.observe.log import Level, LogSink
from pyccf.shell import config as cfg
from pyccf.shell import sealing, start
from pyccf.shell.config import ExitCode, NodeConfig
from pyccf.shell.config_schema import HTTP2
from pyccf.shell.descriptors import for_clients
from pyccf.shell.fetch import fetch
from pyccf.shell.hardware import SystemEntropy
from pyccf.shell.install import install_endpoints
from pyccf.shell.listen import Listener
from pyccf.shell.making import Making
from pyccf.shell.overtime import Overtime
from pyccf.shell.peer_link import Link
from pyccf.shell.peers import Peers
from pyccf.shell.sender import Sender, spare_processor
from pyccf.shell.slow import SlowDisk
from pyccf.shell.spilled import SpillDirectory
from pyccf.types import Json, NodeId, SeqNo, UnixSeconds

GC_YOUNG_OBJECTS = 50_000
"""Objects made and not freed between two looks of the collector at the youngest ones."""
GC_MIDDLE_RUNS = 20
GC_FULL_RUNS = 100
EASE_S = 0.05
"""Time between ticks of a node that needs none but to notice that nobody leads: each one wakes the
process, which costs as much as taking over ten entries."""
EASE_ELECTION = 20
"""At least so many of them are in an election timeout."""
IDLE_ELECTIONS = 4
"""Election timeouts after which an unused connection between nodes is closed."""
REPLAY_ENTRIES_MAX = 500
"""Entries of the own ledger that the node goes through in one turn of the loop."""
REPLAY_BYTES_MAX = 4 * 1024 * 1024
LEAVING_LOOK_S = 0.01
"""How often a node that is about to stop looks whether there is another primary, and whether all
that was asked is answered."""


class Program:
    """One running node."""

    def __init__(self, config: NodeConfig, sink: LogSink, prepared: start.Prepared) -> None:
        self.config = config
        self.sink = sink
        self.listeners: dict[str, Listener] = {}
        self._prepared = prepared
        self._app = prepared.app
        # A line for each call costs a third of the call: only where somebody looks for it.
        self._app.js.log_calls = sink.enabled(Level.DEBUG)
        python = prepared.app.python
        self._overtime = None if python is None else Overtime(python.max_execution_time_ms)
        self._disk = prepared.disk
        self._spilled = SpillDirectory(lambda level, text: sink.log(level, "index", text))
        self._slow = SlowDisk(
            config.slow_io_logging_threshold_us,
            lambda level, text: sink.log(level, "", text),
            time.monotonic,
        )
        self._entropy = SystemEntropy()
        self._session_ids = itertools.count(1)
        self._sender: Sender | None = None
        self._flushing = False
        self._stopping: asyncio.Event
        self._over = False
        """The end has come: no more time passes for the node."""
        self._exit_code = int(ExitCode.OK)
        self._terminations = 0
        self._sealed: SeqNo = 0
        """Version of the ledger secret that was sealed last."""
        self._credentials: tuple[str, str] | None = None
        """Certificates of this node and of the service that peers know us by."""
        self._calls: set[asyncio.Task[None]] = set()
        self._saving: set[asyncio.Task[None]] = set()
        """Snapshots that are being written."""
        self._node: Node
        self._parts: Parts
        self._peers: Peers

    # --- the loop -------------------------------------------------------------------------------

    async def run(self) -> int:
        """Listen, make the node, and work until told to stop; the exit code."""
        self._stopping = asyncio.Event()
        self._peers = self._make_peers()
        try:
            addresses = await self._listen()
            self._make_node(addresses)
        except PyccfError as e:
            await self._close()
            return refuse(self.sink, e, ExitCode.FAILED)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unhandled)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled, number)
        if self._overtime is not None:
            self._overtime.start()
        # What exists now lives for ever; the collector need not look at it again. What a request
        # leaves behind is freed by reference counts, so it may look seldom.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_YOUNG_OBJECTS, GC_MIDDLE_RUNS, GC_FULL_RUNS)
        self._tick()
        await self._stopping.wait()
        if self._exit_code == ExitCode.OK:
            await self._finish()
            await self._take_leave()
        self._over = True
        await self._close()
        self.sink.log("info", "", "Host stopped successfully")
        return self._exit_code

    def _make_peers(self) -> Peers:
        config = self.config
        client = config.node_client_interface
        return Peers(
            ledger=self._disk,
            receive=self._receive,
            congested=self._congested,
            accepts=lambda node_id: self._node.accepts_peer(node_id),
            log=lambda level, text: self.sink.log(level, "", text),
            connect_timeout_s=config.client_connection_timeout_ms / 1000,
            idle_timeout_s=IDLE_ELECTIONS * config.consensus.election_timeout_ms / 1000,
            local_address=None if client is None else str(client),
        )

    async def _listen(self) -> start.Addresses:
        network = self.config.network
        bind = network.node_to_node_interface.bind_address
        node_address = await self._peers.start(bind.host, bind.port)
        start.write_json(
            self.config.output_files.node_to_node_address_file,
            {"node_to_node_interface": node_address},
        )
        limits = {
            name: interface.http_configuration.limits
            for name, interface in network.rpc_interfaces.items()
        }
        # Enough for the largest request that any interface lets in.
        room = Room(max([SHARED_SIZE_MAX, *(of.held_size_max for of in limits.values())]))
        self._sender = Sender(self.before_answers, shares=spare_processor())
        descriptors = for_clients(
            sum(interface.max_open_sessions_hard for interface in network.rpc_interfaces.values()),
            lambda level, text: self.sink.log(level, "", text),
        )
        for name, interface in network.rpc_interfaces.items():
            idle_ms = self.config.idle_connection_timeout_ms
            listener = Listener(
                name,
                str(interface.bind_address),
                self,
                limits[name],
                http2=interface.app_protocol == HTTP2,
                tls=interface.authority is not cfg.Authority.UNSECURED,
                sessions_soft=interface.max_open_sessions_soft,
                sessions_hard=interface.max_open_sessions_hard,
                idle_timeout_s=None if idle_ms is None else idle_ms / 1000,
                session_ids=self._session_ids,
                room=room,
                sender=self._sender,
                descriptors=descriptors,
            )
            self.listeners[name] = listener
            await listener.start()
            self.sink.log("info", "", f"Registered RPC interface {name}, on {listener.address}")
        rpc = {name: listener.address for name, listener in self.listeners.items()}
        start.write_json(self.config.output_files.rpc_addresses_file, dict(rpc))
        return start.Addresses(node_address, rpc)

    def _make_node(self, addresses: start.Addresses) -> None:
        config = self.config

        def install(parts: Parts) -> None:
            self._parts = parts
            self._node = parts.node
            install_endpoints(
                parts,
                self._app,
                self._entropy,
                self._sessions,
                _memory,
                self._prepared.snapshots,
            )

        parts = Making(
            config,
            self._prepared,
            addresses,
            entropy=self._entropy,
            now=_unix(),
            log=lambda level, text: self.sink.log(level, "", text),
            install=install,
        ).node()
        self._log_notes()
        evidence = virtual.make(self._prepared.host_data, parts.identity.key.public.der)
        start.write(f"{start.attestation_name()}.attestation", virtual.attestation_file(evidence))
        self.flush()
        start.write(config.output_files.node_certificate_file, parts.self_signed_pem.encode())
        if config.command.start is not None:
            self._write_service_certificate()
        self.sink.log("info", "", f"Created new node {self._node.node_id}")

    def _tick(self) -> None:
        if self._over:
            return
        loop = asyncio.get_running_loop()
        self._node.tick(int(loop.time() * 1000), _unix())
        self.flush()
        self._app.idle()
        if self._disk.notes:
            self._log_notes()
        tick_s = max(self.config.tick_interval_us / 1e6, 0.001)
        if self._node.at_ease:
            election_s = self.config.consensus.election_timeout_ms / 1000
            tick_s = max(tick_s, min(EASE_S, election_s / EASE_ELECTION))
        loop.call_later(tick_s, self._tick)

    # --- what listeners and peers call ----------------------------------------------------------

    def open_session(self, interface: str, session_id: int, peer_cert: bytes | None) -> Session:
        """A connection is ready to speak."""
        return Session(session_id, interface, peer_cert)

    def handle(self, session: Session, request: Request) -> bytes | None:
        """One request arrived."""
        return self._node.handle(session, request)

    def close_session(self, session: Session) -> None:
        """A connection ended; nothing is kept of it."""

    def turn_done(self) -> None:
        """Something was handled: what it caused is done once per turn of the loop."""
        if not self._flushing and self._node.has_outputs:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush_soon)

    def _flush_soon(self) -> None:
        if self._flushing:
            self._flushing = False
            self.flush()

    def before_answers(self) -> None:
        """Answers are about to go out: what they acknowledge must be on the disk by then."""
        self._flush_soon()

    def _receive(self, sender: NodeId, channel: Channel, data: bytes) -> None:
        if self._over:
            return
        try:
            self._node.receive(sender, channel, data)
        except Exception as error:
            if channel is not Channel.FORWARD:
                raise
            # As a mistake about a request that came here directly: its client waits in vain.
            message = f"A request that {sender} forwarded failed"
            loop = asyncio.get_running_loop()
            loop.default_exception_handler({"message": message, "exception": error})
        self.turn_done()

    def _congested(self, peer: NodeId, yes: bool) -> None:
        self._node.congested(peer, yes)
        self.turn_done()

    # --- what the node asks for -----------------------------------------------------------------

    def flush(self) -> None:
        """Do everything the node wants done. A disk failure stops the program."""
        node = self._node
        loop = asyncio.get_running_loop()
        try:
            while node.has_outputs:
                for output in node.take_outputs():
                    match output:
                        case Append():
                            began = self._slow.begin()
                            self._disk.append(output.entries)
                            self._slow.end(began, "Writing to the ledger")
                            node.persisted(output.entries[-1].seqno)
                        case Send():
                            self._peers.send(
                                output.to, output.address, output.channel, output.message
                            )
                        case Respond():
                            output.deliver(output.response)
                        case Committed():
                            self._disk.commit(output.seqno)
                        case Truncate():
                            self._disk.truncate(output.seqno)
                        case Begin():
                            self._disk.initialise(output.seqno)
                        case SaveSnapshot():
                            self._save(output)
                        case Fetch():
                            self._read(output)
                        case Replay():
                            loop.call_soon(self._replay, output)
                        case BeginRecovery():
                            self._begin_recovery(output)
                        case EndRecovery():
                            self._disk.complete_recovery()
                        case StoreSpilled():
                            taken = self._spilled.store(output.name, output.data)
                            if not taken and output.refused is not None:
                                output.refused()
                        case LoadSpilled():
                            output.reply(self._spilled.load(output.name))
                        case Call():
                            self._call(output)
                        case Certificate():
                            self._present(output.authority, output.cert_pem)
                        case Log():
                            self.sink.log(output.level, output.tag, output.text, about=output.about)
                        case Stop():
                            self._give_up(output.reason)
                        case _:
                            assert_never(output)
            self._identify()
            self._seal()
            self._peers.turn_done()
        except StorageError as e:
            self._fail(e)

    def _read(self, wanted: Fetch) -> None:
        """Read entries for the node. Old files that are damaged or gone do not stop it."""
        first, last = wanted.first, wanted.last
        try:
            entries = self._disk.read(first, last)
        except (StorageError, InvalidLedger) as e:
            self._node.fetched(first, last, [], e)
        else:
            self._node.fetched(first, last, entries)

    def _replay(self, wish: Replay) -> None:
        """Read some entries for the node, one slice per turn of the loop."""
        if self._over:
            return
        entries: list[bytes] = []
        fault = ""
        last = min(wish.last, wish.first + REPLAY_ENTRIES_MAX - 1)
        try:
            entries = self._disk.read(wish.first, last, REPLAY_BYTES_MAX)
            if not entries:
                fault = self._disk.missing(wish.first)
        except InvalidLedger as e:
            fault = e.message
        except StorageError as e:
            self._fail(e)
            return
        self._node.replayed(wish.first, entries, fault)
        self.flush()

    def _begin_recovery(self, output: BeginRecovery) -> None:
        self._disk.begin_recovery(output.seqno, output.reason)
        self._log_notes()
        if self.config.command.recover is not None:
            # Not before: what is refused leaves every file as it was.
            self._write_service_certificate()

    def _log_notes(self) -> None:
        for note in self._disk.notes:
            self.sink.log("info", "", note)
        self._disk.notes.clear()

    def _write_service_certificate(self) -> None:
        path = self.config.command.service_certificate_file
        start.write(path, self._parts.service.cert_pem.encode())

    def _call(self, call: Call) -> None:
        """Make an HTTPS request beside everything else."""

        async def make() -> None:
            parts = self._parts
            answer = await fetch(call, parts.self_signed_pem, parts.identity.key.pem(), _unix)
            if not self._over:
                call.reply(answer)
                self.flush()

        task = asyncio.get_running_loop().create_task(make())
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def _save(self, output: SaveSnapshot) -> None:
        """Write a snapshot beside everything else."""
        files = self._prepared.snapshots

        async def save() -> None:
            failure = None
            began = self._slow.begin()
            try:
                name = await asyncio.to_thread(files.save, output.name, output.pieces)
            except StorageError as e:
                name, failure = output.name, e.message
            self._slow.end(began, "Writing a snapshot")
            self._node.snapshot_saved(name, failure)
            try:
                for old in await asyncio.to_thread(files.prune):
                    self.sink.log("info", "", f"Removed old snapshot file {old}")
            except StorageError as e:
                self.sink.log("fail", "", e.message)
            if not self._over:
                self.flush()

        task = asyncio.get_running_loop().create_task(save())
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    def _present(self, authority: str, cert_pem: str) -> None:
        key = self._parts.identity.key.pem()
        for name, interface in self.config.network.rpc_interfaces.items():
            if interface.authority.value == authority:
                self.listeners[name].set_certificate(cert_pem, key)

    def _identify(self) -> None:
        """Have peers know this node by the certificate its tables have by now."""
        if self._node.state not in TAKES_PART:
            return
        parts = self._parts
        credentials = (parts.signer.certificate, parts.service.cert_pem)
        if credentials == self._credentials:
            return
        self._credentials = credentials
        self._peers.identify(
            self._node.node_id,
            parts.identity.key.pem(),
            *credentials,
            parts.entry.node_to_node_published_address,
        )

    def _seal(self) -> None:
        """Keep the ledger secret in use for a restart on this machine, once it is committed."""
        directory = self.config.output_files.sealed_ledger_secret_location
        if not directory or self._node.state not in TAKES_PART:
            return
        committed = self._node.consensus.committed
        for secret in reversed(self._parts.secrets.all()):
            if self._sealed < secret.version <= committed + 1:
                if not self._sealed:
                    self.sink.log("fail", "", sealing.WARNING.format(directory))
                self._sealed = secret.version
                host_data = self._prepared.host_data
                try:
                    path = sealing.seal(directory, secret, host_data, self._entropy)
                except LocalError as e:
                    self.sink.log("fail", "", f"{e.message}; it takes shares to recover")
                else:
                    self.sink.log("info", "", f"Sealed the ledger secret in {path}")
                return

    def _sessions(self) -> dict[str, Json]:
        metrics = {name: listener.metrics() for name, listener in self.listeners.items()}
        return {
            "active": sum(m["active"] for m in metrics.values()),
            "interfaces": {
                name: {
                    "active": m["active"],
                    "errors": {
                        "parsing": m["errors"]["parsing"],
                        "request_header_too_large": m["errors"]["request_header_too_large"],
                        "request_payload_too_large": m["errors"]["request_payload_too_large"],
                    },
                    "hard_cap": m["hard_cap"],
                    "peak": m["peak"],
                    "soft_cap": m["soft_cap"],
                }
                for name, m in metrics.items()
            },
            "peak": sum(m["peak"] for m in metrics.values()),
        }

    # --- the end --------------------------------------------------------------------------------

    def _signalled(self, number: signal.Signals) -> None:
        self._terminations += 1
        word = "Hangup" if number == signal.SIGHUP else "Terminated"
        if (
            number == signal.SIGTERM
            and self.config.ignore_first_sigterm
            and self._terminations == 1
        ):
            self.sink.log("info", "", "Terminated: Notifying enclave, but not shutting down.")
            self._node.stop_notice = True
            return
        if self._stopping.is_set():
            # Asked again while another node is being looked for: stop at once.
            self._over = True
            return
        self.sink.log("info", "", f"{word}: Shutting down enclave gracefully...")
        self._stopping.set()

    def _fail(self, error: StorageError) -> None:
        """The disk failed: stop at once, deliver nothing more."""
        self._end(ExitCode.FAILED)
        self.sink.log("fatal", "", error.message)
        with _if_it_can_be_said():
            print(error.explain(), file=sys.stderr)

    def _give_up(self, reason: str) -> None:
        """The node cannot go on."""
        self._end(ExitCode.ABORTED)
        self.sink.log("fatal", "", reason)
        with _if_it_can_be_said():
            print(reason, file=sys.stderr)

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Nobody expected this. Only what concerns one client's connection does not matter."""
        error, protocol = context.get("exception"), context.get("protocol")
        of_client = protocol is not None and not isinstance(protocol, Link)
        if error is None or of_client or isinstance(error, OSError):
            if not self._over:  # what was under way then is given up
                loop.default_exception_handler(context)
            return
        self._end(ExitCode.FAILED)
        self.sink.log("fatal", "", f"This node cannot go on: {type(error).__name__}: {error}")
        with _if_it_can_be_said():
            traceback.print_exception(error)

    def _end(self, code: ExitCode) -> None:
        self._exit_code = int(code)
        self._over = True
        for listener in self.listeners.values():
            for connection in list(listener.connections):
                connection.abort()
        self._stopping.set()

    async def _finish(self) -> None:
        """Sign what is not signed yet, so that the whole ledger can be verified, and hand over.

        Clients and peers are served on until another primary is known, or a whole election could
        have been held.
        """
        node = self._node
        node.finish()
        successor = node.hand_over()
        self.flush()
        if successor is None:
            return
        self.sink.log("info", "", f"Handing over to node {successor}")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.config.consensus.election_timeout_ms / 1000
        while not self._over and loop.time() < deadline:
            if node.consensus.primary not in (None, node.node_id):
                return
            await asyncio.sleep(LEAVING_LOOK_S)
        self.sink.log("info", "", "No other node took over in time")

    async def _take_leave(self) -> None:
        """Answer what clients have asked by now; what that wrote is signed as well."""
        node = self._node
        leaving = {asyncio.ensure_future(listener.close()) for listener in self.listeners.values()}
        while not self._over:
            node.finish()
            self.flush()
            node.dismiss("before this node stopped")
            self.flush()
            if not leaving:
                return
            _, leaving = await asyncio.wait(leaving, timeout=LEAVING_LOOK_S)

    async def _close(self) -> None:
        if self._overtime is not None:
            self._overtime.stop()
        for task in list(self._calls):
            task.cancel()
        for listener in self.listeners.values():
            await listener.close()
        if self._sender is not None:
            self._sender.close()
        await self._peers.close()
        if self._saving:
            await asyncio.wait(self._saving)
        self._disk.close()


def refuse(sink: LogSink, error: PyccfError, code: int) -> int:
    """Say why the program cannot start; its exit code."""
    sink.log("fatal", "", error.message)
    print(error.explain(), file=sys.stderr)
    return int(code)


def _if_it_can_be_said() -> suppress:
    """For what goes to stderr: that may be a file, and the disk full."""
    return suppress(OSError, ValueError)


def _unix() -> UnixSeconds:
    return int(time.time())


_RESIDENT = re.compile(r"^(VmRSS|VmHWM):\s+(\d+) kB$", re.MULTILINE).findall


def _memory() -> dict[str, Json]:
    """Resident memory now, and the most it ever was (bytes)."""
    status = Path("/proc/self/status").read_text()
    # Read at once, so that the peak is never below what there is now.
    sizes = {name: int(kilobytes) * 1024 for name, kilobytes in _RESIDENT(status)}
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return {
        "current_allocated_heap_size": sizes["VmRSS"],
        "max_total_heap_size": (1 << 64) - 1 if limit == resource.RLIM_INFINITY else limit,
        "peak_allocated_heap_size": sizes["VmHWM"],
    }
