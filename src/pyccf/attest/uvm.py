"""Endorsements of a utility VM: who vouches for the measurement of a guest.

Instead of each measurement, members may trust whoever builds the machine that their containers run
in. The builder signs the measurement in a COSE_Sign1 envelope, under a name (did:x509), for a feed
and with a security version number (svn). `verify` tells what was endorsed; `trusted` whether it is
at least what one of the roots of trust asks for (spec: attestation.md §4). Refused with
InvalidEvidence: everything that is not such an envelope for the measurement in question.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pyccf.attest import did_x509
from pyccf.codec import cose
from pyccf.codec.text import load_json
from pyccf.crypto import cosesign
from pyccf.crypto.chains import CHAIN_MAX
from pyccf.crypto.keys import PublicKey, RsaPublicKey
from pyccf.errors import InvalidEvidence
from pyccf.types import Json

ENDORSEMENTS_MAX = 1 << 17
"""Bytes of an envelope; Azure's have some 11,000."""
SVN_DIGITS_MAX = 20
CONTENT_TYPE = "application/json"
_CONTENT_TYPE_LABEL = 3
_ALGORITHMS = {
    cosesign.ES256,
    cosesign.ES384,
    cosesign.ES512,
    cosesign.PS256,
    cosesign.PS384,
    cosesign.PS512,
}
_MEASUREMENT = "x-ms-sevsnpvm-launchmeasurement"
_SVN = "x-ms-sevsnpvm-guestsvn"


class Endorsed(msgspec.Struct, frozen=True):
    """What is vouched for, and by whom; as a root of trust, the least that is wanted."""

    did: str
    feed: str
    svn: str


_AZURE = "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59"
DEFAULT_ROOTS = (
    Endorsed(f"{_AZURE}.1.2", "ContainerPlat-AMD-UVM", "100"),
    Endorsed(f"{_AZURE}.1.5", "ConfAKS-AMD-UVM", "1"),
)
"""Azure's builders, for who asks without tables of his own (spec: attestation.md §4)."""


def verify(envelope: bytes, measurement: bytes) -> Endorsed:
    """What is endorsed, if the envelope is sound and for this measurement."""
    if len(envelope) > ENDORSEMENTS_MAX:
        raise InvalidEvidence(
            f"UVM endorsements of {len(envelope)} bytes, expected at most {ENDORSEMENTS_MAX}"
        )
    try:
        signed = cose.parse_sign1(envelope)
    except cose.CoseError as e:
        raise InvalidEvidence(f"UVM endorsements: {e}") from None
    headers = signed.headers
    if signed.alg not in _ALGORITHMS:
        raise InvalidEvidence(
            f"Signature algorithm {signed.alg} is not one of expected: RSA, ECDSA"
        )
    did, feed = headers.get("iss"), headers.get("feed")
    if not isinstance(did, str) or not isinstance(feed, str):
        raise InvalidEvidence("UVM endorsements name no issuer (iss) or no feed")
    key = _public_key(did_x509.resolve(did, _chain(headers.get(cose.X5CHAIN))))
    if signed.payload is None or not cosesign.verify1(signed, key):
        raise InvalidEvidence("Signature verification failed")
    content_type = headers.get(_CONTENT_TYPE_LABEL)
    if content_type != CONTENT_TYPE:
        raise InvalidEvidence(
            f"Unexpected payload content type {content_type}, expected {CONTENT_TYPE}"
        )
    endorsed, svn = _payload(signed.payload)
    if endorsed != measurement.hex():
        raise InvalidEvidence(
            f"Launch measurement in UVM endorsements payload {endorsed} is not equal to UVM"
            f" attestation measurement {measurement.hex()}"
        )
    return Endorsed(did, feed, svn)


def trusted(endorsed: Endorsed, roots: Iterable[Endorsed]) -> bool:
    """Whether a root of trust wants no more than what is endorsed.

    A root whose svn is no number asks for something that nobody has.
    """
    svn = _number(endorsed.svn)
    wanted = [_number(r.svn) for r in roots if (r.did, r.feed) == (endorsed.did, endorsed.feed)]
    return svn is not None and any(least is not None and least <= svn for least in wanted)


def check_trusted(endorsed: Endorsed, roots: Iterable[Endorsed]) -> None:
    """Raises InvalidEvidence unless `trusted`."""
    if not trusted(endorsed, roots):
        raise InvalidEvidence(
            f"UVM endorsements did {endorsed.did}, feed {endorsed.feed}, svn {endorsed.svn} do not"
            " match any of the known UVM roots of trust"
        )


def _chain(value: object) -> list[bytes]:
    chain = value if isinstance(value, list) else [value]
    found = [certificate for certificate in chain if isinstance(certificate, bytes)]
    if len(found) != len(chain) or not 0 < len(found) <= CHAIN_MAX:
        raise InvalidEvidence("UVM endorsements hold no chain of certificates (x5chain)")
    return found


def _public_key(spki: bytes) -> PublicKey | RsaPublicKey:
    for kind in (RsaPublicKey, PublicKey):
        try:
            return kind.from_der(spki)
        except ValueError:
            continue
    raise InvalidEvidence("The key of UVM endorsements is neither of RSA nor of ECDSA")


def _payload(raw: bytes) -> tuple[str, str]:
    """Measurement and svn."""
    try:
        payload = load_json(raw)
    except ValueError:
        payload = None
    if not isinstance(payload, dict) or not isinstance(payload.get(_MEASUREMENT), str):
        raise InvalidEvidence(f"Payload of UVM endorsements is no JSON object with {_MEASUREMENT}")
    return str(payload[_MEASUREMENT]), _svn(payload.get(_SVN))


def _svn(value: Json) -> str:
    text = str(value) if type(value) is int else value
    if not isinstance(text, str):
        raise InvalidEvidence(
            "Unexpected type for sevsnpvm_guest_svn in UVM endorsements payload, expected string"
            " or unsigned integer"
        )
    if _number(text) is None:
        raise InvalidEvidence(
            f"Unable to parse sevsnpvm_guest_svn value {text} to unsigned in UVM endorsements"
            " payload"
        )
    return text


def _number(svn: str) -> int | None:
    sound = svn.isascii() and svn.isdigit() and len(svn) <= SVN_DIGITS_MAX
    return int(svn) if sound else None
