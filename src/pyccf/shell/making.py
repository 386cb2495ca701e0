"""The node that a configuration asks for, made of what is known once its listeners are bound.

It starts a service, joins one, or recovers one (spec: node-lifecycle.md §3). What a configuration
must not say was refused before (`start.prepare`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import assert_never

from pyccf.consensus.raft import RaftSettings
from pyccf.crypto import certs
from pyccf.crypto.entropy import Entropy
from pyccf.crypto.keys import Curve
from pyccf.errors import LocalError
from pyccf.node.create import NodePlan, Parts, ServicePlan, start_service
from pyccf.node.fetch_snapshot import FetchPlan
from pyccf.node.join import JoinTarget, join_service
from pyccf.node.node import Limits
from pyccf.node.recover import RecoveryPlan, recover_service
from pyccf.service import genesis
from pyccf.service.identity import make_node, make_service
from pyccf.service.members import RecoveryRole
from pyccf.service.nodes import RpcInterface
from pyccf.shell import config as cfg
from pyccf.shell import platform, sealing
from pyccf.shell.config import NodeConfig
from pyccf.shell.start import Addresses, Prepared
from pyccf.shell.startup_snapshot import choose, choose_to_recover
from pyccf.types import Json, UnixSeconds


class Making:
    """What all three ways to make a node need."""

    def __init__(
        self,
        config: NodeConfig,
        prepared: Prepared,
        addresses: Addresses,
        *,
        entropy: Entropy,
        now: UnixSeconds,
        log: Callable[[str, str], None],
        install: Callable[[Parts], None],
    ) -> None:
        """`install` adds the endpoints before anything is served."""
        self._config = config
        self._prepared = prepared
        self._entropy = entropy
        self._now = now
        self._log = log
        self._install = install
        certificate = config.node_certificate
        interfaces = {
            name: _told(interface, addresses.rpc[name])
            for name, interface in config.network.rpc_interfaces.items()
        }
        self._curve = Curve.P384 if certificate.curve_id is cfg.CurveName.P384 else Curve.P256
        self._identity = make_node(
            entropy=entropy,
            not_before=now,
            days=certificate.initial_validity_days,
            sans=_alternative_names(certificate.subject_alt_names, interfaces),
            subject=certificate.subject_name,
            curve=self._curve,
        )
        self._plan = _plan(config, prepared, addresses.node, interfaces)

    def node(self) -> Parts:
        """Make the node. Raises PyccfError."""
        for warning in platform.warnings(self._config.attestation, os.environ):
            self._log("fail", warning)
        if self._config.command.join is not None:
            return self._join()
        if self._config.command.recover is not None:
            return self._recover()
        return self._start()

    def _start(self) -> Parts:
        start, files = self._config.command.start, self._prepared.files
        assert start is not None
        service = make_service(
            entropy=self._entropy,
            not_before=self._now,
            days=start.initial_service_certificate_validity_days,
            subject=start.service_subject_name,
            curve=self._curve,
        )
        service_plan = ServicePlan(
            **{name: getattr(self._plan, name) for name in NodePlan.__struct_fields__},
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
            configuration=_service_configuration(
                start.service_configuration, self._prepared.threshold
            ),
            service_data=files.service_data,
            cose_issuer=start.cose_signatures.issuer,
            cose_subject=start.cose_signatures.subject,
            node_validity_days=self._config.node_certificate.initial_validity_days,
        )
        self._log(
            "info",
            f"Creating new node: new network (with {len(files.members)} initial member(s) and"
            f" {self._prepared.threshold} member(s) required for recovery)",
        )
        return start_service(
            service_plan,
            self._identity,
            service,
            entropy=self._entropy,
            started=self._now,
            app=self._prepared.app.app,
            install=self._install,
        )

    def _join(self) -> Parts:
        join, certificate = self._config.command.join, self._prepared.files.service_certificate_pem
        assert join is not None
        assert certificate is not None, "it was read with the other files"
        self._log("info", f"Creating new node - join existing network at {join.target_rpc_address}")
        if self._config.service_data_json_file is not None:
            self._log("fail", "service_data_json_file has no effect on a node that joins")
        snapshot = choose(self._prepared.snapshots, certificate, self._log)
        fetch = None
        if join.fetch_recent_snapshot:
            fetch = FetchPlan(
                attempts_max=join.fetch_snapshot_max_attempts,
                retry_interval=join.fetch_snapshot_retry_interval_ms,
                bytes_max=join.fetch_snapshot_max_size_bytes,
            )
        elif snapshot is None:
            self._log("info", "No snapshot found: Node will replay all historical transactions")
        return join_service(
            self._plan,
            JoinTarget(
                address=str(join.target_rpc_address),
                service_cert_pem=certificate,
                retry_timeout=join.retry_timeout_ms,
                follow_redirect=join.follow_redirect,
                fetch=fetch,
            ),
            self._identity,
            entropy=self._entropy,
            started=self._now,
            app=self._prepared.app.app,
            install=self._install,
            snapshot=snapshot,
        )

    def _recover(self) -> Parts:
        recover, prepared = self._config.command.recover, self._prepared
        assert recover is not None
        previous = prepared.files.previous_service_identity_pem
        self._log("info", "Creating new node - recover")
        try:
            subject = certs.subject(previous)
        except ValueError as e:
            raise LocalError(
                f"{recover.previous_service_identity_file}: not a certificate: {e}",
                hint="It must hold the certificate of the service to recover, in PEM.",
            ) from None
        service = make_service(
            entropy=self._entropy,
            not_before=self._now,
            days=recover.initial_service_certificate_validity_days,
            subject=subject,
            curve=self._curve,
        )
        snapshot, whole = choose_to_recover(prepared.disk, prepared.snapshots, previous, self._log)
        kept = recover.previous_sealed_ledger_secret_location
        sealed = sealing.unseal(kept, prepared.host_data, self._log) if kept else {}
        return recover_service(
            RecoveryPlan(
                **{name: getattr(self._plan, name) for name in NodePlan.__struct_fields__},
                previous_service_identity=previous,
                snapshot=snapshot,
                sealed=sealed,
                whole_ledger=whole,
                service_data=prepared.files.service_data,
                node_validity_days=self._config.node_certificate.initial_validity_days,
            ),
            self._identity,
            service,
            entropy=self._entropy,
            started=self._now,
            app=self._prepared.app.app,
            install=self._install,
        )


def _plan(
    config: NodeConfig, prepared: Prepared, bound: str, interfaces: dict[str, RpcInterface]
) -> NodePlan:
    return NodePlan(
        node_data=prepared.files.node_data,
        host_data=prepared.host_data,
        node_bind_address=bound,
        node_published_address=_published(
            config.network.node_to_node_interface.published_address, bound
        ),
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


def _told(interface: cfg.RpcInterface, address: str) -> RpcInterface:
    """An interface as the service's tables tell of it."""
    http = interface.http_configuration
    return RpcInterface(
        bind_address=address,
        published_address=_published(interface.published_address, address),
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
    hosts = (i.published_address.rpartition(":")[0] for _, i in sorted(interfaces.items()))
    # Each once, in this order.
    return list(given or dict.fromkeys(certs.san_of_host(host.strip("[]")) for host in hosts))


def _published(address: cfg.Address | None, bound: str) -> str:
    """What others are told of an address: its port, where none was chosen, is the one bound."""
    if address is None:
        return bound
    return str(address) if address.port else f"{address.host}:{bound.rpartition(':')[2]}"
