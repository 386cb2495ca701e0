"""Signing governance requests in two steps, for keys that stay in an HSM or a cloud key vault.

    prepare   message and certificate -> `Prepared`: a file whose `alg` and `value` a vault signs
    finish    `Prepared` and the vault's signature -> body of the request

`value` is the digest to sign, base64, as the original's `ccf_cose_sign1_prepare` prints it; the
other members say what is signed, so that the file alone is enough to finish. A signature may come
as a vault's JSON answer, as base64 text of either alphabet, or raw; as r ‖ s or in DER. It is
checked against the certificate before anything is made of it; it may be over the header in
either order in which tools write it. Refused with LocalError: keys that
members cannot have, files that are something else, signatures by another key or of another message.
"""

from __future__ import annotations

import hashlib

import msgspec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pyccf.client.signing import MessageType, governance_header
from pyccf.codec import cose
from pyccf.codec.text import b64, load_json, unb64url
from pyccf.crypto import certs
from pyccf.crypto.keys import Curve, PublicKey
from pyccf.errors import LocalError
from pyccf.types import Json, MemberId, ProposalId, UnixSeconds

ALGORITHMS = {
    Curve.P256: ("ES256", "sha256"),
    Curve.P384: ("ES384", "sha384"),
    Curve.P521: ("ES512", "sha512"),
}
"""Name of the algorithm (RFC 7518 §3.1, as vaults call it) and digest of each curve."""

NEEDS_PROPOSAL = frozenset({MessageType.BALLOT, MessageType.WITHDRAWAL})
"""Messages about a proposal, which their header names."""

SIGNATURE_MEMBERS = ("value", "signature", "result")
"""Where vaults put the signature in their JSON answer, in the order in which we look."""


TIME_END: UnixSeconds = 1 << 63
"""Messages say when they were made with a number below this."""


class Prepared(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message that waits for its signature; what the file of the first step holds."""

    alg: str
    value: str
    """Digest to sign, base64."""
    type: MessageType
    created_at: UnixSeconds
    certificate: str
    """PEM; the member is known by its digest."""
    content: str
    """Payload, base64."""
    proposal_id: ProposalId | None = None

    @property
    def member_id(self) -> MemberId:
        """Who signs."""
        return certs.fingerprint(self.certificate)

    @property
    def payload(self) -> bytes:
        """What is signed, without its header."""
        return _unbase64(self.content, "content")

    def path(self) -> str:
        """Where the finished request goes."""
        return request_path(self.type, self.member_id, self.proposal_id)

    def encode(self) -> bytes:
        """The file: JSON, `alg` and `value` first."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def prepare(
    certificate: str,
    message: MessageType,
    payload: bytes,
    created_at: UnixSeconds,
    proposal_id: ProposalId | None = None,
) -> Prepared:
    """The first step: what the key of this certificate must sign."""
    if message in NEEDS_PROPOSAL and proposal_id is None:
        raise LocalError(
            f"A {message.value} is about a proposal, which must be named",
            hint="Give its id: --proposal-id ID (see pyccf proposal list).",
        )
    if message not in NEEDS_PROPOSAL and proposal_id is not None:
        raise LocalError(
            f"A message of type {message.value} is about no proposal", hint="Leave the id out."
        )
    if not 0 <= created_at < TIME_END:
        raise LocalError(
            f"A message cannot be made at {created_at}",
            hint="Give the seconds since 1970, or a time in ISO 8601.",
        )
    key = _key(certificate)
    alg, digest = ALGORITHMS[key.curve]
    header = governance_header(
        key.curve,
        certs.fingerprint(certificate),
        message,
        created_at,
        proposal_id,
        # As the original's tool does, which may have to finish this.
        deterministic=False,
    )
    signed = cose.sig_structure(header, payload)
    return Prepared(
        alg=alg,
        value=b64(hashlib.new(digest, signed).digest()),
        type=message,
        created_at=created_at,
        certificate=certificate,
        content=b64(payload),
        proposal_id=proposal_id,
    )


