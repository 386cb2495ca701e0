"""Keys and certificates: who a node is, and who the service is.

A node makes its keys afresh in every process and never stores them; the service's key is made by
the node that starts it and handed to those that join; until then they know only its certificate
(spec: node-lifecycle.md §2, crypto.md §1, §7). Chance and time are given. Nothing here prints a
key: objects show their ids only.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyccf.crypto import certs
from pyccf.crypto.entropy import Entropy
from pyccf.crypto.keys import Curve, PrivateKey, PublicKey, RsaPrivateKey
from pyccf.types import NodeId, UnixSeconds

NODE_SUBJECT = "CN=CCF Node"
SERVICE_SUBJECT = "CN=CCF Service"
ENCRYPTION_KEY_BITS = 2048


class NodeIdentity:
    """Signing key, encryption key and self-signed certificate of one node process."""

    __slots__ = ("csr_pem", "encryption_key", "key", "node_id", "self_signed_pem", "validity_days")

    def __init__(
        self,
        key: PrivateKey,
        encryption_key: RsaPrivateKey,
        csr_pem: str,
        self_signed_pem: str,
        validity_days: int,
    ) -> None:
        self.key = key
        self.encryption_key = encryption_key
        """RSA; other nodes encrypt ledger secrets to it."""
        self.csr_pem = csr_pem
        self.self_signed_pem = self_signed_pem
        self.validity_days = validity_days
        self.node_id: NodeId = key.public.id
        """Lower-case hex SHA-256 of the key's SubjectPublicKeyInfo."""

    def __repr__(self) -> str:
        return f"NodeIdentity({self.node_id})"


def make_node(
    *,
    entropy: Entropy,
    not_before: UnixSeconds,
    days: int,
    sans: Sequence[str],
    subject: str = NODE_SUBJECT,
    curve: Curve = Curve.P384,
) -> NodeIdentity:
    """A new node: keys, signing request, and a certificate valid from now for `days` days.

    `sans` are subject alternative names, `iPAddress:<address>` or `dNSName:<name>`.
    """
    key = PrivateKey.generate(curve, entropy)
    pem = certs.self_signed(
        key, subject, not_before=not_before, days=days, sans=sans, ca=True, entropy=entropy
    )
    encryption_key = RsaPrivateKey.generate(ENCRYPTION_KEY_BITS, entropy=entropy)
    return NodeIdentity(key, encryption_key, certs.csr(key, subject, sans), pem, days)


class ServiceIdentity:
    """The service's key and its present certificate."""

    __slots__ = ("_key", "cert_pem", "public", "subject")

    def __init__(self, key: PrivateKey | None, cert_pem: str, subject: str) -> None:
        self._key = key
        self.cert_pem = cert_pem
        self.public: PublicKey = key.public if key is not None else certs.public_key(cert_pem)
        """The service's public key; it never changes."""
        self.subject = subject

    @classmethod
    def known_by(cls, cert_pem: str) -> ServiceIdentity:
        """A service of which only a certificate is known. Raises ValueError if it is none."""
        return cls(None, cert_pem, certs.subject(cert_pem))

    @property
    def key(self) -> PrivateKey:
        """The private key, which a node that was not let in yet does not have (asserted)."""
        assert self._key is not None, "only a node of the service has its key"
        return self._key

    def adopt(self, key: PrivateKey, cert_pem: str) -> None:
        """Take over what a node of this service handed out. Both must be of this service."""
        assert key.public == self.public, "a service never changes its key"
        assert self.owns(cert_pem), "a service never changes its key"
        self._key = key
        self.cert_pem = cert_pem

    @property
    def fingerprint(self) -> str:
        """Lower-case hex SHA-256 of the key's SubjectPublicKeyInfo; kid of ledger signatures."""
        return self.public.id

    @property
    def key_der(self) -> bytes:
        """SubjectPublicKeyInfo of the service key."""
        return self.public.der

    def certificate(self, not_before: UnixSeconds, days: int, entropy: Entropy) -> str:
        """A certificate of this identity for another period: same key, same subject."""
        return certs.self_signed(
            self.key,
            self.subject,
            not_before=not_before,
            days=days,
            sans=(),
            ca=True,
            entropy=entropy,
        )

    def endorse(self, csr_pem: str, not_before: UnixSeconds, days: int, entropy: Entropy) -> str:
        """Certificate of a node, signed by the service (spec: crypto.md §7)."""
        return certs.endorse(csr_pem, self.key, self.cert_pem, not_before, days, entropy)

    def endorse_as(self, csr_pem: str, pattern: certs.Certificate, entropy: Entropy) -> str:
        """The same, for the period of another certificate of the node."""
        begin, end = certs.validity(pattern)
        return certs.endorse(csr_pem, self.key, self.cert_pem, begin, None, entropy, not_after=end)

    def endorse_older(self, cert_pem: str, entropy: Entropy) -> str:
        """Certificate of an earlier service by this one (spec: merkle-and-receipts.md §5.3)."""
        return certs.endorse_service(cert_pem, self.key, self.cert_pem, entropy)

    def owns(self, cert_pem: str) -> bool:
        """Whether a certificate is for this service's key."""
        return certs.public_key(cert_pem).der == self.key_der

    def __repr__(self) -> str:
        return f"ServiceIdentity({self.fingerprint})"


def make_service(
    *,
    entropy: Entropy,
    not_before: UnixSeconds,
    days: int,
    subject: str = SERVICE_SUBJECT,
    curve: Curve = Curve.P384,
) -> ServiceIdentity:
    """A new service identity with a certificate valid from now for `days` days."""
    key = PrivateKey.generate(curve, entropy)
    pem = certs.self_signed(
        key, subject, not_before=not_before, days=days, sans=(), ca=True, entropy=entropy
    )
    return ServiceIdentity(key, pem, subject)
