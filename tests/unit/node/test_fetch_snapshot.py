"""Fetching a snapshot, and joining with one."""

from __future__ import annotations

import pytest

from pyccf.codec.text import dump_json
from pyccf.crypto.entropy import SeededEntropy
from pyccf.http.message import Request
from pyccf.kv.tx import Tx
from pyccf.ledger import snapshot
from pyccf.ledger.secrets import LedgerSecret
from pyccf.node import fetch_snapshot
from pyccf.node.fetch_snapshot import BEGAN_HEADER, REDIRECTS_MAX, FetchPlan
from pyccf.node.outputs import Answer, Call, CallFailed
from pyccf.node.restore import judge
from pyccf.service import recovery
from pyccf.service.identity import make_service as make_identity
from pyccf.service.nodes import NodeStatus
from pyccf.types import Json, SeqNo
from support.joining import PRIMARY, Joining, exchange, set_status, write
from support.node import INTERFACE, STARTED, Reply, Service
from support.snapshots import SECRET, content_of, make_service, record, take

PLAN = FetchPlan(attempts_max=3, retry_interval=500)
OTHER = make_identity(entropy=SeededEntropy("other"), not_before=STARTED, days=9)


@pytest.fixture
def service() -> Service:
    made = make_service()
    take(made)
    return made


def joining(service: Service, plan: FetchPlan | None = PLAN) -> Joining:
    return Joining(service.parts.service.cert_pem, fetch=plan)


def serve(service: Service, call: Call) -> Answer:
    session = service.session()
    session.interface = INTERFACE
    path, _, query = call.path.partition("?")
    target = path + (f"?{query}" if query else "")
    raw = service.node.handle(session, Request(call.method, target, dict(call.headers), b""))
    assert raw is not None
    reply = Reply(raw)
    return Answer(reply.status, reply.headers, reply.body)


def fetch(service: Service, joiner: Joining) -> list[Call]:
    """Answer everything until it asks to be let in; what it asked before."""
    asked: list[Call] = []
    for _ in range(200):
        call = joiner.call()
        if call.method == "POST":
            joiner.calls.append(call)
            return asked
        asked.append(call)
        call.reply(serve(service, call))
        joiner.pump()
    raise AssertionError("it never asked to be let in")


def next_call(joiner: Joining) -> Call:
    """The next call, after as much time as it takes."""
    for _ in range(20):
        if joiner.calls:
            return joiner.calls.pop()
        joiner.tick(100)
    raise AssertionError("it asks nothing")


def test_it_joins_from_what_it_fetched(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_snapshot, "RANGE", 10_000)
    joiner = joining(service)
    asked = fetch(service, joiner)
    ((name, data),) = service.snapshots.items()
    assert asked[0].path == "/node/snapshot"
    assert asked[1].path == f"/node/snapshot/{name}"
    assert len(asked) == 2 + (len(data) - 1) // 10_000
    assert joiner.snapshots == {name: data}
    at = snapshot.parse(data).seqno
    joiner.ask(service)
    assert joiner.began == at
    assert joiner.get("/node/state").json["startup_seqno"] == at
    record(service, 2000)
    exchange(service, joiner)
    assert joiner.node.store.committed == service.node.store.committed > at
    assert content_of(joiner.node.store) == content_of(service.node.store)
    assert joiner.node.history.root() == service.node.history.root()
    assert len(joiner.ledger) == len(service.ledger) - at
    assert f"info: This node starts from the snapshot at 2.{at}" in joiner.lines


def test_without_a_snapshot_it_replays_everything() -> None:
    service = make_service()
    joiner = joining(service)
    asked = fetch(service, joiner)
    assert [call.path for call in asked] == ["/node/snapshot"]
    assert "info: No snapshot found: Node will replay all historical transactions" in joiner.lines
    joiner.ask(service)
    exchange(service, joiner)
    assert joiner.began == 0
    assert content_of(joiner.node.store) == content_of(service.node.store)


