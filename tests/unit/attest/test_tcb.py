"""Versions of the firmware below a guest, and which processor it runs on."""

from __future__ import annotations

import pytest

from pyccf.attest import tcb
from pyccf.attest.tcb import CpuId, Product
from pyccf.errors import InvalidEvidence


def test_texts_have_the_most_significant_byte_first() -> None:
    raw = tcb.from_hex("db18000000000004")
    assert raw == bytes((4, 0, 0, 0, 0, 0, 0x18, 0xDB))
    assert tcb.to_hex(raw) == "db18000000000004"
    assert tcb.from_hex("DB18000000000004") == raw


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("5", "Input string '5' is not of even length: 1"),
        ("", "Invalid TCB version data size: 0"),
        ("d3", "Invalid TCB version data size: 1"),
        ("00" * 9, "Invalid TCB version data size: 9"),
        ("zz" * 8, "is not hexadecimal"),
    ],
)
def test_other_texts_are_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidEvidence, match=reason):
        tcb.from_hex(text)


def test_components_stand_where_the_product_has_them() -> None:
    older = {"microcode": 219, "snp": 24, "tee": 2, "boot_loader": 4}
    for product in (Product.MILAN, Product.GENOA):
        assert tcb.components(tcb.from_hex("db18000000000204"), product) == older
        assert tcb.to_hex(tcb.assemble(older, product)) == "db18000000000204"
    turin = {"microcode": 81, "snp": 4, "tee": 3, "boot_loader": 2, "fmc": 1}
    assert tcb.components(tcb.from_hex("5100000004030201"), Product.TURIN) == turin
    assert tcb.to_hex(tcb.assemble(turin, Product.TURIN)) == "5100000004030201"


@pytest.mark.parametrize(
    ("text", "cpuid", "product"),
    [
        ("00a00f11", CpuId(0x19, 0x01, 1), Product.MILAN),
        ("00a00f12", CpuId(0x19, 0x01, 2), Product.MILAN),
        ("00a10f11", CpuId(0x19, 0x11, 1), Product.GENOA),
        ("00b00f11", CpuId(0x1A, 0x01, 1), Product.TURIN),
        ("00b00f21", CpuId(0x1A, 0x02, 1), Product.TURIN),
    ],
)
def test_processors(text: str, cpuid: CpuId, product: Product) -> None:
    assert CpuId.from_bytes(bytes.fromhex(text)) == cpuid
    assert tcb.product(cpuid.family, cpuid.model) is product


@pytest.mark.parametrize(("family", "model"), [(0, 0), (0x19, 0x02), (0x19, 0xA0), (0x1A, 0x11)])
def test_other_processors_are_refused(family: int, model: int) -> None:
    with pytest.raises(InvalidEvidence) as caught:
        tcb.product(family, model)
    assert caught.value.message == f"SEV-SNP: Unsupported CPUID family {family} model {model}"


def test_every_component_must_meet_its_minimum() -> None:
    reported = {"microcode": 5, "snp": 5, "tee": 5, "boot_loader": 5}
    assert tcb.meets(reported, reported)
    assert tcb.meets(reported, dict.fromkeys(reported, 0))
    for name in reported:
        assert not tcb.meets(reported, {**reported, name: 6})
        assert not tcb.meets(reported, {k: v for k, v in reported.items() if k != name})
    assert not tcb.meets(reported, {**reported, "fmc": 0})
