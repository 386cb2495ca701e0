"""Whatever bytes or texts they are given, readers answer or refuse with their own errors.

One table: every reader of something that comes from outside, sound samples of it, and the errors
its documentation names. The samples are damaged (bytes changed, cut, repeated, lengths replaced by
extreme ones) and so reach further into a reader than noise does. Any other exception fails.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyccf.apps.auth import AuthFailure
from pyccf.apps.auth.token import parse_authorization, parse_token
from pyccf.apps.js.options import parse_options
from pyccf.apps.js.registry import BadMetadata, parse_metadata
from pyccf.attest import sgx, snp, tdx, uvm, virtual
from pyccf.attest.evidence import Format, QuoteInfo
from pyccf.audit.read import readable
from pyccf.codec import cbor, cose
from pyccf.codec.text import (
    dump_json,
    load_json,
    parse_size,
    parse_time_us,
    unb64,
    unb64url,
)
from pyccf.crypto import aead, certs, chains, cosesign, jwk, keys, shares, wrap
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey, PublicKey, RsaPrivateKey, RsaPublicKey
from pyccf.errors import (
    ConfigError,
    InvalidEvidence,
    InvalidLedger,
    InvalidReceipt,
    LocalError,
    RpcError,
)
from pyccf.http.accept import check_accept
from pyccf.http.h1 import ParseFailure, Parser
from pyccf.http.limits import HttpLimits
from pyccf.http.message import Request, query_parameters
from pyccf.kv import content, wire
from pyccf.kv.store import Store
from pyccf.ledger import chunk, entry, receipt, signature, snapshot
from pyccf.ledger.history import History
from pyccf.merkle.tree import Tree
from pyccf.node.key_refresh import Unusable, converse
from pyccf.node.outputs import Answer
from pyccf.node.waiting import parse_wish
from pyccf.service import jwt, tables
from pyccf.shell.config import parse_config
from pyccf.types import TxID
from support import intel
from support import snp as guests
from support.ledgers import NOW, Identity, small_service
from support.snapshots import make_service, take
from support.tokens import Issuer

settings.register_profile(
    "fuzz",
    max_examples=150,
    deadline=None,  # the machine is shared; what takes long shows in the durations of the suite
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FUZZ = settings.get_profile("fuzz")

LIMITS = HttpLimits(max_body_size=300, max_header_size=80, max_headers_count=8)


class Reader(NamedTuple):
    """One function that reads what others wrote."""

    name: str
    read: Callable[[Any], object]
    errors: tuple[type[Exception], ...]
    samples: Callable[[], Iterable[bytes]]


# -- samples ------------------------------------------------------------------------------------


def tokens() -> list[bytes]:
    return [
        issuer.token(nbf=1, tid="t", nested={"a": [1.5, None]}).encode()
        for issuer in (Issuer("https://a.test"), Issuer("https://a.test", ec=True))
    ]


def issuer_answers() -> list[bytes]:
    described = {"issuer": "https://a.test", "jwks_uri": "https://a.test:8443/keys?v=1"}
    keys = [Issuer("https://a.test", ec=ec).jwk("https://a.test") for ec in (False, True)]
    return [json.dumps(described).encode(), json.dumps({"keys": keys}).encode()]


def read_issuer(raw: bytes) -> None:
    """The answer as a description, and as a key set that goes into the tables."""
    answer = Answer(200, {}, raw)
    talk = converse("https://a.test")
    next(talk)
    with contextlib.suppress(Unusable):
        talk.send(answer)
    value = load_json(raw)
    if isinstance(value, dict):
        take_keys(value)


def take_keys(jwks: dict[str, Any]) -> None:
    """A key set that goes into the tables, and what comes out of them."""
    given_keys = jwks.get("keys")
    if not isinstance(given_keys, list):
        return
    tx = Store(2).tx()
    jwt.set_keys(tx, "https://a.test", given_keys)
    for kid, _ in tx.map(tables.JWT_KEYS).foreach():
        for key in jwt.keys_of(tx, kid.decode()):
            assert not key.verify(b"no signature", b"of this")


@cache
def ledger() -> Any:
    return small_service()


@cache
def identity() -> Identity:
    return Identity("fuzz")


def entries() -> list[bytes]:
    return [e.data for e in ledger().entries]


def sections() -> list[bytes]:
    made: list[dict[str, dict[bytes, bytes | None]]] = [
        {"public:a": {b"k": b"v", b"gone": None}, "public:b": {b"": b""}},
        {"private": {b"k" * 9: b"v" * 30}},
    ]
    return [part for maps in made for part in wire.encode(maps) if part]


@cache
def service_with_snapshot() -> Any:
    return make_service(3)


@cache
def snapshots() -> list[bytes]:
    return [take(service_with_snapshot())[1]]


def read_snapshot(data: bytes) -> None:
    """As a node that is to start from it does."""
    found = snapshot.parse(data)
    snapshot.history_of(found, found.public_maps())
    found.private_maps(service_with_snapshot().parts.secrets)
    snapshot.verify(found, service_with_snapshot().parts.service.cert_pem)


def contents() -> list[bytes]:
    store = Store(view=1)
    store.apply(1, {"public:a": {b"k": b"v" * 9, b"": b""}, "public:b": {b"long key": b"1"}})
    return [b"".join(piece for _, piece in content.sections(store.freeze(1).maps()))]


def read_content(data: bytes) -> None:
    list(content.decode(data, seqno=5, public=True))


def trees() -> list[bytes]:
    tree = Tree()
    blobs = [tree.serialise()]
    for i in range(20):
        tree.append(bytes([i]) * 32)
        if i in (2, 6, 19):
            blobs.append(tree.serialise())
    tree.flush(9)
    return [*blobs, tree.serialise()]


def chunks() -> list[bytes]:
    """Two entries as a chunk, incomplete and complete."""
    one, two = entries()[:2]
    body = one + two
    table = chunk.encode_table([chunk.FIRST_OFFSET, chunk.FIRST_OFFSET + len(one)])
    end = chunk.FIRST_OFFSET + len(body)
    return [chunk.encode_header(0) + body, chunk.encode_header(end) + body + table]


def certificates() -> list[bytes]:
    entropy = SeededEntropy("certificates")
    made = [identity().service_cert, identity().node_cert]
    for curve in Curve:
        if curve is not Curve.ED25519:
            key = PrivateKey.generate(curve, entropy)
            made.append(
                certs.self_signed(
                    key,
                    "CN=someone,O=somewhere",
                    not_before=NOW,
                    days=3,
                    sans=("IP:::1", "DNS:a.b"),
                    entropy=entropy,
                )
            )
    return [*map(certs.pem_to_der, made), made[0].encode()]


def requests() -> list[bytes]:
    return [
        b"GET / HTTP/1.1\r\n\r\nGET /b?c=%20#d HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST /app/log HTTP/1.1\r\ncontent-length: 11\r\nx: y\r\n\r\nhello world",
        b"PUT /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nt: u\r\n\r\n",
        b"CONNECT h:1 HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]


def cbor_items() -> list[bytes]:
    pairs = ((cbor.integer(1), cbor.integer(-35)), (cbor.tstr("a"), cbor.bstr(b"b")))
    return [
        cbor.mapping(pairs),
        cbor.array(
            (cbor.NULL, cbor.boolean(True), cbor.tag(18, cbor.tstr("é")), b"\xfb" + b"\1" * 8)
        ),
        b"\x9f\x5f\x41a\x41b\xff\xbf\x01\xf6\xff\xff",
        b"\x81" * 40 + b"\x00",
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    ]


def envelopes() -> list[bytes]:
    key = identity().node_key
    protected = cbor.mapping(
        (
            (cbor.integer(1), cbor.integer(key.public.curve.cose_alg)),
            (cbor.integer(4), cbor.bstr(b"kid")),
            (cbor.tstr("ccf.gov.msg.type"), cbor.tstr("proposal")),
            (cbor.tstr("ccf.gov.msg.created_at"), cbor.integer(1)),
        )
    )
    made = [cosesign.sign1(key, protected, b"{}", detached=detached) for detached in (False, True)]
    return [*made, made[0][1:], *cose_receipts()]


def _signed_pairs() -> list[tuple[Any, Any, str]]:
    """Entries with the signatures that cover them and their commit evidence."""
    service = ledger()
    parsed = [entry.parse(e.data) for e in service.entries]
    last = max(i for i, e in enumerate(service.entries) if e.committable)
    found = []
    for one in parsed[last - 3 : last]:
        cipher = service.secrets.cipher_at(one.seqno)
        found.append((one, parsed[last], cipher.evidence(one.view, one.seqno)))
    return found


@cache
def cose_receipts() -> list[bytes]:
    return [receipt.cose_receipt(*found) for found in _signed_pairs()]


@cache
def json_receipts() -> list[bytes]:
    return [
        dump_json(receipt.json_receipt(one, covering, evidence))
        for one, covering, evidence in _signed_pairs()
    ]


def evidence() -> list[bytes]:
    made = virtual.make("ab" * 32, identity().node_key.public.der)
    return [dump_json(made.to_json())]


def configurations() -> list[bytes]:
    interface = {
        "bind_address": "127.0.0.1:0",
        "published_address": "a:1",
        "accepted_endpoints": ["/app/.*"],
        "max_open_sessions_soft": 3,
        "http_configuration": {"max_body_size": "1MB"},
        "endorsement": {"authority": "Node"},
        "redirections": {"to_primary": {"kind": "NodeByRole", "target": {"role": "primary"}}},
    }
    network: Any = {
        "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
        "rpc_interfaces": {"main": interface},
    }
    start = {
        "constitution_files": ["c.js"],
        "members": [{"certificate_file": "m.pem", "recovery_role": "Owner"}],
        "service_configuration": {"recovery_threshold": 1},
    }
    commands: list[dict[str, Any]] = [
        {"type": "Start", "start": start},
        {"type": "Join", "join": {"target_rpc_address": "a:1", "retry_timeout": "1s"}},
        {"type": "Recover", "recover": {"previous_service_identity_file": "p.pem"}},
    ]
    return [
        dump_json(
            {
                "network": network,
                "command": command,
                "ledger": {"chunk_size": "5MB", "read_only_directories": []},
                "ledger_signatures": {"delay": "1s", "tx_count": 5},
                "idle_connection_timeout": None,
                "node_data_json_file": "x",
            }
        )
        for command in commands
    ]


def metadata() -> list[bytes]:
    row: Any = {
        "js_module": "/a.js",
        "js_function": "f",
        "forwarding_required": "always",
        "redirection_strategy": "to_primary",
        "authn_policies": ["user_cert", {"all_of": ["user_cert", "jwt"]}, "no_auth"],
        "mode": "historical",
        "openapi": {},
        "interpreter_reuse": {"key": "k"},
    }
    return [dump_json(row)]


def documents() -> list[bytes]:
    deep = b"[" * 600 + b"123456789012345678901234567890" + b"]" * 600
    return [
        b'{"a":[1,-2.5e3,null,true,"\\u00e9\\ud83d\\ude00"],"a":{}}',
        b"\xef\xbb\xbf[18446744073709551616]",
        deep,
        b'{"a":' * 500 + b"1e400" + b"}" * 500,
        *json_receipts()[:1],
    ]


def keys_pem() -> list[bytes]:
    rsa = RsaPrivateKey.generate(2048, entropy=SeededEntropy("rsa"))
    made = [key for curve in Curve if (key := PrivateKey.generate(curve, SeededEntropy("k")))]
    return [
        *(key.pem().encode() for key in made),
        *(key.public.pem().encode() for key in made),
        *(key.public.der for key in made),
        rsa.pem().encode(),
        rsa.public.pem().encode(),
        certs.csr(made[0], "CN=x", ("IP:127.0.0.1",)).encode(),
    ]


def jwks() -> list[bytes]:
    rsa = RsaPrivateKey.generate(2048, entropy=SeededEntropy("rsa"))
    ec = PrivateKey.generate(Curve.P384, SeededEntropy("ec"))
    ed = PrivateKey.generate(Curve.ED25519, SeededEntropy("ed"))
    made = [
        jwk.ec_private_jwk(ec.pem(), "k"),
        jwk.rsa_private_jwk(rsa.pem()),
        jwk.okp_private_jwk(ed.pem()),
    ]
    return [dump_json(value) for value in made]


def texts(*samples: str) -> Callable[[], list[bytes]]:
    return lambda: [sample.encode() for sample in samples]


# -- readers ------------------------------------------------------------------------------------


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def of_text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda raw: read(text(raw))


def of_json(read: Callable[[Any], object]) -> Callable[[bytes], object]:
    """Reads what JSON texts mean; what is no JSON says nothing about the reader."""

    def run(raw: bytes) -> object:
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            return None
        return read(value)

    return run


def read_http(raw: bytes) -> None:
    """Whole and cut in the middle; what comes out can be asked for everything."""
    for pieces in ([raw], [raw[: len(raw) // 2], raw[len(raw) // 2 :]]):
        parser = Parser(LIMITS)
        found: list[Request] = []
        refusal: ParseFailure | None = None
        try:
            for piece in pieces:
                found += parser.feed(piece)
        except ParseFailure as failure:
            refusal = failure
        if refusal is not None:
            assert refusal.encode().startswith(b"HTTP/1.1 4")
            found += refusal.requests
        for request in found:
            assert len(request.body) <= LIMITS.max_body_size
            query_parameters(request.query)
            assert repr(request.headers)


def read_entry(raw: bytes) -> None:
    parsed = entry.parse(raw)
    assert len(parsed.leaf) == 32
    parsed.public_maps()
    if signature.is_signature(parsed):
        signature.parse(parsed)


def replay_entry(raw: bytes) -> None:
    History(ledger().secrets).replay(raw)


def read_chunk(raw: bytes) -> None:
    """As a reader of a file does: header, then table or walk, then entries."""
    end = chunk.parse_table_offset(raw[:8], len(raw))
    if end:
        positions = chunk.parse_table(raw[end:])
    else:
        positions, end = chunk.scan(lambda at, n: raw[at : at + n], len(raw))
    for i, start in enumerate(positions):
        entry.parse(raw[start : chunk.end_of(positions, i, end)])


def read_certificate(raw: bytes) -> None:
    certs.load(raw)
    certs.validity(raw)
    certs.subject(raw)
    assert len(certs.fingerprint(raw)) == 64
    certs.spki(raw)
    certs.public_key(raw)


def check_certificate(raw: bytes) -> None:
    """Checks answer; they never raise."""
    sound = identity().service_cert
    for pair in ((raw, sound), (sound, raw)):
        try:
            certs.pem_to_der(raw)
        except ValueError:
            return
        for ignore in (True, False):
            chains.check_endorsed(*pair, ignore_time=ignore, now=NOW)


def read_keys(raw: bytes) -> None:
    """Every reader of keys with the same input: ValueError or a key."""
    given = text(raw)
    for read in (
        PublicKey.from_pem,
        PrivateKey.from_pem,
        RsaPublicKey.from_pem,
        RsaPrivateKey.from_pem,
        certs.load_csr,
        certs.csr_public_key,
        keys.certificate_key,
        jwk.ec_public_jwk,
        jwk.ec_private_jwk,
        jwk.rsa_public_jwk,
        jwk.rsa_private_jwk,
        jwk.okp_public_jwk,
        jwk.okp_private_jwk,
    ):
        try:
            read(given)
        except ValueError:
            continue
    for load in (PublicKey.from_der, RsaPublicKey.from_der):
        try:
            load(raw)
        except ValueError:
            continue


def read_jwk(value: Any) -> None:
    for read in (
        jwk.ec_public_pem,
        jwk.ec_private_pem,
        jwk.rsa_public_pem,
        jwk.rsa_private_pem,
        jwk.okp_public_pem,
        jwk.okp_private_pem,
    ):
        try:
            read(value)
        except jwk.JwkError:
            continue
    if isinstance(value, dict):
        jwk.key_material(value)


def read_signatures(raw: bytes) -> None:
    """A signature that is none does not verify; it never raises."""
    for curve in Curve:
        key = PrivateKey.generate(curve, SeededEntropy("signer")).public
        assert not key.verify(raw, b"data")
        assert not key.verify_raw(raw, b"data")
        if curve is not Curve.ED25519:
            assert not key.verify_digest(raw, bytes(32))


def read_evidence(value: Any) -> None:
    virtual.verify(QuoteInfo.from_json(value))


def read_rows(raw: bytes) -> None:
    for table in (tables.SERVICE_INFO, tables.NODES_INFO, tables.MEMBERS_INFO):
        tables.decode_row(table, raw)


def read_wish(raw: bytes) -> None:
    given = text(raw)
    wish = {"x-pyccf-wait": "commit", "x-pyccf-wait-timeout-ms": given}
    parse_wish(Request("GET", "/" + given, wish))


def verify_cose(raw: bytes) -> None:
    receipt.verify_cose_receipt(raw, ledger().identity.service_key.public)


def verify_json(value: Any) -> None:
    if isinstance(value, dict):
        receipt.verify_json_receipt(value, ledger().identity.service_cert)


def unwrap(raw: bytes) -> None:
    for open_ in (wrap.aes_kwp_unwrap, aead.open_, shares.unwrap_ledger_secret):
        try:
            open_(bytes(32), raw)
        except (ValueError, aead.InvalidTag):
            continue


def combine(raw: bytes) -> None:
    size = shares.SHARE_SIZE
    shares.combine([raw[i : i + size] for i in range(0, len(raw), size)], 2)


def read_report(raw: bytes) -> None:
    evidence = QuoteInfo(Format.SNP, raw, guests.chain(), endorsed_tcb="00" * 8)
    snp.verify(evidence, guests.NOW, guests.roots())


def read_chip_certificates(raw: bytes) -> None:
    snp.verify(QuoteInfo(Format.SNP, guests.report(), raw), guests.NOW, guests.roots())


def read_uvm_endorsements(raw: bytes) -> None:
    uvm.verify(raw, bytes.fromhex(guests.MEASUREMENT))


def read_quote(raw: bytes) -> None:
    for verify, domain in ((sgx.verify, False), (tdx.verify, True)):
        with contextlib.suppress(InvalidEvidence):
            verify(raw, intel.collateral(domain), guests.NOW, root_key=intel.root_key())


def read_tcb_info(raw: bytes) -> None:
    """As if Intel had signed it."""
    given = intel.collateral(info=raw)
    sgx.verify(intel.quote(), given, guests.NOW, root_key=intel.root_key())


def read_crl(raw: bytes) -> None:
    given = intel.collateral(root_crl=raw)
    sgx.verify(intel.quote(), given, guests.NOW, root_key=intel.root_key())


READERS = [
    Reader("HTTP requests", read_http, (), requests),
    Reader(
        "accept headers",
        of_text(check_accept),
        (RpcError,),
        texts("*/*;q=0.5, a/b", "application/json"),
    ),
    Reader("wishes", read_wish, (RpcError,), texts("10", "60000")),
    Reader("CBOR", cbor.decode, (cbor.CborError,), cbor_items),
    Reader("COSE", cose.parse_sign1, (cose.CoseError,), envelopes),
    Reader(
        "COSE of members",
        lambda raw: cose.parse_sign1(raw, rules=cose.MEMBER),
        (cose.CoseError,),
        envelopes,
    ),
    Reader(
        "COSE of users",
        lambda raw: cose.parse_sign1(raw, rules=cose.USER),
        (cose.CoseError,),
        envelopes,
    ),
    Reader("bearer tokens", of_text(parse_token), (AuthFailure, RpcError), tokens),
    Reader(
        "authorization headers",
        of_text(parse_authorization),
        (AuthFailure, RpcError),
        lambda: [b"Bearer " + token for token in tokens()],
    ),
    Reader("answers of token issuers", read_issuer, (ValueError, LocalError), issuer_answers),
    Reader("JSON", load_json, (ValueError,), documents),
    Reader("JSON for a person", readable, (), documents),
    Reader("base64", unb64, (ValueError,), lambda: [b"aGVsbG8=", b"aGVsbG8"]),
    Reader("base64url", unb64url, (ValueError,), lambda: [b"-_-_", b"aGVsbG8"]),
    Reader("sizes", of_text(parse_size), (ValueError,), texts("5MB", "0", " 7 KB")),
    Reader("times", of_text(parse_time_us), (ValueError,), texts("5ms", "1min", "3 h")),
    Reader("transaction ids", of_text(TxID.parse), (), texts("2.15", "18446744073709551615.1")),
    Reader("write sets", wire.decode, (InvalidLedger,), sections),
    Reader("entries", read_entry, (InvalidLedger,), entries),
    Reader("entries replayed", replay_entry, (InvalidLedger,), lambda: entries()[:1]),
    Reader("snapshots", read_snapshot, (InvalidLedger, InvalidReceipt), snapshots),
    Reader("maps of snapshots", read_content, (InvalidLedger,), contents),
    Reader("Merkle trees", Tree.parse, (ValueError, InvalidLedger), trees),
    Reader("chunk files", read_chunk, (InvalidLedger,), chunks),
    Reader(
        "chunk names",
        of_text(chunk.parse_name),
        (),
        texts("ledger_1", "ledger_1-15.committed", "ledger_7-9.committed.recovery.ignored"),
    ),
    Reader("certificates", read_certificate, (ValueError,), certificates),
    Reader("endorsements", check_certificate, (), certificates),
    Reader(
        "validity",
        of_text(certs.parse_validity_text),
        (ValueError,),
        texts("20261121235959Z", "2026-11-21 23:59:59.5 +01:30", "00010101000000+2359"),
    ),
    Reader("subjects", of_text(certs.parse_subject), (ValueError,), texts("CN=a,O=b", "CN=ä")),
    Reader("keys", read_keys, (), keys_pem),
    Reader("reports of guests", read_report, (InvalidEvidence,), lambda: [guests.report()]),
    Reader(
        "certificates of processors",
        read_chip_certificates,
        (InvalidEvidence,),
        lambda: [guests.chain()],
    ),
    Reader("quotes", read_quote, (), lambda: [intel.quote(), intel.quote(5, tdx=True)]),
    Reader(
        "TCB info",
        read_tcb_info,
        (InvalidEvidence,),
        lambda: [json.dumps(intel.tcb_info()).encode()],
    ),
    Reader("revocations", read_crl, (InvalidEvidence,), lambda: [intel.crl("root")]),
    Reader(
        "UVM endorsements",
        read_uvm_endorsements,
        (InvalidEvidence,),
        lambda: [guests.uvm_endorsements()],
    ),
    Reader("JWK", of_json(read_jwk), (jwk.JwkError,), jwks),
    Reader("signatures", read_signatures, (), lambda: [identity().node_key.sign(b"x"), bytes(96)]),
    Reader(
        "wrapped secrets", unwrap, (), lambda: [shares.wrap_ledger_secret(bytes(32), bytes(32))]
    ),
    Reader(
        "shares",
        combine,
        (shares.ShareError,),
        lambda: [b"".join(shares.split(3, 2, SeededEntropy("s"))[1])],
    ),
    Reader("JSON receipts", of_json(verify_json), (InvalidReceipt,), json_receipts),
    Reader("COSE receipts", verify_cose, (InvalidReceipt,), cose_receipts),
    Reader("evidence", of_json(read_evidence), (InvalidEvidence,), evidence),
    Reader("endpoint metadata", parse_metadata, (BadMetadata,), metadata),
    Reader(
        "runtime options",
        parse_options,
        (RpcError,),
        texts('{"max_heap_bytes":1000,"return_exception_details":true}'),
    ),
    Reader("rows", read_rows, (ValueError, InvalidLedger), documents),
    Reader("configurations", of_text(parse_config), (ConfigError,), configurations),
]


# -- damage -------------------------------------------------------------------------------------

EXTREMES = (b"\0" * 8, b"\xff" * 8, b"\1" + b"\0" * 7, b"\xff" * 4 + b"\0" * 4, b"\0" * 7 + b"\x80")


@st.composite
def damaged(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """A sample after one to four accidents."""
    data = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 40)))
        match draw(st.integers(0, 5)):
            case 0:
                data = data[:at] + draw(st.binary(max_size=12)) + data[at + 1 :]
            case 1:
                data = data[:at]
            case 2:
                data = data[:at] + data[end:]
            case 3:
                data = data[:at] + data[at:end] * 2 + data[end:]
            case 4:
                extreme = draw(st.sampled_from(EXTREMES))
                data = data[:at] + extreme + data[at + len(extreme) :]
            case _:
                if at < len(data):
                    flipped = data[at] ^ 1 << draw(st.integers(0, 7))
                    data = data[:at] + bytes([flipped]) + data[at + 1 :]
    return data


@pytest.mark.parametrize("reader", READERS, ids=[r.name for r in READERS])
def test_nothing_but_the_documented_errors_escapes(reader: Reader) -> None:
    samples = list(reader.samples())

    @settings(FUZZ)
    @given(damaged(samples) | st.sampled_from(samples) | st.binary(max_size=120))
    def run(raw: bytes) -> None:
        try:
            reader.read(raw)
        except reader.errors:
            return

    run()


# -- damage to meaning --------------------------------------------------------------------------

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats()
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything inside a JSON value."""
    found = [path] if path else []
    steps: Iterable[Any] = value if isinstance(value, dict) else ()
    if isinstance(value, list):
        steps = range(len(value))
    for step in steps:
        found += places(value[step], (*path, step))
    return found