def test_its_own_is_used_when_there_is_no_newer_one(service: Service) -> None:
    ((name, data),) = service.snapshots.items()
    parsed = snapshot.parse_name(name)
    assert parsed is not None
    cert = service.parts.service.cert_pem
    joiner = Joining(cert, fetch=PLAN, snapshot=judge(data, parsed, cert))
    (asked,) = fetch(service, joiner)
    assert asked.path == f"/node/snapshot?since={parsed.seqno}"
    joiner.ask(service)
    exchange(service, joiner)
    assert joiner.began == parsed.seqno
    assert content_of(joiner.node.store) == content_of(service.node.store)


def test_the_newer_of_two(service: Service) -> None:
    ((name, data),) = service.snapshots.items()
    parsed = snapshot.parse_name(name)
    assert parsed is not None
    cert = service.parts.service.cert_pem
    own = judge(data, parsed, cert)
    newer, _ = take(service)
    joiner = Joining(cert, fetch=PLAN, snapshot=own)
    fetch(service, joiner)
    assert list(joiner.snapshots) == [newer]


def test_it_gives_up_after_so_many_attempts_and_joins_without(service: Service) -> None:
    joiner = joining(service)
    for attempt in (1, 2, 3):
        call = next_call(joiner)
        assert f"info: Fetching snapshot from {PRIMARY} (attempt {attempt}/3)" in joiner.lines
        call.reply(CallFailed("connection refused"))
        joiner.pump()
        joiner.tick(100)
        assert not joiner.calls or joiner.calls[0].method == "POST"
    assert "fail: Exceeded maximum snapshot fetch retries (3), giving up" in joiner.lines
    assert next_call(joiner).method == "POST"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (CallFailed("no route"), "no route"),
        (Answer(500, {}, b""), "answered 500"),
        (Answer(200, {}, b"x"), "answered 200"),
        (Answer(206, {}, b"x"), "another range"),
        (Answer(206, {"content-range": "bytes 0-2/2"}, b"x"), "another range"),
        (Answer(206, {"content-range": "bytes 1-2/2"}, b"x"), "another range"),
        (Answer(206, {"content-range": "bytes 0-2/1"}, b"xy"), "another range"),
        (Answer(206, {"content-range": "bytes 0-0/9"}, b""), "another range"),
        (Answer(206, {"content-range": "bytes 0-1/99999999"}, b"x"), "more than the 1000000 "),
        (Answer(206, {"content-range": "bytes 0-1/1"}, b"x"), "a name that is none"),
        (Answer(308, {}, b""), "no address"),
        (Answer(308, {"location": "http://127.0.0.1:2/node/snapshot/x"}, b""), "no address"),
        (Answer(308, {"location": "https://127.0.0.1/node/snapshot/x"}, b""), "no address"),
        (Answer(308, {"location": "https://127.0.0.1:2/a b\u00e9"}, b""), "no address"),
        (Answer(308, {"location": "https://127.0.0.1:99999/"}, b""), "no address"),
    ],
)
def test_what_is_no_snapshot(service: Service, answer: Answer | CallFailed, why: str) -> None:
    plan = FetchPlan(attempts_max=1, bytes_max=1_000_000)
    joiner = joining(service, plan)
    joiner.reply(answer)
    assert any("Fetching a snapshot failed" in line and why in line for line in joiner.lines)
    assert next_call(joiner).method == "POST"


def test_it_is_not_sent_around_for_ever(service: Service) -> None:
    joiner = joining(service, FetchPlan(attempts_max=1))
    for _ in range(REDIRECTS_MAX + 1):
        call = next_call(joiner)
        assert call.method == "GET"
        call.reply(Answer(308, {"location": f"https://{PRIMARY}/node/snapshot"}, b""))
        joiner.pump()
    assert f"fail: Fetching a snapshot failed: redirected more than {REDIRECTS_MAX} times" in (
        joiner.lines
    )


@pytest.mark.parametrize("at", [100, -900, -10])
def test_a_damaged_one_is_not_taken(service: Service, at: int) -> None:
    ((name, data),) = service.snapshots.items()
    bad = bytearray(data)
    bad[at] ^= 4
    service.snapshots[name] = bytes(bad)
    joiner = joining(service, FetchPlan(attempts_max=1))
    fetch(service, joiner)
    assert joiner.snapshots == {}
    assert any(line.startswith("fail: Fetching a snapshot failed") for line in joiner.lines)
    joiner.ask(service)
    assert joiner.began == 0


