"""`snp_attestation` (spec: js-runtime.md §4.9). Verification itself is not offered yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from pyccf.apps.js.engine import JsThrow
from pyccf.apps.js.host.row import Row

if TYPE_CHECKING:
    from pyccf.apps.js.host.host import Host

REPORT_SIZE = 1184


def _verify(
    host: Host, evidence: bytes, endorsements: bytes, uvm: object = None, tcb: object = None
) -> NoReturn:
    if len(evidence) != REPORT_SIZE:
        raise JsThrow(
            "RangeError",
            f"Input SEV-SNP attestation report is not of expected size {REPORT_SIZE}:"
            f" {len(evidence)}",
        )
    raise JsThrow("RangeError", "SEV-SNP verification is not available in this version of pyccf")


ROWS: tuple[Row, ...] = (
    Row(
        "snp_attestation",
        "verifySnpAttestation",
        "bbvv",
        _verify,
        minimum=2,
        length=4,
        usual="between 2 and 4",
    ),
)
