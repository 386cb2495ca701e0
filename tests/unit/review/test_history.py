"""Governance judged again: what was decided follows, and what was made up is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pyccf.apps.js.governance import JsError
from pyccf.attest import amd, virtual
from pyccf.attest.evidence import Format, QuoteInfo
from pyccf.attest.tcb import Product
from pyccf.audit.read import parsed_entries
from pyccf.codec import cbor
from pyccf.codec.text import b64, dump_json, load_json, unb64
from pyccf.constitutions import text
from pyccf.crypto import certs, cosesign
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.kv.changes import UNIT
from pyccf.kv.store import Store
from pyccf.ledger.entry import ParsedEntry, parse
from pyccf.review import history
from pyccf.review.history import Review, Summary
from pyccf.service import tables
from pyccf.types import Json
from support import snp
from support.node import STARTED, Person, Service
from support.transcripts import make_service
from support.vectors import vectors_dir

VERSION = "?api-version=2024-07-01"
FOR = "export function vote() { return true }"


class Consortium:
    """Three members who govern a service in memory."""

    def __init__(self) -> None:
        self.service: Service = make_service(constitution=text("default", "virtual"))
        self.created = STARTED
        for member in self.service.members:
            path = f"/gov/members/state-digests/{member.id}"
            shown = self.post(f"{path}:update", member, "state_digest", None)
            self.post(f"{path}:ack", member, "ack", {"stateDigest": shown["stateDigest"]})

    def post(
        self, path: str, member: Person, kind: str, payload: Any, proposal: str = ""
    ) -> dict[str, Any]:
        self.created += 1
        pairs = [
            (cbor.uint(1), cbor.integer(member.key.public.curve.cose_alg)),
            (cbor.uint(4), cbor.bstr(member.id.encode())),
            (cbor.tstr("ccf.gov.msg.type"), cbor.tstr(kind)),
            (cbor.tstr("ccf.gov.msg.created_at"), cbor.uint(self.created)),
        ]
        if proposal:
            pairs.append((cbor.tstr("ccf.gov.msg.proposal_id"), cbor.tstr(proposal)))
        body = b"" if payload is None else json.dumps(payload).encode()
        signed = cosesign.sign1(member.key, cbor.mapping(pairs), body)
        headers = {"content-type": "application/cose"}
        reply = self.service.call("POST", path + VERSION, signed, headers=headers)
        assert reply.status in (200, 204), reply.body
        return reply.json if reply.body else {}

    def propose(self, name: str, args: Any, by: int = 0) -> str:
        proposal = {"actions": [{"name": name, "args": args}]}
        made = self.post(
            "/gov/members/proposals:create", self.service.members[by], "proposal", proposal
        )
        return str(made["proposalId"])

    def vote(self, ident: str, by: int, ballot: str = FOR) -> str:
        member = self.service.members[by]
        path = f"/gov/members/proposals/{ident}/ballots/{member.id}:submit"
        return str(self.post(path, member, "ballot", {"ballot": ballot}, ident)["proposalState"])

    def withdraw(self, ident: str, by: int = 0) -> None:
        member = self.service.members[by]
        self.post(f"/gov/members/proposals/{ident}:withdraw", member, "withdrawal", None, ident)

    def decide(self, name: str, args: Any) -> str:
        ident = self.propose(name, args)
        for by in (0, 1, 2):
            if self.vote(ident, by) == "Accepted":
                return ident
        raise AssertionError("not accepted")


@pytest.fixture(scope="module")
def story() -> Consortium:
    made = Consortium()
    user = made.service.members[0].cert
    service = made.service.parts.service.cert_pem
    made.decide("set_user", {"cert": user, "user_data": {"n": 1}})
    made.withdraw(made.propose("set_recovery_threshold", {"recovery_threshold": 1}, by=1), by=1)
    rejected = made.propose("remove_member", {"member_id": made.service.members[2].id}, by=2)
    against = "export function vote() { return false }"
    for by in (0, 1):
        made.vote(rejected, by, against)
    made.decide("transition_service_to_open", {"next_service_identity": service})
    made.decide("set_jwt_issuer", {"issuer": "https://example.com", "auto_refresh": False})
    made.decide("trigger_ledger_rekey", None)
    made.decide("set_member_data", {"member_id": made.service.members[1].id, "member_data": [1]})
    made.service.tick()
    return made


def entries(story: Consortium) -> list[ParsedEntry]:
    return [parse(data) for data in story.service.ledger]


def review(found: list[ParsedEntry]) -> Summary:
    judged = Review()
    for entry in found:
        judged.feed(entry)
    return judged.summary()


Maps = dict[str, dict[bytes, bytes | None]]
Change = Callable[[Maps], None]


def forged(story: Consortium, wanted: Callable[[Maps], bool], change: Change) -> Summary:
    """The review of a ledger whose first entry like this was written otherwise, by nodes that
    then signed everything anew."""
    made: list[ParsedEntry] = []
    done = False
    for entry in entries(story):
        maps: Maps = {name: dict(rows) for name, rows in entry.public_maps().items()}
        if not done and wanted(maps):
            change(maps)
            entry._maps = {name: rows for name, rows in maps.items() if rows}
            done = True
        made.append(entry)
    assert done
    return review(made)


def forged_at_the_end(story: Consortium, table: str, key: bytes, value: bytes | None) -> Summary:
    """The review of the ledger with one more write, in place of its last entry."""
    last = entries(story)[-1].public_maps()

    def replace(maps: Maps) -> None:
        maps.clear()
        maps[table] = {key: value}

    return forged(story, lambda maps: maps == last, replace)


def accepts(name: str) -> Callable[[Maps], bool]:
    """The transaction in which a table was written by an accepted proposal."""

    def wanted(maps: Maps) -> bool:
        return name in maps and tables.PROPOSALS_INFO in maps

    return wanted


def row(maps: Maps, name: str, key: bytes | None = None) -> tuple[bytes, Any]:
    at = next(iter(maps[name])) if key is None else key
    return at, load_json(maps[name][at] or b"")


def test_an_honest_history_follows(story: Consortium) -> None:
    found = review(entries(story))
    assert found.findings == []
    assert found.not_judged == []
    assert found.judged > 20
    assert found.ok


def test_nothing_is_found_in_recorded_ledgers() -> None:
    """Governed by other versions, under their constitutions of the time."""
    judged = evidence = 0
    for folder in sorted((vectors_dir() / "ccf" / "ledgers").iterdir()):
        found = review([entry for _, entry in parsed_entries(folder / "ledger")])
        assert found.findings == [], folder.name
        assert {f.reason for f in found.not_judged} <= {
            "signed as an HTTP request, as versions before 4 did",
            "evidence of SGX is not verified any more",
            "the version that let it in recorded no evidence",
        }
        judged += found.judged
        evidence += found.evidence_judged
    assert judged > 100
    assert evidence == 10


def finding(found: Summary) -> tuple[str, str]:
    """The first one; what follows from a forged state may be found too."""
    assert not found.ok
    return found.findings[0].what, found.findings[0].reason


def outcome(maps: Maps, state: str) -> None:
    key, value = row(maps, tables.PROPOSALS_INFO)
    maps[tables.PROPOSALS_INFO][key] = dump_json({**value, "state": state})


def test_an_outcome_that_does_not_follow(story: Consortium) -> None:
    """Accepted with one vote, or rejected in spite of a majority."""

    def first_ballot(maps: Maps) -> bool:
        if tables.PROPOSALS_INFO not in maps:
            return False
        return len(row(maps, tables.PROPOSALS_INFO)[1]["ballots"]) == 1

    what, why = finding(forged(story, first_ballot, lambda maps: outcome(maps, "Accepted")))
    assert (what, "is recorded as Accepted, Open follows" in why) == ("ballot", True)
    what, why = finding(
        forged(story, accepts(tables.USERS_CERTS), lambda maps: outcome(maps, "Rejected"))
    )
    assert (what, "is recorded as Rejected, Accepted follows" in why) == ("ballot", True)


def test_effects_that_do_not_follow(story: Consortium) -> None:
    def other_user(maps: Maps) -> None:
        maps[tables.USERS_CERTS][b"e" * 64] = b"another certificate"

    _, why = finding(forged(story, accepts(tables.USERS_CERTS), other_user))
    assert f"{tables.USERS_CERTS}[{'e' * 64}] was written, which does not follow" in why

    def no_user(maps: Maps) -> None:
        del maps[tables.USERS_CERTS]

    _, why = finding(forged(story, accepts(tables.USERS_CERTS), no_user))
    assert "should have been written" in why

    def other_data(maps: Maps) -> None:
        key, _ = row(maps, tables.USERS_INFO)
        maps[tables.USERS_INFO][key] = b'{"user_data":{"n":2}}'

    _, why = finding(forged(story, accepts(tables.USERS_INFO), other_data))
    assert why.endswith("is not what follows")


def test_signatures_of_members_count(story: Consortium) -> None:
    def spoil(maps: Maps) -> None:
        key, value = row(maps, tables.COSE_HISTORY)
        raw = bytearray(unb64(value))
        raw[-1] ^= 1
        maps[tables.COSE_HISTORY][key] = dump_json(b64(bytes(raw)))

    is_signed = accepts(tables.COSE_HISTORY)
    _, why = finding(forged(story, is_signed, spoil))
    assert "the signature is not that of member" in why

    def other_member(maps: Maps) -> None:
        key, value = row(maps, tables.COSE_HISTORY)
        other = next(m.id.encode() for m in story.service.members if m.id.encode() != key)
        maps[tables.COSE_HISTORY] = {other: dump_json(value)}

    _, why = finding(forged(story, is_signed, other_member))
    assert "names another signer" in why

    def nonsense(maps: Maps) -> None:
        key, _ = row(maps, tables.COSE_HISTORY)
        maps[tables.COSE_HISTORY][key] = b'"AAAA"'

    _, why = finding(forged(story, is_signed, nonsense))
    assert "cannot be read" in why


def test_a_proposal_is_bound_to_its_state(story: Consortium) -> None:
    """A signed proposal cannot be entered again elsewhere under another id."""

    def renamed(maps: Maps) -> None:
        for table in (tables.PROPOSALS, tables.PROPOSALS_INFO):
            ((_, value),) = maps[table].items()
            maps[table] = {b"f" * 64: value}

    _, why = finding(forged(story, accepts(tables.PROPOSALS), renamed))
    assert why == "the proposal's id does not follow from its signature"


@pytest.mark.parametrize(
    ("table", "key", "value", "why"),
    [
        (tables.CONSTITUTION, UNIT, b'"export function validate() {}"', "takes a proposal"),
        (tables.USERS_CERTS, b"u" * 64, b"PEM", "takes a proposal"),
        (tables.MEMBERS_CERTS, b"m" * 64, b"PEM", "takes a proposal"),
        (tables.ENDPOINTS, b"GET /x", b"{}", "takes a proposal"),
        (tables.NODES_INFO, b"n" * 64, b'{"status":"Trusted"}', "trusted without a proposal"),
        (tables.PROPOSALS_INFO, b"p" * 64, b'{"state":"Accepted"}', "takes a proposal"),
        ("public:ccf.gov.unheard.of", b"k", b"v", "takes a proposal"),
        (tables.SERVICE_INFO, UNIT, b'{"status":"Recovering"}', "changed without a proposal"),
    ],
)
def test_what_nobody_signed(
    story: Consortium, table: str, key: bytes, value: bytes, why: str
) -> None:
    """A primary that writes governance tables by itself, and signs the ledger over it."""

    what, reason = finding(forged_at_the_end(story, table, key, value))
    assert what == "change"
    assert reason.endswith(why)


def recorded(story: Consortium, table: str, part: bytes) -> Maps:
    """All that was written where a table was last given a row with this in it."""
    for entry in reversed(entries(story)):
        maps: Maps = {name: dict(rows) for name, rows in entry.public_maps().items()}
        if any(part in (value or b"") for value in maps.get(table, {}).values()):
            return maps
    raise AssertionError(table)


def again(story: Consortium, covering: str) -> Maps:
    """What nodes could record to cover a change that no member wanted."""
    proposal = recorded(story, tables.PROPOSALS, b"set_member_data")
    acks = recorded(story, tables.MEMBERS_ACKS, b"cose_sign1_req")
    member, ack = row(acks, tables.MEMBERS_ACKS)
    envelope = ack["cose_sign1_req"]
    old = {"signed_req": {"sig": [1]}, "state_digest": ack["state_digest"]}
    covers: dict[str, Maps] = {
        "an acknowledgement": {tables.COSE_HISTORY: {member: dump_json(envelope)}},
        "a proposal again": proposal,
        "an old request": {"public:ccf.gov.history": {member: b"{}"}},
        "an old acknowledgement": {tables.MEMBERS_ACKS: {member: dump_json(old)}},
    }
    return covers[covering]


@pytest.mark.parametrize(
    ("covering", "why"),
    [
        ("an acknowledgement", "requests of the kind ack are not recorded there"),
        ("a proposal again", "it fails when it is run again: Proposal ID collision."),
        ("an old request", "in a ledger that is signed with COSE"),
        ("an old acknowledgement", "in a ledger that is signed with COSE"),
    ],
)
def test_what_cannot_be_run_again_covers_nothing(
    story: Consortium, covering: str, why: str
) -> None:
    """Messages that members did sign, or that nobody can judge, beside a user nobody let in."""

    def cover(maps: Maps) -> None:
        maps.clear()
        maps.update(again(story, covering))
        maps[tables.USERS_CERTS] = {b"u" * 64: b"PEM"}

    last = entries(story)[-1].public_maps()
    found = forged(story, lambda maps: maps == last, cover)
    assert finding(found)[1].endswith(why), found
    assert found.not_judged == []


def key_row(issuer: str) -> bytes:
    return dump_json([{"issuer": issuer, "public_key": "AAAA"}])


@pytest.mark.parametrize(
    "change",
    [
        {tables.JWT_KEYS: {b"kid": key_row("https://example.com")}},
        {tables.JWT_KEYS: {b"kid": key_row("https://elsewhere.example")}},
        {tables.JWT_KEYS_V1: {b"kid": key_row("https://elsewhere.example")}},
        {
            tables.JWT_KEY_LEGACY: {b"kid": b"certificate"},
            tables.JWT_KEY_ISSUER_LEGACY: {b"kid": b"https://elsewhere.example"},
        },
    ],
)
def test_keys_of_tokens_that_nobody_asked_for(story: Consortium, change: Maps) -> None:
    """Nodes ask issuers whose keys are to be refreshed, and no others; example.com's are not."""

    def by_itself(maps: Maps) -> None:
        maps.clear()
        maps.update(change)

    def beside(maps: Maps) -> None:
        maps.update(change)

    last = entries(story)[-1].public_maps()
    _, why = finding(forged(story, lambda maps: maps == last, by_itself))
    assert why.startswith("keys of the token issuer 'https://")
    assert why.endswith(" were changed without a proposal")
    _, why = finding(forged(story, accepts(tables.USERS_CERTS), beside))
    assert f"{min(change)} was written, which does not follow" in why


