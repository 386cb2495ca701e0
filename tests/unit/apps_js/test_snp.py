"""`snp_attestation.verifySnpAttestation`: what a script sees of evidence, and how it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyccf.attest import amd, uvm
from pyccf.attest.evidence import QuoteInfo
from pyccf.attest.uvm import Endorsed
from support import snp as made
from support.js_app import JsBench

APP = """
const hex = (b) => Array.from(new Uint8Array(b), (x) => x.toString(16).padStart(2, "0")).join("");
const shown = (v) =>
  v instanceof ArrayBuffer
    ? "b:" + hex(v)
    : typeof v === "object"
      ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, shown(x)]))
      : v;
const bytes = (h) => new Uint8Array((h.match(/../g) || []).map((x) => parseInt(x, 16))).buffer;
export function verify(request) {
  const sent = request.body.json();
  const args = sent.map((v) =>
    typeof v === "string" && v.startsWith("b:") ? bytes(v.slice(2)) : v === null ? undefined : v,
  );
  try {
    return { body: { returns: shown(snp_attestation.verifySnpAttestation(...args)) } };
  } catch (e) {
    return { body: { throws: [e.name, e.message] } };
  }
}
"""


@pytest.fixture(scope="module")
def bench() -> JsBench:
    bench = JsBench()
    bench.install({"app.js": APP}, {"POST /verify": "app.js:verify"})
    return bench


@pytest.fixture
def our_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    for product, pem in made.roots().items():
        monkeypatch.setitem(amd.ROOT_KEYS, product, pem)
    root = Endorsed(made.did(), made.FEED, "7")
    monkeypatch.setattr(uvm, "DEFAULT_ROOTS", (root,))


def buffer(raw: bytes) -> str:
    return "b:" + raw.hex()


def call(bench: JsBench, *arguments: object) -> Any:
    answer = bench.call("POST", "/verify", json.dumps(arguments).encode())
    assert answer.status == 200, answer.body
    return answer.json()


def ask(bench: JsBench, evidence: QuoteInfo, *more: object) -> Any:
    return call(bench, buffer(evidence.quote), buffer(evidence.endorsements), *more)


def thrown(name: str, message: str) -> dict[str, list[str]]:
    return {"throws": [name, message]}


MEMBERS = (
    *("version", "guest_svn", "policy", "family_id", "image_id", "vmpl", "signature_algo"),
    *("platform_version", "plaform_info", "flags", "report_data", "measurement", "host_data"),
    *("id_key_digest", "author_key_digest", "report_id", "report_id_ma", "reported_tcb"),
    *("cpuid_fam_id", "cpuid_mod_id", "cpuid_step", "chip_id", "committed_tcb"),
    *("current_minor", "current_build", "current_major"),
    *("committed_build", "committed_minor", "committed_major", "launch_tcb", "signature"),
)


@pytest.mark.usefixtures("our_roots")
def test_every_field_of_a_report(bench: JsBench) -> None:
    numbers = {
        "guest_svn": 0xFFFFFFFF,
        "vmpl": 2,
        "current_minor": 1,
        "current_build": 2,
        "current_major": 3,
        "committed_build": 4,
        "committed_minor": 5,
        "committed_major": 6,
    }
    buffers = {
        "family_id": bytes([1] * 16),
        "image_id": bytes([2] * 16),
        "report_data": bytes([3] * 64),
        "id_key_digest": bytes([4] * 48),
        "author_key_digest": bytes([5] * 48),
        "report_id": bytes([6] * 32),
        "report_id_ma": bytes([7] * 32),
    }
    versions = {name: bytes(range(8)) for name in ("platform_version", "committed_tcb")}
    versions["launch_tcb"] = bytes(range(8, 16))
    evidence = made.evidence(
        **numbers, **buffers, **versions, policy=0x11021F, platform_info=2, flags=1
    )
    found = ask(bench, evidence)["returns"]
    assert list(found) == ["attestation"]
    report = found["attestation"]
    assert tuple(report) == MEMBERS
    assert report["policy"] == {
        "abi_minor": 31,
        "abi_major": 2,
        "smt": 1,
        "migrate_ma": 0,
        "debug": 0,
        "single_socket": 1,
    }
    assert report["plaform_info"] == {"smt_en": 0, "tsme_en": 1}
    assert report["flags"] == {"author_key_en": 1, "mask_chip_key": 0, "signing_key": 0}
    assert {name: report[name] for name in numbers} == numbers
    assert {name: report[name] for name in buffers} == {n: buffer(b) for n, b in buffers.items()}
    assert report["platform_version"] == report["committed_tcb"] == "0706050403020100"
    assert report["launch_tcb"] == "0f0e0d0c0b0a0908"
    assert report["reported_tcb"] == "db18000000000204"
    assert (report["version"], report["signature_algo"]) == (3, 1)
    cpu = (report["cpuid_fam_id"], report["cpuid_mod_id"], report["cpuid_step"])
    assert cpu == (0x19, 1, 1)
    assert report["chip_id"] == buffer(made.CHIP_ID)
    assert report["measurement"] == "b:" + made.MEASUREMENT
    assert report["host_data"] == "b:" + made.HOST_DATA
    signature = evidence.quote[made.SIGNATURE :]
    assert report["signature"] == {"r": buffer(signature[:72]), "s": buffer(signature[72:144])}


@pytest.mark.usefixtures("our_roots")
def test_endorsements_of_a_utility_vm(bench: JsBench) -> None:
    evidence = made.evidence()
    found = ask(bench, evidence, buffer(made.uvm_endorsements(8)))["returns"]
    assert list(found) == ["attestation", "uvm_endorsements"]
    assert found["uvm_endorsements"] == {"did": made.did(), "feed": made.FEED, "svn": "8"}
    assert ask(bench, evidence, buffer(made.uvm_endorsements("6"))) == thrown(
        "RangeError",
        f"UVM endorsements did {made.did()}, feed {made.FEED}, svn 6 do not match any of the known"
        " UVM roots of trust",
    )
    other = buffer(made.uvm_endorsements(measurement="00" * 48))
    name, message = ask(bench, evidence, other)["throws"]
    assert name == "RangeError"
    assert message.startswith("Launch measurement in UVM endorsements payload 00")


@pytest.mark.usefixtures("our_roots")
def test_a_claimed_firmware(bench: JsBench) -> None:
    evidence = made.evidence()
    assert "returns" in ask(bench, evidence, None, "db18000000000204")
    assert "returns" in ask(bench, evidence, None, None)
    assert ask(bench, evidence, None, "db18000000000004") == thrown(
        "RangeError",
        "SEV-SNP: endorsed TCB db18000000000004 does not match reported TCB db18000000000204",
    )
    assert ask(bench, evidence, None, 5) == thrown(
        "RangeError", "Input string '5' is not of even length: 1"
    )
    assert ask(bench, evidence, None, {"a": 1}) == thrown("TypeError", "value is not a string")


@pytest.mark.usefixtures("our_roots")
@pytest.mark.parametrize("value", ["text", 7, {}, True])
def test_endorsements_are_buffers(bench: JsBench, value: object) -> None:
    wanted = thrown("TypeError", "ArrayBuffer object expected")
    evidence = made.evidence()
    assert ask(bench, evidence, value) == wanted
    assert call(bench, value, buffer(b"")) == wanted
    assert call(bench, buffer(b""), value) == wanted


@pytest.mark.usefixtures("our_roots")
def test_refusals_are_exceptions_a_script_can_catch(bench: JsBench) -> None:
    assert ask(bench, made.evidence(policy=made.DEBUG)) == thrown(
        "RangeError", "SEV-SNP: SNP attestation report guest policy debugging must not be enabled"
    )
    evidence = made.evidence()
    assert call(bench, buffer(evidence.quote[:-1]), buffer(evidence.endorsements)) == thrown(
        "RangeError", "Input SEV-SNP attestation report is not of expected size 1184: 1183"
    )


def test_only_amd_is_believed(bench: JsBench) -> None:
    name, message = ask(bench, made.evidence())["throws"]
    assert name == "RangeError"
    assert message.startswith("SEV-SNP: The root of trust public key for this attestation was not")


@pytest.mark.parametrize("name", ["milan", "genoa", "turin"])
def test_real_evidence(bench: JsBench, name: str) -> None:
    evidence = made.real(name)
    report = ask(bench, evidence)["returns"]["attestation"]
    assert report["measurement"] == buffer(evidence.quote[0x90:0xC0])
    assert report["chip_id"] == buffer(evidence.quote[0x1A0:0x1E0])
    envelope = made.recorded("uvm/rsa_test1.cose")
    message = ask(bench, evidence, buffer(envelope))["throws"][1]
    assert message.startswith("Launch measurement in UVM endorsements payload 02c3b0d5bf1d256f")
