"""`snp_attestation`: evidence of SEV-SNP verified for a script (spec: js-runtime.md §4.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.apps.js.engine import UNDEFINED, JsThrow
from pyccf.apps.js.host.row import Row
from pyccf.attest import snp, uvm
from pyccf.attest.evidence import Format, QuoteInfo
from pyccf.attest.snp import Report
from pyccf.attest.tcb import to_hex
from pyccf.errors import InvalidEvidence

if TYPE_CHECKING:
    from pyccf.apps.js.host.host import Host


def _verify(
    host: Host,
    evidence: bytes,
    endorsements: bytes,
    uvm_endorsements: object = UNDEFINED,
    endorsed_tcb: object = UNDEFINED,
) -> dict[str, object]:
    envelope = None if uvm_endorsements is UNDEFINED else uvm_endorsements
    if envelope is not None and not isinstance(envelope, bytes):
        raise JsThrow("TypeError", "ArrayBuffer object expected")
    quote = QuoteInfo(Format.SNP, evidence, endorsements, envelope, _text(endorsed_tcb))
    endorsed = None
    try:
        report = snp.verify(quote, host.the_machine().unix_time())
        if envelope is not None:
            endorsed = uvm.verify(envelope, report.measurement)
            uvm.check_trusted(endorsed, uvm.DEFAULT_ROOTS)
    except InvalidEvidence as e:
        raise JsThrow("RangeError", e.message) from None
    result: dict[str, object] = {"attestation": _attestation(report)}
    if endorsed is not None:
        result["uvm_endorsements"] = {
            "did": endorsed.did,
            "feed": endorsed.feed,
            "svn": endorsed.svn,
        }
    return result


def _text(value: object) -> str | None:
    """A TCB version; there is none that could be written as anything but a text or a number."""
    if value is UNDEFINED:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return f"{value:.17g}"  # a whole number as scripts write it
    raise JsThrow("TypeError", "value is not a string")


def _attestation(report: Report) -> dict[str, object]:
    """The report as scripts see it; `plaform_info` is how the original spells it."""
    return {
        "version": report.version,
        "guest_svn": report.guest_svn,
        "policy": {
            "abi_minor": report.policy_abi_minor,
            "abi_major": report.policy_abi_major,
            "smt": report.smt,
            "migrate_ma": report.migrate_ma,
            "debug": report.debug,
            "single_socket": report.single_socket,
        },
        "family_id": report.family_id,
        "image_id": report.image_id,
        "vmpl": report.vmpl,
        "signature_algo": report.signature_algo,
        "platform_version": to_hex(report.platform_version),
        "plaform_info": {
            "smt_en": report.platform_info & 1,
            "tsme_en": report.platform_info >> 1 & 1,
        },
        "flags": {
            "author_key_en": report.author_key_en,
            "mask_chip_key": report.mask_chip_key,
            "signing_key": report.signing_key,
        },
        "report_data": report.report_data,
        "measurement": report.measurement,
        "host_data": report.host_data,
        "id_key_digest": report.id_key_digest,
        "author_key_digest": report.author_key_digest,
        "report_id": report.report_id,
        "report_id_ma": report.report_id_ma,
        "reported_tcb": to_hex(report.reported_tcb),
        "cpuid_fam_id": report.cpuid_fam_id,
        "cpuid_mod_id": report.cpuid_mod_id,
        "cpuid_step": report.cpuid_step,
        "chip_id": report.chip_id,
        "committed_tcb": to_hex(report.committed_tcb),
        "current_minor": report.current_minor,
        "current_build": report.current_build,
        "current_major": report.current_major,
        "committed_build": report.committed_build,
        "committed_minor": report.committed_minor,
        "committed_major": report.committed_major,
        "launch_tcb": to_hex(report.launch_tcb),
        "signature": {"r": report.signature_r, "s": report.signature_s},
    }


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