def test_one_under_another_name_is_not_taken(service: Service) -> None:
    (data,) = service.snapshots.values()
    service.snapshots.clear()
    service.snapshots["snapshot_500_501.committed"] = data
    joiner = joining(service, FetchPlan(attempts_max=1))
    fetch(service, joiner)
    assert any("its name says 500 and 501" in line for line in joiner.lines)


def test_one_of_another_service_is_not_taken(service: Service) -> None:
    joiner = Joining(OTHER.cert_pem, fetch=FetchPlan(attempts_max=1))
    fetch(service, joiner)
    assert joiner.snapshots == {}
    assert any("not endorsed by the service" in line for line in joiner.lines)


def previously(service: Service, told: Answer | CallFailed) -> Joining:
    """A node that joins another service, which says so of the service before it."""
    joiner = Joining(OTHER.cert_pem, fetch=FetchPlan(attempts_max=1))
    for _ in range(2):
        call = next_call(joiner)
        call.reply(serve(service, call))
        joiner.pump()
    call = next_call(joiner)
    assert (call.method, call.path) == ("GET", "/node/service/previous_identity")
    assert call.ca == OTHER.cert_pem, "it must be the service itself that says so"
    call.reply(told)
    joiner.pump()
    assert next_call(joiner).method == "POST"
    return joiner


def identity(pem: Json) -> Answer:
    return Answer(200, {}, dump_json({"previous_service_identity": pem}))


def test_one_of_the_service_that_was_recovered_is_taken(service: Service) -> None:
    joiner = previously(service, identity(service.parts.service.cert_pem))
    assert joiner.snapshots == service.snapshots


def told_by_the_server(service: Service, digest: str) -> Joining:
    """A node that joins another service, which says that it began with the snapshot it serves."""
    joiner = Joining(OTHER.cert_pem, fetch=FetchPlan(attempts_max=1))
    call = next_call(joiner)
    call.reply(serve(service, call))
    joiner.pump()
    call = next_call(joiner)
    assert call.ca == OTHER.cert_pem, "it must be the service itself that says so"
    answer = serve(service, call)
    call.reply(Answer(answer.status, answer.headers | {BEGAN_HEADER: digest}, answer.body))
    joiner.pump()
    return joiner


def test_one_that_the_server_began_with_is_taken(service: Service) -> None:
    """Whichever service took it: who recovers with it found it recorded in the ledger."""
    (data,) = service.snapshots.values()
    joiner = told_by_the_server(service, snapshot.parse(data).digest.hex())
    assert next_call(joiner).method == "POST"
    assert joiner.snapshots == service.snapshots


@pytest.mark.parametrize("digest", ["", "00" * 32])
def test_of_another_one_the_server_says_nothing(service: Service, digest: str) -> None:
    joiner = told_by_the_server(service, digest)
    assert next_call(joiner).path == "/node/service/previous_identity"
    assert joiner.snapshots == {}


def test_what_the_server_began_with_must_hold_by_itself(service: Service) -> None:
    ((name, data),) = service.snapshots.items()
    bad = data.replace(b'"signature":"', b'"signature":"AA')
    assert bad != data
    service.snapshots[name] = bad
    joiner = told_by_the_server(service, snapshot.parse(data).digest.hex())
    assert next_call(joiner).method == "POST"
    assert joiner.snapshots == {}
    assert any(line.startswith("fail: Fetching a snapshot failed") for line in joiner.lines)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (CallFailed("no route"), "no route"),
        (Answer(404, {}, b"{}"), "not endorsed by the service"),
        (Answer(200, {}, b"no JSON"), "not endorsed by the service"),
        (Answer(200, {}, b"[]"), "not endorsed by the service"),
        (identity(None), "not endorsed by the service"),
        (identity("no certificate"), "not endorsed by the service"),
        (identity(OTHER.cert_pem), "not endorsed by the service"),
    ],
)
def test_nobody_else_vouches_for_one(service: Service, told: Answer | CallFailed, why: str) -> None:
    joiner = previously(service, told)
    assert joiner.snapshots == {}
    assert any("Fetching a snapshot failed" in line and why in line for line in joiner.lines)


