"""What the members trust to join, as the governance tables say at one moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyccf.attest.evidence import Format
from pyccf.attest.tcb import CPUID_SIZE, CpuId
from pyccf.attest.uvm import Endorsed
from pyccf.service import tables

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx


class TableTrust:
    """What the members trust, as the transaction sees it."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def host_data(self, platform: Format, digest: str) -> bool:
        table = tables.SNP_HOST_DATA if platform is Format.SNP else tables.VIRTUAL_HOST_DATA
        return self._tx.map(table).has(digest.encode())

    def measurement(self, platform: Format, measurement: bytes) -> bool:
        if platform is Format.SNP:
            return self._tx.map(tables.SNP_MEASUREMENTS).has(measurement.hex().encode())
        return self._tx.map(tables.VIRTUAL_MEASUREMENTS).has(measurement)

    def uvm_roots(self) -> Iterator[Endorsed]:
        for did, feeds in tables.objects(self._tx, tables.SNP_UVM_ENDORSEMENTS):
            for feed, data in feeds.items():
                svn = data.get("svn") if isinstance(data, dict) else None
                if isinstance(svn, str):
                    yield Endorsed(did, feed, svn)

    def tcb_minimum(self, cpuid: CpuId) -> dict[str, int] | None:
        for key, row in tables.objects(self._tx, tables.SNP_TCB_VERSIONS):
            if _is_cpuid(key, cpuid):
                return {
                    name: value
                    for name, value in row.items()
                    if name != "hexstring" and type(value) is int
                }
        return None


def _is_cpuid(text: str, cpuid: CpuId) -> bool:
    """Whether the key of a row names this processor; one that names none was written by hand."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return False
    return len(raw) == CPUID_SIZE and CpuId.from_bytes(raw) == cpuid
