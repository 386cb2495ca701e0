"""Whether a program may join: its evidence judged against what the members trust.

The order of the checks and the words of the refusals are part of the interface: operators and tests
look for them in the log of a refused node (spec: attestation.md §5, http-api.md §9.5). What the
members trust is in tables that this module does not know; it asks `Trust`. The hint of a refusal
tells what exactly was wrong, for the log. Refused with InvalidEvidence: everything but evidence of
the virtual platform or of SEV-SNP, for a program that is trusted and for the key that asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from pyccf.attest import snp, tcb, uvm, virtual
from pyccf.attest.evidence import Claims, Format, QuoteInfo, check_binding
from pyccf.attest.snp import Report
from pyccf.attest.tcb import CpuId
from pyccf.attest.uvm import Endorsed
from pyccf.errors import InvalidEvidence
from pyccf.types import UnixSeconds

NOT_VERIFIED = "Quote could not be verified"
NO_HOST_DATA = "Quote does not contain trusted host data"
HOST_DATA_UNKNOWN = "Quote host data is not authorised"
MEASUREMENT_UNKNOWN = "Quote does not contain known enclave measurement"
UVM_UNKNOWN = "UVM endorsements are not authorised"
TCB_REFUSED = "Unknown quote verification error"
OTHER_KEY = "Quote report data does not contain node's public key hash"


class Trust(Protocol):
    """What the members allow to join, by platform."""

    def host_data(self, platform: Format, digest: str) -> bool:
        """Whether host data (lower-case hex) are authorised."""
        ...

    def measurement(self, platform: Format, measurement: bytes) -> bool:
        """Whether a measurement is known."""
        ...

    def uvm_roots(self) -> Iterable[Endorsed]:
        """Who may endorse a measurement of SEV-SNP instead, and the least they must say."""
        ...

    def tcb_minimum(self, cpuid: CpuId) -> Mapping[str, int] | None:
        """The firmware a processor must have at least; None when such processors are unknown."""
        ...


def judge(evidence: QuoteInfo, trust: Trust, public_key_der: bytes, now: UnixSeconds) -> Claims:
    """What the evidence states, if its program may join under this key (SubjectPublicKeyInfo).

    Raises InvalidEvidence with the reason otherwise.
    """
    platform = evidence.format
    claims, report = verify(evidence, now)
    if not claims.host_data:
        raise InvalidEvidence(NO_HOST_DATA)
    if not trust.host_data(platform, claims.host_data):
        raise InvalidEvidence(HOST_DATA_UNKNOWN)
    if report is not None and evidence.uvm_endorsements is not None:
        _check_endorsed(evidence.uvm_endorsements, report, trust)
    elif not trust.measurement(platform, claims.measurement):
        raise InvalidEvidence(MEASUREMENT_UNKNOWN)
    if report is not None:
        _check_tcb(report, trust)
    if not check_binding(claims, public_key_der):
        raise InvalidEvidence(OTHER_KEY)
    return claims


def verify(evidence: QuoteInfo, now: UnixSeconds) -> tuple[Claims, Report | None]:
    """What the evidence states, believed or not, and the report behind it if it is of SEV-SNP."""
    try:
        match evidence.format:
            case Format.VIRTUAL:
                return virtual.verify(evidence), None
            case Format.SNP:
                report = snp.verify(evidence, now)
                return report.claims, report
            case Format.SGX:
                raise InvalidEvidence("Evidence of SGX is not verified any more")
    except InvalidEvidence as e:
        raise InvalidEvidence(NOT_VERIFIED, hint=e.message) from None


def _check_endorsed(envelope: bytes, report: Report, trust: Trust) -> None:
    try:
        uvm.check_trusted(uvm.verify(envelope, report.measurement), trust.uvm_roots())
    except InvalidEvidence as e:
        raise InvalidEvidence(UVM_UNKNOWN, hint=e.message) from None


def _check_tcb(report: Report, trust: Trust) -> None:
    minimum = trust.tcb_minimum(report.cpuid)
    if minimum is None:
        cpu = report.cpuid
        raise InvalidEvidence(
            TCB_REFUSED,
            hint=f"No minimum TCB version is set for processors of family {cpu.family},"
            f" model {cpu.model}, stepping {cpu.stepping}",
        )
    reported = tcb.components(report.reported_tcb, report.product)
    if not tcb.meets(reported, minimum):
        raise InvalidEvidence(
            TCB_REFUSED, hint=f"TCB version {reported} is not at least {dict(minimum)}"
        )
