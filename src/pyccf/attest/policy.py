"""Whether a program may join: its evidence judged against what the members trust.

The order of the checks and the words of the refusals are part of the interface: operators and tests
look for them in the log of a refused node (spec: attestation.md §5, http-api.md §9.5). What the
members trust is in tables that this module does not know; it asks `Trust`. Refused with
InvalidEvidence: everything but evidence of the virtual platform, which is all that this version can
check, for a program that is trusted and for the key that asks.
"""

from __future__ import annotations

from typing import Protocol

from pyccf.attest import virtual
from pyccf.attest.evidence import Claims, Format, QuoteInfo, check_binding
from pyccf.errors import InvalidEvidence

NOT_VERIFIED = "Quote could not be verified"
NO_HOST_DATA = "Quote does not contain trusted host data"
HOST_DATA_UNKNOWN = "Quote host data is not authorised"
MEASUREMENT_UNKNOWN = "Quote does not contain known enclave measurement"
OTHER_KEY = "Quote report data does not contain node's public key hash"


class Trust(Protocol):
    """What the members allow to join, by platform."""

    def host_data(self, platform: Format, digest: str) -> bool:
        """Whether host data (lower-case hex) are authorised."""
        ...

    def measurement(self, platform: Format, measurement: bytes) -> bool:
        """Whether a measurement is known."""
        ...


def judge(evidence: QuoteInfo, trust: Trust, public_key_der: bytes) -> Claims:
    """What the evidence states, if its program may join under this key (SubjectPublicKeyInfo).

    Raises InvalidEvidence with the reason otherwise.
    """
    platform = evidence.format
    if platform is not Format.VIRTUAL:
        raise InvalidEvidence(
            f"{NOT_VERIFIED}: this version cannot check evidence of format {platform.value}"
        )
    try:
        claims = virtual.verify(evidence)
    except InvalidEvidence as e:
        raise InvalidEvidence(NOT_VERIFIED, hint=e.message) from None
    if not claims.host_data:
        raise InvalidEvidence(NO_HOST_DATA)
    if not trust.host_data(platform, claims.host_data):
        raise InvalidEvidence(HOST_DATA_UNKNOWN)
    if not trust.measurement(platform, claims.measurement):
        raise InvalidEvidence(MEASUREMENT_UNKNOWN)
    if not check_binding(claims, public_key_der):
        raise InvalidEvidence(OTHER_KEY)
    return claims
