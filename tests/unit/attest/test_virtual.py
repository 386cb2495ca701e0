"""Evidence of the virtual platform, made and checked; and a recorded one."""

from __future__ import annotations

import json

import pytest

from pyccf.attest import virtual
from pyccf.attest.evidence import Format, QuoteInfo, check_binding
from pyccf.codec.text import dump_json
from pyccf.crypto.keys import PublicKey
from pyccf.errors import InvalidEvidence
from support.vectors import vectors_dir

HOST_DATA = "ab" * 32


def test_made_evidence_verifies() -> None:
    evidence = virtual.make(HOST_DATA, b"key")
    claims = virtual.verify(evidence)
    assert claims.measurement == b"Insecure hard-coded virtual measurement v1"
    assert claims.host_data == HOST_DATA
    assert check_binding(claims, b"key")
    assert evidence.endorsements == b""
    assert evidence.quote == dump_json(json.loads(evidence.quote)), "sorted and compact"


def test_files() -> None:
    evidence = virtual.make(HOST_DATA, b"key")
    assert virtual.measurement_file(HOST_DATA).decode() == (
        f'{{\n  "host_data": "{HOST_DATA}",\n'
        '  "measurement": "Insecure hard-coded virtual measurement v1"\n}'
    )
    assert json.loads(virtual.attestation_file(evidence)) == json.loads(evidence.quote)
    assert virtual.attestation_file(evidence).startswith(b'{\n  "host_data"')


@pytest.mark.parametrize(
    "quote",
    [
        b"",
        b"[]",
        b"{}",
        b'{"host_data":"x","measurement":"y"}',
        b'{"host_data":"x","measurement":"y","report_data":"!"}',
        b'{"host_data":5,"measurement":"y","report_data":""}',
    ],
)
def test_other_bytes_are_refused(quote: bytes) -> None:
    with pytest.raises(InvalidEvidence):
        virtual.verify(QuoteInfo(Format.VIRTUAL, quote))


def test_other_platforms_are_refused() -> None:
    with pytest.raises(InvalidEvidence, match="AMD_SEV_SNP_v1"):
        virtual.verify(QuoteInfo(Format.SNP, virtual.make(HOST_DATA, b"key").quote))


def test_recorded_evidence() -> None:
    path = vectors_dir() / "ccf" / "transcripts" / "genesis_ledger.json"
    for transaction in json.loads(path.read_text())["transactions"]:
        for table in transaction["maps"]:
            if table["name"] != "public:ccf.gov.nodes.info":
                continue
            row = table["entries"][0]["value"]["json"]
            evidence = QuoteInfo.from_json(row["quote_info"])
            claims = virtual.verify(evidence)
            key = PublicKey.from_pem(row["public_key"])
            assert check_binding(claims, key.der)
            assert claims.measurement.hex() == row["code_digest"]
            assert evidence == virtual.make(claims.host_data, key.der)