@st.composite
def altered(draw: st.DrawFn, samples: list[bytes]) -> Any:
    """A JSON value one or two of whose parts are something else, or missing."""
    value = json.loads(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 2))):
        paths = places(value)
        if not paths:
            return value
        *way, last = draw(st.sampled_from(paths))
        holder = value
        for step in way:
            holder = holder[step]
        if isinstance(holder, dict) and draw(st.integers(0, 3)) == 0:
            del holder[last]
        else:
            holder[last] = draw(anything)
    return value


MEANINGS: list[tuple[str, Callable[[Any], object], tuple[type[Exception], ...], Any]] = [
    (
        "configurations",
        lambda value: parse_config(json.dumps(value)),
        (ConfigError,),
        configurations,
    ),
    ("JSON receipts", verify_json, (InvalidReceipt,), json_receipts),
    ("evidence", read_evidence, (InvalidEvidence,), evidence),
    ("JWK", read_jwk, (jwk.JwkError,), jwks),
    ("key sets", take_keys, (LocalError,), lambda: issuer_answers()[1:]),
    (
        "endpoint metadata",
        lambda value: parse_metadata(json.dumps(value).encode()),
        (BadMetadata,),
        metadata,
    ),
]


@pytest.mark.parametrize("meaning", MEANINGS, ids=[m[0] for m in MEANINGS])
def test_odd_values_in_sound_documents(meaning: Any) -> None:
    _, read, errors, samples = meaning

    @settings(FUZZ)
    @given(altered(list(samples())))
    def run(value: Any) -> None:
        try:
            read(value)
        except errors:
            return

    run()