def test_keys_that_nodes_refresh(story: Consortium) -> None:
    def refreshed(maps: Maps) -> None:
        key, value = row(maps, tables.JWT_ISSUERS)
        maps[tables.JWT_ISSUERS][key] = dump_json({**value, "auto_refresh": True})

    last = entries(story)[-1].public_maps()
    made = entries(story)
    for entry in made:
        maps: Maps = {name: dict(rows) for name, rows in entry.public_maps().items()}
        if tables.JWT_ISSUERS in maps:
            refreshed(maps)
        elif entry.public_maps() == last:
            maps = {tables.JWT_KEYS: {b"kid": key_row("https://example.com")}}
        entry._maps = maps
    found = review(made)
    assert [one.what for one in found.findings] == ["ballot"]  # who made the issuer refresh


def test_scripts_end_however_long_the_ledger_lets_them_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who wrote a ledger also wrote the limits into it."""
    monkeypatch.setattr(history, "SCRIPT_MS_MAX", 200)
    names = ("max_heap_bytes", "max_stack_bytes", "max_execution_time_ms")
    options: Maps = {tables.JS_RUNTIME_OPTIONS: {UNIT: dump_json(dict.fromkeys(names, 1 << 50))}}
    store = Store(view=1)
    store.apply(1, options)
    endless = "export function vote() { for (;;) {} }"
    for within_ms in (0, 1 << 50):
        with pytest.raises(JsError) as caught:
            history._run(
                endless, "b", "vote", [], tx=store.tx(), access="GOV_RO", within_ms=within_ms
            )
        assert caught.value.timed_out


def test_a_member_whose_certificate_cannot_be_read(story: Consortium) -> None:
    def spoil(maps: Maps) -> None:
        for key in maps[tables.MEMBERS_CERTS]:
            maps[tables.MEMBERS_CERTS][key] = b"\xff"

    found = forged(story, lambda maps: tables.MEMBERS_CERTS in maps, spoil)
    assert "whose certificate cannot be read" in finding(found)[1]


@pytest.mark.parametrize("status", ["Opening", "Recovering"])
def test_a_service_begins_with_an_identity_of_its_own(story: Consortium, status: str) -> None:
    """What looks like a recovery under the same identity is no way around the members."""
    before = parse(story.service.ledger[0]).public_maps()[tables.SERVICE_INFO][UNIT]
    info = load_json(before or b"")
    assert isinstance(info, dict)

    def begins(maps: Maps) -> None:
        maps.clear()
        maps[tables.SERVICE_INFO] = {UNIT: dump_json({**info, "status": status})}
        maps[tables.USERS_CERTS] = {b"u" * 64: b"PEM"}

    last = entries(story)[-1].public_maps()
    what, why = finding(forged(story, lambda maps: maps == last, begins))
    assert what == "change"
    assert "proposal" in why


def another_service() -> str:
    """The certificate of a service that this one is not."""
    entropy = SeededEntropy("another")
    key = PrivateKey.generate(Curve.P384, entropy)
    return certs.self_signed(key, "CN=CCF Service", not_before=STARTED, days=9, entropy=entropy)


def test_opening_a_service_does_not_change_its_identity(story: Consortium) -> None:
    def opens(maps: Maps) -> bool:
        return tables.SERVICE_INFO in maps and tables.COSE_HISTORY in maps

    def other(maps: Maps) -> None:
        _, value = row(maps, tables.SERVICE_INFO)
        maps[tables.SERVICE_INFO][UNIT] = dump_json({**value, "cert": another_service()})

    _, why = finding(forged(story, opens, other))
    assert why.endswith("has another identity, which does not follow")


def test_a_recovery_changes_the_nodes_and_nothing_else(story: Consortium) -> None:
    """Who has the files can always begin one; members only accept that the service goes on."""
    first = parse(story.service.ledger[0]).public_maps()
    info = load_json(first[tables.SERVICE_INFO][UNIT] or b"")
    assert isinstance(info, dict)
    service = {**info, "cert": another_service(), "status": "Recovering"}
    last = entries(story)[-1].public_maps()

    def recovered(table: str) -> Summary:
        def recover(maps: Maps) -> None:
            maps.clear()
            for name in (tables.NODES_INFO, tables.VIRTUAL_MEASUREMENTS):
                maps[name] = dict(first[name])
            maps[tables.PREVIOUS_SERVICE_IDENTITY] = {UNIT: dump_json(info["cert"])}
            maps[table] = {b"u" * 64: b"PEM"}
            maps[tables.SERVICE_INFO] = {UNIT: dump_json(service)}

        return forged(story, lambda maps: maps == last, recover)

    assert recovered(tables.SERVICE_INFO).ok
    for table in (tables.MEMBERS_CERTS, tables.CONSTITUTION, tables.JWT_ISSUERS):
        why = finding(recovered(table))[1]
        assert why == f"{table} was changed by a recovery, which takes a proposal"


def test_nodes_live_without_proposals(story: Consortium) -> None:
    """Joining and being forgotten after retirement is nobody's decision; changing is."""
    node = story.service.node.node_id.encode()
    rows = dict(parse(story.service.ledger[0]).public_maps()[tables.NODES_INFO])
    mine = load_json(rows[node] or b"")
    assert isinstance(mine, dict)
    cases: list[tuple[bytes, bytes | None, str]] = [
        (*newcomer(story, status="Pending"), ""),
        (node, dump_json({**mine, "retired_committed": True}), ""),
        (node, dump_json({**mine, "public_key": "another"}), "changed without a proposal"),
        (node, dump_json({**mine, "status": "Retired"}), "retired without a proposal"),
        (node, None, "removed without being retired"),
    ]
    for key, value, why in cases:
        found = forged_at_the_end(story, tables.NODES_INFO, key, value)
        assert found.ok == (not why)
        if why:
            assert finding(found)[1].endswith(why)


