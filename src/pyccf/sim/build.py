"""Making the nodes of a simulated network: the real thing, small.

Keys on a faster curve, a constitution that nobody runs, few entries per message and frequent
signatures: everything a schedule is about happens often. What decides in a node is the same code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pyccf.api import common
from pyccf.api import join as join_api
from pyccf.api import node as node_api
from pyccf.api import snapshot as snapshot_api
from pyccf.consensus.raft import RaftSettings
from pyccf.crypto.entropy import SeededEntropy
from pyccf.node.create import NodePlan, Parts, ServicePlan, start_service
from pyccf.node.fetch_snapshot import FetchPlan
from pyccf.node.join import JoinTarget, join_service
from pyccf.node.node import Limits
from pyccf.node.recover import RecoveryPlan, recover_service
from pyccf.service import genesis
from pyccf.service.nodes import RpcInterface
from pyccf.service.operations import Operations
from pyccf.sim import app, identities
from pyccf.sim.identities import STARTED
from pyccf.sim.shell import INTERFACE
from pyccf.types import Json

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyccf.apps.context import Context
    from pyccf.apps.router import Endpoint
    from pyccf.kv.tx import Tx
    from pyccf.node.frontend import Frontend
    from pyccf.node.restore import Restorable
    from pyccf.service.identity import ServiceIdentity
    from pyccf.sim.cluster import Cluster, Setup
    from pyccf.sim.shell import Shell

CONSTITUTION = "export function validate(input) { return {valid: true}; }"
HOST_DATA = "ab" * 32
CHUNK_SIZE_BYTES = 20_000
FORWARDING_TIMEOUT_MS = 1000
JOIN_RETRY_MS = 200
FETCH = FetchPlan(attempts_max=2, retry_interval=100)


def start(shell: Shell, cluster: Cluster) -> None:
    """The first node: it starts the service."""
    setup = cluster.setup
    plan = ServicePlan(
        members=(identities.member(),),
        constitution=CONSTITUTION,
        configuration=genesis.ServiceConfiguration(),
        **msgspec.structs.asdict(_plan(shell, setup)),
    )
    start_service(
        plan,
        identities.node(shell.number),
        identities.service(),
        entropy=_entropy(shell, setup),
        started=STARTED,
        app=None,
        install=_installer(shell, cluster),
    )


def join(shell: Shell, cluster: Cluster, target: str) -> None:
    """A further node: it asks the node at `target` (host:port) to be let in."""
    setup = cluster.setup
    join_service(
        _plan(shell, setup),
        JoinTarget(
            address=target,
            service_cert_pem=cluster.service_cert,
            retry_timeout=JOIN_RETRY_MS,
            fetch=FETCH if setup.fetch else None,
        ),
        identities.node(shell.number),
        entropy=_entropy(shell, setup),
        started=STARTED,
        app=None,
        install=_installer(shell, cluster),
    )


def recover(
    shell: Shell,
    cluster: Cluster,
    previous: str,
    service: ServiceIdentity,
    snapshot: Restorable | None,
) -> None:
    """The first node of a service that goes on with the ledger on its disk."""
    setup = cluster.setup
    recover_service(
        RecoveryPlan(
            previous_service_identity=previous,
            snapshot=snapshot,
            whole_ledger=not shell.disk.base,
            **msgspec.structs.asdict(_plan(shell, setup)),
        ),
        identities.node(shell.number),
        service,
        entropy=_entropy(shell, setup),
        started=STARTED,
        app=None,
        install=_installer(shell, cluster),
    )


def _entropy(shell: Shell, setup: Setup) -> SeededEntropy:
    return SeededEntropy(f"{setup.seed} {shell.name}")


def _plan(shell: Shell, setup: Setup) -> NodePlan:
    return NodePlan(
        host_data=HOST_DATA,
        node_bind_address=shell.node_address,
        node_published_address=shell.node_address,
        rpc_interfaces={
            INTERFACE: RpcInterface(
                bind_address=shell.rpc_address,
                published_address=shell.rpc_address,
                forwarding_timeout_ms=FORWARDING_TIMEOUT_MS,
            )
        },
        chunk_size_bytes=CHUNK_SIZE_BYTES,
        limits=Limits(
            signature_tx_count=setup.signature_tx_count,
            signature_delay_ms=setup.signature_delay,
            snapshot_tx_count=setup.snapshot_tx_count,
        ),
        raft=RaftSettings(
            message_timeout=setup.message_timeout,
            election_timeout=setup.election_timeout,
            election_ticks=setup.election_ticks,
            pre_vote=setup.pre_vote,
            batch_entries=setup.batch_entries,
            window=setup.window,
        ),
    )


def _installer(shell: Shell, cluster: Cluster) -> Callable[[Parts], None]:
    def install(parts: Parts) -> None:
        node = parts.node
        shell.adopt(parts)
        facts = node_api.ShellFacts(
            sessions=_nothing,
            memory=_nothing,
            self_signed_certificate=lambda: parts.self_signed_pem,
            engine_version="",
            js_metrics=_no_metrics,
            entry=parts.entry,
        )
        operations = Operations(
            secrets=parts.secrets,
            service=parts.service,
            entropy=parts.entropy,
            unix_time=node.unix_time,
            node_state=lambda: node.state,
            flags=node.flags,
            past=parts.past,
        )
        governance = app.Governance(operations, parts.service, node.unix_time, cluster.may_change)
        _add(node.node, node_api.endpoints(node, facts))
        _add(node.node, [join_api.endpoint(parts)])
        _add(node.node, snapshot_api.endpoints(node, shell.disk.snapshots))
        _add(node.node, common.endpoints(node, _no_document))
        _add(node.gov, governance.endpoints())
        _add(node.app, app.application())

    return install


def _add(frontend: Frontend, endpoints: list[Endpoint]) -> None:
    for endpoint in endpoints:
        frontend.add(endpoint)


def _nothing() -> dict[str, Json]:
    return {}


def _no_metrics(tx: Tx) -> dict[str, Json]:
    return {}


def _no_document(ctx: Context) -> Json:
    return {}
