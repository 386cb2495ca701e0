"""The pure judge: roots, signers, identities."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import pytest

from pyccf.audit.auditor import NOTES_MAX, Auditor
from pyccf.audit.trees import Blob, Hill
from pyccf.codec import cbor
from pyccf.codec.text import b64, dump_json, load_json
from pyccf.crypto import certs, cosesign
from pyccf.crypto.entropy import SeededEntropy
from pyccf.errors import InvalidLedger
from pyccf.kv.changes import UNIT
from pyccf.ledger import endorsement, signature
from pyccf.ledger.entry import ParsedEntry, parse
from pyccf.merkle.tree import Tree
from pyccf.types import TxID
from support.ledgers import (
    LAST_ROOT,
    NODE_CERTS,
    NODES_INFO,
    NOW,
    PREVIOUS_IDENTITY,
    SERVICE_INFO,
    Identity,
    Service,
    small_service,
)


def fed(service: Service, auditor: Auditor | None = None) -> Auditor:
    judge = auditor or Auditor()
    for entry in service.entries[judge.entries :]:
        judge.feed(parse(entry.data))
    return judge


def refused(service: Service) -> InvalidLedger:
    with pytest.raises(InvalidLedger) as caught:
        fed(service).finish()
    return caught.value


def begun(**tables: Any) -> Service:
    """A service with genesis and signature, and one more entry of these tables."""
    service = Service()
    service.genesis()
    service.sign()
    service.commit()
    if tables:
        service.write(tables)
    return service


# --- trees ----------------------------------------------------------------------------------


def test_the_hill_is_the_tree() -> None:
    tree, hill = Tree(), Hill()
    hill.append(bytes(32))
    for i in range(1, 300):
        leaf = bytes([i % 256]) * 32
        tree.append(leaf)
        hill.append(leaf)
        assert hill.root() == tree.root()
        if i % 37 == 0:
            tree.flush(i - 5)
            blob = Blob(tree.serialise())
            assert (blob.first, blob.size) == (i - 5, i + 1)
            assert blob.root_before(blob.size) == tree.root()
            for upto in range(blob.first, blob.size):
                assert blob.root_before(upto + 1) == tree.root_at(upto)
            ends = [end for _, end, _ in blob.edge_ranges()]
            assert ends[-1] == blob.first
            assert [start for start, _, _ in blob.edge_ranges()] == [0, *ends[:-1]]


@pytest.mark.parametrize("data", [b"", bytes(15), bytes(16) + b"x", b"\xff" * 48])
def test_malformed_blobs(data: bytes) -> None:
    with pytest.raises(ValueError, match="does not fit its counts"):
        Blob(data)


# --- a good ledger --------------------------------------------------------------------------


def test_a_good_ledger() -> None:
    service = small_service(9)
    judge = fed(service)
    judge.finish()
    assert judge.last_signed == TxID(2, service.signed)
    assert judge.unsigned == service.last - service.signed
    assert judge.notes == []


def test_memory_does_not_grow() -> None:
    service = small_service(40, every=4)
    judge = Auditor()
    most = 0
    for entry in service.entries:
        judge.feed(parse(entry.data))
        most = max(most, len(judge._window))
    assert most <= 32 * 8
    assert len(judge._hill.peaks) <= 8


def test_cose_signatures_may_come_and_go() -> None:
    service = begun()
    for cose in (False, True, False):
        service.cose = cose
        service.record(b"x")
        service.sign()
    judge = fed(service)
    assert (judge.signatures, judge.cose_signatures) == (4, 2)


def test_a_service_may_renew_its_certificate() -> None:
    service = begun()
    me = service.identity
    renewed = certs.self_signed(
        me.service_key, "CN=CCF Service", not_before=NOW, days=300, entropy=SeededEntropy("r")
    )
    service.write({SERVICE_INFO: {UNIT: dump_json({"cert": renewed, "status": "Open"})}})
    me.service_cert = renewed
    service.sign()
    judge = fed(service)
    assert [i.cert for i in judge.identities] == [renewed]


def test_a_node_may_renew_its_certificate() -> None:
    service = begun()
    me = service.identity
    old = me.node_cert
    request = certs.csr(me.node_key, "CN=CCF Node", ())
    renewed = certs.endorse(
        request, me.service_key, me.service_cert, NOW, 300, SeededEntropy("renewal")
    )
    service.write({NODE_CERTS: {me.node_id.encode(): renewed.encode()}})
    service.sign()
    me.node_cert = renewed
    service.sign()
    assert old != renewed
    assert fed(service).signatures == 3


# --- who signs ------------------------------------------------------------------------------


def test_an_unknown_node() -> None:
    service = begun()
    stranger = Identity("stranger")
    service.identity.node_key = stranger.node_key
    service.identity.node_id = stranger.node_id
    service.identity.node_cert = stranger.node_cert
    found = refused_after(service)
    assert found.seqno == service.last
    assert "which is no node of this service" in found.message


def refused_after(service: Service) -> InvalidLedger:
    service.record(b"x")
    service.sign()
    return refused(service)


@pytest.mark.parametrize(
    ("status", "fine"), [("Trusted", True), ("Retired", True), ("Pending", False)]
)
def test_the_status_of_who_signs(status: str, fine: bool) -> None:
    service = begun()
    me = service.identity.node_id.encode()
    service.write({NODES_INFO: {me: dump_json({"status": status})}})
    if fine:
        service.sign()
        assert fed(service).signatures == 2
        return
    found = refused_after(service)
    assert (found.seqno, "which is not trusted yet" in found.message) == (service.last, True)


def test_a_node_that_a_recovery_retired() -> None:
    service = begun()
    before = service.identity
    service.recover("second")
    service.identity.node_id = before.node_id
    service.identity.node_key = before.node_key
    service.identity.node_cert = before.node_cert
    service.sign()
    found = refused(service)
    assert (found.seqno, "which is retired" in found.message) == (4, True)


def test_a_node_that_had_left() -> None:
    """It still has its key, and whoever has the files could go on with them."""
    service = begun()
    gone = service.identity
    row = dump_json({"status": "Retired", "retired_committed": True})
    service.write({NODES_INFO: {gone.node_id.encode(): row}})
    service.sign()
    assert fed(service).notes == []
    made = Identity("other")
    request = certs.csr(made.node_key, "CN=CCF Node", ("IP:127.0.0.1",))
    cert = certs.endorse(
        request, gone.service_key, gone.service_cert, NOW, 90, SeededEntropy("other")
    )
    other = copy.copy(gone)
    other.node_key, other.node_id, other.node_cert = made.node_key, made.node_id, cert
    me = other.node_id.encode()
    service.write(
        {NODES_INFO: {me: dump_json({"status": "Trusted"})}, NODE_CERTS: {me: cert.encode()}}
    )
    service.identity = other
    service.sign()
    assert fed(service).notes == []
    service.identity = gone
    service.sign()
    assert fed(service).notes == [
        f"Entry {service.last} is signed by node {gone.node_id}, which had left before."
    ]


def test_a_removed_node() -> None:
    service = begun()
    me = service.identity.node_id.encode()
    service.write({NODES_INFO: {me: None}, NODE_CERTS: {me: None}})
    found = refused_after(service)
    assert "which is no node of this service" in found.message


def test_a_node_without_a_certificate() -> None:
    service = begun()
    me = service.identity.node_id.encode()
    service.write({NODE_CERTS: {me: None}})
    assert "which has no certificate" in refused_after(service).message


def test_a_node_of_version_1() -> None:
    """Before endorsed certificates a node's own stood in its row."""
    service = Service()
    me = service.identity
    node = {"status": "Trusted", "cert": me.node_cert}
    service.write(
        {
            NODES_INFO: {me.node_id.encode(): dump_json(node)},
            SERVICE_INFO: {UNIT: dump_json({"cert": me.service_cert, "status": "Opening"})},
        }
    )
    service.sign()
    assert fed(service).signatures == 1