def newcomer(story: Consortium, **changed: Any) -> tuple[bytes, bytes]:
    """The row of a node that asks to join, with what members trust."""
    key = PrivateKey.generate(Curve.P384, SeededEntropy("newcomer")).public
    first = parse(story.service.ledger[0]).public_maps()
    (host_data,) = first[tables.VIRTUAL_HOST_DATA]
    row = {
        "status": "Trusted",
        "public_key": key.pem(),
        "quote_info": virtual.make(host_data.decode(), key.der).to_json(),
    }
    return key.id.encode(), dump_json({**row, **changed})


def quote(**changed: str) -> dict[str, Json]:
    """Virtual evidence that says something else."""
    made = load_json(virtual.make("cd" * 32, b"another key").quote)
    assert isinstance(made, dict)
    return QuoteInfo(Format.VIRTUAL, dump_json({**made, **changed})).to_json()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"quote_info": quote()}, "Quote host data is not authorised"),
        ({"quote_info": None}, "Quote information is not an object"),
        ({"quote_info": {"format": "Insecure_Virtual"}}, "Member quote of quote information"),
        ({"quote_info": {**quote(), "quote": "e30="}}, "Quote could not be verified (Virtual"),
        ({"quote_info": QuoteInfo(Format.SGX, b"x").to_json()}, "evidence of SGX is not verified"),
        ({"quote_info": QuoteInfo(Format.VIRTUAL, b"").to_json()}, "the version that let it in"),
        ({"public_key": "none"}, "its row has no key that can be read"),
        ({"public_key": None}, "its row has no key that can be read"),
    ],
)
def test_a_node_whose_evidence_nobody_trusted(
    story: Consortium, changed: dict[str, Json], why: str
) -> None:
    """Let in by nodes that did not look, or by one that lied."""
    key, value = newcomer(story, status="Pending", **changed)
    found = forged_at_the_end(story, tables.NODES_INFO, key, value)
    (one,) = found.findings
    assert (one.what, one.subject) == ("evidence", key.decode())
    assert one.reason.startswith(why)
    assert found.evidence_judged == 1, "that of the first node"


