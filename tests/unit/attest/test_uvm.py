"""Endorsements of utility VMs: made up, and recorded from Azure."""

from __future__ import annotations

import base64
import json
from typing import Any

import cbor2
import msgspec
import pytest

from pyccf.attest import uvm
from pyccf.attest.snp import Report
from pyccf.attest.uvm import DEFAULT_ROOTS, Endorsed
from pyccf.codec import cose
from pyccf.errors import InvalidEvidence
from support import snp as made
from support.snp import uvm_endorsements

MEASUREMENT = bytes.fromhex(made.MEASUREMENT)
ROOT = Endorsed(made.did(), made.FEED, "7")


def refusal(envelope: bytes, measurement: bytes = MEASUREMENT) -> str:
    with pytest.raises(InvalidEvidence) as caught:
        uvm.verify(envelope, measurement)
    return caught.value.message


@pytest.mark.parametrize("svn", ["7", 7, "0", "00012", str(1 << 64)])
def test_what_is_endorsed(svn: object) -> None:
    assert uvm.verify(uvm_endorsements(svn), MEASUREMENT) == Endorsed(
        made.did(), made.FEED, str(svn)
    )


def test_one_certificate_needs_no_array() -> None:
    """But then it has no authority."""
    assert "No authority" in refusal(uvm_endorsements(x5chain=made.builder_chain()[1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alg": -8}, "Signature algorithm -8 is not one of expected: RSA, ECDSA"),
        ({"alg": -257}, "Signature algorithm -257 is not one of expected"),
        ({"without": 1}, "Signature algorithm None is not one of expected"),
        ({"alg": -7}, "Signature verification failed"),
        ({"alg": -38}, "Signature verification failed"),
        ({"without": "iss"}, "name no issuer (iss) or no feed"),
        ({"without": "feed"}, "name no issuer (iss) or no feed"),
        ({"iss": b"did"}, "name no issuer (iss) or no feed"),
        ({"iss": "did:web:x"}, "Not a did:x509"),
        ({"without": cose.X5CHAIN}, "hold no chain of certificates"),
        ({"x5chain": []}, "hold no chain of certificates"),
        ({"x5chain": ["x"]}, "hold no chain of certificates"),
        ({"x5chain": [b""] * 17}, "hold no chain of certificates"),
        ({"x5chain": [b"x", b"y"]}, "do not form a chain"),
        ({"content_type": "text/plain"}, "Unexpected payload content type text/plain, expected"),
        ({"without": 3}, "Unexpected payload content type None, expected application/json"),
        ({"payload": b""}, "Payload of UVM endorsements is no JSON object"),
        ({"payload": b"[]"}, "Payload of UVM endorsements is no JSON object"),
        ({"payload": b"{}"}, "Payload of UVM endorsements is no JSON object"),
        ({"svn": "x"}, "Unable to parse sevsnpvm_guest_svn value x to unsigned"),
        ({"svn": ""}, "Unable to parse sevsnpvm_guest_svn value  to unsigned"),
        ({"svn": "7 "}, "Unable to parse"),
        ({"svn": "\u0667"}, "Unable to parse"),
        ({"svn": "9" * 21}, "Unable to parse"),
        ({"svn": -7}, "Unable to parse"),
        ({"svn": 7.5}, "Unexpected type for sevsnpvm_guest_svn"),
        ({"svn": True}, "Unexpected type for sevsnpvm_guest_svn"),
        ({"svn": None}, "Unexpected type for sevsnpvm_guest_svn"),
        ({"measurement": "00" * 48}, f"payload {'00' * 48} is not equal to UVM attestation"),
        ({"measurement": made.MEASUREMENT.upper()}, "is not equal to UVM attestation"),
    ],
)
def test_envelopes_that_are_refused(arguments: dict[str, Any], message: str) -> None:
    assert message in refusal(uvm_endorsements(**arguments))


def test_what_is_no_envelope() -> None:
    good = uvm_endorsements()
    for bytes_ in (b"", b"\xd2", good[:-1], good + b"\0", good[1:], b"\xa0", b"\x9b" + b"\xff" * 8):
        assert refusal(bytes_).startswith("UVM endorsements: ")
    assert "expected at most 131072" in refusal(bytes(uvm.ENDORSEMENTS_MAX + 1))


def test_a_detached_payload_endorses_nothing() -> None:
    envelope = cbor2.loads(uvm_endorsements())
    envelope.value[2] = None
    assert refusal(cbor2.dumps(envelope)) == "Signature verification failed"


@pytest.mark.parametrize("part", [0, 2, 3])
def test_what_is_signed_cannot_be_changed(part: int) -> None:
    envelope = cbor2.loads(uvm_endorsements())
    raw = bytearray(envelope.value[part])
    raw[-1] ^= 1
    envelope.value[part] = bytes(raw)
    refusal(cbor2.dumps(envelope))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"svn": "6"}, True),
        ({"svn": "10"}, False),
        ({"svn": "x"}, False),
        ({"svn": ""}, False),
        ({"did": made.did("eku:1")}, False),
        ({"feed": "Malicious"}, False),
    ],
)
def test_roots_of_trust(changes: dict[str, str], expected: bool) -> None:
    """Numbers are compared as such: 10 is more than 7."""
    endorsed = Endorsed(made.did(), made.FEED, "7")
    root = msgspec.structs.replace(ROOT, **changes)
    other = msgspec.structs.replace(ROOT, feed="?")
    assert uvm.trusted(endorsed, [other, root, other]) is expected
    assert not uvm.trusted(endorsed, [other])
    assert not uvm.trusted(endorsed, [])


