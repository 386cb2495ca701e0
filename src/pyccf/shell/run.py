"""The node program: the hands of one node.

Reads the configuration, makes the node, opens its sockets and its ledger, and then does in order
what the node asks for: append entries, tell it what is on disk, deliver answers. A disk that fails
stops the program before anything more is acknowledged. SIGTERM, SIGINT and SIGHUP end it after the
open signature is written. Nothing goes to stderr but the reason of a failed start
(spec: node-lifecycle.md §3, §14, config-and-cli.md §4).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import assert_never

import uvloop

from pyccf import CCF_VERSION, __version__
from pyccf.attest import virtual
from pyccf.codec.text import dump_json
from pyccf.crypto.keys import Curve
from pyccf.errors import ConfigError, LocalError, PyccfError, StorageError
from pyccf.http.limits import HttpLimits
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.node.create import Parts, ServicePlan, start_service
from pyccf.node.node import Limits, Node
from pyccf.node.outputs import Append, Certificate, Committed, Fetch, Log, Respond
from pyccf.observe.log import Level, LogSink
from pyccf.service import genesis
from pyccf.service.identity import make_node, make_service
from pyccf.service.members import RecoveryRole
from pyccf.service.nodes import RpcInterface
from pyccf.shell import config as cfg
from pyccf.shell.config import ExitCode, NodeConfig
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.hardware import SystemEntropy
from pyccf.shell.install import AppSource, install_endpoints, load_app
from pyccf.shell.listen import Listener
from pyccf.shell.package import digest_of_code, digest_of_file
from pyccf.types import Json

GC_YOUNG_OBJECTS = 50_000
"""Objects made and not freed between two looks of the collector at the youngest ones."""
GC_MIDDLE_RUNS = 20
GC_FULL_RUNS = 100


def main(
    config_path: str,
    config_timeout_us: int = 0,
    log_level: str = "info",
    check: bool = False,
    app: str | None = None,
    package: str | None = None,
) -> int:
    """Run a node until it is told to stop; the exit code (spec: config-and-cli.md §1)."""
    try:
        level = Level.parse(log_level)
    except ValueError as e:
        print(f"--log-level: {e}", file=sys.stderr)
        return int(ExitCode.INVALID_VALUE)
    sink = LogSink(sys.stdout.buffer, level=level)
    try:
        config = cfg.load_config(config_path, config_timeout_us)
    except ConfigError as e:
        return _refuse(sink, e, ExitCode.ABORTED)
    sink.json = config.logging.format is cfg.LogFormat.JSON
    sink.log("info", "", f"CCF version: {CCF_VERSION} (pyccf {__version__})")
    if check:
        sink.log("info", "", "Configuration file successfully verified")
        return ExitCode.OK
    sink.log("info", "", f"Configuration: {config.text}")
    for key in config.ignored_keys:
        sink.log("info", "", f"Configuration key {key} is not known and has no effect.")
    try:
        program = Program(config, sink, AppSource(app, package))
        program.prepare()
    except _Exit as e:
        return _refuse(sink, e.error, e.code)
    except PyccfError as e:
        return _refuse(sink, e, ExitCode.FAILED)
    return uvloop.run(program.run())


def _refuse(sink: LogSink, error: PyccfError, code: int) -> int:
    sink.log("fatal", "", error.message)
    print(error.explain(), file=sys.stderr)
    return int(code)


class _Exit(Exception):
    """The program cannot start; ends it with a particular code."""

    def __init__(self, error: PyccfError, code: ExitCode) -> None:
        super().__init__(error.message)
        self.error = error
        self.code = code


class Program:
    """One running node with its sockets, files and timers."""

    def __init__(self, config: NodeConfig, sink: LogSink, source: AppSource) -> None:
        self.config = config
        self.sink = sink
        self.source = source
        self.listeners: dict[str, Listener] = {}
        self._certificates: dict[str, str] = {}
        self._session_ids = itertools.count(1)
        self._flushing = False
        self._stopping: asyncio.Event
        self._exit_code = int(ExitCode.OK)
        self._terminations = 0
        self._node: Node
        self._parts: Parts
        self._disk: LedgerDisk

    # --- before the loop ------------------------------------------------------------------------

    def prepare(self) -> None:
        """Everything that can be refused before a socket is opened. Raises PyccfError, _Exit."""
        config = self.config
        if config.command.type is not cfg.CommandType.START:
            raise LocalError(
                f"command.type {config.command.type.value} is not possible in this version.",
                hint="A node can Start a new service; joining and recovering come later.",
            )
        for name, interface in config.network.rpc_interfaces.items():
            if interface.app_protocol != "HTTP1" or interface.protocol == "udp":
                raise ConfigError(
                    f"network.rpc_interfaces.{name}.app_protocol: only HTTP1 over TCP is served"
                    " in this version."
                )
        assert config.command.start is not None
        try:
            cfg.check_memory(config.memory)
            self._threshold = cfg.effective_recovery_threshold(config.command.start)
        except ConfigError as e:
            raise _Exit(e, ExitCode.INVALID_VALUE) from None
        self._files = cfg.read_files(config)
        self._app = load_app(self.source)
        if self.source.package is not None:
            self._host_data = digest_of_file(Path(self.source.package))
        else:
            roots = [Path(__file__).resolve().parents[1], *self._app.roots]
            self._host_data = digest_of_code(roots)
        self._write_pid()
        ledger = config.ledger
        try:
            occupied = any(os.scandir(ledger.directory))
        except OSError:
            occupied = False
        if occupied:
            raise _Exit(
                LocalError(
                    f"On start, ledger directory should not exist or be empty ({ledger.directory})"
                ),
                ExitCode.INVALID_VALUE,
            )
        self._disk = LedgerDisk(ledger.directory, ledger.read_only_directories)
        with contextlib.suppress(FileExistsError):
            os.mkdir(config.snapshots.directory)
        _write(
            f"ccf_virtual_attestation.{os.getpid()}.measurement",
            virtual.measurement_file(self._host_data),
        )

    def _write_pid(self) -> None:
        path = self.config.output_files.pid_file
        try:
            with open(path, "x") as f:
                f.write(str(os.getpid()))
        except FileExistsError:
            raise _Exit(
                LocalError(
                    f"PID file {path} already exists. Exiting.",
                    hint="Another node may be running here; if not, remove the file.",
                ),
                ExitCode.PID_FILE_EXISTS,
            ) from None
        except OSError as e:
            raise LocalError(f"Cannot write PID file {path}: {e.strerror}") from None

    # --- the loop -------------------------------------------------------------------------------

    async def run(self) -> int:
        """Listen, start the service, and work until told to stop."""
        self._stopping = asyncio.Event()
        try:
            await self._listen()
            self._start_node()
        except PyccfError as e:
            await self._close()
            return _refuse(self.sink, e, ExitCode.FAILED)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled, number)
        # What exists now lives for ever; the collector need not look at it again. What a request
        # leaves behind is freed by reference counts, so it may look seldom.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_YOUNG_OBJECTS, GC_MIDDLE_RUNS, GC_FULL_RUNS)
        self._tick()
        await self._stopping.wait()
        self._finish()
        await self._close()
        self.sink.log("info", "", "Host stopped successfully")
        return self._exit_code

    async def _listen(self) -> None:
        network = self.config.network
        node_address = network.node_to_node_interface.bind_address
        loop = asyncio.get_running_loop()
        try:
            self._peers = await loop.create_server(_NoPeer, node_address.host, node_address.port)
        except OSError as e:
            raise LocalError(
                f"Cannot listen on {node_address} (network.node_to_node_interface): {e.strerror}"
            ) from None
        host, port = self._peers.sockets[0].getsockname()[:2]
        self._node_address = f"{host}:{port}"
        _write_json(
            self.config.output_files.node_to_node_address_file,
            {"node_to_node_interface": self._node_address},
        )
        for name, interface in network.rpc_interfaces.items():
            http = interface.http_configuration
            idle_ms = self.config.idle_connection_timeout_ms
            listener = Listener(
                name,
                str(interface.bind_address),
                self,
                HttpLimits(
                    max_body_size=http.max_body_size_bytes,
                    max_header_size=http.max_header_size_bytes,
                    max_headers_count=http.max_headers_count,
                ),
                tls=interface.authority is not cfg.Authority.UNSECURED,
                sessions_soft=interface.max_open_sessions_soft,
                sessions_hard=interface.max_open_sessions_hard,
                idle_timeout_s=None if idle_ms is None else idle_ms / 1000,
                session_ids=self._session_ids,
            )
            self.listeners[name] = listener
            await listener.start()
            self.sink.log("info", "", f"Registered RPC interface {name}, on {listener.address}")
        _write_json(
            self.config.output_files.rpc_addresses_file,
            {name: listener.address for name, listener in self.listeners.items()},
        )

    def _start_node(self) -> None:
        config, files = self.config, self._files
        start = config.command.start
        assert start is not None
        certificate = config.node_certificate
        curve = Curve.P384 if certificate.curve_id is cfg.CurveName.P384 else Curve.P256
        entropy = SystemEntropy()
        now = int(time.time())
        interfaces = {
            name: _told(interface, self.listeners[name].address)
            for name, interface in config.network.rpc_interfaces.items()
        }
        self._identity = make_node(
            entropy=entropy,
            not_before=now,
            days=certificate.initial_validity_days,
            sans=_alternative_names(certificate.subject_alt_names, interfaces),
            subject=certificate.subject_name,
            curve=curve,
        )
        service = make_service(
            entropy=entropy,
            not_before=now,
            days=start.initial_service_certificate_validity_days,
            subject=start.service_subject_name,
            curve=curve,
        )
        published = config.network.node_to_node_interface.published_address
        settings = start.service_configuration
        plan = ServicePlan(
            members=tuple(
                genesis.Member(
                    cert=m.certificate_pem,
                    encryption_pub_key=m.encryption_public_key_pem,
                    member_data=m.data,
                    recovery_role=(
                        RecoveryRole(m.recovery_role.value) if m.recovery_role else None
                    ),
                )
                for m in files.members
            ),
            constitution=files.constitution,
            configuration=genesis.ServiceConfiguration(
                recovery_threshold=self._threshold,
                maximum_node_certificate_validity_days=(
                    settings.maximum_node_certificate_validity_days
                ),
                maximum_service_certificate_validity_days=(
                    settings.maximum_service_certificate_validity_days
                ),
                recent_cose_proposals_window_size=(
                    settings.recent_cose_proposals_window_size
                    if settings.recent_cose_proposals_window_size != 100
                    else None
                ),
            ),
            service_data=files.service_data,
            node_data=files.node_data,
            cose_issuer=start.cose_signatures.issuer,
            cose_subject=start.cose_signatures.subject,
            host_data=self._host_data,
            node_bind_address=self._node_address,
            node_published_address=str(published) if published else self._node_address,
            rpc_interfaces=interfaces,
            chunk_size_bytes=config.ledger.chunk_size_bytes,
            limits=Limits(
                signature_tx_count=config.ledger_signatures.tx_count,
                signature_delay_ms=config.ledger_signatures.delay_ms,
                uncommitted_max=config.consensus.max_uncommitted_tx_count,
                historical_bytes_max=config.historical_cache_soft_limit_bytes,
            ),
            node_validity_days=certificate.initial_validity_days,
            curve=curve,
        )
        self.sink.log(
            "info",
            "",
            f"Creating new node: new network (with {len(plan.members)} initial member(s) and"
            f" {self._threshold} member(s) required for recovery)",
        )

        def install(parts: Parts) -> None:
            self._parts = parts
            self._node = parts.node
            install_endpoints(parts, self._app, entropy, self._sessions, _memory)

        start_service(
            plan,
            self._identity,
            service,
            entropy=entropy,
            started=now,
            app=self._app.app,
            install=install,
        )
        evidence = virtual.make(self._host_data, self._identity.key.public.der)
        _write(
            f"ccf_virtual_attestation.{os.getpid()}.attestation",
            virtual.attestation_file(evidence),
        )
        self.flush()
        _write(config.output_files.node_certificate_file, self._identity.self_signed_pem.encode())
        _write(config.command.service_certificate_file, service.cert_pem.encode())
        self.sink.log("info", "", f"Created new node {self._node.node_id}")

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._node.tick(int(loop.time() * 1000), int(time.time()))
        self.flush()
        self._app.idle()
        if not self._stopping.is_set():
            loop.call_later(max(self.config.tick_interval_us / 1e6, 0.001), self._tick)

    # --- what listeners call --------------------------------------------------------------------

    def open_session(self, interface: str, session_id: int, peer_cert: bytes | None) -> Session:
        """A connection is ready to speak."""
        return Session(session_id, interface, peer_cert)

    def handle(self, session: Session, request: Request) -> bytes | None:
        """One request arrived."""
        return self._node.handle(session, request)

    def close_session(self, session: Session) -> None:
        """A connection ended; nothing is kept of it."""

    def turn_done(self) -> None:
        """Requests were handled: what they caused is done once per turn of the loop."""
        if not self._flushing and self._node.has_outputs:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush_soon)

    def _flush_soon(self) -> None:
        self._flushing = False
        self.flush()

    # --- what the node asks for -----------------------------------------------------------------

    def flush(self) -> None:
        """Do everything the node wants done. A disk failure stops the program."""
        node = self._node
        try:
            while node.has_outputs:
                for output in node.take_outputs():
                    match output:
                        case Append():
                            self._disk.append(output.entries)
                            node.persisted(output.entries[-1].seqno)
                        case Respond():
                            output.deliver(output.response)
                        case Committed():
                            self._disk.commit(output.seqno)
                        case Fetch():
                            entries = self._disk.read(output.first, output.last)
                            node.fetched(output.first, output.last, entries)
                        case Certificate():
                            self._present(output.authority, output.cert_pem)
                        case Log():
                            self.sink.log(output.level, output.tag, output.text)
                        case _:
                            assert_never(output)
        except StorageError as e:
            self._fail(e)

    def _present(self, authority: str, cert_pem: str) -> None:
        key = self._identity.key.pem()
        for name, interface in self.config.network.rpc_interfaces.items():
            if interface.authority.value == authority:
                self.listeners[name].set_certificate(cert_pem, key)

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
        self.sink.log("info", "", f"{word}: Shutting down enclave gracefully...")
        self._stopping.set()

    def _fail(self, error: StorageError) -> None:
        """The disk failed: stop at once, deliver nothing more."""
        self._exit_code = int(ExitCode.FAILED)
        self.sink.log("fatal", "", error.message)
        print(error.explain(), file=sys.stderr)
        for listener in self.listeners.values():
            for connection in list(listener.connections):
                connection.abort()
        self._stopping.set()

    def _finish(self) -> None:
        """Sign what is not signed yet, so that the whole ledger can be verified."""
        if self._exit_code == ExitCode.OK:
            self._node.finish()
            self.flush()

    async def _close(self) -> None:
        for listener in self.listeners.values():
            await listener.close()
        if hasattr(self, "_peers"):
            self._peers.close()
        self._disk.close()


class _NoPeer(asyncio.Protocol):
    """The node-to-node port of a network of one: nobody is expected."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _told(interface: cfg.RpcInterface, address: str) -> RpcInterface:
    """An interface as the service's tables tell of it."""
    http = interface.http_configuration
    published = interface.published_address
    return RpcInterface(
        bind_address=address,
        published_address=str(published) if published else address,
        protocol=interface.protocol,
        app_protocol=interface.app_protocol,
        max_open_sessions_soft=interface.max_open_sessions_soft,
        max_open_sessions_hard=interface.max_open_sessions_hard,
        max_body_size=http.max_body_size_bytes,
        max_header_size=http.max_header_size_bytes,
        max_headers_count=http.max_headers_count,
        max_concurrent_streams_count=http.max_concurrent_streams_count,
        initial_window_size=http.initial_window_size_bytes,
        max_frame_size=http.max_frame_size_bytes,
        authority=interface.authority.value,
        accepted_endpoints=interface.accepted_endpoints,
        forwarding_timeout_ms=interface.forwarding_timeout_ms,
        redirections=_redirections_json(interface.redirections),
    )


