"""`python -m bench.recovery`: how fast a ledger is replayed when its service is recovered.

A ledger of one service is made in memory, then recovered in memory: first its public part, with all
signatures checked, then its private part. Everything is told in processor time, so that a disk or
another process counts for nothing; a node adds to it reading the files (`bench.recovery_files`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import msgspec

from bench.memory_node import ADDRESS, INTERFACE, MemoryNode
from pyccf import constitutions
from pyccf.codec.text import unb64
from pyccf.crypto import certs
from pyccf.crypto.keys import Curve, PrivateKey, RsaPrivateKey
from pyccf.ledger.entry import Entry
from pyccf.node.create import Parts
from pyccf.node.node import Limits, Node
from pyccf.node.outputs import Append, Log, Replay, Stop
from pyccf.node.recover import RecoveryPlan, recover_service
from pyccf.service import genesis, info, members, recovery, restore
from pyccf.service.identity import make_node, make_service
from pyccf.service.info import ServiceStatus
from pyccf.service.nodes import RpcInterface
from pyccf.shell.hardware import SystemEntropy
from pyccf.shell.program import REPLAY_ENTRIES_MAX

ENTRIES = 200_000
SIGNED_EVERY = (100, 5000)
"""Transactions between two signatures: with little to do, and under full load."""
KEYS = 10_000
MESSAGE = b'"' + b"m" * 64 + b'"'
NEVER = 1 << 60
PUBLIC_AIM = 40_000
PRIVATE_AIM = 30_000


class Figure(msgspec.Struct, frozen=True):
    """Entries per second of processor time."""

    entries: int
    signed_every: int
    public_per_s: float
    private_per_s: float
    seconds: float
    """Both replays together."""


class Ledger(msgspec.Struct, frozen=True):
    """What is known of a service that is no more, but for its entries."""

    identity: str
    member_key: RsaPrivateKey
    member_id: str
    member_cert: str
    signing_key: str
    """Of the member, PEM."""


def make(entries: int, signed_every: int, take: Callable[[list[Entry]], None]) -> Ledger:
    """An open service with one member, and so many writes to a private map; `take` gets all."""
    entropy = SystemEntropy()
    key = RsaPrivateKey.generate()
    signing = PrivateKey.generate(Curve.P384, entropy)
    cert = certs.self_signed(
        signing, "CN=member0", not_before=int(time.time()), days=1, entropy=entropy
    )
    member = genesis.Member(cert=cert, encryption_pub_key=key.public.pem())

    class Kept(MemoryNode):
        def pump(self) -> None:
            while self.node.has_outputs:
                for output in self.node.take_outputs():
                    if isinstance(output, Append):
                        take(output.entries)
                        self.node.persisted(output.entries[-1].seqno)

    service = Kept("app-py", members=(member,), constitution=constitutions.text("default"))
    parts, node = service.parts, service.node
    tx = node.store.tx()
    members.activate(tx, member.member_id)
    recovery.issue_shares(tx, parts.secrets.latest(), entropy)
    recovery.record_secret(tx, parts.secrets.latest(), None, 1, entropy)
    info.set_status(tx, ServiceStatus.OPEN)
    recovery.endorse_previous_identity(tx, parts.service, int(time.time()))
    node.commit(tx)
    service.sign()
    for i in range(entries):
        tx = node.store.tx()
        tx.map("records").set(b"%d" % (i % KEYS), MESSAGE)
        node.commit(tx)
        if i % signed_every == signed_every - 1:
            service.sign()
    service.sign()
    return Ledger(parts.service.cert_pem, key, member.member_id, cert, signing.pem())


class Recovering:
    """A node that recovers from a list of entries."""

    def __init__(self, ledger: Ledger, entries: list[bytes]) -> None:
        entropy = SystemEntropy()
        now = int(time.time())
        self._entries = list(entries)
        self.parts: Parts = recover_service(
            RecoveryPlan(
                previous_service_identity=ledger.identity,
                host_data="00" * 32,
                node_bind_address=ADDRESS,
                node_published_address=ADDRESS,
                rpc_interfaces={
                    INTERFACE: RpcInterface(bind_address=ADDRESS, published_address=ADDRESS)
                },
                chunk_size_bytes=5 * 1024 * 1024,
                limits=Limits(signature_tx_count=NEVER, signature_delay_ms=NEVER),
            ),
            make_node(entropy=entropy, not_before=now, days=1, sans=["IP:127.0.0.1"]),
            make_service(entropy=entropy, not_before=now, days=1),
            entropy=entropy,
            started=now,
            app=None,
            install=lambda parts: None,
        )
        self.node: Node = self.parts.node

    def pump(self) -> float:
        """Do what the node asks for; seconds of processor time."""
        node, entries = self.node, self._entries
        began = time.process_time()
        while node.has_outputs:
            for output in node.take_outputs():
                if isinstance(output, Replay):
                    first = output.first
                    last = min(output.last, first + REPLAY_ENTRIES_MAX - 1)
                    node.replayed(first, entries[first - 1 : last])
                elif isinstance(output, Append):
                    entries.extend(entry.data for entry in output.entries)
                    node.persisted(output.entries[-1].seqno)
                elif isinstance(output, Stop) or (
                    isinstance(output, Log) and output.level == "fail"
                ):
                    raise RuntimeError(output)
        return time.process_time() - began

    def restore(self, ledger: Ledger) -> None:
        """What the members do, without their votes."""
        node, parts = self.node, self.parts
        entropy = SystemEntropy()
        tx = node.store.tx()
        restore.await_shares(tx)
        node.commit(tx)
        tx = node.store.tx()
        share = recovery.encrypted_share(tx, ledger.member_id)
        assert share is not None, "shares were issued when the service was opened"
        opened = ledger.member_key.decrypt_oaep(unb64(share))
        restore.submit(tx, parts.secrets.latest(), ledger.member_id, opened, entropy)
        restore.restore(tx, parts.past(), parts.secrets, entropy)
        node.commit(tx)
        node.sign()


def measure(entries: int, signed_every: int) -> Figure:
    """Recover one ledger."""
    kept: list[bytes] = []
    ledger = make(entries, signed_every, lambda new: kept.extend(entry.data for entry in new))
    count = len(kept)
    recovering = Recovering(ledger, kept)
    public = recovering.pump()
    recovering.restore(ledger)
    private = recovering.pump()
    if recovering.node.state != "PartOfNetwork":
        raise RuntimeError(f"not recovered: {recovering.node.state}")
    return Figure(count, signed_every, count / public, count / private, public + private)


def main() -> int:
    """Measure, and say whether it is fast enough."""
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--entries", type=int, default=ENTRIES)
    options = parser.parse_args()
    good = True
    for signed_every in SIGNED_EVERY:
        f = measure(options.entries, signed_every)
        good = good and f.public_per_s >= PUBLIC_AIM and f.private_per_s >= PRIVATE_AIM
        print(
            f"{f.entries} entries, signed every {f.signed_every}: public {f.public_per_s:,.0f}/s"
            f" (aim {PUBLIC_AIM:,}), private {f.private_per_s:,.0f}/s (aim {PRIVATE_AIM:,}),"
            f" {f.seconds:.1f} s in all",
            flush=True,
        )
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
