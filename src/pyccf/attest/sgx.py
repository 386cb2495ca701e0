"""SGX: quotes of enclaves, verified with the collateral Intel serves for their processor.

`verify` promises that an enclave without debugger on a processor of Intel's made the quote, and
that Intel's status of what it runs on is one that is accepted. Which enclaves are trusted is for
the caller to say. Nodes are not let in by such evidence: the original dropped it.
"""

from __future__ import annotations

from collections.abc import Set

import msgspec

from pyccf.attest import collateral as intel
from pyccf.attest import dcap
from pyccf.attest.collateral import Collateral, Status
from pyccf.attest.dcap import Enclave, Tee
from pyccf.errors import InvalidEvidence
from pyccf.types import UnixSeconds

ACCEPTED = frozenset({Status.UP_TO_DATE})
DEBUG = 1 << 1
"""In the first byte of the attributes."""


class Verified(msgspec.Struct, frozen=True):
    """An enclave, and what is known against its processor."""

    enclave: Enclave
    status: Status
    advisories: tuple[str, ...]


def verify(
    raw: bytes,
    collateral: Collateral,
    now: UnixSeconds,
    *,
    accepted: Set[Status] = ACCEPTED,
    root_key: str = dcap.INTEL_ROOT_KEY,
) -> Verified:
    """What the quote states; raises InvalidEvidence when it does not verify."""
    quote = dcap.parse(raw)
    if quote.tee is not Tee.SGX:
        raise InvalidEvidence("Not the quote of an enclave")
    verdict = intel.judge(dcap.check(quote, now, root_key), collateral, now, root_key=root_key)
    enclave = Enclave.parse(quote.body)
    if enclave.attributes[0] & DEBUG:
        raise InvalidEvidence("The enclave can be debugged")
    intel.check_accepted(verdict, accepted)
    return Verified(enclave, verdict.status, verdict.advisories)
