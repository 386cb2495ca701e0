"""Keys and certificates of simulated nodes, members and services.

They are the same in every run: the n-th node of any run has the n-th identity, so that making keys
costs once per process and not once per schedule. Chance, in a run, decides everything else. All
keys are made from fixed seeds, sign deterministically and guard nothing.
"""

from __future__ import annotations

from functools import lru_cache

from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey, RsaPrivateKey
from pyccf.service import genesis
from pyccf.service.identity import NODE_SUBJECT, NodeIdentity, ServiceIdentity, make_service
from pyccf.types import UnixSeconds

STARTED: UnixSeconds = 1_800_000_000
"""Wall-clock time at which every run begins."""
VALID_DAYS = 365
RSA_BITS = 2048
CURVE = Curve.P256


@lru_cache(maxsize=1)
def _rsa_key() -> RsaPrivateKey:
    """One encryption key for all: who holds it decides nothing that is simulated."""
    return RsaPrivateKey.generate(RSA_BITS, entropy=SeededEntropy("simulated encryption key"))


@lru_cache(maxsize=256)
def node(number: int) -> NodeIdentity:
    """Identity of the node with this number; its addresses are those of `addresses`."""
    entropy = SeededEntropy(f"simulated node {number}")
    key = PrivateKey.generate(CURVE, entropy)
    sans = [f"IP:{host(number)}"]
    pem = certs.self_signed(
        key,
        NODE_SUBJECT,
        not_before=STARTED,
        days=VALID_DAYS,
        sans=sans,
        ca=True,
        entropy=entropy,
    )
    return NodeIdentity(key, _rsa_key(), certs.csr(key, NODE_SUBJECT, sans), pem, VALID_DAYS)


def host(number: int) -> str:
    """Address of the machine a node runs on."""
    return f"10.0.{number // 250}.{number % 250 + 1}"


@lru_cache(maxsize=1)
def _service() -> ServiceIdentity:
    entropy = SeededEntropy("simulated service")
    return make_service(entropy=entropy, not_before=STARTED, days=VALID_DAYS, curve=CURVE)


def service() -> ServiceIdentity:
    """The identity of a service; a new object each time, since its certificate may be renewed."""
    made = _service()
    return ServiceIdentity(made.key, made.cert_pem, made.subject)


def new_service(seed: str) -> ServiceIdentity:
    """The identity of a service that goes on with the ledger of another."""
    return make_service(
        entropy=SeededEntropy(seed), not_before=STARTED, days=VALID_DAYS, curve=CURVE
    )


def member_key() -> RsaPrivateKey:
    """The key by which the member opens its recovery share."""
    return _rsa_key()


@lru_cache(maxsize=1)
def member() -> genesis.Member:
    """The only member of a simulated consortium."""
    entropy = SeededEntropy("simulated member")
    key = PrivateKey.generate(CURVE, entropy)
    cert = certs.self_signed(
        key, "CN=member0", not_before=STARTED, days=VALID_DAYS, entropy=entropy
    )
    return genesis.Member(cert=cert, encryption_pub_key=_rsa_key().public.pem())
