"""Quotes of Intel's DCAP: their parts, and who signed them."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from pyccf.attest import dcap
from pyccf.attest.dcap import Enclave, Quote, Tee
from pyccf.crypto import certs
from pyccf.crypto.keys import PublicKey
from pyccf.errors import InvalidEvidence
from support import intel
from support.snp import NOW
from support.vectors import vectors_dir

ROOT = intel.root_key()


def refusal(raw: bytes, now: int = NOW, root_key: str = ROOT) -> str:
    with pytest.raises(InvalidEvidence) as caught:
        dcap.check(dcap.parse(raw), now, root_key)
    return caught.value.message


@pytest.mark.parametrize(
    ("version", "tdx", "size"),
    [(3, False, 384), (4, False, 384), (4, True, 584), (5, False, 384), (5, True, 584)],
)
def test_quotes_of_each_version(version: int, tdx: bool, size: int) -> None:
    raw = intel.quote(version, tdx=tdx)
    quote = dcap.parse(raw)
    assert (quote.version, quote.tee) == (version, Tee.TDX if tdx else Tee.SGX)
    assert len(quote.body) == size
    assert quote.signed.endswith(quote.body)
    assert raw.startswith(quote.signed)
    assert len(dcap.check(quote, NOW, ROOT).chain) == 3
    assert dcap.parse(raw + b"what follows") == quote
    assert dcap.parse(raw.ljust(dcap.QUOTE_MAX, b"\0")) == quote


def test_reports_of_tdx_15_are_longer() -> None:
    body = intel.domain() + bytes(64)
    quote = dcap.parse(intel.quote(5, body, tdx=True))
    assert quote.body == body
    dcap.check(quote, NOW, ROOT)


def test_fields_of_an_enclave() -> None:
    raw = intel.enclave(
        misc_select=b"\1\2\3\4",
        attributes=bytes(range(16)),
        mr_enclave=b"\5" * 32,
        mr_signer=b"\6" * 32,
        isv_prod_id=0x1234,
        isv_svn=0x5678,
        report_data=b"\7" * 64,
    )
    assert Enclave.parse(raw) == Enclave(
        cpu_svn=bytes(16),
        misc_select=b"\1\2\3\4",
        attributes=bytes(range(16)),
        mr_enclave=b"\5" * 32,
        mr_signer=b"\6" * 32,
        isv_prod_id=0x1234,
        isv_svn=0x5678,
        report_data=b"\7" * 64,
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "The quote ends after 0 bytes"),
        (bytes(48), "Quote version 0 is not one of 3, 4, 5"),
        (intel.quote(6), "Quote version 6 is not one of 3, 4, 5"),
        (intel.quote(3, tdx=True), "Quotes of version 3 are not of kind 129"),
        (intel.quote(key_type=3), "Attestation key type 3 of the quote is not supported"),
        (intel.quote(vendor="00" * 16), f"Quoting enclave of an unknown vendor: {'00' * 16}"),
        (intel.quote(5, body_type=2), "Body of type 2 and 384 bytes"),
        (intel.quote(5, body_type=9), "Body of type 9 and 384 bytes"),
        (intel.quote(5, bytes(584), tdx=True, body_type=3), "Body of type 3 and 584 bytes"),
        (intel.quote(data_type=1), "Certification data of type 1, expected 5"),
        (intel.quote(4, outer_type=5), "Certification data of type 5, expected 6"),
        (intel.quote(trailing=b"\0"), "Bytes of the quote's signature are left over"),
        (intel.quote(4, trailing=b"\0"), "Bytes of the quote's signature are left over"),
        (intel.quote(4, after=b"\0"), "Bytes of the quote's signature are left over"),
        (bytes(dcap.QUOTE_MAX + 1), "A quote of 65537 bytes, expected at most 65536"),
    ],
)
def test_what_is_no_quote(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidEvidence) as caught:
        dcap.parse(raw)
    assert caught.value.message == message


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_quote_that_was_cut_off(version: int) -> None:
    raw = intel.quote(version)
    for size in range(0, len(raw), 13):
        with pytest.raises(InvalidEvidence):
            dcap.parse(raw[:size])


def changed(**changes: bytes) -> Quote:
    return msgspec.structs.replace(dcap.parse(intel.quote()), **changes)


def test_each_signature_counts() -> None:
    quote = dcap.parse(intel.quote())
    flipped = {
        "signed": "The quote is not signed by the key of its quoting enclave",
        "signature": "The quote is not signed by the key of its quoting enclave",
        "attestation_key": "The quoting enclave reports another key",
        "qe_auth": "The quoting enclave reports another key",
        "qe_report": "The report of the quoting enclave is not signed by the processor",
        "qe_signature": "The report of the quoting enclave is not signed by the processor",
    }
    for name, message in flipped.items():
        raw = bytearray(getattr(quote, name))
        raw[-1] ^= 1
        with pytest.raises(InvalidEvidence) as caught:
            dcap.check(changed(**{name: bytes(raw)}), NOW, ROOT)
        assert caught.value.message == message


def test_a_named_key_must_be_one() -> None:
    """The enclave vouches for bytes that are no point of the curve."""
    auth, point = bytes(range(32)), b"\xff" * 64
    digest = hashlib.sha256(point + auth).digest()
    quote = dcap.parse(intel.quote(qe_fields={"report_data": digest}))
    with pytest.raises(InvalidEvidence, match="The key of the quoting enclave is none"):
        dcap.check(msgspec.structs.replace(quote, attestation_key=point), NOW, ROOT)


def test_the_rest_of_what_the_quoting_enclave_says_is_zero() -> None:
    auth = bytes(range(32))
    digest = hashlib.sha256(intel.point("attestation") + auth).digest()
    raw = intel.quote(qe_fields={"report_data": digest + b"\1"})
    assert refusal(raw) == "The quoting enclave reports another key"


OTHER_ROOT = "Certificates of Intel end at another root than Intel's"
NO_CHAIN = "Certificates of Intel do not form a chain that is valid now"


def test_chains_that_do_not_hold() -> None:
    pck = intel.certificate("pck", "platform", intel.processor())
    platform, root = intel.certificate("platform", "root"), intel.certificate("root", "root")
    assert refusal(intel.quote(chain=pck + platform)) == (
        "Expected 3 certificates of Intel but got 2"
    )
    assert refusal(intel.quote(chain=b"")) == "Expected 3 certificates of Intel but got 0"
    strange = intel.certificate("strange", "strange")
    assert refusal(intel.quote(chain=pck + platform + strange)) == OTHER_ROOT
    forged = intel.certificate("root", "strange")
    assert refusal(intel.quote(chain=pck + platform + forged)) == NO_CHAIN
    other = intel.certificate("platform", "strange")
    assert refusal(intel.quote(chain=pck + other + root)) == NO_CHAIN
    assert refusal(intel.quote(chain=platform + pck + root)) == NO_CHAIN
    junk = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert refusal(intel.quote(chain=junk + platform + root)).startswith("Certificates of Intel:")
    bad = b"-----BEGIN CERTIFICATE-----\n=\n-----END CERTIFICATE-----\n"
    assert refusal(intel.quote(chain=bad)).startswith("Certificates of the quote:")
    for now in (NOW - 101 * intel.DAY, NOW + 101 * intel.DAY):
        assert refusal(intel.quote(), now) == NO_CHAIN
    assert refusal(intel.quote(), root_key=dcap.INTEL_ROOT_KEY) == OTHER_ROOT


# --- recorded -----------------------------------------------------------------------------------

IN_2025 = 1_750_800_000
"""June 2025."""


def test_the_root_is_intels_own() -> None:
    root = (vectors_dir() / "roots" / "intel_sgx_root_ca.der").read_bytes()
    assert certs.public_key(root).pem() == dcap.INTEL_ROOT_KEY
    assert PublicKey.from_pem(dcap.INTEL_ROOT_KEY).pem() == dcap.INTEL_ROOT_KEY


@pytest.mark.parametrize(
    ("path", "version", "tee"),
    [
        ("sgx/phala/quote.bin", 3, Tee.SGX),
        ("sgx/automata/quote_v3.hex", 3, Tee.SGX),
        ("sgx/automata-solana/quote_sgx.bin", 3, Tee.SGX),
        ("sgx/trustee/quote_occlum.bin", 3, Tee.SGX),
        ("sgx/ccf-ledger/node_34f6f9fb5a73.quote.bin", 3, Tee.SGX),
        ("sgx/ccf-ledger/node_4b5cf6a2a967.quote.bin", 3, Tee.SGX),
        ("sgx/ccf-ledger/node_a09693bf525e.quote.bin", 3, Tee.SGX),
        ("sgx/ccf-ledger/node_cbd02afe94a1.quote.bin", 3, Tee.SGX),
        ("tdx/phala/quote_v4.bin", 4, Tee.TDX),
        ("tdx/automata/quote_v4.hex", 4, Tee.TDX),
        ("tdx/automata/quote_v5.bin", 5, Tee.TDX),
        ("tdx/automata-solana/quote_v4.bin", 4, Tee.TDX),
        ("tdx/google/quote_v4_SPR_E4.bin", 4, Tee.TDX),
        ("tdx/trustee/quote_v4.bin", 4, Tee.TDX),
        ("tdx/trustee/quote_v5.bin", 5, Tee.TDX),
        ("tdx/trustee/quote_labelled_6.bin", 4, Tee.TDX),
    ],
)
def test_real_quotes_are_signed_by_way_of_intel(path: str, version: int, tee: Tee) -> None:
    quote = dcap.parse(intel.real_quote(path))
    assert (quote.version, quote.tee) == (version, tee)
    dcap.check(quote, IN_2025, dcap.INTEL_ROOT_KEY)
    assert refusal(intel.real_quote(path), IN_2025) == OTHER_ROOT


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("sgx/intel-qvl-sample/quote.dat", "Certification data of type 1, expected 5"),
        ("tdx/intel-qvl-sample/quote.dat", "Expected 3 certificates of Intel but got 0"),
    ],
)
def test_samples_that_are_not_for_use(path: str, message: str) -> None:
    assert refusal(intel.real_quote(path), IN_2025, dcap.INTEL_ROOT_KEY) == message


@pytest.mark.slow
@pytest.mark.parametrize("path", ["sgx/phala/quote.bin", "tdx/phala/quote_v4.bin"])
def test_no_byte_of_a_real_quote_may_be_another(path: str) -> None:
    """Up to the certificates, which have signatures of their own."""
    raw = intel.real_quote(path)
    for at in range(raw.index(dcap.parse(raw).certificates)):
        damaged = bytearray(raw)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(InvalidEvidence):
            dcap.check(dcap.parse(bytes(damaged)), IN_2025, dcap.INTEL_ROOT_KEY)