def test_a_snapshot_that_its_secret_does_not_open_ends_it(service: Service) -> None:
    joiner = joining(service)
    fetch(service, joiner)
    restorable = joiner.parts.joiner._snapshot
    assert restorable is not None
    restorable.snapshot._body = memoryview(bytearray(restorable.snapshot._body))
    restorable.snapshot._body[-1] ^= 1
    joiner.ask(service)
    assert "cannot be used: The snapshot at" in joiner.stopped
    assert SECRET not in joiner.node.store.maps


def test_a_node_that_started_from_a_snapshot_refuses_who_is_older(service: Service) -> None:
    service.node.startup_seqno = 5
    joiner = joining(service, None)
    assert joiner.ask(service).json["error"]["code"] == "StartupSeqnoIsOld"
    assert "StartupSeqnoIsOld" in joiner.stopped


def test_with_all_entries_but_not_all_secrets_it_refuses_too(service: Service) -> None:
    """Unless nobody has any, while a service is being recovered."""
    service.node.startup_seqno = 5
    service.parts.whole_ledger = True
    assert joining(service, None).ask(service).status == 200
    (secret,) = service.parts.secrets.all()
    service.parts.secrets._secrets = [LedgerSecret(3, secret.key)]
    other = Joining(service.parts.service.cert_pem, name="other", address="127.0.0.1:21")
    assert other.ask(service).json["error"]["code"] == "StartupSeqnoIsOld"
    service.node.state = "PartOfPublicNetwork"
    third = Joining(service.parts.service.cert_pem, name="third", address="127.0.0.1:31")
    assert third.ask(service).status == 200


def test_one_that_was_removed_meanwhile_is_looked_for_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_snapshot, "RANGE", 10_000)
    joiner = joining(service)
    for _ in range(2):
        call = next_call(joiner)
        call.reply(serve(service, call))
        joiner.pump()
    newer, data = take(service)
    service.snapshots.clear()
    service.snapshots[newer] = data
    fetch(service, joiner)
    assert joiner.snapshots == {newer: data}
    assert any("does not have that snapshot any more" in line for line in joiner.lines)


def let_in_without(service: Service) -> tuple[Joining, SeqNo]:
    """A joiner that found no snapshot, and where one is now."""
    kept = dict(service.snapshots)
    service.snapshots.clear()
    joiner = joining(service)
    fetch(service, joiner)
    service.snapshots.update(kept)
    joiner.ask(service)
    assert joiner.began == 0
    return joiner, max(snapshot.parse(data).seqno for data in kept.values())


def let_starve(service: Service, joiner: Joining, base: SeqNo) -> None:
    """Much time, in which nothing up to `base` arrives."""
    for _ in range(300):
        exchange(service, joiner, rounds=1, base=base)
        while joiner.calls:
            call = joiner.calls.pop(0)
            if call.method == "GET":
                call.reply(serve(service, call))
            joiner.pump()


def test_one_that_is_given_nothing_looks_for_a_snapshot(service: Service) -> None:
    """It was let in without one; the primary has not got what is before its own snapshot."""
    joiner, base = let_in_without(service)
    let_starve(service, joiner, base)
    assert joiner.began == base
    assert joiner.node.store.committed == service.node.store.committed > base
    assert content_of(joiner.node.store) == content_of(service.node.store)


def rekey(service: Service, tx: Tx) -> None:
    recovery.broadcast_secret(tx, recovery.new_secret(1, service.entropy), service.entropy)


def lagging(service: Service, rekeys: int = 0) -> tuple[Joining, SeqNo]:
    """A joiner that was given some entries, and where a later snapshot is."""
    service.snapshots.clear()
    other = Joining(service.parts.service.cert_pem, name="other", address="127.0.0.1:12")
    other.ask(service)
    exchange(service, other)
    joiner = joining(service)
    fetch(service, joiner)
    joiner.ask(service)
    exchange(service, joiner)
    assert joiner.node.store.version == service.node.store.version
    for _ in range(rekeys):
        write(service, lambda tx: rekey(service, tx))
        exchange(service, other)
    service.node.snapshots.request()
    record(service, 10)
    exchange(service, other)
    ((name, _),) = service.snapshots.items()
    parsed = snapshot.parse_name(name)
    assert parsed is not None
    assert parsed.seqno > joiner.node.store.version
    return joiner, parsed.seqno


