"""Evidence in its common form."""

from __future__ import annotations

import hashlib

import pytest

from pyccf.attest.evidence import Claims, Format, QuoteInfo, check_binding, report_data
from pyccf.errors import InvalidEvidence
from pyccf.types import Json


def test_round_trip_leaves_out_what_is_not_set() -> None:
    plain = QuoteInfo(Format.VIRTUAL, b"q")
    assert plain.to_json() == {"format": "Insecure_Virtual", "quote": "cQ==", "endorsements": ""}
    assert QuoteInfo.from_json(plain.to_json()) == plain
    full = QuoteInfo(Format.SNP, b"q", b"e", b"u", "db18")
    assert QuoteInfo.from_json(full.to_json()) == full


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not an object"),
        ({}, "Unknown quote format"),
        ({"format": "x"}, "Unknown quote format"),
        ({"format": "Insecure_Virtual"}, "Member quote"),
        ({"format": "Insecure_Virtual", "quote": "!"}, "not base64"),
        ({"format": "Insecure_Virtual", "quote": "", "endorsements": 5}, "Member endorsements"),
        (
            {"format": "Insecure_Virtual", "quote": "", "endorsements": "", "endorsed_tcb": 5},
            "endorsed_tcb",
        ),
    ],
)
def test_malformed_forms(value: Json, text: str) -> None:
    with pytest.raises(InvalidEvidence, match=text):
        QuoteInfo.from_json(value)


def test_binding_to_a_key() -> None:
    digest = hashlib.sha256(b"key").digest()
    assert report_data(b"key") == digest
    assert check_binding(Claims(b"", "", digest), b"key")
    assert check_binding(Claims(b"", "", digest + bytes(32)), b"key")
    assert not check_binding(Claims(b"", "", digest + b"\1"), b"key")
    assert not check_binding(Claims(b"", "", digest[:31]), b"key")
    assert not check_binding(Claims(b"", "", digest), b"other")
