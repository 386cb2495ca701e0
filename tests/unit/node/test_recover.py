"""Services recovered from their ledgers, in memory."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest

from pyccf.codec.text import dump_json
from pyccf.consensus.raft.messages import AppendEntries
from pyccf.crypto import shares
from pyccf.crypto.certs import pem_to_der
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.kv import wire
from pyccf.kv.changes import UNIT, Changes
from pyccf.ledger.entry import (
    FORMAT_VERSION,
    HEADER_SIZE,
    PREFIX_SIZE,
    encode_public_header,
    parse,
)
from pyccf.ledger.signature import is_signature
from pyccf.ledger.snapshot import parse_name
from pyccf.node.outputs import Channel
from pyccf.node.restore import Restorable, judge, judge_by_itself
from pyccf.service.tables import (
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    PREVIOUS_SERVICE_IDENTITY,
    get_raw,
    objects,
)
from support.joining import Joining, exchange
from support.node import INTERFACE, Reply, Service
from support.recovering import Consortium, Recovered
from support.snapshots import claim
from support.transcripts import Client, Replay, make_service

PRIVATE = "secrets"
PUBLIC = "public:open"


def put(service: Service, key: str, value: str) -> None:
    tx = service.node.store.tx()
    for name in (PRIVATE, PUBLIC):
        tx.map(name).set(key.encode(), value.encode())
    service.node.commit(tx)


def state(service: Service, names: Iterable[str] = (PRIVATE, PUBLIC)) -> dict[str, Any]:
    """Content of maps, with the seqnos of their last writes."""
    maps = service.node.store.maps
    return {
        name: {key: (pair.value, pair.version) for key, pair in maps[name].data.items()}
        for name in names
        if name in maps
    }


def newest(snapshots: dict[str, bytes]) -> tuple[str, bytes]:
    """Name and content of the last snapshot."""
    return list(snapshots.items())[-1]


class Former:
    """A service of three members that was used and is gone; nobody changes it."""

    def __init__(self) -> None:
        service = make_service()
        service.tick()
        replay = Replay(service, {})
        for i in range(3):
            signed = replay.sign(f"member{i}", "state_digest", None)
            member = service.members[i].id
            path = f"/gov/members/state-digests/{member}"
            digest = replay.post(f"{path}:update?api-version=2024-07-01", signed)["stateDigest"]
            body = replay.sign(f"member{i}", "ack", {"stateDigest": digest})
            replay.post(f"{path}:ack?api-version=2024-07-01", body, 204)
            service.tick()
        self.identity = service.parts.service.cert_pem
        replay.govern(
            {
                "name": "transition_service_to_open",
                "args": {"next_service_identity": self.identity},
            },
        )
        replay.govern({"name": "set_recovery_threshold", "args": {"recovery_threshold": 2}})
        service.tick()
        put(service, "a", "the first value")
        service.tick()
        replay.govern({"name": "trigger_snapshot", "args": None})
        for _ in range(4):
            service.tick()
        self.claimed = claim(
            service, newest(service.snapshots)[1], b"the first value", b"not the  value!"
        )
        """A snapshot that a user made up."""
        put(service, "b", "two")
        replay.govern({"name": "trigger_ledger_rekey", "args": None})
        put(service, "a", "three")
        service.tick()
        self.ledger = tuple(service.ledger)
        self.snapshots = dict(service.snapshots)
        self.state = state(service)
        self.members = [
            (Client(member.key, member.cert), key)
            for member, key in zip(service.members, service.member_keys, strict=True)
        ]

    def consortium(self, service: Service) -> Consortium:
        return Consortium(service, list(self.members))


@cache
def former() -> Former:
    return Former()


def revive(service: Recovered) -> Consortium:
    consortium = former().consortium(service)
    service.tick()
    consortium.accept(former().identity, service.identity)
    consortium.restore()
    return consortium


def opened(service: Recovered) -> bool:
    return service.state == "PartOfNetwork" and service.node.app_open


def test_everything_is_there_again() -> None:
    service = Recovered(former().ledger, former().identity)
    assert service.state == "PartOfPublicNetwork"
    assert service.recovery_from == len(former().ledger)
    assert state(service) == {PUBLIC: former().state[PUBLIC]}
    revive(service)
    assert opened(service), service.lines
    assert service.recovery_from is None
    assert state(service) == former().state
    put(service, "c", "four")
    service.tick()
    assert service.node.store.read_committed(PRIVATE, b"c") == b"four"


def signatures() -> list[int]:
    """Seqnos of the former service's signatures."""
    return [n for n, data in enumerate(former().ledger, 1) if is_signature(parse(data))]


