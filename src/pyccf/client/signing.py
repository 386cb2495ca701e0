"""Signing requests as members and users do: COSE_Sign1 over the request body.

Governance requests carry who signed, what kind of message it is, when it was made and which
proposal it concerns in the protected header (spec: crypto.md §9, gov-api.md §3). Keys are read from
PEM files and shown by nothing.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from pyccf.codec import cbor
from pyccf.crypto import certs, cosesign
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.errors import LocalError
from pyccf.types import MemberId, ProposalId, UnixSeconds

COSE_TYPE = "application/cose"


class MessageType(Enum):
    """What a signed governance request asks for (spec: gov-api.md §3.2)."""

    PROPOSAL = "proposal"
    WITHDRAWAL = "withdrawal"
    BALLOT = "ballot"
    ACK = "ack"
    STATE_DIGEST = "state_digest"
    RECOVERY_SHARE = "recovery_share"


class Identity:
    """A member or user: a certificate and the private key that belongs to it.

    `id` is the hex SHA-256 of the certificate, the name by which a service knows it.
    """

    __slots__ = ("cert_path", "cert_pem", "id", "key", "key_path")

    def __init__(self, cert_path: Path, key_path: Path, cert_pem: str, key: PrivateKey) -> None:
        self.cert_path = cert_path
        self.key_path = key_path
        self.cert_pem = cert_pem
        self.key = key
        self.id: MemberId = certs.fingerprint(cert_pem)

    @classmethod
    def load(cls, cert: str | Path, key: str | Path) -> Identity:
        """Read both PEM files. Raises LocalError naming the file that is missing or no good."""
        cert_path, key_path = Path(cert), Path(key)
        cert_pem, key_pem = _read(cert_path), _read(key_path)
        try:
            public = certs.public_key(cert_pem)
        except ValueError as error:
            raise LocalError(f"{cert_path} is not a PEM certificate: {error}") from error
        try:
            private = PrivateKey.from_pem(key_pem)
        except ValueError as error:
            raise LocalError(f"{key_path} is not a PEM private key: {error}") from error
        if private.public != public:
            raise LocalError(
                f"{key_path} does not hold the key of the certificate {cert_path}",
                hint="Give the certificate and key that were made together.",
            )
        return cls(cert_path, key_path, cert_pem, private)

    def __repr__(self) -> str:
        return f"Identity(id={self.id})"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise LocalError(
            f"Could not read {path}: {error.strerror}", hint="Give the path of a PEM file."
        ) from error
    except UnicodeDecodeError as error:
        raise LocalError(f"{path} is not a PEM file") from error


def governance_header(
    curve: Curve,
    member_id: MemberId,
    message: MessageType,
    created_at: UnixSeconds,
    proposal_id: ProposalId | None = None,
    *,
    deterministic: bool = True,
) -> bytes:
    """Protected header of a governance request, encoded.

    In deterministic (length-first) order, or in that of the original's released tools, which put
    the proposal before the time. Services accept any.
    """
    pairs = [
        (cbor.uint(1), cbor.integer(curve.cose_alg)),
        (cbor.uint(4), cbor.bstr(member_id.encode())),
        (cbor.tstr("ccf.gov.msg.type"), cbor.tstr(message.value)),
    ]
    made = (cbor.tstr("ccf.gov.msg.created_at"), cbor.uint(created_at))
    about = []
    if proposal_id is not None:
        about.append((cbor.tstr("ccf.gov.msg.proposal_id"), cbor.tstr(proposal_id)))
    pairs += [made, *about] if deterministic else [*about, made]
    return cbor.mapping(pairs)


def sign_governance(
    signer: Identity,
    message: MessageType,
    payload: bytes,
    created_at: UnixSeconds,
    proposal_id: ProposalId | None = None,
) -> bytes:
    """Body of a governance request: a tagged COSE_Sign1 with the payload attached.

    Raises LocalError for a key that members cannot have (only P-256, P-384 and P-521 are verified).
    """
    if signer.key.curve is Curve.ED25519:
        raise LocalError(
            "Governance requests cannot be signed with an Ed25519 key",
            hint="Use a key on P-384, P-256 or P-521.",
        )
    header = governance_header(signer.key.curve, signer.id, message, created_at, proposal_id)
    return cosesign.sign1(signer.key, header, payload)


def sign_user(
    signer: Identity,
    payload: bytes,
    created_at: UnixSeconds,
    message: str | None = None,
) -> bytes:
    """Body of a signed application request (policy user_cose_sign1; spec: auth.md §4)."""
    pairs = [
        (cbor.uint(1), cbor.integer(signer.key.curve.cose_alg)),
        (cbor.uint(4), cbor.bstr(signer.id.encode())),
    ]
    if message is not None:
        pairs.append((cbor.tstr("ccf.msg.type"), cbor.tstr(message)))
    pairs.append((cbor.tstr("ccf.msg.created_at"), cbor.uint(created_at)))
    return cosesign.sign1(signer.key, cbor.mapping(pairs), payload)
