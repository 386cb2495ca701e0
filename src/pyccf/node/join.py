"""Joining an existing service: the conversation by which a node is let in.

The node asks one that is in the network, over HTTPS and known by the service certificate the
operator gave it, again and again: Pending until the members trust it, then it is handed the
service's key, the ledger secrets and its own endorsed certificate, and follows from the beginning
of the ledger, or from a snapshot that it has or fetches first (spec: node-lifecycle.md §6). It goes
on asking until its own addition is committed, because before that the addition can be rolled back,
secrets and all.

A primary that began with a snapshot cannot give what is before that. Who is given nothing for long,
because it lacks entries that the primary does not have, fetches a snapshot and begins anew with it;
the original waits for ever, and a service that needs it with it.

Nothing is adopted that is not of the service whose certificate the operator gave, or not for this
node's key. What ends the program: a refusal (4xx), a server whose certificate is not the service's,
an offer this version cannot take up. Everything else, garbage included, is logged and asked again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from pyccf.codec.text import dump_json, load_json, unb64
from pyccf.crypto import certs, chains
from pyccf.crypto.keys import PrivateKey
from pyccf.errors import InvalidLedger, LocalError, RemoteError
from pyccf.kv.changes import MapChanges
from pyccf.ledger.secrets import KEY_SIZE, LedgerSecret
from pyccf.ledger.snapshot import check_evidence
from pyccf.node.create import NodePlan, Parts, assemble
from pyccf.node.fetch_snapshot import Fetched, FetchPlan, SnapshotFetch
from pyccf.node.outputs import Answer, Begin, Call, CallFailed, SaveSnapshot, Stop
from pyccf.node.private import PrivateRecovery
from pyccf.node.restore import Restorable, restore_from_snapshot
from pyccf.node.secrets import NodeSecrets
from pyccf.node.states import (
    PART_OF_NETWORK,
    PART_OF_PUBLIC_NETWORK,
    PENDING,
    READING_PRIVATE_LEDGER,
    TAKES_PART,
)
from pyccf.service import recovery, tables
from pyccf.service.identity import NodeIdentity, ServiceIdentity
from pyccf.service.nodes import NodeStatus, join_request
from pyccf.types import Json, Millis, SeqNo, UnixSeconds

if TYPE_CHECKING:
    from pyccf.crypto.entropy import Entropy
    from pyccf.node.frontend import App
    from pyccf.node.node import Node

PATH = "/node/join"
CALL_TIMEOUT: Millis = 5000
RETRY_TIMEOUT: Millis = 1000
GIVEN_NOTHING_RETRIES = 10
"""After so many times the retry timeout a node that is given no entries looks for a snapshot."""
SECRETS_MAX = 1_000_000
"""More ledger secrets than any service ever had."""
QUOTED_MAX = 4096
"""How much of an answer's body goes into a log line."""


class JoinTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask."""

    address: str
    """host:port of an RPC interface of a node that is in the network."""
    service_cert_pem: str
    retry_timeout: Millis = RETRY_TIMEOUT
    follow_redirect: bool = True
    fetch: FetchPlan | None = None
    """Whether, and how, a recent snapshot is fetched first."""


class HandedOver(msgspec.Struct, frozen=True, kw_only=True):
    """What a trusted node is given, judged."""

    key: PrivateKey
    service_cert_pem: str
    secrets: tuple[LedgerSecret, ...]
    endorsed_pem: str
    cose_issuer: str
    cose_subject: str
    public_only: bool
    """The service is being recovered: the secrets of the services before are not known yet."""
    recovered: SeqNo
    """Where the service before ends, 0 if nothing is being recovered."""


class Unusable(RemoteError):
    """An answer that makes no sense; asking again may help."""


class Hopeless(LocalError):
    """An answer that asking again will not change."""


def join_service(
    plan: NodePlan,
    target: JoinTarget,
    identity: NodeIdentity,
    *,
    entropy: Entropy,
    started: UnixSeconds,
    app: App | None,
    install: Callable[[Parts], None],
    snapshot: Restorable | None = None,
) -> Parts:
    """Make a node that asks to be let into a service; it asks with its first tick.

    `snapshot` is one of this service that is here already, to start from if no newer one is found.
    Raises LocalError when `target.service_cert_pem` is no certificate of a service.
    """
    try:
        service = ServiceIdentity.known_by(target.service_cert_pem)
    except ValueError as e:
        raise LocalError(
            f"The service certificate cannot be used: {e}",
            hint="command.service_certificate_file must hold the certificate of the service to"
            " join, in PEM.",
        ) from None
    secrets = NodeSecrets()
    parts = assemble(
        plan,
        identity,
        service,
        secrets,
        entropy=entropy,
        started=started,
        app=app,
        install=install,
    )
    node = parts.node
    parts.private = PrivateRecovery(parts)
    parts.joiner = Joiner(node, parts, secrets, target, snapshot)
    node.conversations.append(parts.joiner.tick)
    node.state = PENDING
    return parts


class Joiner:
    """The conversation of one node with those that are in the network already."""

    def __init__(
        self,
        node: Node,
        parts: Parts,
        secrets: NodeSecrets,
        target: JoinTarget,
        snapshot: Restorable | None,
    ) -> None:
        self._node = node
        self._snapshot = snapshot
        """Where this node starts from; None: the beginning of the ledger."""
        self._fetch = self._new_fetch(target)
        self._without_since: Millis | None = None
        """Since when this node takes part without having been given an entry that it can use."""
        self._had: SeqNo = 0
        """What it had then."""
        self._parts = parts
        self._secrets = secrets
        self._config = target
        self._target = target.address
        """Whom to ask next: the configured node, or the one it sent us to."""
        self._asked: str | None = None
        """Who is being asked now."""
        self._due: Millis = 0
        self._told_to_wait = False
        self._added = False
        """The addition of this node is committed."""
        self._gave_up = False
        node.store.on_commit(tables.NODES_ENDORSED_CERTIFICATES, self._committed)

    @property
    def done(self) -> bool:
        """Nothing more is to be asked."""
        node = self._node
        waits = node.state == PART_OF_PUBLIC_NETWORK
        return self._gave_up or node.retired or (self._added and not waits)

    def tick(self, now: Millis) -> None:
        """Look for a snapshot first; then ask again if it is time."""
        if self._fetch is not None:
            self._fetch.tick(now)
            if not self._fetch.over:
                return
            self._fetched(self._fetch.found)
            self._fetch = None
        if self._is_given_nothing(now):
            self._without_since = None
            self._fetch = self._new_fetch(self._config)
        if self.done or self._asked is not None or now < self._due:
            return
        self._due = now + self._config.retry_timeout
        self._asked = self._target
        node = self._node
        if node.state == PENDING and self._snapshot is not None:
            node.startup_seqno = self._snapshot.seqno
        body = dump_json(join_request(self._parts.entry, node.startup_seqno))
        node.demand(
            Call(
                self._target,
                "POST",
                PATH,
                {"content-type": "application/json"},
                body,
                self._parts.service.cert_pem,
                CALL_TIMEOUT,
                self._replied,
            )
        )

    def _new_fetch(self, target: JoinTarget) -> SnapshotFetch | None:
        """The search for a newer snapshot than this node has, if it is to search."""
        if target.fetch is None:
            return None
        return SnapshotFetch(
            target.fetch,
            target.address,
            lambda: self._parts.service.cert_pem,
            self._node.store.version if self._snapshot is None else self._snapshot.seqno,
            self._node.demand,
            self._log,
        )

    def _is_given_nothing(self, now: Millis) -> bool:
        """Whether this node was let in, and has got no entry for long that it can use."""
        node = self._node
        had = node.store.version
        waits = self._starves if had else node.state in TAKES_PART
        if self._fetch is not None or not waits:
            self._without_since = None
            return False
        if self._without_since is None or had != self._had:
            self._without_since = now
            self._had = had
        return now - self._without_since >= GIVEN_NOTHING_RETRIES * self._config.retry_timeout

    @property
    def _starves(self) -> bool:
        """Whether what this node is sent lies beyond entries that it lacks."""
        node = self._node
        return node.state == PART_OF_NETWORK and node.consensus.starved and not node.retired

    def _fetched(self, found: Fetched | None) -> None:
        """The search for a snapshot is over."""
        if self._node.state != PENDING:
            if found is not None:
                self._begin_late(found)
        elif found is not None:
            self._node.demand(SaveSnapshot(found.name, [found.data]))
            self._snapshot = found.restorable
        elif self._snapshot is None:
            self._log("info", "No snapshot found: Node will replay all historical transactions")

    def _committed(self, seqno: SeqNo, changes: MapChanges) -> None:
        """The addition of this node is final: it cannot be taken back any more."""
        if self._node.node_id.encode() in changes:
            self._added = True

    # --- answers --------------------------------------------------------------------------------

    def _replied(self, answer: Answer | CallFailed) -> None:
        target, self._asked = self._asked, None
        if self.done or target is None:
            return
        try:
            if isinstance(answer, CallFailed):
                self._failed(target, answer)
            elif answer.status == 200:
                self._answered(answer.body)
            elif answer.status in (307, 308) and self._config.follow_redirect:
                self._redirected(answer.headers.get("location", ""))
            elif 400 <= answer.status < 500:
                self._refused(target, answer)
            else:
                raise Unusable(f"status {answer.status}: {_quoted(answer.body)}")
        except Unusable as e:
            # The node that was recommended may be gone; the configured one may know better.
            self._target = self._config.address
            self._log("fail", f"An error occurred while joining the network: {e.message}")
        except Hopeless as e:
            if self._node.state == PENDING:
                self._give_up(e.message)
            else:
                # It was let in already: what becomes of it is for the ledger to say.
                self._target = self._config.address
                self._log("info", f"Asked whether this node is still trusted: {e.message}")

    def _failed(self, target: str, failure: CallFailed) -> None:
        if not failure.untrusted:
            raise Unusable(f"{target}: {failure.reason}")
        raise Hopeless(
            f"Early error when joining existing network at {target}: {failure.reason}."
            " Shutting down node gracefully..."
        )

    def _refused(self, target: str, answer: Answer) -> None:
        raise Hopeless(
            f"Join request to {target} returned {answer.status} Bad Request:"
            f" {_quoted(answer.body)}. Shutting down node gracefully."
        )

    def _redirected(self, location: str) -> None:
        try:
            url = urlsplit(location)
            scheme, host, port = url.scheme, url.hostname, url.port
        except ValueError:
            scheme, host, port = "", None, None
        if scheme != "https" or not host or not port:
            raise Unusable(f"redirected to {_quoted(location.encode())}, which is no address")
        self._target = f"{host}:{port}"

    def _answered(self, body: bytes) -> None:
        try:
            answer = load_json(body)
        except ValueError as e:
            raise Unusable(f"the answer is not JSON: {e}") from None
        if not isinstance(answer, dict):
            raise Unusable("the answer is not an object")
        status = answer.get("node_status")
        if status == NodeStatus.TRUSTED.value:
            self._adopt(_judge(answer.get("network_info"), self._parts))
        elif status == NodeStatus.PENDING.value:
            if not self._told_to_wait:
                self._told_to_wait = True
                name = self._node.node_id
                self._log("info", f"Node {name} is waiting for votes of members to be trusted")
        else:
            raise Unusable("the answer names no known node_status")

    def _adopt(self, given: HandedOver) -> None:
        parts, node = self._parts, self._node
        if node.state == PART_OF_PUBLIC_NETWORK and not given.public_only:
            self._restored(given)
            return
        knows_more = node.state == PART_OF_NETWORK and given.public_only
        if knows_more or node.state == READING_PRIVATE_LEDGER:
            return
        self._secrets.receive(given.secrets)
        parts.service.adopt(given.key, given.service_cert_pem)
        parts.signer.handed_out = given.endorsed_pem
        if node.state != PENDING:
            return
        parts.signer.issuer = given.cose_issuer
        parts.signer.subject = given.cose_subject
        if given.public_only:
            node.replica.public_only = True
            node.snapshots.enabled = False
        self._begin()
        node.state = PART_OF_PUBLIC_NETWORK if given.public_only else PART_OF_NETWORK
        if given.recovered:
            node.begin_recovery(given.recovered, None)
        self._log("info", f"Node has now joined the network as node {node.node_id}")

    def _begin(self) -> None:
        """Take up the ledger after the snapshot, or from its beginning."""
        node, found = self._node, self._snapshot
        if found is None:
            node.startup_seqno = 0
            node.demand(Begin(0))
            node.consensus.join(0, 0, [])
            return
        self._snapshot = None
        at = found.snapshot
        node.consensus.join(at.view, at.seqno, at.starts)
        try:
            if node.replica.public_only:
                assert self._parts.private is not None
                self._parts.private.began_with(found)
                restore_from_snapshot(node, found, None)
            else:
                self._learn_secret(found)
                if node.state == PENDING and found.proven is not None:
                    # Handed out after the snapshot was fetched, the secrets are those of its
                    # evidence.
                    check_evidence(at, found.proven, self._secrets)
                restore_from_snapshot(node, found, self._secrets)
            node.membership.began()
        except (InvalidLedger, LocalError) as e:
            raise Hopeless(
                f"The snapshot at {at.seqno} cannot be used: {e.message}"
                " Remove it, or let this node fetch another one."
            ) from None
        self._log("info", f"This node starts from the snapshot at {at.txid}")

    def _begin_late(self, fetched: Fetched) -> None:
        """Take up a snapshot although this node was let in before, and maybe given entries since.

        Nothing is given up for one that cannot be read. Who was taken out again in an election may
        not have been told a new secret; it is told when it is let in again.
        """
        node, found = self._node, fetched.restorable
        at = found.snapshot
        had = node.store.version
        if had and (not self._starves or had != self._had or at.seqno <= had):
            return  # it was given what it lacked meanwhile
        if not node.replica.public_only:
            self._learn_secret(found)
            try:
                at.private_maps(self._secrets)
            except (InvalidLedger, LocalError) as e:
                self._log("fail", f"The snapshot at {at.seqno} cannot be used: {e.message}")
                return
        node.demand(SaveSnapshot(fetched.name, [fetched.data]))
        if had:
            self._begin_anew(found)
            return
        self._snapshot = found
        try:
            self._begin()
        except Hopeless as e:
            self._give_up(e.message)

    def _begin_anew(self, found: Restorable) -> None:
        """Take a snapshot for what this node has."""
        node, at = self._node, found.snapshot
        node.dismiss("before this node began anew with a snapshot")
        node.consensus.begin_anew(at.view, at.seqno, at.starts)
        self._learn_secret(found)  # again: undoing what is not committed took it back
        restore_from_snapshot(node, found, self._secrets)
        node.membership.began()
        self._log("info", f"Nobody has what this node lacks: it begins anew with {at.txid}")

    def _learn_secret(self, found: Restorable) -> None:
        """A rekey between the addition of this node and the snapshot told it a ledger secret."""
        for one in found.public:
            if one.name == tables.ENCRYPTED_LEDGER_SECRETS:
                changes = {key: pair.value for key, pair in one.pairs.items()}
                identity = self._parts.identity
                secret = recovery.secret_from_rekey(
                    one.version, changes, identity.node_id, identity.encryption_key
                )
                if secret is not None:
                    self._secrets.add(secret)

    def _restored(self, given: HandedOver) -> None:
        """The secrets were restored before this node could be told through the ledger."""
        assert self._parts.private is not None
        own = self._secrets.all()[0].version
        former = [secret for secret in given.secrets if secret.version < own]
        if former:
            # A rekey before this node was added (again) told it nothing.
            self._secrets.receive(given.secrets[len(former) :])
            self._parts.private.begin(former)

    def _give_up(self, reason: str) -> None:
        self._gave_up = True
        self._log("fail", reason)
        self._node.demand(Stop(reason))

    def _log(self, level: str, text: str) -> None:
        self._node.log(level, "", text)


# --- judging what is handed over ------------------------------------------------------------------


def _judge(value: Json, parts: Parts) -> HandedOver:
    """What a trusted node was given, if all of it fits together. Raises Unusable, Hopeless."""
    if not isinstance(value, dict):
        raise Hopeless("Expected network info in the answer to the join request of a trusted node.")
    public_only, recovered = value.get("public_only"), value.get("last_recovered_signed_idx")
    if not isinstance(public_only, bool) or not isinstance(recovered, int) or recovered < 0:
        raise Unusable("network_info does not say whether the service is being recovered")
    endorsed = value.get("endorsed_certificate")
    if endorsed is None:
        raise Hopeless("Expected an endorsed certificate for a trusted node.")
    identity, cose = value.get("identity"), value.get("cose_signatures_config")
    if not isinstance(identity, dict) or not isinstance(endorsed, str):
        raise Unusable("network_info lacks the identity of the service")
    if cose is None:
        cose = {}
    if not isinstance(cose, dict):
        raise Unusable("cose_signatures_config is not an object")
    service_pem = _text(identity, "cert")
    try:
        # In a simulation all keys sign repeatably.
        key = PrivateKey.from_pem(
            _text(identity, "priv_key"), deterministic=parts.identity.key.deterministic
        )
        if not parts.service.owns(service_pem) or key.public != parts.service.public:
            raise Unusable("the identity handed over is not that of the service")
        if certs.public_key(endorsed) != parts.identity.key.public:
            raise Unusable("the endorsed certificate is not for this node")
    except ValueError:
        raise Unusable("network_info holds a key or certificate that cannot be read") from None
    if not chains.check_endorsed(endorsed, service_pem, ignore_time=True):
        raise Unusable("the endorsed certificate is not signed by the service")
    return HandedOver(
        key=key,
        service_cert_pem=service_pem,
        secrets=_secrets(value.get("ledger_secrets")),
        endorsed_pem=endorsed,
        cose_issuer=_text(cose, "issuer", ""),
        cose_subject=_text(cose, "subject", ""),
        public_only=public_only,
        recovered=recovered,
    )


def _secrets(value: Json) -> tuple[LedgerSecret, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= SECRETS_MAX:
        raise Unusable("ledger_secrets is not a list, or empty")
    found: list[LedgerSecret] = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], dict):
            raise Unusable("ledger_secrets does not hold pairs of seqno and secret")
        version = _seqno(pair[0])
        previous = pair[1].get("previous_secret_stored_version")
        try:
            key = unb64(_text(pair[1], "raw_key"))
        except ValueError:
            raise Unusable("a ledger secret is not base64") from None
        if len(key) != KEY_SIZE:
            raise Unusable("a ledger secret has a wrong size")
        if found and version <= found[-1].version:
            raise Unusable("ledger secrets are not in order of their seqnos")
        stored = None if previous is None else _seqno(previous)
        found.append(LedgerSecret(version, key, stored))
    return tuple(found)


def _seqno(value: Json) -> SeqNo:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 63:
        raise Unusable("a ledger secret has a wrong seqno")
    return value


def _text(value: dict[str, Json], name: str, default: str | None = None) -> str:
    found = value.get(name, default)
    if not isinstance(found, str):
        raise Unusable(f"network_info has no text {name}")
    return found


def _quoted(body: bytes) -> str:
    return body[:QUOTED_MAX].decode("utf-8", "replace")
