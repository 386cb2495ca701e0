"""From a configuration to a node: what is refused before anything is opened, and what is made.

`prepare` refuses everything that can be refused early and takes possession of the files of one node
(PID file, ledger directory), in the order in which the original does. `make` then makes the node of
what is known once its listeners are bound (spec: node-lifecycle.md §3, config-and-cli.md §3-4).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

import msgspec

from pyccf.attest import virtual
from pyccf.codec.text import dump_json
from pyccf.consensus.raft import RaftSettings
from pyccf.crypto import certs
from pyccf.crypto.entropy import Entropy
from pyccf.crypto.keys import Curve
from pyccf.errors import ConfigError, LocalError, PyccfError
from pyccf.node.create import NodePlan, Parts, ServicePlan, start_service
from pyccf.node.fetch_snapshot import FetchPlan
from pyccf.node.join import JoinTarget, join_service
from pyccf.node.node import Limits
from pyccf.node.recover import RecoveryPlan, recover_service
from pyccf.service import genesis
from pyccf.service.identity import NodeIdentity, make_node, make_service
from pyccf.service.members import RecoveryRole
from pyccf.service.nodes import RpcInterface
from pyccf.shell import config as cfg
from pyccf.shell import platform, sealing
from pyccf.shell.config import ExitCode, NodeConfig
from pyccf.shell.config_schema import HTTP1, HTTP2, StartupFiles
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.install import AppSource, LoadedApp, load_app
from pyccf.shell.package import digest_of_code, digest_of_file
from pyccf.shell.snapshot_files import SnapshotFiles
from pyccf.shell.startup_snapshot import choose, choose_to_recover
from pyccf.types import Json, UnixSeconds


class Exit(Exception):
    """The program cannot start; ends it with a particular code."""

    def __init__(self, error: PyccfError, code: ExitCode) -> None:
        super().__init__(error.message)
        self.error = error
        self.code = code


class Prepared(msgspec.Struct, frozen=True):
    """What is there before anything listens."""

    files: StartupFiles
    app: LoadedApp
    host_data: str
    """Hex SHA-256 of the program."""
    disk: LedgerDisk
    snapshots: SnapshotFiles
    threshold: int
    """Shares that recover a new service; 0 when none is started."""


class Addresses(msgspec.Struct, frozen=True):
    """Where this node really listens, host:port."""

    node: str
    rpc: dict[str, str]
    """By the name of the interface."""


# --- before anything listens ----------------------------------------------------------------------


def prepare(config: NodeConfig, source: AppSource) -> Prepared:
    """Everything that can be refused before a socket is opened. Raises PyccfError, Exit."""
    starting = config.command.type is cfg.CommandType.START
    recovering = config.command.type is cfg.CommandType.RECOVER
    for name, interface in config.network.rpc_interfaces.items():
        _check_protocol(name, interface)
    threshold = 0
    try:
        cfg.check_memory(config.memory)
        if config.command.start is not None:
            threshold = cfg.effective_recovery_threshold(config.command.start)
    except ConfigError as e:
        raise Exit(e, ExitCode.INVALID_VALUE) from None
    platform.check(os.environ)
    files = cfg.read_files(config)
    if recovering:
        _check_recovery(config)
    app = load_app(source)
    if source.package is not None:
        host_data = digest_of_file(Path(source.package))
    else:
        host_data = digest_of_code([Path(__file__).resolve().parents[1], *app.roots])
    _write_pid(config.output_files.pid_file)
    ledger = config.ledger
    if starting and _holds_anything(ledger.directory):
        raise Exit(
            LocalError(
                f"On start, ledger directory should not exist or be empty ({ledger.directory})"
            ),
            ExitCode.INVALID_VALUE,
        )
    disk = LedgerDisk(ledger.directory, ledger.read_only_directories, keep=recovering)
    snapshots = SnapshotFiles(
        config.snapshots.directory,
        config.snapshots.read_only_directory,
        kept=config.snapshots.kept,
    )
    if recovering and not disk.last and not snapshots.candidates():
        raise LocalError(
            f"There is no ledger to recover in {ledger.directory}.",
            hint="Put the ledger files of the service there, or name their directories in"
            " ledger.read_only_directories. See what files hold: pyccf recover inspect DIR",
        )
    write(f"{attestation_name()}.measurement", virtual.measurement_file(host_data))
    return Prepared(files, app, host_data, disk, snapshots, threshold)


def _check_protocol(name: str, interface: cfg.RpcInterface) -> None:
    """Refuse what no interface of ours speaks. Raises ConfigError."""
    key = f"network.rpc_interfaces.{name}"
    if interface.app_protocol not in (HTTP1, HTTP2):
        raise ConfigError(
            f"{key}.app_protocol: '{interface.app_protocol}' is not a protocol of this node.",
            hint=f"Write {HTTP1} or {HTTP2}.",
        )
    if interface.protocol == "udp":
        raise ConfigError(f"{key}.protocol: only TCP is served.", hint="Leave this key out.")


def _check_recovery(config: NodeConfig) -> None:
    """Refuse to write the new identity over the one that is recovered."""
    recover, target = config.command.recover, config.command.service_certificate_file
    assert recover is not None
    with contextlib.suppress(OSError):
        if os.path.samefile(recover.previous_service_identity_file, target):
            raise ConfigError(
                f"command.service_certificate_file: {target} is the previous service identity.",
                hint="The identity of the recovered service is written there. Name another file.",
            )


def _holds_anything(directory: str) -> bool:
    try:
        return any(os.scandir(directory))
    except OSError:
        return False


def _write_pid(path: str) -> None:
    try:
        with open(path, "x") as f:
            f.write(str(os.getpid()))
    except FileExistsError:
        raise Exit(
            LocalError(
                f"PID file {path} already exists. Exiting.",
                hint="Another node may be running here; if not, remove the file.",
            ),
            ExitCode.PID_FILE_EXISTS,
        ) from None
    except OSError as e:
        raise LocalError(f"Cannot write PID file {path}: {e.strerror}") from None


# --- the node -------------------------------------------------------------------------------------


def make(
    config: NodeConfig,
    prepared: Prepared,
    addresses: Addresses,
    *,
    entropy: Entropy,
    now: UnixSeconds,
    log: Callable[[str, str], None],
    install: Callable[[Parts], None],
) -> Parts:
    """Make the node that the configuration asks for. Raises PyccfError."""
    for warning in platform.warnings(config.attestation, os.environ):
        log("fail", warning)
    certificate = config.node_certificate
    interfaces = {
        name: _told(interface, addresses.rpc[name])
        for name, interface in config.network.rpc_interfaces.items()
    }
    identity = make_node(
        entropy=entropy,
        not_before=now,
        days=certificate.initial_validity_days,
        sans=_alternative_names(certificate.subject_alt_names, interfaces),
        subject=certificate.subject_name,
        curve=_curve(config),
    )
    published = config.network.node_to_node_interface.published_address
    plan = NodePlan(
        node_data=prepared.files.node_data,
        host_data=prepared.host_data,
        node_bind_address=addresses.node,
        node_published_address=str(published) if published else addresses.node,
        rpc_interfaces=interfaces,
        chunk_size_bytes=config.ledger.chunk_size_bytes,
        limits=Limits(
            signature_tx_count=config.ledger_signatures.tx_count,
            signature_delay_ms=config.ledger_signatures.delay_ms,
            uncommitted_max=config.consensus.max_uncommitted_tx_count,
            historical_bytes_max=config.historical_cache_soft_limit_bytes,
            key_refresh_interval=config.jwt.key_refresh_interval_ms,
            snapshot_tx_count=config.snapshots.tx_count,
            snapshot_interval_ms=config.snapshots.interval_ms,
        ),
        raft=RaftSettings(
            message_timeout=config.consensus.message_timeout_ms,
            election_timeout=config.consensus.election_timeout_ms,
        ),
        seals=config.output_files.sealed_ledger_secret_location is not None,
    )
    if config.command.join is not None:
        return _join(config, prepared, plan, identity, entropy, now, log, install)
    if config.command.recover is not None:
        return _recover(config, prepared, plan, identity, entropy, now, log, install)
    return _start(config, prepared, plan, identity, entropy, now, log, install)


def _curve(config: NodeConfig) -> Curve:
    return Curve.P384 if config.node_certificate.curve_id is cfg.CurveName.P384 else Curve.P256


def _start(
    config: NodeConfig,
    prepared: Prepared,
    plan: NodePlan,
    identity: NodeIdentity,
    entropy: Entropy,
    now: UnixSeconds,
    log: Callable[[str, str], None],
    install: Callable[[Parts], None],
) -> Parts:
    start, files = config.command.start, prepared.files
    assert start is not None
    service = make_service(
        entropy=entropy,
        not_before=now,
        days=start.initial_service_certificate_validity_days,
        subject=start.service_subject_name,
        curve=_curve(config),
    )
    service_plan = ServicePlan(
        **{name: getattr(plan, name) for name in NodePlan.__struct_fields__},
        members=tuple(
            genesis.Member(
                cert=m.certificate_pem,
                encryption_pub_key=m.encryption_public_key_pem,
                member_data=m.data,
                recovery_role=RecoveryRole(m.recovery_role.value) if m.recovery_role else None,
            )
            for m in files.members
        ),
        constitution=files.constitution,
        configuration=_service_configuration(start.service_configuration, prepared.threshold),
        service_data=files.service_data,
        cose_issuer=start.cose_signatures.issuer,
        cose_subject=start.cose_signatures.subject,
        node_validity_days=config.node_certificate.initial_validity_days,
    )
    log(
        "info",
        f"Creating new node: new network (with {len(service_plan.members)} initial member(s) and"
        f" {prepared.threshold} member(s) required for recovery)",
    )
    return start_service(
        service_plan,
        identity,
        service,
        entropy=entropy,
        started=now,
        app=prepared.app.app,
        install=install,
    )


def _service_configuration(
    given: cfg.ServiceConfiguration, threshold: int
) -> genesis.ServiceConfiguration:
    window = given.recent_cose_proposals_window_size
    return genesis.ServiceConfiguration(
        recovery_threshold=threshold,
        maximum_node_certificate_validity_days=given.maximum_node_certificate_validity_days,
        maximum_service_certificate_validity_days=given.maximum_service_certificate_validity_days,
        recent_cose_proposals_window_size=window if window != 100 else None,
    )


def _join(
    config: NodeConfig,
    prepared: Prepared,
    plan: NodePlan,
    identity: NodeIdentity,
    entropy: Entropy,
    now: UnixSeconds,
    log: Callable[[str, str], None],
    install: Callable[[Parts], None],
) -> Parts:
    join, certificate = config.command.join, prepared.files.service_certificate_pem
    assert join is not None
    assert certificate is not None, "it was read with the other files"
    log("info", f"Creating new node - join existing network at {join.target_rpc_address}")
    if config.service_data_json_file is not None:
        log("fail", "service_data_json_file has no effect on a node that joins")
    snapshot = choose(prepared.snapshots, certificate, log)
    fetch = None
    if join.fetch_recent_snapshot:
        fetch = FetchPlan(
            attempts_max=join.fetch_snapshot_max_attempts,
            retry_interval=join.fetch_snapshot_retry_interval_ms,
            bytes_max=join.fetch_snapshot_max_size_bytes,
        )
    elif snapshot is None:
        log("info", "No snapshot found: Node will replay all historical transactions")
    return join_service(
        plan,
        JoinTarget(
            address=str(join.target_rpc_address),
            service_cert_pem=certificate,
            retry_timeout=join.retry_timeout_ms,
            follow_redirect=join.follow_redirect,
            fetch=fetch,
        ),
        identity,
        entropy=entropy,
        started=now,
        app=prepared.app.app,
        install=install,
        snapshot=snapshot,
    )


def _recover(
    config: NodeConfig,
    prepared: Prepared,
    plan: NodePlan,
    identity: NodeIdentity,
    entropy: Entropy,
    now: UnixSeconds,
    log: Callable[[str, str], None],
    install: Callable[[Parts], None],
) -> Parts:
    recover, previous = config.command.recover, prepared.files.previous_service_identity_pem
    assert recover is not None
    log("info", "Creating new node - recover")
    try:
        subject = certs.subject(previous)
    except ValueError as e:
        raise LocalError(
            f"{recover.previous_service_identity_file}: not a certificate: {e}",
            hint="It must hold the certificate of the service to recover, in PEM.",
        ) from None
    service = make_service(
        entropy=entropy,
        not_before=now,
        days=recover.initial_service_certificate_validity_days,
        subject=subject,
        curve=_curve(config),
    )
    snapshot, whole = choose_to_recover(prepared.disk, prepared.snapshots, previous, log)
    kept = recover.previous_sealed_ledger_secret_location
    sealed = sealing.unseal(kept, prepared.host_data, log) if kept else {}
    return recover_service(
        RecoveryPlan(
            **{name: getattr(plan, name) for name in NodePlan.__struct_fields__},
            previous_service_identity=previous,
            snapshot=snapshot,
            sealed=sealed,
            whole_ledger=whole,
            service_data=prepared.files.service_data,
            node_validity_days=config.node_certificate.initial_validity_days,
        ),
        identity,
        service,
        entropy=entropy,
        started=now,
        app=prepared.app.app,
        install=install,
    )


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


# --- files ----------------------------------------------------------------------------------------


def attestation_name() -> str:
    """Stem of the files that tell what this process attests."""
    return f"ccf_virtual_attestation.{os.getpid()}"


def write(path: str, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it. Raises LocalError."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as f:
            f.write(content)
        os.replace(temporary, path)
    except OSError as e:
        raise LocalError(f"Cannot write {path}: {e.strerror}") from None


def write_json(path: str | None, value: Json) -> None:
    """The same for JSON; nothing without a path."""
    if path:
        write(path, dump_json(value))