@pytest.mark.parametrize(
    ("tables", "why"),
    [
        ({NODES_INFO: {b"n": b"[]"}}, "no JSON object"),
        ({NODES_INFO: {b"n": dump_json({"status": "Happy"})}}, "unknown status 'Happy'"),
        ({NODES_INFO: {b"n": dump_json({"status": ["Trusted"]})}}, "unknown status ['Trusted']"),
        ({NODES_INFO: {b"\xff": b"{}"}}, "not UTF-8"),
        ({NODES_INFO: {b"n": dump_json({"status": "Trusted", "cert": "x"})}}, "cannot be read"),
        ({NODE_CERTS: {b"n": b"nonsense"}}, "cannot be read"),
        ({NODE_CERTS: {b"n": b"\xff"}}, "not UTF-8"),
        ({NODE_CERTS: {b"n": Identity("service").node_cert.encode()}}, "of another node"),
        (
            {NODE_CERTS: {Identity("x").node_id.encode(): Identity("x").node_cert.encode()}},
            "the service did not endorse",
        ),
        ({SERVICE_INFO: {UNIT: b"1"}}, "no JSON object"),
        ({SERVICE_INFO: {UNIT: None}}, "no JSON object"),
        ({SERVICE_INFO: {UNIT: b"{}"}}, "names no service certificate"),
        ({SERVICE_INFO: {UNIT: dump_json({"cert": "x"})}}, "cannot be read"),
        ({signature.TREE: {UNIT: b""}}, "tables of a signature, but not the signature"),
        ({signature.COSE_SIGNATURES: {UNIT: b""}}, "tables of a signature, but not"),
        ({signature.SIGNATURES: {UNIT: b""}}, "is no signature transaction"),
        ({endorsement.TABLE: {UNIT: b"{}"}}, "Malformed endorsement"),
    ],
)
def test_malformed_rows_are_their_entry_s_fault(tables: dict[str, Any], why: str) -> None:
    found = refused(begun(**tables))
    assert found.seqno == 3
    assert why in found.message


