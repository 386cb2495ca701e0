"""What every platform's evidence has in common: its form in tables and requests, and its meaning.

Evidence binds a measured program to a node's key: its report data is the SHA-256 of the key
(spec: attestation.md §1). `QuoteInfo` is the form in `nodes.info` and in join requests; `Claims` is
what a verified piece of evidence states. A malformed form is refused with InvalidEvidence.
"""

from __future__ import annotations

import hashlib
from enum import Enum

import msgspec

from pyccf.codec.text import b64, unb64
from pyccf.errors import InvalidEvidence
from pyccf.types import Json


class Format(Enum):
    """Platform of a piece of evidence, as named in tables (spec: attestation.md §1)."""

    SGX = "OE_SGX_v1"
    VIRTUAL = "Insecure_Virtual"
    SNP = "AMD_SEV_SNP_v1"


class QuoteInfo(msgspec.Struct, frozen=True):
    """Evidence as a node hands it in."""

    format: Format
    quote: bytes
    endorsements: bytes = b""
    uvm_endorsements: bytes | None = None
    endorsed_tcb: str | None = None

    def to_json(self) -> dict[str, Json]:
        """Form in tables and requests; optional members are left out."""
        value: dict[str, Json] = {
            "format": self.format.value,
            "quote": b64(self.quote),
            "endorsements": b64(self.endorsements),
        }
        if self.uvm_endorsements is not None:
            value["uvm_endorsements"] = b64(self.uvm_endorsements)
        if self.endorsed_tcb is not None:
            value["endorsed_tcb"] = self.endorsed_tcb
        return value

    @classmethod
    def from_json(cls, value: Json) -> QuoteInfo:
        """Inverse of `to_json`; unknown members are ignored."""
        if not isinstance(value, dict):
            raise InvalidEvidence("Quote information is not an object")
        try:
            platform = Format(value.get("format"))
        except ValueError:
            raise InvalidEvidence(f"Unknown quote format {value.get('format')!r}") from None
        uvm = value.get("uvm_endorsements")
        tcb = value.get("endorsed_tcb")
        if tcb is not None and not isinstance(tcb, str):
            raise InvalidEvidence("Member endorsed_tcb of quote information is not a text")
        return cls(
            platform,
            _bytes(value.get("quote"), "quote"),
            _bytes(value.get("endorsements"), "endorsements"),
            None if uvm is None else _bytes(uvm, "uvm_endorsements"),
            tcb,
        )


class Claims(msgspec.Struct, frozen=True):
    """What verified evidence states about a program."""

    measurement: bytes
    host_data: str
    """Lower-case hex of 32 bytes; empty when the evidence states none."""
    report_data: bytes


def report_data(public_key_der: bytes) -> bytes:
    """The 32 bytes that bind evidence to a node's key: SHA-256 of its SubjectPublicKeyInfo."""
    return hashlib.sha256(public_key_der).digest()


def check_binding(claims: Claims, public_key_der: bytes) -> bool:
    """Whether the evidence belongs to this key; padding with zeros is allowed."""
    digest = report_data(public_key_der)
    stated = claims.report_data
    return stated[: len(digest)] == digest and not any(stated[len(digest) :])


def _bytes(value: Json, name: str) -> bytes:
    if not isinstance(value, str):
        raise InvalidEvidence(f"Member {name} of quote information is not a text")
    try:
        return unb64(value)
    except ValueError:
        raise InvalidEvidence(f"Member {name} of quote information is not base64") from None
