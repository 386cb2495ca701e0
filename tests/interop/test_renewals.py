"""Everything that is renewed is renewed while the service serves.

Three nodes under load; one after the other ledger secret, recovery shares, members, threshold and
all certificates change. No request fails and no node is elected for it; receipts taken before
verify after, by PyPI's `ccf` and by ours, as do the ledgers, governance included.
"""

from __future__ import annotations

import importlib
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from pyccf.audit.verify import verify
from pyccf.client import Identity
from pyccf.client.types import Action
from pyccf.crypto import certs
from pyccf.crypto.keys import Curve, PrivateKey, RsaPrivateKey
from pyccf.ledger.receipt import verify_json_receipt
from pyccf.review.history import Review, Summary
from pyccf.shell.hardware import SystemEntropy
from pyccf.types import Json, TxID
from support.linear import Outcome, check
from support.linear_load import Load, Plan
from support.network import Network, Settings

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

WRITES = 15
"""Committed writes between any two changes."""
DAYS = 30
SETTINGS = Settings(chunk_size="50KB", election_ms=5000, forwarding_ms=20_000)
"""A patient network: who is elected here, was elected because of a change."""


class Left(msgspec.Struct, frozen=True):
    """What there was before the changes and after them."""

    ledgers: list[Path]
    receipts: list[tuple[str, dict[str, Json]]]
    """Receipts, and what had just been changed when they were taken."""
    certificates: tuple[str, str]
    """The service's certificate before and after."""
    views: tuple[int, int]
    outcomes: set[Outcome]


class _Story:
    """One change after the other."""

    def __init__(self, network: Network, load: Load) -> None:
        self.network = network
        self.load = load
        self.receipts: list[tuple[str, dict[str, Json]]] = []
        self.now = datetime.now(UTC).strftime("%y%m%d%H%M%SZ")

    def govern(self, name: str, **args: Json) -> None:
        before = self.network.primary().committed()
        self.network.govern(Action(name, dict(args) or None))
        assert before is not None
        self.proceed(name)

    def renew(self, name: str, days: int, **args: Json) -> None:
        self.govern(name, valid_from=self.now, validity_period_days=days, **args)

    def proceed(self, what: str) -> None:
        """Writes go on, on all nodes, and a receipt is taken."""
        goal = self.load.committed_writes() + WRITES
        self.network.wait(lambda: self.load.committed_writes() >= goal, f"writes after {what}")
        txid = self.network.synced()
        with self.network.client() as client:
            self.receipts.append((what, client.receipt(TxID(txid.view, txid.seqno - 1))))

    def add_member(self) -> Identity:
        """A second member with a share, who acknowledges."""
        entropy = SystemEntropy()
        key = PrivateKey.generate(Curve.P384, entropy)
        cert = certs.self_signed(
            key, "CN=second", not_before=int(time.time()) - 60, days=DAYS, entropy=entropy
        )
        folder = self.network.folder
        (folder / "second_cert.pem").write_text(cert)
        (folder / "second_privk.pem").write_text(key.pem())
        enc = RsaPrivateKey.generate().public.pem()
        self.govern("set_member", cert=cert, encryption_pub_key=enc)
        member = Identity.load(str(folder / "second_cert.pem"), str(folder / "second_privk.pem"))
        with self.network.client() as client:
            client.ack(signer=member)
        self.proceed("the new member's acknowledgement")
        return member

    def served(self) -> list[str]:
        """The certificates that the nodes show."""
        return [ssl.get_server_certificate(node.address()) for node in self.network.running()]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    folder = tmp_path_factory.mktemp("renewals")
    with Network(folder, 3, settings=SETTINGS) as network:
        old_cert = network.service_cert.read_text()
        with network.load(Plan(clients=4, pause_s=0.005, waits=0.5, timeout_s=60, seed=31)) as load:
            story = _Story(network, load)
            view = network.primary().consensus()["current_view"]
            story.proceed("nothing")
            story.govern("trigger_ledger_rekey")
            story.govern("trigger_recovery_shares_refresh")
            member = story.add_member()
            story.govern("set_recovery_threshold", recovery_threshold=2)
            story.govern("trigger_ledger_rekey")
            story.govern("set_recovery_threshold", recovery_threshold=1)
            story.govern("remove_member", member_id=member.id)
            before = story.served()
            story.renew("set_all_nodes_certificate_validity", DAYS)
            network.wait(lambda: not set(before) & set(story.served()), "renewed certificates")
            one = network.backups()[0].id
            story.renew("set_node_certificate_validity", 2 * DAYS, node_id=one)
            story.renew("set_service_certificate_validity", 3 * DAYS)
            with network.client() as client:
                new_cert = client.network().service_certificate
        history = load.history()
        assert check(history) == []
        network.stop()
        yield Left(
            [node.folder / "ledger" for node in network.nodes],
            story.receipts,
            (old_cert, new_cert),
            (view, history.views[-1].view),
            {operation.outcome for operation in load.operations()},
        )


def test_nobody_noticed(left: Left) -> None:
    assert left.views[0] == left.views[1]
    assert left.outcomes == {Outcome.ANSWERED}


def test_receipts_hold_whenever_they_were_taken(left: Left) -> None:
    """Before and after each change, against the service's certificate of then and of now."""
    old, new = left.certificates
    assert old != new
    tools = importlib.import_module("ccf.receipt")
    assert len(left.receipts) > 10
    issuer = x509.load_pem_x509_certificate(old.encode())
    for what, receipt in left.receipts:
        for certificate in (old, new):
            proven = verify_json_receipt(receipt, certificate)
        signer = x509.load_pem_x509_certificate(str(receipt["cert"]).encode())
        assert tools.root(proven.leaf.hex(), receipt["proof"]) == proven.root.hex(), what
        tools.verify(proven.root.hex(), receipt["signature"], signer)
        tools.check_endorsement(signer, issuer)


def test_the_ledgers_hold(left: Left) -> None:
    for ledger in left.ledgers:
        review = Review()
        report = verify([ledger], observer=review.feed)
        assert report.ok, report.error
        found: Summary = review.summary()
        assert found.findings == []
        assert found.not_judged == []
        assert found.judged >= len(left.receipts)