def test_a_ledger_begins_with_a_service() -> None:
    service = Service()
    service.record(b"x")
    found = refused(service)
    assert (found.seqno, "which service this is" in found.message) == (1, True)


def test_entries_come_in_order() -> None:
    service = small_service(3)
    judge = Auditor()
    judge.feed(parse(service.entries[0].data))
    with pytest.raises(InvalidLedger, match="Found entry 3 where 2 must be") as caught:
        judge.feed(parse(service.entries[2].data))
    assert caught.value.seqno == 2


# --- what signatures say --------------------------------------------------------------------


def resigned(change: Any, *, cose: bool = True) -> Service:
    """A service whose third entry is a signature transaction, changed by `change(tables)`."""
    service = begun()
    service.cose = cose
    me = service.identity
    tables: dict[str, dict[bytes, Any]] = {
        name: dict(rows)
        for name, rows in signature.build(
            TxID(2, 3),
            service.history.root(),
            service.history.tree.serialise(),
            me.node_id,
            me.node_key,
            me.node_cert,
            me.service_key,
            "",
            "",
            NOW,
        ).items()
    }
    change(tables)
    service.write(tables)
    return service


def member(name: str, value: Any) -> Any:
    def act(tables: dict[str, dict[bytes, Any]]) -> None:
        row = load_json(tables[signature.SIGNATURES][UNIT])
        assert isinstance(row, dict)
        row[name] = value
        tables[signature.SIGNATURES][UNIT] = dump_json(row)

    return act


def renamed(tables: dict[str, dict[bytes, Any]]) -> None:
    row = load_json(tables[signature.SIGNATURES][UNIT])
    assert isinstance(row, dict)
    row["Cert"] = row.pop("cert")
    tables[signature.SIGNATURES][UNIT] = dump_json(row)


def spaced(tables: dict[str, dict[bytes, Any]]) -> None:
    row = tables[signature.SIGNATURES][UNIT]
    tables[signature.SIGNATURES][UNIT] = row.replace(b":", b": ", 1)


def other_tree(tables: dict[str, dict[bytes, Any]]) -> None:
    tree = Tree()
    tree.append(b"x" * 32)
    tree.append(b"y" * 32)
    tables[signature.TREE][UNIT] = tree.serialise()


def other_cose(tables: dict[str, dict[bytes, Any]]) -> None:
    stranger = Identity("stranger")
    header = signature.protected_header(-7, stranger.service_key.public.id, TxID(2, 3), NOW, "", "")
    envelope = cosesign.sign1(stranger.service_key, header, bytes(32), True)
    tables[signature.COSE_SIGNATURES][UNIT] = dump_json(b64(envelope))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: None, ""),
        (member("root", "00" * 32), "names another root"),
        (member("sig", "MAYCAQECAQE="), "is not validly signed by node"),
        (member("sig", "AAAA"), "is not validly signed by node"),
        (member("node", "00" * 32), "is not validly signed by node"),
        (member("cert", Identity("x").node_cert), "a certificate that is not that of node"),
        (member("cert", "nonsense"), "a certificate that is not that of node"),
        (member("seqno", 4), "carries the signature of 2.4"),
        (member("commit_seqno", 3), "committed already"),
        (member("commit_seqno", "0"), "committed already"),
        (member("hashed_nonce", "1" * 64), "values that no signature transaction has"),
        (member("later_field", 1), ""),
        (renamed, "with the members"),
        (spaced, "not in canonical form"),
        (other_tree, "holds another tree"),
        (lambda t: t[signature.TREE].update({UNIT: bytes(17)}), "malformed tree"),
        (other_cose, "COSE signature that names another service key"),
        (
            lambda t: t[signature.COSE_SIGNATURES].update({UNIT: b'"AAAA"'}),
            "COSE signature that is malformed",
        ),
        (lambda t: t.update({"public:x": {b"k": b"v"}}), "is no signature transaction"),
    ],
)
def test_all_that_a_signature_says_is_checked(change: Any, why: str) -> None:
    service = resigned(change)
    if not why:
        assert fed(service).signatures == 2
        return
    found = refused(service)
    assert found.seqno == 3
    assert why in found.message


