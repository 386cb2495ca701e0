"""The virtual platform: evidence in the right form that proves nothing.

Its quote is JSON that anybody can write; it lets a service run and be tested where there is no
trusted hardware, and a service on real hardware never trusts it, since its tables have no virtual
rows (spec: attestation.md §2, crypto.md §12). Refused with InvalidEvidence: what is not such JSON.
"""

from __future__ import annotations

import json

from pyccf.attest.evidence import Claims, Format, QuoteInfo, report_data
from pyccf.codec.text import b64, dump_json, load_json, unb64
from pyccf.errors import InvalidEvidence
from pyccf.types import Json

MEASUREMENT = "Insecure hard-coded virtual measurement v1"
"""The measurement of every program on this platform."""

HOST_DATA_LENGTH = 64
"""Characters of host data: a SHA-256 in lower-case hex."""


def measurement_file(host_data: str) -> bytes:
    """Content of `ccf_virtual_attestation.<pid>.measurement`: JSON indented by two blanks."""
    return _indented({"host_data": host_data, "measurement": MEASUREMENT})


def attestation_file(evidence: QuoteInfo) -> bytes:
    """Content of `ccf_virtual_attestation.<pid>.attestation`: the quote, indented by two blanks."""
    return _indented(_parse(evidence.quote))


def make(host_data: str, public_key_der: bytes) -> QuoteInfo:
    """Evidence for a node key; host data is the SHA-256 of the program in lower-case hex."""
    assert len(host_data) == HOST_DATA_LENGTH
    quote: dict[str, Json] = {
        "host_data": host_data,
        "measurement": MEASUREMENT,
        "report_data": b64(report_data(public_key_der)),
    }
    return QuoteInfo(Format.VIRTUAL, dump_json(quote))


def verify(evidence: QuoteInfo) -> Claims:
    """What the evidence states; raises InvalidEvidence when it is not virtual evidence.

    Host data are empty when it states none.
    """
    if evidence.format is not Format.VIRTUAL:
        raise InvalidEvidence(f"Not evidence of the virtual platform: {evidence.format.value}")
    value = _parse(evidence.quote)
    try:
        bound = unb64(_text(value, "report_data"))
    except ValueError:
        raise InvalidEvidence("Member report_data of virtual evidence is not base64") from None
    host_data = _text(value, "host_data") if "host_data" in value else ""
    return Claims(_text(value, "measurement").encode(), host_data, bound)


def _parse(quote: bytes) -> dict[str, Json]:
    try:
        value = load_json(quote)
    except ValueError:
        raise InvalidEvidence("Virtual evidence is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidEvidence("Virtual evidence is not a JSON object")
    return value


def _text(value: dict[str, Json], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise InvalidEvidence(f"Virtual evidence has no text {name}")
    return found


def _indented(value: dict[str, Json]) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode()
