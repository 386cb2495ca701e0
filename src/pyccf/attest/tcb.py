"""What a processor runs: its product, and the versions of the firmware below a guest (its TCB).

A TCB version is 8 bytes, one for each component, in an order that depends on the product (spec:
attestation.md §3.1). As text it is 16 hex digits with the most significant byte first. Refused with
InvalidEvidence: products that are not known, and texts that are none of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

from pyccf.errors import InvalidEvidence

TCB_SIZE = 8
CPUID_SIZE = 4


class Product(Enum):
    """Generations of processors, as AMD names their roots of trust."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"


_OLDER = {"microcode": 7, "snp": 6, "tee": 1, "boot_loader": 0}
_COMPONENTS = {
    Product.MILAN: _OLDER,
    Product.GENOA: _OLDER,
    Product.TURIN: {"microcode": 7, "snp": 3, "tee": 2, "boot_loader": 1, "fmc": 0},
}
"""Components of each product, and at which byte they stand."""

_PRODUCTS = {
    (0x19, 0x01): Product.MILAN,
    (0x19, 0x11): Product.GENOA,
    (0x1A, 0x01): Product.TURIN,
    (0x1A, 0x02): Product.TURIN,
}
"""By family and model. Turin's own processors call themselves model 2."""


class CpuId(msgspec.Struct, frozen=True):
    """Which processor: family and model with their extensions, and stepping."""

    family: int
    model: int
    stepping: int

    @classmethod
    def from_bytes(cls, raw: bytes) -> CpuId:
        """From EAX of leaf 1 of the CPUID instruction, most significant byte first."""
        assert len(raw) == CPUID_SIZE
        eax = int.from_bytes(raw, "big")
        return cls(
            family=(eax >> 8 & 0xF) + (eax >> 20 & 0xFF),
            model=(eax >> 16 & 0xF) << 4 | (eax >> 4 & 0xF),
            stepping=eax & 0xF,
        )


def product(family: int, model: int) -> Product:
    """The product of a processor."""
    found = _PRODUCTS.get((family, model))
    if found is None:
        raise InvalidEvidence(f"SEV-SNP: Unsupported CPUID family {family} model {model}")
    return found


def components(raw: bytes, of: Product) -> dict[str, int]:
    """A TCB version taken apart."""
    assert len(raw) == TCB_SIZE
    return {name: raw[at] for name, at in _COMPONENTS[of].items()}


def assemble(values: Mapping[str, int], of: Product) -> bytes:
    """Inverse of `components`; every component of the product must be there."""
    raw = bytearray(TCB_SIZE)
    for name, at in _COMPONENTS[of].items():
        raw[at] = values[name]
    return bytes(raw)


def to_hex(raw: bytes) -> str:
    """A TCB version as text."""
    return raw[::-1].hex()


def from_hex(text: str) -> bytes:
    """Inverse of `to_hex`."""
    if len(text) % 2:
        raise InvalidEvidence(f"Input string '{text}' is not of even length: {len(text)}")
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raise InvalidEvidence(f"Input string '{text}' is not hexadecimal") from None
    if len(raw) != TCB_SIZE:
        raise InvalidEvidence(f"Invalid TCB version data size: {len(raw)}")
    return raw[::-1]


def meets(reported: Mapping[str, int], minimum: Mapping[str, int]) -> bool:
    """Whether every component is at least the minimum; both must have the same components."""
    return reported.keys() == minimum.keys() and all(
        reported[name] >= least for name, least in minimum.items()
    )