def test_claims_of_a_signature() -> None:
    service = begun()
    good = parse(service.sign().data)
    public = good.public_sections
    service.history.rollback(2)
    entry = service.history.append(TxID(2, 3), public, b"", claims=b"c" * 32)
    judge = Auditor()
    for one in service.entries[:2]:
        judge.feed(parse(one.data))
    with pytest.raises(InvalidLedger, match="makes claims"):
        judge.feed(parse(entry.data))


def test_a_private_domain_in_a_signature() -> None:
    service = begun()
    good = parse(service.sign().data)
    service.history.rollback(2)
    entry = service.history.append(TxID(2, 3), good.public_sections, b"something")
    judge = Auditor()
    for one in service.entries[:2]:
        judge.feed(parse(one.data))
    with pytest.raises(InvalidLedger, match="not written as one"):
        judge.feed(parse(entry.data))


# --- which entry is to blame ----------------------------------------------------------------


def changed(entry: ParsedEntry) -> ParsedEntry:
    """The same entry with another GCM tag."""
    data = bytearray(entry.data)
    data[8] ^= 1
    return parse(bytes(data))


def test_the_changed_entry_is_named_wherever_the_tree_was_flushed() -> None:
    """A primary that flushed more of its tree than usual leaves only subtree hashes."""
    service = begun()
    for i in range(12):
        service.record(b"%d" % i)
    service.history.compact(8)
    service.sign()
    entries = [parse(e.data) for e in service.entries]
    # Leaf 2 is the last signature's own; the tree has leaves 0..7 as one hash.
    for victim, named in [(3, 2), (7, 2), (8, 8), (9, 9), (14, 14)]:
        judge = Auditor()
        feed_all = (changed(e) if e.seqno == victim else e for e in entries)
        with pytest.raises(InvalidLedger) as caught:
            deque(map(judge.feed, feed_all))
        assert caught.value.seqno == named, victim
        if named != victim:
            assert "An entry in 2-7" in caught.value.message


def test_a_changed_view_is_blamed_on_its_entry() -> None:
    service = begun()
    for view in (2, 9, 2):
        service.view = view
        service.record(b"x")
    assert (refused(service).seqno, refused(service).message) == (
        4,
        "Entry 4 is in view 9, but the next is in 2.",
    )


def test_views_that_go_back() -> None:
    service = begun()
    for view in (3, 2):
        service.view = view
        service.record(b"x")
        service.record(b"x")
    found = refused(service)
    assert found.seqno == 5
    assert found.message == "Entry 5 is in view 2, but the one before in 3."


def test_a_signed_oddity_is_still_odd() -> None:
    service = begun()
    service.view = 3
    service.record(b"x")
    service.record(b"x")
    service.view = 2
    service.record(b"x")
    service.sign()
    assert refused(service).seqno == 5


def test_view_zero() -> None:
    service = Service(view=0)
    service.genesis()
    assert "is in view 0" in refused(service).message


# --- identities -----------------------------------------------------------------------------


def test_a_recovery() -> None:
    service = begun()
    service.recover("second")
    service.sign()
    service.recover("third")
    service.sign()
    judge = fed(service)
    assert [i.since for i in judge.identities] == [1, 3, 5]
    assert judge.identities[-1].key_id == service.identity.service_key.public.id
    assert judge.notes == []


def recovered(**tables: Any) -> Service:
    service = begun()
    before = service.identity
    service.identity = Identity("second")
    service.view = 4
    made = service._service_tables("Recovering")
    made[PREVIOUS_IDENTITY] = {UNIT: dump_json(before.service_cert)}
    made[LAST_ROOT] = {UNIT: dump_json(service.signed_root.hex())}
    for name, rows in tables.items():
        if rows is None:
            del made[name]
        else:
            made[name] = rows
    service.write(made)
    service.sign()
    return service


