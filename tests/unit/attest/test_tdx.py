"""Quotes of trust domains."""

from __future__ import annotations

import pytest

from pyccf.attest import tdx
from pyccf.attest.collateral import Status
from pyccf.errors import InvalidEvidence
from support import intel
from support.snp import NOW

ROOT = intel.root_key()
EVERY = frozenset(Status)


@pytest.mark.parametrize(("version", "more"), [(4, 0), (5, 0), (5, 64)])
def test_a_trust_domain(version: int, more: int) -> None:
    raw = intel.quote(version, intel.domain() + bytes(more), tdx=True)
    found = tdx.verify(raw, intel.collateral(True), NOW, root_key=ROOT)
    assert (found.status, found.advisories) == (Status.UP_TO_DATE, ())
    domain = found.domain
    names = (
        "mr_td",
        "mr_config_id",
        "mr_owner",
        "mr_owner_config",
        "rtmr0",
        "rtmr1",
        "rtmr2",
        "rtmr3",
    )
    assert [getattr(domain, name)[:1] for name in names] == [bytes([n]) for n in range(3, 11)]
    assert (domain.mr_seam, domain.xfam) == (b"\x01" * 48, b"\x02" * 8)
    assert (domain.tee_tcb_svn, domain.mr_signer_seam) == (intel.MODULE.svn, bytes(48))
    assert (domain.seam_attributes, domain.report_data) == (bytes(8), b"\7" * 64)
    assert domain.td_attributes == (1 << 28).to_bytes(8, "little")


@pytest.mark.parametrize("bit", range(8))
def test_domains_that_are_not_protected(bit: int) -> None:
    raw = intel.quote(4, intel.domain(attributes=1 << bit), tdx=True)
    with pytest.raises(InvalidEvidence, match="The trust domain can be debugged"):
        tdx.verify(raw, intel.collateral(True), NOW, root_key=ROOT)


def test_refusals() -> None:
    with pytest.raises(InvalidEvidence, match="Not the quote of a trust domain"):
        tdx.verify(intel.quote(4), intel.collateral(), NOW, root_key=ROOT)
    with pytest.raises(InvalidEvidence, match="another root"):
        tdx.verify(intel.quote(4, tdx=True), intel.collateral(True), NOW)
    info = intel.tcb_info(True)
    info["tdxModuleIdentities"][0]["tcbLevels"] = [intel.svn_level(4, "OutOfDate")]
    given = intel.collateral(True, info=info)
    with pytest.raises(InvalidEvidence, match="Intel says of the processor: OutOfDate"):
        tdx.verify(intel.quote(4, tdx=True), given, NOW, root_key=ROOT)


def test_a_real_trust_domain() -> None:
    raw, given = intel.real_quote("tdx/phala/quote_v4.bin"), intel.recorded("tdx/phala")
    now = intel.issued(given)
    found = tdx.verify(raw, given, now)
    assert (found.status, found.advisories) == (Status.UP_TO_DATE, ())
    with pytest.raises(InvalidEvidence, match="Collateral is valid from"):
        tdx.verify(raw, given, now + 30 * intel.DAY)
    other = intel.real_quote("tdx/automata/quote_v5.bin")
    with pytest.raises(InvalidEvidence, match="TCB info is of processors"):
        tdx.verify(other, given, now)


def test_real_firmware_of_no_level() -> None:
    raw = intel.real_quote("tdx/phala-outdated/quote_v5.bin")
    given = intel.recorded("tdx/phala-outdated")
    with pytest.raises(InvalidEvidence, match="of no level that Intel knows"):
        tdx.verify(raw, given, intel.issued(given), accepted=EVERY)


@pytest.mark.parametrize(
    ("tcb", "quote", "message"),
    [
        ("50806f000000", "trustee/quote_v4.bin", "The trust domain can be debugged"),
        ("90c06f000000", "trustee/quote_v5.bin", "of no level that Intel knows"),
        ("90c06f000000", "trustee/quote_v4.bin", "TCB info is of processors 90c06f000000"),
    ],
)
def test_verdicts_with_collateral_as_served(tcb: str, quote: str, message: str) -> None:
    given = intel.served(f"tcb_info_{tcb}.json")
    raw = intel.real_quote(f"tdx/{quote}")
    with pytest.raises(InvalidEvidence, match=message):
        tdx.verify(raw, given, intel.issued(given), accepted=EVERY)
