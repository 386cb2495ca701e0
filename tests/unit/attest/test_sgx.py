"""Quotes of enclaves."""

from __future__ import annotations

import pytest

from pyccf.attest import sgx
from pyccf.attest.collateral import Status
from pyccf.errors import InvalidEvidence
from support import intel
from support.snp import NOW

ROOT = intel.root_key()
NEEDS = Status.CONFIGURATION_AND_SW


@pytest.mark.parametrize("version", [3, 4, 5])
def test_an_enclave(version: int) -> None:
    found = sgx.verify(intel.quote(version), intel.collateral(), NOW, root_key=ROOT)
    assert (found.status, found.advisories) == (Status.UP_TO_DATE, ())
    for name, value in intel.ENCLAVE.items():
        assert getattr(found.enclave, name) == value


def test_refusals() -> None:
    def refusal(raw: bytes, tdx: bool = False) -> str:
        with pytest.raises(InvalidEvidence) as caught:
            sgx.verify(raw, intel.collateral(tdx), NOW, root_key=ROOT)
        return caught.value.message

    debug = intel.enclave(**intel.ENCLAVE, attributes=b"\7" + bytes(15))
    assert refusal(intel.quote(body=debug)) == "The enclave can be debugged"
    assert refusal(intel.quote(4, tdx=True), True) == "Not the quote of an enclave"
    with pytest.raises(InvalidEvidence, match="another root"):
        sgx.verify(intel.quote(), intel.collateral(), NOW)


def test_the_caller_says_which_status_will_do() -> None:
    info = intel.tcb_info(tcbLevels=[intel.level(NEEDS.value, advisories=("INTEL-SA-1",))])
    given = intel.collateral(info=info)
    with pytest.raises(InvalidEvidence, match=r"ConfigurationAndSWHardeningNeeded \(INTEL-SA-1\)"):
        sgx.verify(intel.quote(), given, NOW, root_key=ROOT)
    found = sgx.verify(intel.quote(), given, NOW, accepted={NEEDS}, root_key=ROOT)
    assert (found.status, found.advisories) == (NEEDS, ("INTEL-SA-1",))


def test_a_real_enclave() -> None:
    raw, given = intel.real_quote("sgx/phala/quote.bin"), intel.recorded("sgx/phala")
    now = intel.issued(given)
    found = sgx.verify(raw, given, now, accepted={NEEDS})
    assert found.advisories == ("INTEL-SA-00289", "INTEL-SA-00615")
    with pytest.raises(InvalidEvidence, match="Intel says of the processor"):
        sgx.verify(raw, given, now)
    with pytest.raises(InvalidEvidence, match="Collateral is valid from"):
        sgx.verify(raw, given, now + 30 * intel.DAY, accepted={NEEDS})
    of_tdx = intel.recorded("tdx/phala")
    with pytest.raises(InvalidEvidence):
        sgx.verify(raw, of_tdx, now, accepted={NEEDS})
