"""What Intel says about processors, firmware and quoting enclaves, and what follows from it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyccf.attest import collateral as judged
from pyccf.attest import dcap
from pyccf.attest.collateral import Collateral, Platform, Status, TdModule, Verdict
from pyccf.crypto import certs
from pyccf.errors import InvalidEvidence
from support import intel
from support.intel import level, svn_level
from support.snp import NOW
from support.vectors import vectors_dir

ROOT = intel.root_key()
OK = Verdict(Status.UP_TO_DATE, ())


def judge(
    given: Collateral | None = None,
    tdx: bool = False,
    now: int = NOW,
    module: TdModule = intel.MODULE,
    **quote: Any,
) -> Verdict:
    raw = intel.quote(4, intel.domain(module) if tdx else None, tdx=tdx, **quote)
    checked = dcap.check(dcap.parse(raw), NOW, ROOT)
    given = intel.collateral(tdx) if given is None else given
    return judged.judge(checked, given, now, module if tdx else None, ROOT)


def refusal(*arguments: Any, **named: Any) -> str:
    with pytest.raises(InvalidEvidence) as caught:
        judge(*arguments, **named)
    return caught.value.message


@pytest.mark.parametrize("tdx", [False, True])
def test_all_in_order(tdx: bool) -> None:
    assert judge(tdx=tdx) == OK


# --- processors and levels ------------------------------------------------------------------------


def test_what_a_certificate_says_of_its_processor() -> None:
    svns = tuple(range(1, 17))
    pem = intel.certificate("pck", "platform", intel.processor(b"\1\2\3\4\5\6", 300, svns))
    found = judged.platform_of(certs.pem_to_der(pem))
    assert found == Platform(b"\1\2\3\4\5\6", b"\0\0", svns, 300)


@pytest.mark.parametrize(
    "extension",
    [b"", b"\x30", b"\x30\x00", b"\x30\x02\x30\x00", b"\x30\x82", b"\x30\x04\x30\x02\6\0"],
)
def test_certificates_that_say_nothing(extension: bytes) -> None:
    pem = intel.certificate("pck", "platform", extension)
    with pytest.raises(InvalidEvidence, match="does not describe it"):
        judged.platform_of(certs.pem_to_der(pem))
    with pytest.raises(InvalidEvidence, match="does not describe it"):
        judged.platform_of(certs.pem_to_der(intel.certificate("platform", "root")))


def levels(*given: dict[str, Any]) -> Collateral:
    return intel.collateral(info=intel.tcb_info(tcbLevels=list(given)))


def raised(at: int, by: int = 1) -> tuple[int, ...]:
    return tuple(n + by * (i == at) for i, n in enumerate(intel.SVNS))


def test_the_first_level_that_is_reached_counts() -> None:
    low = level("OutOfDate", (0,) * 16, 0, advisories=("INTEL-SA-1", "INTEL-SA-2"))
    assert judge(levels(level("SWHardeningNeeded"), low)) == Verdict(Status.SW_HARDENING, ())
    out_of_date = Verdict(Status.OUT_OF_DATE, ("INTEL-SA-1", "INTEL-SA-2"))
    for at in range(16):
        assert judge(levels(level(svns=raised(at)), low)) == out_of_date
        assert judge(levels(level(svns=raised(at, -1)), low)) == OK
    assert judge(levels(level(pce_svn=intel.PCE_SVN + 1), low)) == out_of_date
    assert judge(levels(level(pce_svn=intel.PCE_SVN - 1), low)) == OK


def test_firmware_of_no_level() -> None:
    message = "The processor's firmware is of no level that Intel knows"
    assert refusal(levels(level(svns=raised(3)))) == message
    assert refusal(levels()) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "TDX"}, "TCB info TDX of version 3 is not for the quote"),
        ({"version": 2}, "TCB info SGX of version 2 is not for the quote"),
        ({"tcbType": 1}, "TCB info SGX of version 3 is not for the quote"),
        ({"fmspc": "000000000000"}, "TCB info is of processors 000000000000, the quote of"),
        ({"pceId": "0001"}, "TCB info is of processors 00906ED50000, the quote of 00906ed50000"),
    ],
)
def test_information_about_something_else(changes: dict[str, Any], message: str) -> None:
    assert refusal(intel.collateral(info=intel.tcb_info(**changes))).startswith(message)


# --- the quoting enclave --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "TD_QE"}, "QE identity TD_QE of version 2 is not for the quote"),
        ({"version": 1}, "QE identity QE of version 1 is not for the quote"),
        ({"mrsigner": "00" * 32}, "The quoting enclave is not Intel's"),
        ({"isvprodid": 2}, "The quoting enclave is not Intel's"),
        ({"miscselect": "00000001"}, "The quoting enclave is not Intel's"),
        ({"attributes": "10" + "00" * 15}, "The quoting enclave is not Intel's"),
        ({"tcbLevels": []}, "The quoting enclave is of no level that Intel knows"),
        ({"tcbLevels": [svn_level(9)]}, "The quoting enclave is of no level that Intel knows"),
        ({"mrsigner": "x"}, "Collateral holds what is not hexadecimal"),
        ({"attributesMask": "FF"}, "Collateral holds a mask of another length"),
    ],
)
def test_quoting_enclaves_that_are_not_known(changes: dict[str, Any], message: str) -> None:
    given = intel.collateral(identity=intel.qe_identity(**changes))
    assert refusal(given) == message


def test_attributes_outside_the_mask_do_not_count() -> None:
    assert judge(qe_fields={"attributes": b"\x15" + bytes(15)}) == OK
    assert refusal(qe_fields={"attributes": b"\x13" + bytes(15)}) == (
        "The quoting enclave is not Intel's"
    )


OLD_QE = {"isv_svn": 7}


@pytest.mark.parametrize(
    ("platform", "status"),
    [
        ("UpToDate", Status.OUT_OF_DATE),
        ("SWHardeningNeeded", Status.OUT_OF_DATE),
        ("ConfigurationNeeded", Status.OUT_OF_DATE_CONFIGURATION),
        ("ConfigurationAndSWHardeningNeeded", Status.OUT_OF_DATE_CONFIGURATION),
        ("OutOfDate", Status.OUT_OF_DATE),
        ("OutOfDateConfigurationNeeded", Status.OUT_OF_DATE_CONFIGURATION),
        ("Revoked", Status.REVOKED),
    ],
)
def test_an_old_quoting_enclave_makes_all_old(platform: str, status: Status) -> None:
    given = levels(level(platform, advisories=("INTEL-SA-9", "INTEL-SA-8")))
    assert judge(given) == Verdict(Status(platform), ("INTEL-SA-9", "INTEL-SA-8"))
    assert judge(given, qe_fields=OLD_QE) == Verdict(status, ("INTEL-SA-9", "INTEL-SA-8"))
    plain = levels(level(platform))
    assert judge(plain, qe_fields=OLD_QE) == Verdict(status, ("INTEL-SA-9",))


@pytest.mark.parametrize("platform", ["UpToDate", "OutOfDate"])
def test_a_revoked_quoting_enclave_revokes_all(platform: str) -> None:
    info = intel.tcb_info(tcbLevels=[level(platform)])
    identity = intel.qe_identity(tcbLevels=[svn_level(8, "Revoked")])
    assert judge(intel.collateral(info=info, identity=identity)).status is Status.REVOKED


# --- modules below trust domains ------------------------------------------------------------------


def tdx(**changes: Any) -> Collateral:
    return intel.collateral(True, info=intel.tcb_info(True, **changes))


def identity(**changes: Any) -> dict[str, Any]:
    (found,) = intel.tcb_info(True)["tdxModuleIdentities"]
    return {**found, **changes}


def module(level: int, version: int, rest: int = 3, **changes: bytes) -> TdModule:
    usual = {"mrsigner": bytes(48), "attributes": bytes(8)}
    return TdModule(bytes((level, version, *[rest] * 14)), **{**usual, **changes})


def test_the_level_of_a_module() -> None:
    known = [svn_level(4), svn_level(2, "OutOfDate", advisoryIDs=["INTEL-SA-7"])]
    given = tdx(tdxModuleIdentities=[identity(id="TDX_03"), identity(tcbLevels=known)])
    assert judge(given, tdx=True) == OK
    assert judge(given, tdx=True, module=module(4, 1)) == OK
    old = Verdict(Status.OUT_OF_DATE, ("INTEL-SA-7",))
    assert judge(given, tdx=True, module=module(3, 1)) == old
    assert judge(given, tdx=True, module=module(2, 1)) == old
    assert refusal(given, tdx=True, module=module(1, 1)) == (
        "The module for trust domains is of no level that Intel knows"
    )
    assert judge(given, tdx=True, module=module(4, 3)) == OK
    assert refusal(given, tdx=True, module=module(9, 2)) == (
        "Intel knows no module for trust domains of version 2"
    )


def test_versions_are_hexadecimal_and_of_any_case() -> None:
    given = tdx(tdxModuleIdentities=[identity(id="tdx_1a")])
    assert judge(given, tdx=True, module=module(5, 0x1A)) == OK


def test_firmware_below_a_module() -> None:
    """With identities of its own, level and version of a module do not count among the parts."""
    assert refusal(tdx=True, module=module(5, 1, rest=2)) == (
        "The processor's firmware is of no level that Intel knows"
    )
    for at in range(2, 16):
        svn = bytes(2 if i == at else n for i, n in enumerate(intel.MODULE.svn))
        assert "of no level" in refusal(tdx=True, module=TdModule(svn, bytes(48), bytes(8)))
    parts = level(tdx=(5, 0, *[3] * 14))
    assert judge(tdx(tcbLevels=[parts]), tdx=True, module=module(4, 1)) == OK
    assert judge(tdx(tcbLevels=[parts]), tdx=True, module=module(5, 0)) == OK
    assert "of no level" in refusal(tdx(tcbLevels=[parts]), tdx=True, module=module(4, 0))
    assert refusal(tdx(tcbLevels=[level()]), tdx=True) == (
        "TCB info for trust domains has a level without their parts"
    )


@pytest.mark.parametrize("version", [0, 1])
def test_modules_that_are_not_intels(version: int) -> None:
    message = "The module below the trust domain is not Intel's"
    signed = module(5, version, mrsigner=b"\1" * 48)
    assert refusal(tdx=True, module=signed) == message
    odd = module(5, version, attributes=b"\1" + bytes(7))
    assert refusal(tdx=True, module=odd) == message
    mask = {"attributesMask": "FE" + "FF" * 7}
    plain = {**intel.tcb_info(True)["tdxModule"], **mask}
    lenient = tdx(tdxModule=plain, tdxModuleIdentities=[identity(**mask)])
    assert judge(lenient, tdx=True, module=odd) == OK
    assert refusal(tdx(tdxModule=None), tdx=True, module=module(5, 0)) == (
        "Intel knows no module for trust domains of version 0"
    )


# --- signatures, time, revocation -----------------------------------------------------------------


def test_collateral_is_signed_by_intel() -> None:
    unsigned = "Collateral is not signed by who it says"
    for name in ("tcb_info", "qe_identity"):
        text = getattr(intel.collateral(), name)
        assert refusal(intel.collateral(**{name + "_signature": intel.sign("x", text)})) == unsigned
        assert refusal(intel.collateral(**{name + "_signature": b""})) == unsigned
        changed = text.replace(b"UpToDate", b"upToDate")
        assert refusal(intel.collateral(**{name: changed})) == unsigned
    foreign = intel.collateral(root="strange", signer="stranger")
    assert refusal(foreign) == "Certificates of Intel end at another root than Intel's"
    alone = intel.certificate("signing", "root")
    assert "Expected 2 certificates" in refusal(intel.collateral(tcb_info_chain=alone))
    bad = b"-----BEGIN CERTIFICATE-----\n=\n-----END CERTIFICATE-----\n"
    assert "Certificates of collateral" in refusal(intel.collateral(qe_identity_chain=bad))


@pytest.mark.parametrize("now", [NOW - intel.DAY, NOW + intel.DAY])
def test_collateral_is_valid_to_the_last_second(now: int) -> None:
    assert judge(now=now) == OK


@pytest.mark.parametrize("now", [NOW - intel.DAY - 1, NOW + intel.DAY + 1])
def test_collateral_has_its_time(now: int) -> None:
    assert refusal(now=now).startswith("Collateral is valid from ")
    later = {"issueDate": intel.stamp(now - 9), "nextUpdate": intel.stamp(now + 9)}
    info, enclave = intel.tcb_info(**later), intel.qe_identity(**later)
    assert "Collateral is valid from" in refusal(intel.collateral(info=info), now=now)
    given = intel.collateral(info=info, identity=enclave)
    assert refusal(given, now=now) == "A list of revoked certificates is not valid now"
    window = {"begin": now - 9, "end": now + 9}
    one = intel.collateral(info=info, identity=enclave, pck_crl=intel.crl("platform", **window))
    assert refusal(one, now=now) == "A list of revoked certificates is not valid now"


@pytest.mark.parametrize(
    ("of", "revoked"),
    [("platform", "pck"), ("root", "platform"), ("root", "signing")],
)
def test_revoked_certificates(of: str, revoked: str) -> None:
    name = "pck_crl" if of == "platform" else "root_crl"
    given = intel.collateral(**{name: intel.crl(of, revoked)})
    assert refusal(given) == f"Certificate {intel.serial(revoked):x} of Intel is revoked"


def test_lists_that_do_not_count() -> None:
    foreign = "A list of revoked certificates is not by who it must be"
    assert refusal(intel.collateral(pck_crl=intel.crl("root"))) == foreign
    assert refusal(intel.collateral(root_crl=intel.crl("platform"))) == foreign
    forged = bytearray(intel.crl("root", "platform"))
    forged[-1] ^= 1
    assert refusal(intel.collateral(root_crl=bytes(forged))) == foreign
    of_no_version = intel.crl("platform").replace(b"\x02\x01\x01", b"\x02\x01\x05", 1)
    for junk in (b"", b"\x30\x00", b"x" * 99, of_no_version):
        assert refusal(intel.collateral(pck_crl=junk)) == (
            "A list of revoked certificates cannot be read"
        )


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        json.dumps(intel.tcb_info(tcbLevels=[level(svns=(1,) * 15)])).encode(),
        json.dumps(intel.tcb_info(tcbLevels=[level("Unheard")])).encode(),
        json.dumps(intel.tcb_info(issueDate="2026-11-21T00:00:00")).encode(),
        json.dumps(intel.tcb_info(version="3")).encode(),
    ],
)
def test_texts_that_say_something_else(text: bytes) -> None:
    assert refusal(intel.collateral(info=text)).startswith("Collateral cannot be read")


def test_huge_parts_are_refused() -> None:
    for name in Collateral.__struct_fields__:
        given = intel.collateral(**{name: bytes(judged.COLLATERAL_MAX + 1)})
        assert refusal(given) == f"Collateral {name} is larger than 1048576 bytes"


def test_what_is_accepted() -> None:
    verdict = Verdict(Status.OUT_OF_DATE, ("INTEL-SA-1",))
    judged.check_accepted(verdict, {Status.OUT_OF_DATE})
    with pytest.raises(InvalidEvidence) as caught:
        judged.check_accepted(verdict, {Status.UP_TO_DATE})
    assert caught.value.message == "Intel says of the processor: OutOfDate (INTEL-SA-1)"


# --- recorded -----------------------------------------------------------------------------------


def test_a_real_processor() -> None:
    der = (vectors_dir() / "sgx" / "automata-solana" / "pck.der").read_bytes()
    platform = judged.platform_of(der)
    assert platform.fmspc.hex() == "00606a000000"
    assert platform.pce_svn == 13
    assert platform.components[:2] == (12, 12)