@pytest.mark.parametrize("rekeys", [0, 1, 2])
def test_one_that_lacks_what_nobody_has_begins_anew(service: Service, rekeys: int) -> None:
    """The one who leads now began later; the snapshot tells the ledger secret of then."""
    joiner, base = lagging(service, rekeys)
    let_starve(service, joiner, base)
    assert joiner.began == base
    assert any("it begins anew with" in line for line in joiner.lines)
    assert joiner.node.store.committed == service.node.store.committed > base
    assert content_of(joiner.node.store) == content_of(service.node.store)
    assert joiner.node.history.root() == service.node.history.root()
    assert joiner.get("/node/state").json["startup_seqno"] == base


def test_one_that_cannot_read_the_snapshot_stays_as_it_is(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    joiner, base = lagging(service, 1)
    had = joiner.node.store.version
    monkeypatch.setattr(recovery, "secret_from_rekey", lambda *_: None)
    let_starve(service, joiner, base)
    said = f"fail: The snapshot at {base} cannot be used"
    assert any(line.startswith(said) for line in joiner.lines)
    assert (joiner.began, joiner.node.store.version, joiner.stopped) == (0, had, "")


def test_one_that_was_given_nothing_and_cannot_read_the_snapshot_waits(service: Service) -> None:
    """It may have been taken out again, and a rekey have told the others only."""
    joiner, base = let_in_without(service)
    joiner.parts.secrets.receive((recovery.new_secret(1, service.entropy),))
    let_starve(service, joiner, base)
    assert any("cannot be used: The snapshot at" in line for line in joiner.lines)
    assert (joiner.began, joiner.node.store.version, joiner.stopped) == (0, 0, "")
    assert joiner.snapshots == {}


def test_one_that_is_given_what_it_lacked_meanwhile_goes_on(service: Service) -> None:
    joiner, base = lagging(service)
    for _ in range(300):
        exchange(service, joiner, rounds=1, base=base)
        if any(call.path.startswith("/node/snapshot/") for call in joiner.calls):
            break
        for call in joiner.calls:
            call.reply(serve(service, call))
        joiner.calls.clear()
        joiner.pump()
    (call,) = joiner.calls
    joiner.calls.clear()
    exchange(service, joiner)
    call.reply(serve(service, call))
    joiner.pump()
    let_starve(service, joiner, 0)
    assert (joiner.began, joiner.snapshots) == (0, {})
    assert joiner.ledger == service.ledger


@pytest.mark.parametrize("recorded", [False, True])
def test_one_that_was_removed_while_it_was_given_nothing(service: Service, recorded: bool) -> None:
    service.snapshots.clear()
    other = Joining(service.parts.service.cert_pem, name="other", address="127.0.0.1:12")
    other.ask(service)
    exchange(service, other)
    joiner = joining(service)
    fetch(service, joiner)
    joiner.ask(service)
    if recorded:
        set_status(service, joiner.id, NodeStatus.RETIRED)
        exchange(service, other)
        service.node.snapshots.request()
    else:
        service.node.snapshots.request()
        set_status(service, joiner.id, NodeStatus.RETIRED)
    record(service, 1)
    exchange(service, other)
    ((name, _),) = service.snapshots.items()
    parsed = snapshot.parse_name(name)
    assert parsed is not None
    for _ in range(300):
        joiner.tick(100)
        while joiner.calls:
            call = joiner.calls.pop(0)
            gets = call.method == "GET"
            call.reply(serve(service, call) if gets else CallFailed("nobody is there"))
            joiner.pump()
    assert joiner.node.store.version == parsed.seqno
    details = joiner.get("/node/consensus").json["details"]
    assert details["membership_state"] == "Retired"
    assert details["retirement_phase"] == ("RetiredCommitted" if recorded else "Completed")
    assert joiner.node.retired is recorded
    joiner.tick()
    assert [call.path for call in joiner.calls] == ([] if recorded else ["/node/join"])
    assert sum("This node is retired" in line for line in joiner.lines) == 1
    assert sum("This node was retired" in line for line in joiner.lines) == recorded