def test_a_recovery_names_what_it_takes_over() -> None:
    assert fed(recovered()).signatures == 2
    other = {PREVIOUS_IDENTITY: {UNIT: dump_json(Identity("third").service_cert)}}
    found = refused(recovered(**other))
    assert (found.seqno, "from another service" in found.message) == (3, True)
    found = refused(recovered(**{LAST_ROOT: {UNIT: dump_json("00" * 32)}}))
    assert (found.seqno, "another last signed root" in found.message) == (3, True)
    found = refused(recovered(**{PREVIOUS_IDENTITY: {UNIT: b"1"}}))
    assert (found.seqno, "no JSON string" in found.message) == (3, True)
    found = refused(recovered(**{PREVIOUS_IDENTITY: {UNIT: b'"x"'}}))
    assert (found.seqno, "cannot be read" in found.message) == (3, True)


def test_old_recoveries_do_not_name_it() -> None:
    judge = fed(recovered(**{PREVIOUS_IDENTITY: None, LAST_ROOT: None}))
    assert judge.notes == ["Entry 3 changes the service identity without naming the old."]


def test_a_recovery_begins_right_after_a_signature() -> None:
    service = begun()
    service.record(b"not signed")
    service.recover("second")
    service.sign()
    found = refused(service)
    assert (found.seqno, "not right after a signature" in found.message) == (4, True)


def endorsing(service: Service, endorsed: Identity, **more: Any) -> dict[str, Any]:
    """An endorsement row by the present service."""
    key = service.identity.service_key
    begin, end = more.get("begin", "2.1"), more.get("end")
    epoch = [(cbor.tstr("epoch.start.txid"), cbor.tstr(begin))]
    if end:
        epoch.append((cbor.tstr("epoch.end.txid"), cbor.tstr(end)))
    header = cbor.mapping(
        (
            (cbor.uint(1), cbor.integer(key.curve.cose_alg)),
            (cbor.uint(15), cbor.mapping(((cbor.uint(6), cbor.uint(NOW)),))),
            (cbor.tstr("ccf.v1"), cbor.mapping(epoch)),
        )
    )
    row = {
        "endorsement": b64(cosesign.sign1(key, header, endorsed.service_key.public.der, False)),
        "endorsing_key": b64(key.public.der),
        "endorsement_epoch_begin": begin,
    }
    if end:
        row["endorsement_epoch_end"] = end
    if "previous" in more:
        row["previous_version"] = more["previous"]
    return {endorsement.TABLE: {UNIT: dump_json(row)}}


def test_endorsements_chain_the_identities() -> None:
    service = begun()
    first = service.identity
    service.write(endorsing(service, first))
    service.sign()
    service.recover("second")
    service.write(endorsing(service, first, end="2.4", previous=3))
    service.sign()
    judge = fed(service)
    assert judge.notes == []
    second = service.identity
    service.recover("third")
    service.write(endorsing(service, first, begin="4.5", end="4.7", previous=6))
    found = refused(service)
    assert found.seqno == service.last
    assert "endorses another service key than the previous one" in found.message
    assert second is not first


def test_endorsements_that_do_not_hold() -> None:
    service = begun()
    rows = endorsing(service, Identity("stranger"))
    service.write(rows)
    found = refused(service)
    assert (found.seqno, "endorses another key than its own" in found.message) == (3, True)


def test_odd_endorsements_are_noted() -> None:
    service = begun()
    service.write(endorsing(service, Identity("before"), end="2.1", begin="4.9", previous=1))
    service.sign()
    judge = fed(service)
    assert len(judge.notes) == 2
    assert "continues endorsements that this ledger lacks" in judge.notes[0]
    assert "empty range of transactions (4.9 to 2.1)" in judge.notes[1]
    for _ in range(2 * NOTES_MAX):
        judge._note("again")
    assert len(judge.notes) == NOTES_MAX


# --- secrets --------------------------------------------------------------------------------


def test_secrets_authenticate_each_entry() -> None:
    service = begun()
    service.record(b"x")
    judge = fed(service, Auditor(service.secrets))
    assert judge.entries == 3
    victim = changed(parse(service.record(b"y").data))
    with pytest.raises(InvalidLedger, match="does not authenticate"):
        judge.feed(victim)


def test_looking_ahead_needs_a_signature_of_this_ledger() -> None:
    service = small_service(8, every=4)
    entries = [parse(e.data) for e in service.entries]
    signed = [e for e in entries if signature.is_signature(e)]
    judge = Auditor()
    for entry in entries[:6]:
        judge.feed(changed(entry) if entry.seqno == 4 else entry)
    found = judge.earlier_fault(signed[1])
    assert found is not None
    assert found.seqno == 4
    assert judge.earlier_fault(entries[2]) is None
    other = Service("another")
    other.genesis()
    while other.last < 7:
        other.record(b"x")
    assert judge.earlier_fault(parse(other.sign().data)) is None
