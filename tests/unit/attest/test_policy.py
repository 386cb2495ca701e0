"""Evidence judged against what the members trust."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pyccf.attest import amd, policy, virtual
from pyccf.attest.evidence import Format, QuoteInfo
from pyccf.attest.tcb import CpuId, Product
from pyccf.attest.uvm import Endorsed
from pyccf.codec.text import dump_json, load_json
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.errors import InvalidEvidence
from pyccf.types import Json
from support import snp as made

KEY = PrivateKey.generate(Curve.P384, SeededEntropy("key")).public.der
HOST_DATA = "ab" * 32
GOOD = virtual.make(HOST_DATA, KEY)


class Trust:
    """Trusts one program on one platform, and notes what it was asked."""

    def __init__(
        self,
        platform: Format = Format.VIRTUAL,
        measurement: bytes = virtual.MEASUREMENT.encode(),
        roots: tuple[Endorsed, ...] = (),
        minimum: dict[str, int] | None = None,
    ) -> None:
        self.asked: list[object] = []
        self._platform = platform
        self._measurement = measurement
        self._roots = roots
        self._minimum = minimum

    def host_data(self, platform: Format, digest: str) -> bool:
        self.asked.append("host_data")
        return platform is self._platform and digest == HOST_DATA

    def measurement(self, platform: Format, measurement: bytes) -> bool:
        self.asked.append("measurement")
        return platform is self._platform and measurement == self._measurement

    def uvm_roots(self) -> tuple[Endorsed, ...]:
        self.asked.append("uvm_roots")
        return self._roots

    def tcb_minimum(self, cpuid: CpuId) -> dict[str, int] | None:
        self.asked.append(cpuid)
        return self._minimum


def changed(**changes: Any) -> QuoteInfo:
    quote = load_json(GOOD.quote)
    assert isinstance(quote, dict)
    quote.update(changes)
    kept: dict[str, Json] = {k: v for k, v in quote.items() if v is not None}
    return msgspec.structs.replace(GOOD, quote=dump_json(kept))


def test_a_trusted_program_may_join() -> None:
    claims = policy.judge(GOOD, Trust(), KEY, made.NOW)
    assert claims.host_data == HOST_DATA
    assert claims.measurement == virtual.MEASUREMENT.encode()


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (changed(measurement=None), policy.NOT_VERIFIED),
        (changed(report_data="?"), policy.NOT_VERIFIED),
        (changed(host_data=None), policy.NO_HOST_DATA),
        (changed(host_data=""), policy.NO_HOST_DATA),
        (changed(host_data=HOST_DATA.upper()), policy.HOST_DATA_UNKNOWN),
        (changed(measurement=virtual.MEASUREMENT + " "), policy.MEASUREMENT_UNKNOWN),
        (virtual.make(HOST_DATA, b"another key"), policy.OTHER_KEY),
        (msgspec.structs.replace(GOOD, quote=b"{"), policy.NOT_VERIFIED),
    ],
)
def test_refusals_and_their_order(evidence: QuoteInfo, reason: str) -> None:
    with pytest.raises(InvalidEvidence) as caught:
        policy.judge(evidence, Trust(), KEY, made.NOW)
    assert caught.value.message == reason


def test_host_data_are_looked_at_before_the_measurement() -> None:
    trust = Trust()
    with pytest.raises(InvalidEvidence, match=policy.HOST_DATA_UNKNOWN):
        policy.judge(changed(host_data="00" * 32, measurement="?"), trust, KEY, made.NOW)
    assert trust.asked == ["host_data"]


def test_evidence_of_sgx_is_refused() -> None:
    trust = Trust()
    with pytest.raises(InvalidEvidence) as caught:
        policy.judge(msgspec.structs.replace(GOOD, format=Format.SGX), trust, KEY, made.NOW)
    assert caught.value.message == policy.NOT_VERIFIED
    assert caught.value.hint == "Evidence of SGX is not verified any more"
    assert trust.asked == []


def test_why_evidence_could_not_be_read_is_kept_for_the_log() -> None:
    with pytest.raises(InvalidEvidence) as caught:
        policy.judge(msgspec.structs.replace(GOOD, quote=b"{"), Trust(), KEY, made.NOW)
    assert caught.value.hint == "Virtual evidence is not JSON"


# --- SEV-SNP ------------------------------------------------------------------------------------

ROOT = Endorsed(made.did(), made.FEED, "7")
MEASUREMENT = bytes.fromhex(made.MEASUREMENT)


@pytest.fixture
def our_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors of our own are believed instead of AMD's."""
    for product, pem in made.roots().items():
        monkeypatch.setitem(amd.ROOT_KEYS, product, pem)


def trust_snp(**arguments: Any) -> Trust:
    usual = {"measurement": MEASUREMENT, "minimum": made.LEVELS, "roots": (ROOT,)}
    return Trust(Format.SNP, **{**usual, **arguments})


def endorsed(**arguments: Any) -> QuoteInfo:
    uvm = made.uvm_endorsements(**arguments)
    return msgspec.structs.replace(made.evidence(key_der=KEY), uvm_endorsements=uvm)


