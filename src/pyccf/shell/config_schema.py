"""What a node's configuration says, as frozen structs: one per section of the JSON file.

Field names are the file's keys with the unit appended (`_bytes`, `_ms`, `_us`); days and counts
carry theirs already. Defaults are the original's (spec: config-and-cli.md §3). These are values
only; `pyccf.shell.config` reads them and refuses what does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

import msgspec

from pyccf.http.limits import HttpLimits
from pyccf.types import Json

PORT_MAX = 65535


class Address(NamedTuple):
    """Where to listen or connect. Port 0 lets the operating system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read "host:port", split at the last colon; a missing port is 0. Raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon:
            host, port = text, "0"
        if not (port.isascii() and port.isdigit()) or int(port) > PORT_MAX:
            raise ValueError(f"port must be a number from 0 to {PORT_MAX}")
        try:
            host.encode("idna")  # as who looks it up does
        except UnicodeError:
            raise ValueError("the host has a part between dots that is empty or too long") from None
        return cls(host, int(port))


class CommandType(Enum):
    """What a node does at start: found a service, join one, or recover one."""

    START = "Start"
    JOIN = "Join"
    RECOVER = "Recover"


class RecoveryRole(Enum):
    """A member's part in recovering the ledger secrets."""

    NON_PARTICIPANT = "NonParticipant"
    PARTICIPANT = "Participant"
    OWNER = "Owner"


class Authority(Enum):
    """Who endorses the certificate an interface shows. UNSECURED is plain HTTP."""

    NODE = "Node"
    SERVICE = "Service"
    ACME = "ACME"
    UNSECURED = "Unsecured"


class CurveName(Enum):
    """Curve of the node's and the service's key."""

    P384 = "Secp384R1"
    P256 = "Secp256R1"


class LogFormat(Enum):
    """How log records are written (spec: config-and-cli.md §5)."""

    TEXT = "Text"
    JSON = "Json"


class Role(Enum):
    """Which node a redirect goes to."""

    PRIMARY = "primary"
    BACKUP = "backup"


class EndorsementServerType(Enum):
    """Protocol of a server of SEV-SNP endorsements."""

    AZURE = "Azure"
    AMD = "AMD"
    THIM = "THIM"


class HostLevel(Enum):
    """Values of a setting that is accepted and has no effect."""

    TRACE = "Trace"
    DEBUG = "Debug"
    INFO = "Info"
    FAIL = "Fail"
    FATAL = "Fatal"


