"""Reports of processors: made up under a root of our own, and recorded from real ones."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pyccf.attest import amd, snp
from pyccf.attest.evidence import Format, QuoteInfo
from pyccf.attest.snp import Report
from pyccf.attest.tcb import Product, to_hex
from pyccf.crypto import certs
from pyccf.crypto.keys import Curve
from pyccf.errors import InvalidEvidence
from support import snp as made
from support.snp import NOW

MILAN, GENOA, TURIN = Product
DAY = 86_400


def verify(evidence: QuoteInfo, now: int = NOW) -> Report:
    return snp.verify(evidence, now, made.roots())


def refusal(evidence: QuoteInfo, now: int = NOW) -> str:
    with pytest.raises(InvalidEvidence) as caught:
        verify(evidence, now)
    return caught.value.message


def with_chain(product: Product = MILAN, **arguments: Any) -> QuoteInfo:
    chain = made.chain(product, **arguments)
    return msgspec.structs.replace(made.evidence(product), endorsements=chain)


@pytest.mark.parametrize("product", list(Product))
def test_evidence_of_each_product(product: Product) -> None:
    claims = verify(made.evidence(product)).claims
    assert claims.measurement.hex() == made.MEASUREMENT
    assert claims.host_data == made.HOST_DATA


def test_every_field_is_read_from_its_place() -> None:
    """Each place holds something of its own; the layout of the test is another one than ours."""
    values: dict[str, Any] = {}
    for i, (name, (_, size)) in enumerate(made.OFFSETS.items(), start=1):
        values[name] = bytes([i, *range(100, 99 + size)]) if size >= 8 else i
    values["policy"] = bytes((31, 2, 0b10001, 0, 0, 0, 0, 0))
    values["platform_info"] = 3
    values["flags"] = 0b10111
    raw = made.report(**values)
    parsed = Report.parse(raw)
    assert parsed.signature_r == raw[made.SIGNATURE : made.SIGNATURE + 72]
    assert parsed.signature_s == raw[made.SIGNATURE + 72 : made.SIGNATURE + 144]
    assert (parsed.policy_abi_minor, parsed.policy_abi_major) == (31, 2)
    assert (parsed.smt, parsed.single_socket, parsed.debug, parsed.migrate_ma) == (1, 1, 0, 0)
    assert (parsed.author_key_en, parsed.mask_chip_key, parsed.signing_key) == (1, 1, 5)
    for name in values.keys() - {"policy"}:
        assert getattr(parsed, name) == values[name], name


def test_bits_of_the_policy() -> None:
    for bit, name in ((16, "smt"), (18, "migrate_ma"), (19, "debug"), (20, "single_socket")):
        parsed = Report.parse(made.report(policy=1 << bit))
        names = ("smt", "migrate_ma", "debug", "single_socket")
        assert [n for n in names if getattr(parsed, n)] == [name]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"version": 2}, "SEV-SNP: Attestation version is 2 not >= expected minimum 3"),
        ({"cpuid_mod_id": 2}, "SEV-SNP: Unsupported CPUID family 25 model 2"),
        ({"signature_algo": 0}, "SEV-SNP: Unsupported signature algorithm: 0 (supported: 1)"),
        ({"signature_algo": 2}, "SEV-SNP: Unsupported signature algorithm: 2 (supported: 1)"),
        ({"flags": 1 << 2}, "SEV-SNP: Attestation report must be signed by VCEK: 1"),
        ({"flags": 7 << 2}, "SEV-SNP: Attestation report must be signed by VCEK: 7"),
        ({"flags": 1 << 1}, "SEV-SNP: Mask chip key must not be set"),
        ({"vmpl": 4}, "SEV-SNP: This report seems to be host generated (VMPL 4 > 3)"),
        (
            {"vmpl": 0xFFFFFFFF},
            "SEV-SNP: This report seems to be host generated (VMPL 4294967295 > 3)",
        ),
        (
            {"policy": made.DEBUG},
            "SEV-SNP: SNP attestation report guest policy debugging must not be enabled",
        ),
        (
            {"policy": made.MIGRATE_MA},
            "SEV-SNP: SNP attestation report guest policy migration must not be enabled",
        ),
        (
            {"reported_tcb": bytes.fromhex("0402000000001700")},
            'SEV-SNP: Reported TCB {"boot_loader":4,"hexstring":"0017000000000204","microcode":0,'
            '"snp":23,"tee":2} does not meet or exceed the endorsed TCB "da17000000000103"',
        ),
        (
            {"chip_id": bytes(64)},
            "SEV-SNP: Chip ID in attestation does not match endorsed chip ID:"
            f" {made.CHIP_ID.hex()} != {'00' * 64}",
        ),
    ],
)
def test_reports_that_are_refused_though_signed(fields: dict[str, Any], message: str) -> None:
    assert refusal(made.evidence(**fields)) == message


@pytest.mark.parametrize("vmpl", [0, 1, 3])
def test_every_level_of_a_guest_will_do(vmpl: int) -> None:
    assert verify(made.evidence(vmpl=vmpl)).vmpl == vmpl


@pytest.mark.parametrize("product", list(Product))
def test_the_firmware_is_at_least_what_the_certificate_vouches_for(product: Product) -> None:
    raw = bytearray(verify(made.evidence(product)).reported_tcb)
    for at in {0, 1, 7} | ({2, 3} if product is TURIN else {6}):
        lower = raw.copy()
        lower[at] -= 1
        verify(made.evidence(product, reported_tcb=bytes(lower)))
        if lower[at]:
            lower[at] -= 1
            evidence = made.evidence(product, reported_tcb=bytes(lower))
            assert "does not meet or exceed" in refusal(evidence)


def test_of_a_chip_id_of_turin_eight_bytes_count() -> None:
    """Its certificates hold no more; the rest of the field is signed like all of the report."""
    verify(made.evidence(TURIN, chip_id=made.CHIP_ID[:8]))
    other = b"\0" + made.CHIP_ID[1:]
    assert "Chip ID" in refusal(made.evidence(TURIN, chip_id=other))


@pytest.mark.parametrize("product", list(Product))
def test_a_chip_id_may_be_wrapped(product: Product) -> None:
    size = 8 if product is TURIN else 64
    wrapped = bytes((4, size)) + made.CHIP_ID[:size]
    verify(with_chain(product, changes={"4": wrapped}))
    for broken in (wrapped + b"\0", wrapped[1:], bytes((5, size)) + made.CHIP_ID[:size]):
        assert "Chip ID" in refusal(with_chain(product, changes={"4": broken}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"4": None}, "has no extension 1.3.6.1.4.1.3704.1.4"),
        ({"3.1": None}, "has no extension 1.3.6.1.4.1.3704.1.3.1"),
        ({"3.8": None}, "has no extension 1.3.6.1.4.1.3704.1.3.8"),
        ({"3.3": b""}, "snp in the chip certificate (VCEK) is not a number"),
        ({"3.3": b"\x02\x02\x01"}, "snp in the chip certificate (VCEK) is not a number"),
        ({"3.3": b"\x04\x01\x01"}, "snp in the chip certificate (VCEK) is not a number"),
        ({"3.3": b"\x02\x01\xff"}, "Invalid snp value in TCB version: -1"),
        ({"3.3": b"\x02\x02\x01\x00"}, "Invalid snp value in TCB version: 256"),
    ],
)
def test_certificates_that_do_not_say_what_they_must(
    changes: dict[str, bytes | None], message: str
) -> None:
    assert message in refusal(with_chain(changes=changes))


BROKEN = "SEV-SNP: The chain of signatures from the root of trust to this attestation is broken"
ROOT_BROKEN = (
    "SEV-SNP: The root of trust public key for this attestation was not self signed as expected"
)
NOT_SIGNED = "SEV-SNP: Chip certificate (VCEK) did not sign this attestation"


def replaced(endorsements: bytes) -> QuoteInfo:
    return msgspec.structs.replace(made.evidence(), endorsements=endorsements)


def test_chains_that_do_not_hold() -> None:
    ark, ask, vcek = made.authority("ARK"), made.authority("ASK", "ARK"), made.vcek()
    other = made.authority("ASK", "other")
    assert refusal(replaced(vcek + other.pem + ark.pem)) == BROKEN
    assert refusal(replaced(vcek + ark.pem + ark.pem)) == BROKEN
    assert refusal(replaced(ask.pem + ask.pem + ark.pem)) == BROKEN
    assert refusal(replaced(made.vcek(issuer=made.authority("other")) + ask.pem + ark.pem)) == (
        BROKEN
    )
    # A certificate of the root's key, endorsed by somebody else.
    crossed = made.authority("ARK", "other")
    assert refusal(replaced(vcek + ask.pem + crossed.pem)) == ROOT_BROKEN
    unknown = made.authority("other")
    assert refusal(replaced(vcek + ask.pem + unknown.pem)).startswith(
        "SEV-SNP: The root of trust public key for this attestation was not the expected one for"
        " v3 25 1:  -----BEGIN PUBLIC KEY-----\n"
    )
    # AMD's key is what counts where nobody says otherwise.
    with pytest.raises(InvalidEvidence, match="was not the expected one"):
        snp.verify(made.evidence(), NOW)


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5])
def test_there_are_three_certificates(count: int) -> None:
    parts = [made.vcek(), made.authority("ASK", "ARK").pem, *[made.authority("ARK").pem] * 3]
    assert refusal(replaced(b"".join(parts[:count]))) == (
        f"Expected 3 endorsement certificates but got {count}"
    )


def test_bundles_that_are_none() -> None:
    vcek, ask, ark = made.vcek(), made.authority("ASK", "ARK").pem, made.authority("ARK").pem
    assert "got 0" in refusal(replaced(b"\xff\0" * 99))
    junk = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert "cannot be read" in refusal(replaced(vcek + ask + junk))
    assert refusal(replaced(junk + ask + ark)) == BROKEN
    bad = b"-----BEGIN CERTIFICATE-----\n=\n-----END CERTIFICATE-----\n"
    assert "cannot be read" in refusal(replaced(bad + ask + ark))
    largest = (vcek + ask + ark).ljust(snp.ENDORSEMENTS_MAX)
    verify(replaced(largest))
    assert "expected at most 65536" in refusal(replaced(largest + b" "))


def test_dates_count() -> None:
    begin, end = 1_704_067_200, 1_704_067_200 + 3650 * DAY
    verify(made.evidence(), begin)
    verify(made.evidence(), end)
    for now in (begin - 1, end + 1, 0):
        assert refusal(made.evidence(), now) == ROOT_BROKEN


def test_no_root_no_trust() -> None:
    only_milan = {MILAN: made.roots()[MILAN]}
    with pytest.raises(InvalidEvidence) as caught:
        snp.verify(made.evidence(GENOA), NOW, only_milan)
    assert caught.value.message == "SEV-SNP: No known root certificate for Genoa"


def test_signatures_that_are_none() -> None:
    raw = made.report()
    for at in (0, 0x90, made.SIGNATURE - 1, made.SIGNATURE, made.SIGNATURE + 72):
        changed = bytearray(raw)
        changed[at] ^= 0x80
        assert refusal(msgspec.structs.replace(made.evidence(), quote=bytes(changed)))
    for signature in (bytes(512), b"\xff" * 144 + bytes(368), raw[made.SIGNATURE + 72 :]):
        quote = raw[: made.SIGNATURE] + signature.ljust(512, b"\0")
        assert refusal(msgspec.structs.replace(made.evidence(), quote=quote)) == NOT_SIGNED
    # The same number with another multiple of the field on top is another signature.
    high = bytearray(raw)
    high[made.SIGNATURE + 48] = 1
    assert refusal(msgspec.structs.replace(made.evidence(), quote=bytes(high))) == NOT_SIGNED
    for at in (made.SIGNATURE + 144, len(raw) - 1):
        after = raw[:at] + b"\1" + raw[at + 1 :]
        assert "Bytes follow" in refusal(msgspec.structs.replace(made.evidence(), quote=after))


def test_only_keys_of_the_right_kind_sign() -> None:
    quote = made.report(curve=Curve.P256)
    evidence = QuoteInfo(Format.SNP, quote, made.chain(curve=Curve.P256))
    assert refusal(evidence) == NOT_SIGNED


@pytest.mark.parametrize("size", [0, 1, 1183, 1185, 1 << 20])
def test_other_sizes_are_refused(size: int) -> None:
    assert refusal(QuoteInfo(Format.SNP, bytes(size), b"")) == (
        f"Input SEV-SNP attestation report is not of expected size 1184: {size}"
    )


def test_other_platforms_are_refused() -> None:
    assert refusal(QuoteInfo(Format.VIRTUAL, made.report())) == (
        "Unexpected attestation report to verify for SEV-SNP: Insecure_Virtual"
    )


def test_a_claimed_firmware_is_the_reported_one() -> None:
    evidence = made.evidence()
    reported = to_hex(verify(evidence).reported_tcb)

    def claiming(text: str) -> QuoteInfo:
        return msgspec.structs.replace(evidence, endorsed_tcb=text)

    verify(claiming(reported))
    verify(claiming(reported.upper()))
    assert refusal(claiming("db18000000000004")) == (
        f"SEV-SNP: endorsed TCB db18000000000004 does not match reported TCB {reported}"
    )
    assert refusal(claiming("5")) == "Input string '5' is not of even length: 1"


# --- recorded reports -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "measurement"),
    [("milan", "5feee30d6d7e1a29"), ("genoa", "5feee30d6d7e1a29"), ("turin", "6d6c354511d6f7c6")],
)
def test_real_evidence(name: str, measurement: str) -> None:
    report = snp.verify(made.real(name), NOW)
    assert report.measurement.hex().startswith(measurement)
    assert report.cpuid_step == 1
    with pytest.raises(InvalidEvidence, match="not the expected one"):
        snp.verify(made.real(name), NOW, made.roots())


def test_facts_of_a_real_report() -> None:
    report = snp.verify(made.real("milan"), NOW)
    assert (report.version, report.policy_abi_minor, report.smt, report.single_socket) == (
        *(3, 0x1F, 1, 0),
    )
    assert to_hex(report.reported_tcb) == "db18000000000004"
    turin = snp.verify(made.real("turin"), NOW)
    assert (turin.version, to_hex(turin.reported_tcb)) == (5, "5100000004010101")
    assert not any(turin.chip_id[8:])


def other(quote: str, endorsements: bytes) -> QuoteInfo:
    return QuoteInfo(Format.SNP, made.recorded(f"snp/{quote}"), endorsements)


def from_der(name: str, roots: str) -> bytes:
    return made.to_pem(f"snp/{name}") + made.recorded(f"snp/roots/{roots}.pem")


@pytest.mark.parametrize(
    ("quote", "chain", "reason"),
    [
        ("ccf/milan_attestation.bin", "ccf/milan_endorsements.pem", ""),
        ("ccf/genoa_attestation.bin", "ccf/genoa_endorsements.pem", ""),
        ("ccf/milan_attestation.bin", "ccf/genoa_endorsements.pem", "was not the expected one"),
        ("ccf/milan_attestation_v2_format.bin", "ccf/milan_endorsements.pem", "version is 2"),
        # Another chip of the same product: nothing but the signature tells.
        ("milan/report.bin", "milan-trustee/vcek.der ask_ark_milan", "did not sign"),
        ("milan/report.bin", "milan-trustee/vcek-other-chip-new.der ask_ark_milan", "is broken"),
        ("milan/report.bin", "milan-trustee/vcek-other-chip-legacy.der ask_ark_milan", "broken"),
        ("milan/report.bin", "milan-vlek/vlek.der ask_ark_milan_vlek", "is broken"),
        ("milan-vlek/report.bin", "milan-vlek/vlek.der ask_ark_milan_vlek", "is broken"),
        ("milan-trustee/report.bin", "milan-trustee/vcek.der ask_ark_milan", "version is 2"),
        ("milan-go-sev-guest/report.bin", "milan-go-sev-guest/vcek.der ask_ark_milan", "version"),
        ("genoa-v5/report.bin", "genoa-v5/vcek.der ask_ark_genoa", "family 25 model 160"),
        ("turin/report.bin", "turin-virtee/vcek.der ask_ark_turin_vcek", "did not sign"),
    ],
)
def test_verdicts_about_recorded_evidence(quote: str, chain: str, reason: str) -> None:
    vcek, _, above = chain.partition(" ")
    endorsements = from_der(vcek, above) if above else made.recorded(f"snp/{chain}")
    if not reason:
        snp.verify(other(quote, endorsements), NOW)
        return
    with pytest.raises(InvalidEvidence) as caught:
        snp.verify(other(quote, endorsements), NOW)
    assert reason in caught.value.message


def test_a_key_that_a_provider_loaded_does_not_count() -> None:
    """Evidence that was in order when its certificate was valid, but for who holds the key."""
    evidence = other("milan-vlek/report.bin", from_der("milan-vlek/vlek.der", "ask_ark_milan_vlek"))
    with pytest.raises(InvalidEvidence, match="must be signed by VCEK: 1"):
        snp.verify(evidence, 1_763_000_000)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "step"), [("milan", 1), ("genoa", 5), ("turin", 5)])
def test_no_byte_of_a_real_report_may_be_another(name: str, step: int) -> None:
    evidence = made.real(name)
    snp.verify(evidence, NOW)
    for at in range(0, len(evidence.quote), step):
        changed = bytearray(evidence.quote)
        changed[at] ^= 1 << at % 8
        with pytest.raises(InvalidEvidence):
            snp.verify(msgspec.structs.replace(evidence, quote=bytes(changed)), NOW)


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1, 2])
def test_no_byte_of_a_real_certificate_may_be_another(which: int) -> None:
    evidence = made.real("milan")
    chain = certs.split_pem(evidence.endorsements)
    for at in range(len(chain[which])):
        changed = bytearray(chain[which])
        changed[at] ^= 1 << at % 8
        texts = [certs.der_to_pem(c) for c in (*chain[:which], bytes(changed), *chain[which + 1 :])]
        with pytest.raises(InvalidEvidence):
            snp.verify(msgspec.structs.replace(evidence, endorsements="".join(texts).encode()), NOW)


def test_our_roots_are_not_believed_elsewhere() -> None:
    assert made.roots()[MILAN] not in amd.ROOT_KEYS.values()