def refusal(evidence: QuoteInfo, trust: Trust) -> tuple[str, str]:
    with pytest.raises(InvalidEvidence) as caught:
        policy.judge(evidence, trust, KEY, made.NOW)
    return caught.value.message, caught.value.hint


@pytest.mark.usefixtures("our_roots")
@pytest.mark.parametrize("product", list(Product))
def test_a_trusted_guest_may_join(product: Product) -> None:
    evidence = made.evidence(product, KEY)
    trust = trust_snp(minimum=made.levels(product))
    claims = policy.judge(evidence, trust, KEY, made.NOW)
    assert (claims.measurement, claims.host_data) == (MEASUREMENT, HOST_DATA)
    assert trust.asked == ["host_data", "measurement", CpuId(*made.CPUS[product])]


@pytest.mark.usefixtures("our_roots")
def test_a_builder_may_be_trusted_instead_of_a_measurement() -> None:
    trust = trust_snp(measurement=b"")
    policy.judge(endorsed(), trust, KEY, made.NOW)
    assert trust.asked == ["host_data", "uvm_roots", CpuId(*made.CPUS[Product.MILAN])]
    policy.judge(endorsed(svn=8), trust, KEY, made.NOW)


@pytest.mark.usefixtures("our_roots")
@pytest.mark.parametrize(
    ("arguments", "trusted", "hint"),
    [
        ({"svn": "6"}, (ROOT,), "do not match any of the known UVM roots of trust"),
        ({"feed": "Other"}, (ROOT,), "do not match any of the known UVM roots of trust"),
        ({}, (), "do not match any of the known UVM roots of trust"),
        ({}, (Endorsed("did:x509:0:sha256:a::eku:1", made.FEED, "0"),), "do not match"),
        ({"measurement": "00" * 48}, (ROOT,), "is not equal to UVM attestation measurement"),
        ({"payload": b"?"}, (ROOT,), "Payload of UVM endorsements"),
    ],
)
def test_endorsements_that_do_not_count(
    arguments: dict[str, Any], trusted: tuple[Endorsed, ...], hint: str
) -> None:
    """A known measurement does not help who brings them."""
    message, why = refusal(endorsed(**arguments), trust_snp(roots=trusted))
    assert message == policy.UVM_UNKNOWN
    assert hint in why


@pytest.mark.usefixtures("our_roots")
def test_refusals_of_guests_and_their_order() -> None:
    """Whatever comes later is wrong, too."""
    nothing = trust_snp(measurement=b"", minimum=None)
    foreign = made.evidence(key_der=b"another key")
    assert refusal(msgspec.structs.replace(foreign, quote=foreign.quote[:-1]), nothing) == (
        policy.NOT_VERIFIED,
        "Input SEV-SNP attestation report is not of expected size 1184: 1183",
    )
    # The policy of the host is of 32 zeros where nobody gave one: the members do not know it.
    bare = made.evidence(key_der=b"another key", host_data=bytes(32))
    assert refusal(bare, nothing)[0] == policy.HOST_DATA_UNKNOWN
    assert refusal(foreign, nothing)[0] == policy.MEASUREMENT_UNKNOWN
    assert refusal(foreign, trust_snp(minimum=None)) == (
        policy.TCB_REFUSED,
        "No minimum TCB version is set for processors of family 25, model 1, stepping 1",
    )
    newer = {**made.LEVELS, "microcode": made.LEVELS["microcode"] + 1}
    message, hint = refusal(foreign, trust_snp(minimum=newer))
    assert message == policy.TCB_REFUSED
    assert hint.startswith("TCB version {'microcode': 219,")
    assert refusal(foreign, trust_snp(minimum={**made.LEVELS, "fmc": 0}))[0] == policy.TCB_REFUSED
    assert refusal(foreign, trust_snp()) == (policy.OTHER_KEY, "")


@pytest.mark.usefixtures("our_roots")
def test_report_data_longer_than_a_digest_belong_to_nobody() -> None:
    digest = made.evidence(key_der=KEY).quote[0x50:0x70]
    evidence = made.evidence(report_data=digest + b"\1")
    assert refusal(evidence, trust_snp())[0] == policy.OTHER_KEY


def test_platforms_are_trusted_apart() -> None:
    """Virtual evidence with the measurement of a guest is no evidence of it."""
    assert refusal(changed(host_data=HOST_DATA), trust_snp())[0] == policy.HOST_DATA_UNKNOWN


def test_a_real_guest_is_not_our_node() -> None:
    report = made.real("milan").quote
    trust = trust_snp(measurement=report[0x90:0xC0])
    trust.host_data = lambda platform, digest: digest == report[0xC0:0xE0].hex()  # type: ignore
    trust.tcb_minimum = lambda cpuid: dict.fromkeys(made.LEVELS, 0)  # type: ignore[method-assign]
    assert refusal(made.real("milan"), trust) == (policy.OTHER_KEY, "")