class ResolverKind(Enum):
    """How the target of a redirect is found."""

    NODE_BY_ROLE = "NodeByRole"
    STATIC_ADDRESS = "StaticAddress"


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the sections: immutable, made by keyword."""


HTTP1, HTTP2 = "HTTP1", "HTTP2"
"""Values of `app_protocol`."""


class HttpConfiguration(Section, frozen=True):
    """Limits of HTTP on one interface; the last three concern HTTP/2 only."""

    max_body_size_bytes: int = 1024 * 1024
    max_header_size_bytes: int = 16 * 1024
    max_headers_count: int = 256
    max_concurrent_streams_count: int = 100
    initial_window_size_bytes: int = 64 * 1024
    max_frame_size_bytes: int = 16 * 1024

    @property
    def limits(self) -> HttpLimits:
        """The same, as the protocols know them."""
        return HttpLimits(
            max_body_size=self.max_body_size_bytes,
            max_header_size=self.max_header_size_bytes,
            max_headers_count=self.max_headers_count,
            max_concurrent_streams_count=self.max_concurrent_streams_count,
            initial_window_size=self.initial_window_size_bytes,
            max_frame_size=self.max_frame_size_bytes,
        )


class NodeByRole(Section, frozen=True, tag="NodeByRole"):
    """Redirect to the same interface of the node that has this role."""

    role: Role = Role.PRIMARY


class StaticAddress(Section, frozen=True, tag="StaticAddress"):
    """Redirect to a fixed "host:port"."""

    address: str


class Redirections(Section, frozen=True):
    """Where an interface redirects to. Its presence turns forwarding off (http-api.md §5)."""

    to_primary: NodeByRole | StaticAddress = NodeByRole()
    to_backup: NodeByRole | StaticAddress = NodeByRole()


class RpcInterface(Section, frozen=True):
    """One listener for clients. Its name is significant: it is the same on every node."""

    name: str
    bind_address: Address
    published_address: Address | None = None
    """None: the address that was bound in the end."""
    protocol: str = "tcp"
    """"udp" selects UDP, anything else is TCP."""
    app_protocol: str = HTTP1
    """What is spoken on it; not negotiated."""
    max_open_sessions_soft: int = 1000
    max_open_sessions_hard: int = 1010
    http_configuration: HttpConfiguration = HttpConfiguration()
    authority: Authority = Authority.SERVICE
    accepted_endpoints: tuple[str, ...] | None = None
    """Regular expressions a whole path must match one of. None: all paths, but on an UNSECURED
    interface none."""
    forwarding_timeout_ms: int = 3000
    redirections: Redirections | None = None


class NodeInterface(Section, frozen=True):
    """The listener for other nodes."""

    bind_address: Address
    published_address: Address | None = None


class Network(Section, frozen=True):
    """All listeners of a node."""

    node_to_node_interface: NodeInterface
    rpc_interfaces: Mapping[str, RpcInterface]


class InitialMember(Section, frozen=True):
    """Files of one member of the first consortium."""

    certificate_file: str
    encryption_public_key_file: str | None = None
    data_json_file: str | None = None
    recovery_role: RecoveryRole | None = None

    @property
    def effective_role(self) -> RecoveryRole:
        """The role that counts: without an encryption key there is none to play."""
        if self.encryption_public_key_file is None:
            return RecoveryRole.NON_PARTICIPANT
        return self.recovery_role or RecoveryRole.PARTICIPANT


class ServiceConfiguration(Section, frozen=True):
    """First contents of the service's configuration table."""

    recovery_threshold: int = 0
    """0: decided by the members, see `effective_recovery_threshold`."""
    maximum_node_certificate_validity_days: int = 365
    maximum_service_certificate_validity_days: int = 365
    recent_cose_proposals_window_size: int = 100


class CoseSignatures(Section, frozen=True):
    """Claims of the COSE ledger signatures, set once for ever."""

    issuer: str = ""
    subject: str = ""


class StartCommand(Section, frozen=True):
    """How to found a service."""

    constitution_files: tuple[str, ...]
    members: tuple[InitialMember, ...]
    service_configuration: ServiceConfiguration = ServiceConfiguration()
    initial_service_certificate_validity_days: int = 1
    service_subject_name: str = "CN=CCF Service"
    cose_signatures: CoseSignatures = CoseSignatures()


class JoinCommand(Section, frozen=True):
    """How to join a service."""

    target_rpc_address: Address
    retry_timeout_ms: int = 1000
    follow_redirect: bool = True
    fetch_recent_snapshot: bool = True
    fetch_snapshot_max_attempts: int = 3
    fetch_snapshot_retry_interval_ms: int = 1000
    fetch_snapshot_max_size_bytes: int = 10 * 1024**3


class RecoverCommand(Section, frozen=True):
    """How to recover a service. An empty identity file is refused when the files are read."""

    initial_service_certificate_validity_days: int = 1
    previous_service_identity_file: str = ""
    previous_sealed_ledger_secret_location: str | None = None


class Command(Section, frozen=True):
    """What this node is to do; exactly the member that `type` names is set."""

    type: CommandType
    service_certificate_file: str = "service_cert.pem"
    start: StartCommand | None = None
    join: JoinCommand | None = None
    recover: RecoverCommand | None = None


class NodeCertificate(Section, frozen=True):
    """The node's own certificate. Without alternative names: the published hosts."""

    subject_name: str = "CN=CCF Node"
    subject_alt_names: tuple[str, ...] = ()
    curve_id: CurveName = CurveName.P384
    initial_validity_days: int = 1


class EndorsementServer(Section, frozen=True):
    """A server of SEV-SNP endorsements."""

    url: str
    type: EndorsementServerType = EndorsementServerType.AZURE
    max_retries_count: int = 10