def test_samples_are_sound() -> None:
    """Damage only says something if the undamaged samples are taken."""
    for raw in entries():
        read_entry(raw)
    list(map(Tree.parse, trees()))
    list(map(read_chunk, chunks()))
    list(map(wire.decode, sections()))
    list(map(read_certificate, certificates()))
    list(map(cose.parse_sign1, envelopes()[:2]))
    list(map(verify_cose, cose_receipts()))
    for raw in json_receipts():
        verify_json(json.loads(raw))
    for raw in evidence():
        read_evidence(json.loads(raw))
    for raw in configurations():
        assert parse_config(raw.decode())


def nested(depth: int) -> dict[str, bytes]:
    """The same depth in several notations."""
    number = b"1" * 30
    return {
        "lists": b"[" * depth + number + b"]" * depth,
        "objects": b'{"":' * depth + number + b"}" * depth,
        "open lists": b"[" * depth,
        "CBOR lists": b"\x81" * depth + b"\0",
        "CBOR maps": b"\xa1\0" * depth + b"\0",
        "CBOR tags": b"\xc1" * depth + b"\0",
        "endless": b"\x9f" * depth,
        "strings": b"\x5f" * depth,
    }


NESTING = [
    pytest.param(reader, depth, id=f"{reader.name}-{depth}")
    for reader in READERS
    for depth in (20, 450, 600, 950, 20_000)
]


@pytest.mark.parametrize(("reader", "depth"), NESTING)
def test_nesting_is_bounded(reader: Reader, depth: int) -> None:
    """Without hypothesis, which lets the interpreter recurse deeper than it does in a node."""
    for raw in nested(depth).values():
        with contextlib.suppress(*reader.errors):
            reader.read(raw)