def test_entries_after_the_last_signature_do_not_count() -> None:
    *_, before, last = signatures()
    service = Recovered(former().ledger[: last - 1], former().identity)
    assert service.recovery_from == before
    beyond = last - 1 - before
    if beyond:
        assert f"{beyond} entries after the last signature do not count" in service.lines
    revive(service)
    assert opened(service)


@pytest.mark.parametrize("at", [8, 30, 50, 120, -1])
def test_a_damaged_entry_ends_the_ledger_at_the_signature_before(at: int) -> None:
    ledger = list(former().ledger)
    seqno = next(n for n in range(len(ledger) // 2, len(ledger)) if n not in signatures())
    damaged = bytearray(ledger[seqno - 1])
    damaged[at] ^= 1
    ledger[seqno - 1] = bytes(damaged)
    service = Recovered(ledger, former().identity)
    before = max(n for n in signatures() if n < seqno)
    assert service.recovery_from == before
    assert any("is not valid" in line for line in service.lines)
    assert service.ledger[:before] == ledger[:before]


def test_what_is_no_ledger_of_the_service_is_refused() -> None:
    other = Service(seed=9)
    for ledger, words in (
        (other.ledger, "give its certificate in that file; if not, ledger.directory is"),
        ([], "pyccf recover inspect"),
        (former().ledger[:1], "no signature was found"),
        (former().ledger[1:], "There is no ledger to recover"),
    ):
        service = Recovered(ledger, former().identity)
        assert words in service.stopped
        assert service.ledger == list(ledger), "nothing was changed"
        assert service.recovery_from is None


def test_a_snapshot_spares_reading_what_is_before_it() -> None:
    assert former().snapshots
    for name, data in former().snapshots.items():
        parsed = parse_name(name)
        assert parsed is not None
        found = judge(data, parsed, former().identity)
        ledger = [b"unread"] * found.seqno + list(former().ledger[found.seqno :])
        service = Recovered(ledger, former().identity, snapshot=found)
        assert service.state == "PartOfPublicNetwork", service.lines
        assert service.call("GET", "/node/state").json["startup_seqno"] == found.seqno
        assert state(service) == {PUBLIC: former().state[PUBLIC]}
        service.ledger[: found.seqno] = former().ledger[: found.seqno]
        revive(service)
        assert opened(service), service.lines
        assert state(service) == former().state


def judged(name: str, data: bytes) -> Restorable:
    parsed = parse_name(name)
    assert parsed is not None
    return judge(data, parsed, former().identity)


def test_a_snapshot_may_be_all_that_is_left() -> None:
    """Not even its evidence is in the ledger."""
    found = judged(*newest(former().snapshots))
    service = Recovered([b"unread"] * found.seqno, former().identity, snapshot=found)
    assert service.recovery_from == found.seqno
    revive(service)
    assert opened(service), service.lines
    rows = {key: value for key, (value, _) in state(service)[PRIVATE].items()}
    assert rows == {b"a": b"the first value"}


def test_a_snapshot_that_the_ledger_does_not_record_is_refused() -> None:
    service = Recovered(former().ledger, former().identity, snapshot=judged(*former().claimed))
    assert "does not record the snapshot" in service.stopped
    assert service.recovery_from is None, "nothing was changed"
    assert service.ledger == list(former().ledger)


def by_itself(name: str, data: bytes) -> Restorable:
    parsed = parse_name(name)
    assert parsed is not None
    return judge_by_itself(data, parsed)


def test_a_snapshot_of_an_earlier_service_must_be_in_the_ledger() -> None:
    """Whoever vouches for it: the ledger that goes on with it is the present service's."""
    first = Recovered(former().ledger, former().identity)
    revive(first)
    found = by_itself(*newest(former().snapshots))
    ledger = [b"unread"] * found.seqno + first.ledger[found.seqno :]
    second = Recovered(ledger, first.identity, seed=200, snapshot=found)
    assert second.recovery_from == len(first.ledger), second.lines
    second.tick()
    consortium = former().consortium(second)
    consortium.accept(first.identity, second.identity)
    consortium.restore()
    assert opened(second), second.lines
    assert state(second) == former().state
    # The same without the entry that records it, or made up.
    name = parse_name(newest(former().snapshots)[0])
    assert name is not None
    for entries, snapshot, identity in (
        (ledger[: name.evidence - 1], by_itself(*newest(former().snapshots)), former().identity),
        (first.ledger, by_itself(*former().claimed), first.identity),
    ):
        refused = Recovered(entries, identity, seed=300, snapshot=snapshot)
        assert "does not record the snapshot" in refused.stopped
        assert refused.recovery_from is None


def unsigned(seqno: int, view: int, rows: Changes) -> bytes:
    """A public entry as anybody can make one."""
    domain = encode_public_header(seqno, bytes(32), bytes(32)) + wire.encode(rows)[0]
    word = FORMAT_VERSION | (PREFIX_SIZE - HEADER_SIZE + len(domain)) << 16
    return struct.pack("<Q16sQIQ", word, bytes(16), seqno, view, len(domain)) + domain


def test_an_entry_that_nobody_signed_does_not_say_that_a_record_was_lost() -> None:
    name, data = newest(former().snapshots)
    parsed = parse_name(name)
    assert parsed is not None
    before = list(former().ledger[: parsed.evidence - 1])
    view = parse(before[-1]).view
    rows: Changes = {PREVIOUS_SERVICE_IDENTITY: {UNIT: dump_json(former().identity)}}
    before.append(unsigned(parsed.evidence, view, rows))
    refused = Recovered(before, former().identity, snapshot=by_itself(name, data))
    assert "does not record the snapshot" in refused.stopped


def test_the_record_of_a_snapshot_may_be_lost_with_its_service() -> None:
    """The ledger says who came after it, and has other entries where the record was."""
    made = newest(former().snapshots)
    found = judged(*made)
    first = Recovered([b"unread"] * found.seqno, former().identity, snapshot=found)
    revive(first)
    put(first, "c", "three")
    first.tick()
    name = parse_name(made[0])
    assert name is not None
    assert len(first.ledger) > name.evidence
    second = Recovered(first.ledger, first.identity, seed=200, snapshot=by_itself(*made))
    assert not second.stopped, second.lines
    second.tick()
    consortium = former().consortium(second)
    consortium.accept(first.identity, second.identity)
    consortium.restore()
    assert opened(second), second.lines
    assert state(second) == state(first)
    third = Recovered(first.ledger, first.identity, seed=300, snapshot=by_itself(*former().claimed))
    third.tick()
    consortium = former().consortium(third)
    consortium.accept(first.identity, third.identity)
    consortium.restore()
    assert "did not record it" in third.stopped


def test_a_snapshot_whose_record_is_lost_is_judged_with_the_secrets() -> None:
    found = judged(*former().claimed)
    ledger = [b"unread"] * found.seqno
    service = Recovered(ledger, former().identity, snapshot=found)
    assert service.state == "PartOfPublicNetwork"
    revive(service)
    assert "which its receipt is of, did not record it" in service.stopped
    assert PRIVATE not in service.node.store.maps


def test_wrong_shares_are_forgotten_and_the_members_start_over() -> None:
    service = Recovered(former().ledger, former().identity)
    service.tick()
    consortium = former().consortium(service)
    early = consortium.submit(0, b"x" * 44, 403)
    assert early["error"]["code"] == "ServiceNotWaitingForRecoveryShares"  # type: ignore[index]
    consortium.accept(former().identity, service.identity)
    good = consortium.share(0)
    assert consortium.submit(0, good)["message"] == "1/2 recovery shares successfully submitted"
    # The same member again is still one share.
    assert consortium.submit(0, good)["submittedCount"] == 1
    for bad in (b"\x07" * 44, b"short", good, b"\xff" * 44):
        failed = consortium.submit(1, bad, 500)
        assert failed["error"]["message"] == "Failed to initiate private recovery."  # type: ignore[index]
        assert any("Failed to initiate private recovery: The shares" in x for x in service.lines)
        assert consortium.submit(0, good)["submittedCount"] == 1, "all were forgotten"
    assert consortium.submit(2, consortium.share(2))["submittedCount"] == 2
    for _ in range(4):
        service.tick()
    assert opened(service)


def test_shares_of_another_service_open_nothing() -> None:
    """A service recovered twice: its second life issued other shares than its first."""
    first = Recovered(former().ledger, former().identity)
    revive(first)
    second = Recovered(first.ledger, first.identity, seed=200)
    second.tick()
    old = Recovered(former().ledger, former().identity, seed=300)
    consortium = former().consortium(second)
    consortium.accept(first.identity, second.identity)
    stale = former().consortium(old)
    consortium.submit(0, stale.share(0))
    consortium.submit(1, stale.share(1), 500)
    consortium.restore()
    assert opened(second), second.lines
    assert state(second) == former().state


@pytest.mark.parametrize(
    ("action", "args", "accepted"),
    [
        ("set_recovery_threshold", {"recovery_threshold": 1}, False),
        ("trigger_recovery_shares_refresh", None, False),
        ("trigger_recovery_shares_refresh", None, True),
    ],
)
def test_shares_that_open_the_ledger_are_not_replaced(
    action: str, args: object, accepted: bool
) -> None:
    service = Recovered(former().ledger, former().identity)
    service.tick()
    consortium = former().consortium(service)
    if accepted:
        consortium.accept(former().identity, service.identity)
    with pytest.raises(AssertionError, match="The shares there are open the ledger that is being"):
        consortium.decide(action, args)
    if not accepted:
        consortium.accept(former().identity, service.identity)
    consortium.restore()
    assert opened(service), service.lines
    assert state(service) == former().state
    again = consortium.decide("set_recovery_threshold", {"recovery_threshold": 3})
    assert again["proposalState"] == "Accepted"


def test_a_node_that_reads_the_former_ledger_tells_the_nodes_in_it_nothing() -> None:
    service = Recovered(former().ledger, former().identity)
    joiner = Joining(service.identity)
    assert joiner.ask(service).status == 200
    upto = signatures()[3]
    append = AppendEntries(4, 0, upto, 0, 0, 2).encode() + b"".join(service.ledger[:upto])
    joiner.node.receive(service.node.node_id, Channel.CONSENSUS, append)
    joiner.pump()
    assert joiner.node.store.version == upto
    tx = joiner.node.store.tx()
    ((old, row),) = objects(tx, NODES_INFO)
    assert row["status"] == "Trusted"
    pem = get_raw(tx, NODES_ENDORSED_CERTIFICATES, old)
    assert pem is not None
    session = Session(1, INTERFACE, pem_to_der(pem))
    body = Joining(service.identity).call().body
    answer = joiner.node.handle(session, Request("POST", "/node/join", {}, body))
    assert answer is not None
    assert b"priv_key" not in answer
    assert Reply(answer).status == 500, "it does not even know where the primary is"
    exchange(service, joiner)
    assert joiner.node.store.version == service.node.store.version
    answer = joiner.node.handle(session, Request("POST", "/node/join", {}, body))
    assert answer is not None
    assert b"(RETIRED)" in answer


def test_a_full_key_is_enough_alone() -> None:
    service = Recovered(former().ledger, former().identity)
    service.tick()
    consortium = former().consortium(service)
    consortium.accept(former().identity, service.identity)
    limbs = shares.combine([consortium.share(0), consortium.share(1)], 2)
    told = consortium.submit(2, limbs.full_share())
    assert told["fullKeySubmitted"] is True
    assert str(told["message"]).startswith("Full recovery key successfully submitted\nEnd")
    for _ in range(3):
        service.tick()
    assert opened(service)


def test_again_and_again() -> None:
    ledger, identity = list(former().ledger), former().identity
    for number in range(3):
        service = Recovered(ledger, identity, seed=400 + number)
        consortium = former().consortium(service)
        service.tick()
        consortium.accept(identity, service.identity)
        consortium.restore()
        assert opened(service), service.lines
        assert service.call("GET", "/node/network").json["recovery_count"] == number + 1
        put(service, f"life{number}", "x")
        service.tick()
        ledger, identity = list(service.ledger), service.identity
    rows = state(service)[PRIVATE]
    assert {k: v for k, v in rows.items() if b"life" not in k} == former().state[PRIVATE]
    assert len(rows) == len(former().state[PRIVATE]) + 3