class Attestation(Section, frozen=True):
    """SEV-SNP only. Paths may hold environment variables, see `expand_environment`."""

    snp_security_policy_file: str | None = None
    snp_uvm_endorsements_file: str | None = None
    snp_endorsements_file: str | None = None
    snp_endorsements_servers: tuple[EndorsementServer, ...] = ()


class Ledger(Section, frozen=True):
    """Where the ledger lies and when a new chunk begins."""

    directory: str = "ledger"
    read_only_directories: tuple[str, ...] = ()
    chunk_size_bytes: int = 5 * 1024 * 1024


class Snapshots(Section, frozen=True):
    """Where snapshots lie, and when one is made; the original knows no `interval` and `kept`."""

    directory: str = "snapshots"
    tx_count: int = 10000
    interval_ms: int | None = None
    """After so long, too, if anything happened; None: only by count and at governance's demand."""
    kept: int | None = None
    """How many stay in the directory; None: all."""
    read_only_directory: str | None = None


class Logging(Section, frozen=True):
    """Form of the log. The level comes from the command line."""

    format: LogFormat = LogFormat.TEXT


class Consensus(Section, frozen=True):
    """Timers of consensus; 0 uncommitted transactions means no limit."""

    message_timeout_ms: int = 100
    election_timeout_ms: int = 5000
    max_uncommitted_tx_count: int = 10000


class LedgerSignatures(Section, frozen=True):
    """A signature is due after so many transactions or so long."""

    tx_count: int = 5000
    delay_ms: int = 1000


class Jwt(Section, frozen=True):
    """Refresh of issuers' keys."""

    key_refresh_interval_ms: int = 30 * 60 * 1000


class OutputFiles(Section, frozen=True):
    """Files the node writes. None: not written (spec: config-and-cli.md §4)."""

    node_certificate_file: str = "nodecert.pem"
    pid_file: str = "my_node.pid"
    node_to_node_address_file: str | None = None
    rpc_addresses_file: str | None = None
    sealed_ledger_secret_location: str | None = None


class Memory(Section, frozen=True):
    """Message sizes. `max_msg_size_bytes` also bounds a request and a response."""

    circuit_size_bytes: int = 16 * 1024 * 1024
    max_msg_size_bytes: int = 64 * 1024 * 1024
    max_fragment_size_bytes: int = 256 * 1024


class NodeConfig(Section, frozen=True):
    """The whole configuration of one node."""

    network: Network
    command: Command
    node_certificate: NodeCertificate = NodeCertificate()
    node_data_json_file: str | None = None
    service_data_json_file: str | None = None
    attestation: Attestation = Attestation()
    ledger: Ledger = Ledger()
    snapshots: Snapshots = Snapshots()
    logging: Logging = Logging()
    consensus: Consensus = Consensus()
    ledger_signatures: LedgerSignatures = LedgerSignatures()
    jwt: Jwt = Jwt()
    output_files: OutputFiles = OutputFiles()
    memory: Memory = Memory()
    tick_interval_us: int = 10_000
    slow_io_logging_threshold_us: int = 10_000
    node_client_interface: Address | None = None
    client_connection_timeout_ms: int = 2000
    idle_connection_timeout_ms: int | None = 60_000
    """None: idle connections are kept for ever."""
    worker_threads: int = 0
    ignore_first_sigterm: bool = False
    node_to_node_message_limit: int = 23_726_566
    historical_cache_soft_limit_bytes: int = 512 * 1024 * 1024
    text: str = ""
    """The file as it was read, for the log."""
    ignored_keys: tuple[str, ...] = ()
    """Unknown keys where they are let pass, with their full path."""


class MemberFiles(Section, frozen=True):
    """What the files of one initial member hold."""

    certificate_pem: str
    encryption_public_key_pem: str | None
    data: Json
    recovery_role: RecoveryRole | None


class StartupFiles(Section, frozen=True):
    """What the files named by a configuration hold. Empty where the command needs none."""

    constitution: str = ""
    """The constitution files in order, joined: one module."""
    members: tuple[MemberFiles, ...] = ()
    node_data: Json = None
    service_data: Json = None
    service_certificate_pem: str = ""
    """Join only: the identity of the service to join."""
    previous_service_identity_pem: str = ""
    """Recover only."""