def test_evidence_for_another_key_or_another_program(story: Consortium) -> None:
    (host_data,) = parse(story.service.ledger[0]).public_maps()[tables.VIRTUAL_HOST_DATA]
    for changed, why in (
        ({"host_data": host_data.decode()}, "Quote report data does not contain node's public key"),
        ({"host_data": host_data.decode(), "measurement": "x"}, "Quote does not contain known"),
    ):
        key, value = newcomer(story, status="Pending", quote_info=quote(**changed))
        (one,) = forged_at_the_end(story, tables.NODES_INFO, key, value).findings
        assert one.reason.startswith(why)
    _, value = newcomer(story, status="Pending")
    (one,) = forged_at_the_end(story, tables.NODES_INFO, b"n" * 64, value).findings
    assert one.reason == "the key in its row is not that of its id"


def test_evidence_of_real_hardware(story: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    """What members trust is in the tables; when none says a least version, that is told."""
    for product, pem in snp.roots().items():
        monkeypatch.setitem(amd.ROOT_KEYS, product, pem)
    key = PrivateKey.generate(Curve.P384, SeededEntropy("newcomer")).public
    evidence = snp.evidence(key_der=key.der)
    trusted: Maps = {
        tables.SNP_HOST_DATA: {snp.HOST_DATA.encode(): b'"me"'},
        tables.SNP_MEASUREMENTS: {snp.MEASUREMENT.encode(): b'"AllowedToJoin"'},
    }
    row = {"status": "Trusted", "public_key": key.pem(), "quote_info": evidence.to_json()}

    def joins(maps: Maps, row: dict[str, Json]) -> Summary:
        """With a first node on that hardware, which brings what is trusted."""

        def on_hardware(first: Maps) -> None:
            first.update(maps)
            first[tables.NODES_INFO] = {key.id.encode(): dump_json(row)}

        return forged(story, lambda maps: tables.SERVICE_INFO in maps, on_hardware)

    found = joins(trusted, row)
    assert found.evidence_judged == 0
    assert [(f.what, f.reason) for f in found.not_judged if f.what == "evidence"] == [
        ("evidence", "members of its time set no minimum TCB version")
    ]
    cpuid = snp.CPUID_HEX[Product.MILAN].encode()
    levels = {tables.SNP_TCB_VERSIONS: {cpuid: dump_json(dict(snp.levels(Product.MILAN)))}}
    assert joins({**trusted, **levels}, row).evidence_judged == 1
    bad = bytearray(evidence.quote)
    bad[0x90] ^= 1
    changed = QuoteInfo(Format.SNP, bytes(bad), evidence.endorsements).to_json()
    found = joins({**trusted, **levels}, {**row, "quote_info": changed})
    (why,) = [f.reason for f in found.findings if f.what == "evidence"]
    assert why.startswith("Quote could not be verified (")


def test_acknowledgements(story: Consortium) -> None:
    def is_ack(maps: Maps) -> bool:
        return tables.MEMBERS_ACKS in maps and tables.MEMBERS_INFO in maps and len(maps) == 2

    def another_too(maps: Maps) -> None:
        maps[tables.MEMBERS_INFO][b"x" * 64] = b'{"status":"Active"}'

    what, why = finding(forged(story, is_ack, another_too))
    assert (what, why) == ("ack", f"an acknowledgement changed {tables.MEMBERS_INFO}")


def test_several_signed_messages_in_one_transaction(story: Consortium) -> None:
    def is_ack(maps: Maps) -> bool:
        return tables.MEMBERS_ACKS in maps and tables.MEMBERS_INFO in maps and len(maps) == 2

    def two_acks(maps: Maps) -> None:
        _, value = row(maps, tables.MEMBERS_ACKS)
        maps[tables.MEMBERS_ACKS][b"x" * 64] = dump_json(value)

    assert finding(forged(story, is_ack, two_acks)) == (
        "ack",
        "2 acknowledgements in one transaction",
    )

    def two_requests(maps: Maps) -> None:
        _, value = row(maps, tables.COSE_HISTORY)
        maps[tables.COSE_HISTORY][b"x" * 64] = dump_json(value)

    _, why = finding(forged(story, accepts(tables.COSE_HISTORY), two_requests))
    assert why == "2 members' requests in one transaction"


def test_findings_are_counted_beyond_those_kept(
    story: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyccf.review import history as module

    monkeypatch.setattr(module, "FINDINGS_MAX", 1)
    found = forged(story, accepts(tables.PROPOSALS), lambda maps: maps.pop(tables.PROPOSALS_INFO))
    assert len(found.findings) == 1
    assert found.findings_count > 1