def finish(prepared: Prepared, signature: bytes) -> bytes:
    """The second step: body of the request, a tagged COSE_Sign1 as `sign_governance` makes it.

    `signature` is what the vault gave, in any of the forms above.
    """
    again = prepare(
        prepared.certificate,
        prepared.type,
        prepared.payload,
        prepared.created_at,
        prepared.proposal_id,
    )
    if (again.alg, again.value) != (prepared.alg, prepared.value):
        raise LocalError(
            "The prepared message was changed: its digest is not that of its content",
            hint="Prepare it again, and sign that.",
        )
    key = _key(prepared.certificate)
    payload = prepared.payload
    raw = read_signature(signature, key.curve)
    for deterministic in (False, True):
        header = governance_header(
            key.curve,
            prepared.member_id,
            prepared.type,
            prepared.created_at,
            prepared.proposal_id,
            deterministic=deterministic,
        )
        if key.verify_raw(raw, cose.sig_structure(header, payload)):
            return cose.encode_sign1(header, payload, raw)
    raise LocalError(
        "The signature is not one of this message by the key of its certificate",
        hint="Sign the digest in `value` as it is, with the key that belongs to the certificate.",
    )


def read_prepared(data: bytes) -> Prepared:
    """Read the file of the first step."""
    try:
        return msgspec.json.decode(data, type=Prepared)
    except msgspec.DecodeError as error:
        raise LocalError(
            f"This is not a message prepared by `pyccf proposal prepare`: {error}",
            hint="Another tool's output holds only the digest: then give --type, --content and"
            " --created-at again instead.",
        ) from error


def read_signature(data: bytes, curve: Curve) -> bytes:
    """A signature r ‖ s out of any of the forms in which vaults and modules give it."""
    size = 2 * curve.coordinate_size
    if len(data) == size:
        return data
    raw = data if _is_der(data) else _from_text(data)
    if len(raw) == size:
        return raw
    if _is_der(raw):
        try:
            halves = decode_dss_signature(raw)
            return b"".join(half.to_bytes(curve.coordinate_size, "big") for half in halves)
        except OverflowError:
            pass  # of a larger curve
    raise LocalError(
        f"The signature has {len(raw)} bytes; one with {curve.value} has {size}",
        hint="Give the signature as r and s joined, in DER, or as the vault's JSON answer.",
    )


def _is_der(data: bytes) -> bool:
    try:
        decode_dss_signature(data)
    except ValueError:
        return False
    return True


def request_path(
    message: MessageType, member_id: MemberId, proposal_id: ProposalId | None = None
) -> str:
    """Path of the request that carries a signed message (spec: gov-api.md §2)."""
    match message:
        case MessageType.PROPOSAL:
            return "/gov/members/proposals:create"
        case MessageType.WITHDRAWAL:
            return f"/gov/members/proposals/{proposal_id}:withdraw"
        case MessageType.BALLOT:
            return f"/gov/members/proposals/{proposal_id}/ballots/{member_id}:submit"
        case MessageType.ACK:
            return f"/gov/members/state-digests/{member_id}:ack"
        case MessageType.STATE_DIGEST:
            return f"/gov/members/state-digests/{member_id}:update"
        case MessageType.RECOVERY_SHARE:
            return f"/gov/recovery/members/{member_id}:recover"


def _key(certificate: str) -> PublicKey:
    try:
        key = certs.public_key(certificate)
    except ValueError as error:
        raise LocalError(f"The certificate of the member cannot be used: {error}") from error
    if key.curve not in ALGORITHMS:
        raise LocalError(
            f"Governance requests cannot be signed with a key on {key.curve.value}",
            hint="Use a key on P-384, P-256 or P-521.",
        )
    return key


def _from_text(data: bytes) -> bytes:
    """Raw or DER signature in a vault's JSON answer or in base64; binary data as it is."""
    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        return data
    if text.startswith(("{", '"')):
        text = _member(text)
    return _unbase64(text, "signature")


def _member(text: str) -> str:
    try:
        answer: Json = load_json(text)
    except ValueError as error:
        raise LocalError(f"The signature is not JSON: {error}") from error
    if isinstance(answer, str):
        return answer
    for name in SIGNATURE_MEMBERS:
        found = answer.get(name) if isinstance(answer, dict) else None
        if isinstance(found, str):
            return found
    raise LocalError(
        f"The signature's JSON has no text named {' or '.join(SIGNATURE_MEMBERS)}",
        hint="Give what the vault answered, or the signature itself in base64.",
    )


def _unbase64(text: str, what: str) -> bytes:
    try:
        return unb64url("".join(text.split()).replace("+", "-").replace("/", "_"))
    except ValueError as error:
        raise LocalError(f"The {what} is not base64: {error}") from error
