"""TDX: quotes of trust domains, verified with the collateral Intel serves for their processor.

`verify` promises that a trust domain that nobody can look into made the quote, above a module of
Intel's, and that Intel's status of what it runs on is one that is accepted. Which domains are
trusted is for the caller to say.
"""

from __future__ import annotations

import struct
from collections.abc import Set

import msgspec

from pyccf.attest import collateral as intel
from pyccf.attest import dcap
from pyccf.attest.collateral import Collateral, Status, TdModule
from pyccf.attest.dcap import TD_SIZE, Tee
from pyccf.errors import InvalidEvidence
from pyccf.types import UnixSeconds

ACCEPTED = frozenset({Status.UP_TO_DATE})
_LAYOUT = struct.Struct("<16s48s48s8s8s8s48s48s48s48s48s48s48s48s64s")
assert _LAYOUT.size == TD_SIZE


class TrustDomain(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a report, as in Intel's specification of quotes. Those that TDX 1.5 adds are
    left out."""

    tee_tcb_svn: bytes
    mr_seam: bytes
    mr_signer_seam: bytes
    seam_attributes: bytes
    td_attributes: bytes
    xfam: bytes
    mr_td: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    report_data: bytes

    @classmethod
    def parse(cls, raw: bytes) -> TrustDomain:
        """The fields as they stand there."""
        values = _LAYOUT.unpack_from(raw)
        return cls(**dict(zip(cls.__struct_fields__, values, strict=True)))


class Verified(msgspec.Struct, frozen=True):
    """A trust domain, and what is known against its processor."""

    domain: TrustDomain
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
    if quote.tee is not Tee.TDX:
        raise InvalidEvidence("Not the quote of a trust domain")
    checked = dcap.check(quote, now, root_key)
    domain = TrustDomain.parse(quote.body)
    module = TdModule(domain.tee_tcb_svn, domain.mr_signer_seam, domain.seam_attributes)
    verdict = intel.judge(checked, collateral, now, module, root_key)
    if domain.td_attributes[0]:
        # Of the first byte, all bits stand for domains that are not protected from their host.
        raise InvalidEvidence("The trust domain can be debugged")
    intel.check_accepted(verdict, accepted)
    return Verified(domain, verdict.status, verdict.advisories)
