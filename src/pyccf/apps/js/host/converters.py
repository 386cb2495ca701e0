"""Functions directly on `ccf`: text, buffers, JSON, identifiers (spec: js-runtime.md §4.2, §4.9).

The four conversions between text, JSON and buffers are part of the native engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.apps.js.engine import JsThrow
from pyccf.apps.js.host.row import Row
from pyccf.apps.js.text import sendable
from pyccf.attest import tcb
from pyccf.crypto import certs
from pyccf.errors import InvalidEvidence, RpcError

if TYPE_CHECKING:
    from pyccf.apps.js.host.host import Host

PEM_BEGIN = "-----BEGIN"


def _enable_date(host: Host, enabled: bool) -> bool:
    return enabled


def _enable_metrics(host: Host, enabled: object) -> bool:
    if not isinstance(enabled, bool):
        raise JsThrow("TypeError", "First argument must be a boolean")
    before = host.metrics
    host.metrics = enabled
    return before


def _pem_to_id(host: Host, pem: str) -> str:
    if PEM_BEGIN not in pem:
        raise JsThrow(
            "InternalError", f"Failed to parse PEM: PEM constructed with non-PEM data: {pem}"
        )
    try:
        if not plain_pem(pem):
            raise ValueError("not a certificate in PEM")
        certs.load(pem)
        return certs.fingerprint(pem)
    except ValueError as e:
        raise JsThrow("InternalError", f"Failed to parse PEM: {e}") from None


def plain_pem(pem: str) -> bool:
    """Whether a text begins with a certificate and has plain line ends, as the original asks."""
    return pem.startswith("-----BEGIN CERTIFICATE-----") and "\r" not in pem


# -- SEV-SNP: TCB versions ------------------------------------------------------------------------


def _nibble(char: int) -> int:
    """Value of a hex digit. Other characters count as themselves (recorded behaviour)."""
    if 0x30 <= char <= 0x39:
        return char - 0x30
    if 0x41 <= char <= 0x46:
        return char - 0x41 + 10
    if 0x61 <= char <= 0x66:
        return char - 0x61 + 10
    return char


def _unhex(text: str, wanted: int, otherwise: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) % 2:
        raise _ended(f"Input string '{text}' is not of even length: {len(raw)}")
    if len(raw) != 2 * wanted:
        raise _ended(f"{otherwise} {len(raw) // 2}")
    return bytes((16 * _nibble(raw[i]) + _nibble(raw[i + 1])) & 0xFF for i in range(0, len(raw), 2))


def _ended(message: str) -> RpcError:
    """Bad input here ends the request instead of throwing (recorded behaviour)."""
    return RpcError(500, "InternalError", sendable(message))


def _tcb_policy(host: Host, cpuid_hex: str, tcb_hex: str) -> dict[str, object]:
    no_room = f"Output container of size {tcb.CPUID_SIZE} cannot fit decoded hex str"
    cpuid = tcb.CpuId.from_bytes(_unhex(cpuid_hex, tcb.CPUID_SIZE, no_room))
    version = _unhex(tcb_hex, tcb.TCB_SIZE, "Invalid TCB version data size:")
    try:
        product = tcb.product(cpuid.family, cpuid.model)
    except InvalidEvidence as e:
        raise _ended(e.message) from None
    return {"hexstring": version.hex(), **tcb.components(version[::-1], product)}


ROWS: tuple[Row, ...] = (
    Row("ccf", "strToBuf", "v", None),
    Row("ccf", "bufToStr", "v", None),
    Row("ccf", "jsonCompatibleToBuf", "v", None),
    Row("ccf", "bufToJsonCompatible", "v", None),
    Row("ccf", "enableUntrustedDateTime", "t", _enable_date, pure=True),
    Row("ccf", "enableMetricsLogging", "v", _enable_metrics),
    Row("ccf", "pemToId", "s", _pem_to_id, pure=True),
    Row("ccf", "tcbHexToPolicy", "ss", _tcb_policy),
)