def test_what_nobody_trusts_is_named() -> None:
    uvm.check_trusted(Endorsed(made.did(), made.FEED, "7"), [ROOT])
    with pytest.raises(InvalidEvidence) as caught:
        uvm.check_trusted(Endorsed("did", "feed", "6"), [ROOT])
    assert caught.value.message == (
        "UVM endorsements did did, feed feed, svn 6 do not match any of the known UVM roots of"
        " trust"
    )


def test_an_unusable_root_does_not_disturb_the_others() -> None:
    broken = msgspec.structs.replace(ROOT, svn="?")
    assert uvm.trusted(Endorsed(*msgspec.structs.astuple(ROOT)), [broken, ROOT])


# --- recorded -----------------------------------------------------------------------------------


def measured(envelope: bytes) -> bytes:
    payload = cose.parse_sign1(envelope).payload
    assert payload is not None
    return bytes.fromhex(json.loads(payload)["x-ms-sevsnpvm-launchmeasurement"])


@pytest.mark.parametrize(
    ("name", "root", "svn", "trusted"),
    [
        ("rsa_test1.cose", 0, "100", True),
        ("ecdsa_test1.cose", 1, "1", True),
        ("int_svn.cose", 0, "102", True),
        ("uvm_0.2.9.cose", 0, "103", True),
        ("aci-sidecar/reference_info.cose", 0, "22", False),
        ("aci-security-context/reference-info-base64", 0, "100", True),
    ],
)
def test_azures_own(name: str, root: int, svn: str, trusted: bool) -> None:
    raw = made.recorded(f"uvm/{name}")
    raw = base64.b64decode(raw) if name.endswith("base64") else raw
    endorsed = uvm.verify(raw, measured(raw))
    wanted = DEFAULT_ROOTS[root]
    assert endorsed == Endorsed(wanted.did, wanted.feed, svn)
    assert uvm.trusted(endorsed, DEFAULT_ROOTS) is trusted
    malicious = Endorsed(endorsed.did, f"Malicious-{endorsed.feed}", endorsed.svn)
    assert not uvm.trusted(endorsed, [malicious])
    assert not uvm.trusted(malicious, DEFAULT_ROOTS)
    assert "is not equal" in refusal(raw, MEASUREMENT)


def test_a_whole_chain_of_trust() -> None:
    """A report, what its launcher said, and who built the machine (Azure, version 2)."""
    report = Report.parse(made.recorded("uvm/aci-sidecar/report.bin"))
    uvm.verify(made.recorded("uvm/aci-sidecar/reference_info.cose"), report.measurement)


def test_no_byte_of_a_real_envelope_may_be_another() -> None:
    """But for the time stamp, which is not signed and not looked at."""
    raw = made.recorded("uvm/rsa_test1.cose")
    measurement, sound = measured(raw), uvm.verify(raw, measured(raw))
    stamp = cose.parse_sign1(raw).unprotected["timestamp"]
    assert isinstance(stamp, bytes)
    label = b"timestamp"
    end = raw.index(stamp) + len(stamp)
    unsigned = {
        *range(raw.index(label), raw.index(label) + len(label)),
        *range(end - len(stamp), end),
    }
    for at in range(0, len(raw), 7):
        changed = bytearray(raw)
        changed[at] ^= 1 << at % 7
        if at in unsigned:
            assert uvm.verify(bytes(changed), measurement) == sound
        else:
            refusal(bytes(changed), measurement)
