"""Cryptography of a running service: COSE answers, JWK conversions, key wrapping, certificates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pyccf.codec import cose
from pyccf.codec.text import load_json, unb64
from pyccf.crypto import certs, chains, jwk, wrap
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.jwk import JwkError
from pyccf.crypto.keys import PublicKey, RsaPublicKey
from support.vectors import vectors_dir


@cache
def fixtures(folder: Path) -> dict[str, Any]:
    text = (folder / "ccf" / "js" / "app" / "src" / "fixtures.js").read_text()
    found: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return found


@pytest.fixture
def known() -> dict[str, Any]:
    return fixtures(vectors_dir())


def records(name: str) -> Iterator[dict[str, Any]]:
    with (vectors_dir() / "ccf" / name).open() as file:
        for line in file:
            yield json.loads(line)


# -- COSE -------------------------------------------------------------------------------------

DECODE_TEXTS = (
    "Failed to parse COSE_Sign1 outer array",
    "COSE_Sign1 is not tagged",
    "Failed to decode protected header",
    "Missing algorithm in protected header",
    "Missing kid in protected header",
    "Missing created_at in protected header",
    "Header parameter created_at must be positive",
    "Failed to decode COSE_Sign1",
)


def exchanges() -> Iterator[tuple[str, bytes, cose.Rules, str]]:
    """Name, body, rules and answer of all requests whose body was read as COSE."""
    for name in ("auth", "common", "errors", "extra", "gov", "logging_app", "opening", "recovery"):
        for record in records(f"transcripts/{name}.jsonl"):
            request = record.get("request", {})
            sent = dict(request.get("headers") or [])
            if sent.get("content-type") != "application/cose" or "response" not in record:
                continue
            if "body_sha256" in request:
                continue  # a large body that was not recorded
            if "body_base64" in request:
                body = unb64(request["body_base64"])
            else:
                body = (request.get("body") or "").encode("utf-8")
            rules = cose.MEMBER if request["path"].startswith("/gov") else cose.USER
            answer = record["response"].get("body") or ""
            yield record["name"], body, rules, answer if isinstance(answer, str) else ""


def test_cose_texts_of_a_running_service() -> None:
    refused = accepted = 0
    for name, body, rules, answer in exchanges():
        try:
            cose.parse_sign1(body, rules=rules)
            ours = ""
        except cose.CoseError as error:
            ours = str(error)
        theirs = [text for text in DECODE_TEXTS if text in answer]
        if theirs:
            assert json.loads(answer)["error"]["message"] == ours, name
            refused += 1
        else:
            assert ours == "", name
            accepted += 1
    assert refused >= 20
    assert accepted >= 300


# -- JWK --------------------------------------------------------------------------------------

FROM_PEM: dict[str, Callable[..., Any]] = {
    "pubPemToJwk": jwk.ec_public_jwk,
    "pemToJwk": jwk.ec_private_jwk,
    "pubRsaPemToJwk": jwk.rsa_public_jwk,
    "rsaPemToJwk": jwk.rsa_private_jwk,
    "pubEddsaPemToJwk": jwk.okp_public_jwk,
    "eddsaPemToJwk": jwk.okp_private_jwk,
}
TO_PEM: dict[str, tuple[Callable[..., str], str]] = {
    "pubJwkToPem": (jwk.ec_public_pem, "pubPemToJwk"),
    "jwkToPem": (jwk.ec_private_pem, "pemToJwk"),
    "pubRsaJwkToPem": (jwk.rsa_public_pem, "pubRsaPemToJwk"),
    "rsaJwkToPem": (jwk.rsa_private_pem, "rsaPemToJwk"),
    "pubEddsaJwkToPem": (jwk.okp_public_pem, "pubEddsaPemToJwk"),
    "eddsaJwkToPem": (jwk.okp_private_pem, "eddsaPemToJwk"),
}
PREFIX = "Failed to convert pem to jwk: "
CALL = re.compile(r"return ccf\.crypto\.(\w+)\((K(?:\.\w+)+|'[^']*')(?:,'([^'\\]*)')?\);")
CHANGED = re.compile(
    r"return ccf\.crypto\.(\w+)\(Object\.assign\(ccf\.crypto\.\w+\((K[.\w]+)\),(\{.*\})\)\);"
)


def look_up(known: dict[str, Any], expression: str) -> str:
    if expression.startswith("'"):
        return expression[1:-1]
    value: Any = known
    for part in expression.split(".")[1:]:
        value = value[part]
    assert isinstance(value, str)
    return value


def test_pem_to_jwk(known: dict[str, Any]) -> None:
    converted = refused = 0
    for record in records("js/crypto.jsonl"):
        call = CALL.fullmatch(record["snippet"])
        if call is None or call[1] not in FROM_PEM:
            continue
        result = record["body"]["json"]
        arguments = [look_up(known, call[2])]
        if call[3] is not None:
            arguments.append(call[3])
        if "returns" in result:
            members = FROM_PEM[call[1]](*arguments)
            assert members == result["returns"], record["name"]
            assert list(members) == sorted(members)
            converted += 1
            continue
        with pytest.raises(JwkError) as caught:
            FROM_PEM[call[1]](*arguments)
        theirs = result["throws"]["message"].removeprefix(PREFIX)
        if not theirs.startswith("OpenSSL error"):
            assert str(caught.value) == theirs, record["name"]
        refused += 1
    assert converted >= 20
    assert refused >= 50


def test_changed_jwk_to_pem(known: dict[str, Any]) -> None:
    accepted = refused = 0
    for record in records("js/crypto.jsonl"):
        call = CHANGED.fullmatch(record["snippet"])
        if call is None:
            continue
        convert, source = TO_PEM[call[1]]
        change = json.loads(re.sub(r"(\w+):", r'"\1":', call[3]).replace("'", '"'))
        value = {**FROM_PEM[source](look_up(known, call[2])), **change}
        expected = record["body"]["json"]["returns"]
        if expected:
            assert convert(value) == expected, record["name"]
            accepted += 1
        else:
            with pytest.raises(JwkError):
                convert(value)
            refused += 1
    assert accepted >= 15
    assert refused >= 30


# -- wrapping ---------------------------------------------------------------------------------


def test_fixed_ciphertexts_of_another_library(known: dict[str, Any]) -> None:
    wrapped = {name: bytes.fromhex(text) for name, text in known["wrapped"].items()}
    private = known["rsa2048"]["priv"]
    message = known["msg"].encode()
    assert wrap.rsa_oaep_unwrap(private, wrapped["oaep"]) == message
    assert wrap.rsa_oaep_unwrap(known["rsa2048"]["pkcs1"], wrapped["oaep"]) == message
    assert wrap.rsa_oaep_unwrap(private, wrapped["oaep_label"], b"label") == message
    assert wrap.rsa_oaep_aes_kwp_unwrap(private, wrapped["oaep_kwp"]) == message
    aes = {bits: bytes.fromhex(text) for bits, text in known["aes"].items()}
    assert wrap.aes_kwp_unwrap(aes["256"], wrapped["kwp256"]) == message
    for bad in (wrapped["oaep_sha1"], wrapped["oaep_label"]):
        with pytest.raises(wrap.WrapError):
            wrap.rsa_oaep_unwrap(private, bad)
    with pytest.raises(wrap.WrapError):
        wrap.rsa_oaep_unwrap(known["rsa3072"]["priv"], wrapped["oaep"])
    with pytest.raises(wrap.WrapError, match="not enough ciphertext"):
        wrap.rsa_oaep_aes_kwp_unwrap(private, wrapped["oaep"])


def test_kwp_of_each_key_size(known: dict[str, Any]) -> None:
    answers = {
        record["name"].rpartition("_")[2]: record["body"]["json"]["returns"]["hex"]
        for record in records("js/crypto.jsonl")
        if re.fullmatch(r"crypto\.wrap\.kwp_(128|192|256)", record["name"])
    }
    assert len(answers) == 3
    for bits, expected in answers.items():
        key = bytes.fromhex(known["aes"][bits])
        assert wrap.aes_kwp_wrap(key, bytes(range(20))).hex() == expected


def test_combined_length(known: dict[str, Any]) -> None:
    public = known["rsa2048"]["pub"]
    for bits in wrap.AES_SIZES:
        wrapped = wrap.rsa_oaep_aes_kwp_wrap(bits, public, known["msg"].encode(), SeededEntropy(1))
        assert len(wrapped) == 280


# -- signatures and certificates --------------------------------------------------------------


def test_fixed_signatures_of_another_library(known: dict[str, Any]) -> None:
    message = known["msg"].encode()
    signatures = {name: bytes.fromhex(text) for name, text in known["sig"].items()}
    p256 = PublicKey.from_pem(known["p256"]["pub"])
    p384 = PublicKey.from_pem(known["p384"]["pub"])
    assert p256.verify_raw(signatures["p256_sha256_raw"], message)
    assert p256.verify(signatures["p256_sha256_der"], message)
    assert p384.verify_raw(signatures["p384_sha384_raw"], message)
    assert p384.verify_raw(signatures["p384_sha256_raw"], message, "SHA-256")
    assert not p384.verify_raw(signatures["p384_sha256_raw"], message)
    assert PublicKey.from_pem(known["ed25519"]["pub"]).verify(signatures["ed25519"], message)
    rsa = RsaPublicKey.from_pem(known["rsa2048"]["pub"])
    assert rsa.verify_pkcs1(signatures["rsa2048_pkcs1"], message)
    assert rsa.verify_pss(signatures["rsa2048_pss_0"], message, salt_length=0)
    assert rsa.verify_pss(signatures["rsa2048_pss_32"], message, salt_length=32)
    assert rsa.verify_pss(signatures["rsa2048_pss_32"], message)
    assert not rsa.verify_pss(signatures["rsa2048_pss_32"], message, salt_length=0)


CHAIN = re.compile(
    r"return ccf\.crypto\.isValidX509CertChain\(((?:K\.cert\.\w+\+?)+),((?:K\.cert\.\w+\+?)+)\);"
)
NOW = 1_795_000_000
"""2026-11-18, when the answers were recorded."""


def test_certificate_chains(known: dict[str, Any]) -> None:
    accepted = refused = 0
    for record in records("js/crypto.jsonl"):
        call = CHAIN.fullmatch(record["snippet"])
        result = record["body"].get("json", {})
        if call is None or "returns" not in result:
            continue
        chain, trusted = (
            [look_up(known, name) for name in group.split("+")] for group in call.groups()
        )
        assert chains.check_chain(chain, trusted, now=NOW) is result["returns"], record["name"]
        accepted += result["returns"]
        refused += not result["returns"]
    assert accepted >= 6
    assert refused >= 6


CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\\n[^-]*-----END CERTIFICATE-----\\n")


def test_certificates_of_running_nodes_have_our_layouts() -> None:
    found: set[str] = set()
    for name in ("node", "join", "opening", "recovery", "gov"):
        text = (vectors_dir() / "ccf" / "transcripts" / f"{name}.jsonl").read_text()
        text = text.replace("\\\\n", "\\n")
        found.update(match.replace("\\n", "\n") for match in CERTIFICATE.findall(text))
    services = [pem for pem in found if certs.subject(pem) == "CN=CCF Test Service"]
    nodes = [pem for pem in found if certs.subject(pem) == "CN=CCF Node"]
    assert services
    assert nodes
    ours = {True: (5, 4), False: (4, 3)}
    endorsed = 0
    for pem in [*services, *nodes]:
        loaded = certs.load(pem)
        names = [extension.oid._name for extension in loaded.extensions]
        ca = loaded.extensions[0].value.ca  # type: ignore[attr-defined]
        assert len(names) in ours[ca]
        full = [
            "basicConstraints",
            "keyUsage",
            "subjectKeyIdentifier",
            "authorityKeyIdentifier",
            "subjectAltName",
        ]
        expected = full if ca else [name for name in full if name != "keyUsage"]
        assert names == expected[: len(names)]
        start, end = certs.validity(pem)
        assert (end + 1 - start) % certs.DAY_S == 0
        if not ca:
            assert any(chains.check_endorsed(pem, issuer, ignore_time=True) for issuer in services)
            endorsed += 1
    assert endorsed >= 1


# -- JSON -------------------------------------------------------------------------------------

PARSE_ERROR = re.compile(r"\[json\.exception\.(?:parse_error|out_of_range)[^\n]*")


def test_json_texts_of_a_running_service() -> None:
    checked = 0
    for name in ("gov", "recovery", "common", "node", "join", "errors"):
        for record in records(f"transcripts/{name}.jsonl"):
            answer = record.get("response", {}).get("body") or ""
            if not isinstance(answer, str) or "json.exception.parse_error" not in answer:
                continue
            request = record["request"]
            sent = dict(request.get("headers") or [])
            body = (
                unb64(request["body_base64"])
                if "body_base64" in request
                else (request.get("body") or "").encode()
            )
            if sent.get("content-type") == "application/cose":
                body = cose.parse_sign1(body, rules=cose.MEMBER).payload or b""
            with pytest.raises(ValueError) as caught:
                load_json(body)
            found = PARSE_ERROR.search(json.loads(answer)["error"]["message"])
            assert found is not None
            assert str(caught.value) == found[0], record["name"]
            checked += 1
    assert checked >= 4
