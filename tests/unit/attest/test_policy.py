"""Evidence judged against what the members trust."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pyccf.attest import policy, virtual
from pyccf.attest.evidence import Format, QuoteInfo
from pyccf.codec.text import dump_json, load_json
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.errors import InvalidEvidence
from pyccf.types import Json

KEY = PrivateKey.generate(Curve.P384, SeededEntropy("key")).public.der
HOST_DATA = "ab" * 32
GOOD = virtual.make(HOST_DATA, KEY)


class Trust:
    """Trusts one program, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def host_data(self, platform: Format, digest: str) -> bool:
        self.asked.append("host_data")
        return platform is Format.VIRTUAL and digest == HOST_DATA

    def measurement(self, platform: Format, measurement: bytes) -> bool:
        self.asked.append("measurement")
        return platform is Format.VIRTUAL and measurement == virtual.MEASUREMENT.encode()


def changed(**changes: Any) -> QuoteInfo:
    quote = load_json(GOOD.quote)
    assert isinstance(quote, dict)
    quote.update(changes)
    kept: dict[str, Json] = {k: v for k, v in quote.items() if v is not None}
    return msgspec.structs.replace(GOOD, quote=dump_json(kept))


def test_a_trusted_program_may_join() -> None:
    claims = policy.judge(GOOD, Trust(), KEY)
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
        policy.judge(evidence, Trust(), KEY)
    assert caught.value.message == reason


def test_host_data_are_looked_at_before_the_measurement() -> None:
    trust = Trust()
    with pytest.raises(InvalidEvidence, match=policy.HOST_DATA_UNKNOWN):
        policy.judge(changed(host_data="00" * 32, measurement="?"), trust, KEY)
    assert trust.asked == ["host_data"]


@pytest.mark.parametrize("platform", [Format.SNP, Format.SGX])
def test_evidence_that_this_version_cannot_check_is_refused(platform: Format) -> None:
    trust = Trust()
    with pytest.raises(InvalidEvidence) as caught:
        policy.judge(msgspec.structs.replace(GOOD, format=platform), trust, KEY)
    assert caught.value.message == (
        "Quote could not be verified: this version cannot check evidence of format"
        f" {platform.value}"
    )
    assert trust.asked == []


def test_why_evidence_could_not_be_read_is_kept_for_the_log() -> None:
    with pytest.raises(InvalidEvidence) as caught:
        policy.judge(msgspec.structs.replace(GOOD, quote=b"{"), Trust(), KEY)
    assert caught.value.hint == "Virtual evidence is not JSON"
