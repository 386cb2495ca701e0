"""The configuration of a node: CCF's JSON file read once into frozen structs.

The file follows the original's schema (spec: config-and-cli.md §2, §3): sizes and times are JSON
strings with units, addresses are "host:port". Here they become integers whose names end in their
unit: `_bytes`, `_ms`, `_us`. A time kept in milliseconds but given more finely is rounded up, so
that a wait that was asked for never becomes none.

Promises: what `parse_config` returns is complete (every default filled in) and every value is
within its range. Refuses, with a `ConfigError` naming the full key (`ledger.chunk_size`) and what
is allowed there: unknown keys, wrong types, missing keys, values out of range. Two places take
unknown keys, as in the original: one `rpc_interfaces.<name>` object and `command` itself; what was
passed over there is listed in `NodeConfig.ignored_keys`. Of `start`, `join` and `recover` only the
one that `command.type` names is judged in full; the others need only have the right types.

No file but the configuration itself is opened by `load_config`; `read_files` opens those it names.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path

import msgspec

from pyccf.codec.text import load_json
from pyccf.errors import ConfigError
from pyccf.ledger.chunker import CHUNK_SIZE_MAX, CHUNK_SIZE_MIN
from pyccf.shell.config_reader import Reader, decode, shown
from pyccf.shell.config_schema import (
    HTTP1,
    Address,
    Attestation,
    Authority,
    Command,
    CommandType,
    Consensus,
    CoseSignatures,
    CurveName,
    EndorsementServer,
    EndorsementServerType,
    HostLevel,
    HttpConfiguration,
    InitialMember,
    JoinCommand,
    Jwt,
    Ledger,
    LedgerSignatures,
    LogFormat,
    Logging,
    MemberFiles,
    Memory,
    Network,
    NodeByRole,
    NodeCertificate,
    NodeConfig,
    NodeInterface,
    OutputFiles,
    RecoverCommand,
    RecoveryRole,
    Redirections,
    ResolverKind,
    Role,
    RpcInterface,
    ServiceConfiguration,
    Snapshots,
    StartCommand,
    StartupFiles,
    StaticAddress,
)
from pyccf.types import Json

RETRY_INTERVAL_S = 0.1
"""How often a configuration that is not there yet is looked for (spec: config-and-cli.md §1)."""
FRAME_MIN_BYTES = 16 * 1024
FRAME_MAX_BYTES = 16 * 1024 * 1024 - 1
WINDOW_MAX_BYTES = 2**31 - 1
DAYS_MAX = 2_900_000
"""Certificates cannot hold dates after the year 9999."""
FORMER_KEYS = (
    ("", "enclave"),
    ("network", "acme"),
    ("attestation", "environment"),
    ("consensus", "type"),
)
"""Section and key of what configurations for CCF before 7.0 may hold."""
SAN_FORMS = '"iPAddress:<address>" or "dNSName:<name>"'

__all__ = [
    "Address",
    "Attestation",
    "Authority",
    "Command",
    "CommandType",
    "Consensus",
    "CoseSignatures",
    "CurveName",
    "EndorsementServer",
    "EndorsementServerType",
    "ExitCode",
    "HttpConfiguration",
    "InitialMember",
    "JoinCommand",
    "Jwt",
    "Ledger",
    "LedgerSignatures",
    "LogFormat",
    "Logging",
    "MemberFiles",
    "Memory",
    "Network",
    "NodeByRole",
    "NodeCertificate",
    "NodeConfig",
    "NodeInterface",
    "OutputFiles",
    "RecoverCommand",
    "RecoveryRole",
    "Redirections",
    "Role",
    "RpcInterface",
    "ServiceConfiguration",
    "Snapshots",
    "StartCommand",
    "StartupFiles",
    "StaticAddress",
    "check_memory",
    "effective_recovery_threshold",
    "expand_environment",
    "load_config",
    "parse_config",
    "read_files",
    "sequence_of_interfaces",
]


class ExitCode(IntEnum):
    """Exit codes of the node program (spec: config-and-cli.md §1)."""

    OK = 0
    FAILED = 1
    PID_FILE_EXISTS = 103
    INVALID_VALUE = 105
    MISSING_OPTION = 106
    UNKNOWN_OPTION = 109
    ABORTED = 134


# -- reading -------------------------------------------------------------------------------------


def load_config(path: str | Path, timeout_us: int = 0) -> NodeConfig:
    """Read the configuration file at `path`.

    Looks again every 100 ms until the file exists and holds JSON or `timeout_us` microseconds have
    passed, but at least once. Raises ConfigError.
    """
    deadline = time.monotonic() + timeout_us / 1_000_000
    while True:
        try:
            text = Path(path).read_text(encoding="utf-8")
            decode(text, str(path))
            break
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            failure = ConfigError(
                f"Could not read configuration file {path}: {reason}",
                hint="Give the path of a JSON file with --config.",
            )
        except ConfigError as error:
            failure = error
        if time.monotonic() >= deadline:
            raise failure
        time.sleep(min(RETRY_INTERVAL_S, max(0.0, deadline - time.monotonic())))
    return parse_config(text, str(path))


def parse_config(text: str, name: str = "configuration") -> NodeConfig:
    """Read a configuration from JSON text; `name` stands for it in errors. Raises ConfigError."""
    ignored: list[str] = []
    document = decode(text, name)
    _refuse_former_keys(document)
    top = Reader(document, "", True, ignored)
    network = _network(top.section("network", required=True))
    command = _command(top.section("command", required=True))
    config = NodeConfig(
        network=network,
        command=command,
        node_certificate=_node_certificate(top.section("node_certificate")),
        node_data_json_file=top.nullable("node_data_json_file", top.text),
        service_data_json_file=top.nullable("service_data_json_file", top.text),
        attestation=_attestation(top.section("attestation")),
        ledger=_ledger(top.section("ledger")),
        snapshots=_snapshots(top.section("snapshots")),
        logging=_logging(top.section("logging")),
        consensus=_consensus(top.section("consensus")),
        ledger_signatures=_ledger_signatures(top.section("ledger_signatures")),
        jwt=_jwt(top.section("jwt")),
        output_files=_output_files(top.section("output_files")),
        memory=_memory(top.section("memory")),
        tick_interval_us=top.time_us("tick_interval", 10_000),
        slow_io_logging_threshold_us=top.time_us("slow_io_logging_threshold", 10_000),
        node_client_interface=top.nullable("node_client_interface", top.address),
        client_connection_timeout_ms=top.time_ms("client_connection_timeout", 2000),
        idle_connection_timeout_ms=top.nullable("idle_connection_timeout", top.time_ms, 60_000),
        worker_threads=top.integer("worker_threads", 0),
        ignore_first_sigterm=top.flag("ignore_first_sigterm", False),
        node_to_node_message_limit=top.integer("node_to_node_message_limit", 23_726_566),
        historical_cache_soft_limit_bytes=top.size("historical_cache_soft_limit", 512 * 1024**2),
        text=text,
    )
    top.done()
    return msgspec.structs.replace(config, ignored_keys=tuple(ignored))


def _refuse_former_keys(document: dict[str, Json]) -> None:
    """Name at once all that a configuration written for an earlier version holds too much."""
    found = [
        f"{section}.{key}" if section else key
        for section, key in FORMER_KEYS
        if isinstance(within := document.get(section) if section else document, dict)
        and key in within
    ]
    if found:
        raise ConfigError(
            f"{', '.join(found)}: unknown {'keys' if len(found) > 1 else 'key'}",
            hint="Earlier versions of CCF had this; CCF 7 does not. Leave out what is named here.",
        )


def effective_recovery_threshold(start: StartCommand) -> int:
    """How many shares recover the service: as configured, or decided by the members if 0.

    0 becomes the number of participants with an encryption key, or 1 if there are only owners.
    Raises ConfigError if more are asked for than can ever be submitted (the program then exits
    with 105; spec: config-and-cli.md §3.2).
    """
    roles = [member.effective_role for member in start.members]
    participants = roles.count(RecoveryRole.PARTICIPANT)
    owners = roles.count(RecoveryRole.OWNER)
    most = participants or (1 if owners else 0)
    given = start.service_configuration.recovery_threshold
    if given > most:
        raise ConfigError(
            f"command.start.service_configuration.recovery_threshold: {given} is more than the "
            f"{most} that the initial members can provide",
            hint="Give more members an encryption_public_key_file, or lower the threshold.",
        )
    return given or most


def check_memory(memory: Memory) -> None:
    """Refuse message sizes that cannot work (the program then exits with 105). ConfigError."""
    size = memory.circuit_size_bytes
    if size <= 0 or size & (size - 1):
        raise ConfigError(
            f"memory.circuit_size: {size} bytes is not a power of 2",
            hint="Allowed: 1MB, 2MB, 4MB, 8MB, 16MB and so on.",
        )


def expand_environment(path: str, environment: Mapping[str, str]) -> str:
    """Replace each path element that begins with "$" by that variable; unknown ones stay."""
    elements = path.split("/")
    return "/".join(environment.get(e[1:], e) if e.startswith("$") else e for e in elements)


def read_files(config: NodeConfig, directory: str | Path = ".") -> StartupFiles:
    """Read every file the command needs, relative to `directory`.

    Raises ConfigError naming the key and the file of the first that cannot be read, is not UTF-8
    or, where JSON is wanted, is not JSON. Service data on a joining node are not read.
    """
    base = Path(directory)
    command = config.command
    joining = command.type is CommandType.JOIN
    node_data = _read_json(base, "node_data_json_file", config.node_data_json_file)
    service_data = (
        None
        if joining
        else _read_json(base, "service_data_json_file", config.service_data_json_file)
    )
    if command.start is not None:
        constitution = "".join(
            _read_text(base, f"command.start.constitution_files[{i}]", name)
            for i, name in enumerate(command.start.constitution_files)
        )
        members = tuple(
            _read_member(base, f"command.start.members[{i}]", member)
            for i, member in enumerate(command.start.members)
        )
        return StartupFiles(
            constitution=constitution,
            members=members,
            node_data=node_data,
            service_data=service_data,
        )
    if command.recover is not None:
        key = "command.recover.previous_service_identity_file"
        identity = _read_text(base, key, command.recover.previous_service_identity_file)
        return StartupFiles(
            node_data=node_data, service_data=service_data, previous_service_identity_pem=identity
        )
    certificate = _read_text(
        base, "command.service_certificate_file", command.service_certificate_file
    )
    return StartupFiles(node_data=node_data, service_certificate_pem=certificate)


def _read_member(base: Path, key: str, member: InitialMember) -> MemberFiles:
    encryption = member.encryption_public_key_file
    return MemberFiles(
        certificate_pem=_read_text(base, f"{key}.certificate_file", member.certificate_file),
        encryption_public_key_pem=None
        if encryption is None
        else _read_text(base, f"{key}.encryption_public_key_file", encryption),
        data=_read_json(base, f"{key}.data_json_file", member.data_json_file),
        recovery_role=None if encryption is None else member.recovery_role,
    )


def _read_text(base: Path, key: str, name: str) -> str:
    try:
        return (base / name).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{key}: could not read file {name!r}: {error.strerror}",
            hint=f"Paths are relative to the node's working directory, {base.absolute()}.",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{key}: file {name!r} is not UTF-8 text") from error


def _read_json(base: Path, key: str, name: str | None) -> Json:
    if name is None:
        return None
    text = _read_text(base, key, name)
    try:
        return load_json(text)
    except ValueError as error:
        raise ConfigError(f"{key}: file {name!r} is not JSON: {error}") from error


def sequence_of_interfaces(config: NodeConfig) -> Sequence[RpcInterface]:
    """The RPC interfaces in order of their names, as the original lists them."""
    interfaces = config.network.rpc_interfaces
    return [interfaces[name] for name in sorted(interfaces)]


# -- sections ------------------------------------------------------------------------------------


def _network(r: Reader) -> Network:
    node = r.section("node_to_node_interface", required=True)
    node_interface = NodeInterface(
        bind_address=node.address("bind_address"),
        published_address=node.optional_address("published_address"),
    )
    node.done()
    table = r.section("rpc_interfaces", required=True)
    interfaces = {name: _rpc_interface(name, table.section(name)) for name in table}
    r.done()
    return Network(node_to_node_interface=node_interface, rpc_interfaces=interfaces)


def _rpc_interface(name: str, r: Reader) -> RpcInterface:
    endorsement = r.section("endorsement")
    authority = endorsement.choice(
        "authority", Authority, Authority.SERVICE, required=endorsement.present
    )
    endorsement.done()
    redirections = r.section("redirections")
    to = Redirections(
        to_primary=_resolver(redirections.section("to_primary")),
        to_backup=_resolver(redirections.section("to_backup")),
    )
    redirections.done()
    interface = RpcInterface(
        name=name,
        bind_address=r.address("bind_address"),
        published_address=r.optional_address("published_address"),
        protocol=r.text("protocol", "tcp"),
        app_protocol=r.text("app_protocol", HTTP1),
        max_open_sessions_soft=r.integer("max_open_sessions_soft", 1000),
        max_open_sessions_hard=r.integer("max_open_sessions_hard", 1010),
        http_configuration=_http_configuration(r.section("http_configuration")),
        authority=authority,
        accepted_endpoints=_patterns(r, "accepted_endpoints"),
        forwarding_timeout_ms=r.integer("forwarding_timeout_ms", 3000),
        redirections=to if redirections.present else None,
    )
    r.pass_over_unknown()
    return interface


def _patterns(r: Reader, key: str) -> tuple[str, ...] | None:
    if not r.has(key):
        return None
    patterns = r.texts(key)
    for i, pattern in enumerate(patterns):
        try:
            re.compile(pattern)
        except re.error as error:
            r.refuse(f"{key}[{i}]", f"{shown(pattern)} is not a regular expression ({error})", "")
    return patterns


def _http_configuration(r: Reader) -> HttpConfiguration:
    result = HttpConfiguration(
        max_body_size_bytes=r.size("max_body_size", 1024 * 1024),
        max_header_size_bytes=r.size("max_header_size", 16 * 1024),
        max_headers_count=r.integer("max_headers_count", 256),
        max_concurrent_streams_count=r.integer("max_concurrent_streams_count", 100, least=1),
        initial_window_size_bytes=r.size("initial_window_size", 64 * 1024, most=WINDOW_MAX_BYTES),
        max_frame_size_bytes=r.size(
            "max_frame_size", 16 * 1024, least=FRAME_MIN_BYTES, most=FRAME_MAX_BYTES
        ),
    )
    r.done()
    return result


def _resolver(r: Reader) -> NodeByRole | StaticAddress:
    kind = r.choice("kind", ResolverKind, ResolverKind.NODE_BY_ROLE, required=r.present)
    static = kind is ResolverKind.STATIC_ADDRESS
    target = r.section("target", required=static)
    result: NodeByRole | StaticAddress
    if static:
        result = StaticAddress(address=target.text("address"))
    else:
        result = NodeByRole(role=target.choice("role", Role, Role.PRIMARY))
    target.done()
    r.done()
    return result


def _command(r: Reader) -> Command:
    kind = r.choice("type", CommandType, None)
    starting, joining = kind is CommandType.START, kind is CommandType.JOIN
    start = _start(r.section("start", required=starting, active=starting))
    join = _join(r.section("join", required=joining, active=joining))
    recover = _recover(r.section("recover", active=kind is CommandType.RECOVER))
    command = Command(
        type=kind,
        service_certificate_file=r.text("service_certificate_file", "service_cert.pem"),
        start=start if starting else None,
        join=join if joining else None,
        recover=recover if kind is CommandType.RECOVER else None,
    )
    r.pass_over_unknown()
    return command


def _start(r: Reader) -> StartCommand:
    service = r.section("service_configuration")
    service_configuration = ServiceConfiguration(
        recovery_threshold=service.integer("recovery_threshold", None if service.present else 0),
        maximum_node_certificate_validity_days=service.integer(
            "maximum_node_certificate_validity_days", 365, least=1
        ),
        maximum_service_certificate_validity_days=service.integer(
            "maximum_service_certificate_validity_days", 365, least=1
        ),
        recent_cose_proposals_window_size=service.integer(
            "recent_cose_proposals_window_size", 100, least=1
        ),
    )
    service.done()
    cose = r.section("cose_signatures")
    signatures = CoseSignatures(
        issuer=cose.text("issuer", None if cose.present else ""),
        subject=cose.text("subject", None if cose.present else ""),
    )
    cose.pass_over_unknown()
    result = StartCommand(
        constitution_files=r.texts("constitution_files", required=True),
        members=tuple(_member(m) for m in r.sections("members", required=True)),
        service_configuration=service_configuration,
        initial_service_certificate_validity_days=r.integer(
            "initial_service_certificate_validity_days", 1, least=1, most=DAYS_MAX
        ),
        service_subject_name=r.text("service_subject_name", "CN=CCF Service"),
        cose_signatures=signatures,
    )
    r.done()
    return result


def _member(r: Reader) -> InitialMember:
    result = InitialMember(
        certificate_file=r.text("certificate_file"),
        encryption_public_key_file=r.nullable("encryption_public_key_file", r.text) or None,
        data_json_file=r.nullable("data_json_file", r.text) or None,
        recovery_role=r.choice("recovery_role", RecoveryRole, None)
        if r.has("recovery_role")
        else None,
    )
    r.done()
    return result


def _join(r: Reader) -> JoinCommand:
    result = JoinCommand(
        target_rpc_address=r.address("target_rpc_address"),
        retry_timeout_ms=r.time_ms("retry_timeout", 1000),
        follow_redirect=r.flag("follow_redirect", True),
        fetch_recent_snapshot=r.flag("fetch_recent_snapshot", True),
        fetch_snapshot_max_attempts=r.integer("fetch_snapshot_max_attempts", 3, least=1),
        fetch_snapshot_retry_interval_ms=r.time_ms("fetch_snapshot_retry_interval", 1000),
        fetch_snapshot_max_size_bytes=r.size("fetch_snapshot_max_size", 10 * 1024**3),
    )
    r.done()
    return result


def _recover(r: Reader) -> RecoverCommand:
    result = RecoverCommand(
        initial_service_certificate_validity_days=r.integer(
            "initial_service_certificate_validity_days", 1, least=1, most=DAYS_MAX
        ),
        previous_service_identity_file=r.text(
            "previous_service_identity_file", None if r.present else ""
        ),
        previous_sealed_ledger_secret_location=r.text("previous_sealed_ledger_secret_location", "")
        or None,
    )
    r.done()
    return result


def _node_certificate(r: Reader) -> NodeCertificate:
    names = r.texts("subject_alt_names")
    for i, name in enumerate(names):
        if not name.startswith(("iPAddress:", "dNSName:")):
            r.refuse(f"subject_alt_names[{i}]", f"unknown kind of name {shown(name)}", SAN_FORMS)
    result = NodeCertificate(
        subject_name=r.text("subject_name", "CN=CCF Node"),
        subject_alt_names=names,
        curve_id=r.choice("curve_id", CurveName, CurveName.P384),
        initial_validity_days=r.integer("initial_validity_days", 1, least=1, most=DAYS_MAX),
    )
    r.done()
    return result


def _attestation(r: Reader) -> Attestation:
    result = Attestation(
        snp_security_policy_file=r.nullable("snp_security_policy_file", r.text),
        snp_uvm_endorsements_file=r.nullable("snp_uvm_endorsements_file", r.text),
        snp_endorsements_file=r.nullable("snp_endorsements_file", r.text),
        snp_endorsements_servers=tuple(
            _endorsement_server(s) for s in r.sections("snp_endorsements_servers")
        ),
    )
    r.done()
    return result


def _endorsement_server(r: Reader) -> EndorsementServer:
    result = EndorsementServer(
        url=r.text("url"),
        type=r.choice("type", EndorsementServerType, EndorsementServerType.AZURE),
        max_retries_count=r.integer("max_retries_count", 10),
    )
    r.done()
    return result


def _ledger(r: Reader) -> Ledger:
    result = Ledger(
        directory=r.text("directory", "ledger"),
        read_only_directories=r.texts("read_only_directories"),
        chunk_size_bytes=r.size(
            "chunk_size", 5 * 1024 * 1024, least=CHUNK_SIZE_MIN, most=CHUNK_SIZE_MAX
        ),
    )
    r.done()
    return result


def _snapshots(r: Reader) -> Snapshots:
    result = Snapshots(
        directory=r.text("directory", "snapshots"),
        tx_count=r.integer("tx_count", 10000, least=1),
        interval_ms=r.nullable("interval", lambda key: r.time_ms(key)),
        kept=r.nullable("kept", lambda key: r.integer(key, 1, least=1)),
        read_only_directory=r.nullable("read_only_directory", r.text),
    )
    r.done()
    return result


def _logging(r: Reader) -> Logging:
    r.choice("host_level", HostLevel, HostLevel.INFO)  # accepted, without effect
    result = Logging(format=r.choice("format", LogFormat, LogFormat.TEXT))
    r.done()
    return result


def _consensus(r: Reader) -> Consensus:
    result = Consensus(
        message_timeout_ms=r.time_ms("message_timeout", 100),
        election_timeout_ms=r.time_ms("election_timeout", 5000),
        max_uncommitted_tx_count=r.integer("max_uncommitted_tx_count", 10000),
    )
    r.done()
    return result


def _ledger_signatures(r: Reader) -> LedgerSignatures:
    result = LedgerSignatures(
        tx_count=r.integer("tx_count", 5000, least=1), delay_ms=r.time_ms("delay", 1000)
    )
    r.done()
    return result


def _jwt(r: Reader) -> Jwt:
    result = Jwt(key_refresh_interval_ms=r.time_ms("key_refresh_interval", 30 * 60 * 1000))
    r.done()
    return result


def _output_files(r: Reader) -> OutputFiles:
    result = OutputFiles(
        node_certificate_file=r.text("node_certificate_file", "nodecert.pem"),
        pid_file=r.text("pid_file", "my_node.pid"),
        node_to_node_address_file=r.text("node_to_node_address_file", "") or None,
        rpc_addresses_file=r.text("rpc_addresses_file", "") or None,
        sealed_ledger_secret_location=r.text("sealed_ledger_secret_location", "") or None,
    )
    r.done()
    return result


def _memory(r: Reader) -> Memory:
    result = Memory(
        circuit_size_bytes=r.size("circuit_size", 16 * 1024 * 1024),
        max_msg_size_bytes=r.size("max_msg_size", 64 * 1024 * 1024),
        max_fragment_size_bytes=r.size("max_fragment_size", 256 * 1024),
    )
    r.done()
    return result