def _redirections_json(given: cfg.Redirections | None) -> dict[str, Json] | None:
    if given is None:
        return None
    out: dict[str, Json] = {}
    for name, resolver in (("to_primary", given.to_primary), ("to_backup", given.to_backup)):
        match resolver:
            case cfg.NodeByRole():
                out[name] = {"kind": "NodeByRole", "target": {"role": resolver.role.value}}
            case cfg.StaticAddress():
                out[name] = {"kind": "StaticAddress", "target": {"address": resolver.address}}
            case _:
                assert_never(resolver)
    return out


def _alternative_names(given: tuple[str, ...], interfaces: dict[str, RpcInterface]) -> list[str]:
    """SANs as configured, or the published hosts (spec: crypto.md §7)."""
    if given:
        prefixes = {"iPAddress": "IP", "dNSName": "DNS"}
        pairs = [name.partition(":") for name in given]
        return [f"{prefixes[kind]}:{value}" for kind, _, value in pairs]
    names: list[str] = []
    for _, interface in sorted(interfaces.items()):
        host = interface.published_address.rpartition(":")[0]
        last = host.replace(":", ".").rpartition(".")[2]
        name = f"IP:{host}" if last.isdigit() else f"DNS:{host}"
        if name not in names:
            names.append(name)
    return names


def _memory() -> dict[str, Json]:
    """Resident memory now, and the most it ever was (bytes)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return {
        "current_allocated_heap_size": pages * resource.getpagesize(),
        "max_total_heap_size": (1 << 64) - 1 if limit == resource.RLIM_INFINITY else limit,
        "peak_allocated_heap_size": peak,
    }


def _write(path: str, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it. Raises LocalError."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as f:
            f.write(content)
        os.replace(temporary, path)
    except OSError as e:
        raise LocalError(f"Cannot write {path}: {e.strerror}") from None


def _write_json(path: str | None, value: Json) -> None:
    if path:
        _write(path, dump_json(value))
