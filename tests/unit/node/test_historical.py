"""The past of a hand-made ledger: found, verified, shared and bounded."""

from __future__ import annotations

import pytest

from pyccf.codec.text import b64, dump_json
from pyccf.crypto import aead, certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.errors import InvalidLedger, LocalError, PyccfError, StorageError, Unavailable
from pyccf.kv.changes import UNIT
from pyccf.ledger import receipt
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.node.historical import cache
from pyccf.node.historical import resolve as resolving
from pyccf.service import tables
from pyccf.types import TxID
from support.ledgers import Service, small_service
from support.past import Past


def past_of(service: Service, secrets: LedgerSecrets | None = None, **options: object) -> Past:
    entries = [entry.data for entry in service.entries]
    return Past(entries, secrets or service.secrets, **options)  # type: ignore[arg-type]


def test_states_of_a_ledger_nobody_saw_pass_by() -> None:
    service = small_service()
    past = past_of(service)
    for entry in service.entries:
        (state,) = past.states([entry.seqno], ("app", entry.seqno))
        assert state.txid == TxID(2, entry.seqno)
        assert state.is_signature == entry.committable
        proven = receipt.verify_json_receipt(state.receipt, service.identity.service_cert)
        assert proven.txid == (None if state.is_signature else state.txid)
    assert not past.logs


def test_a_range_reads_each_entry_once() -> None:
    service = small_service(40)
    past = past_of(service)
    first = past.states(range(1, service.last + 1))
    asked = list(past.read_in_all)
    read = [n for first, last in asked for n in range(first, last + 1)]
    assert len(set(read)) == service.last
    # Another handle, sparse: everything is here already.
    again = past.states([3, 7, 11], ("app", 2))
    assert [s.txid.seqno for s in again] == [3, 7, 11]
    assert again[0] is first[2]
    assert past.read_in_all == asked


def test_what_was_seen_signed_is_found_without_a_search() -> None:
    service = small_service()
    past = past_of(service)
    for entry in service.entries:
        if entry.committable:
            past.historical.signed(entry.seqno)
    past.states([5])
    assert past.read_in_all == [(5, 8)]


def test_a_signature_known_but_of_later_entries_is_not_used() -> None:
    service = small_service(24)
    past = past_of(service)
    last = max(e.seqno for e in service.entries if e.committable)
    past.historical.signed(last)
    (state,) = past.states([4])
    receipt.verify_json_receipt(state.receipt, service.identity.service_cert)


@pytest.mark.parametrize("at", [3, 5])
def test_a_changed_entry_is_refused_and_named(at: int) -> None:
    service = small_service()
    past = past_of(service)
    data = bytearray(past.entries[at - 1])
    data[-1] ^= 1
    past.entries[at - 1] = bytes(data)
    with pytest.raises(InvalidLedger):
        past.states([at])
    assert f"Historical transaction {at}:" in past.logs[0]
    # Its neighbours are as good as before.
    assert past.states([at + 1], ("app", 2))


def test_a_changed_signature_is_refused() -> None:
    service = small_service()
    past = past_of(service)
    seqno = next(e.seqno for e in service.entries if e.committable and e.seqno > 3)
    for at in range(60, len(past.entries[seqno - 1]), 97):
        data = bytearray(service.entries[seqno - 1].data)
        data[at] ^= 1
        past.entries[seqno - 1] = bytes(data)
        with pytest.raises(InvalidLedger):
            past.states([seqno], ("app", at))
        past.tick(cache.AGAIN_MS + 1)
        past.historical.drop(("app", at))


def test_entries_of_another_service_are_refused() -> None:
    ours, theirs = small_service(), Service("another")
    theirs.genesis()
    theirs.record(b"forged")
    theirs.sign()
    past = past_of(ours)
    past.entries[:3] = [e.data for e in theirs.entries]
    with pytest.raises(InvalidLedger, match="no service of this ledger endorsed"):
        past.states([2])


def test_a_missing_entry_is_not_asked_for_again_at_once() -> None:
    service = small_service()
    past = past_of(service)
    kept, past.entries = past.entries, past.entries[:2]
    got: list[PyccfError | None] = []
    assert past.historical.request(("app", 1), [5]) is None
    past.historical.when([5], got.append)
    past.settle()
    assert isinstance(got[0], Unavailable)
    assert "not in the ledger directories" in got[0].message
    count = len(past.read_in_all)
    for _ in range(20):
        assert past.historical.request(("app", 1), [5]) is None
        past.settle()
    assert len(past.read_in_all) == count
    past.entries = kept
    past.tick(cache.AGAIN_MS)
    assert past.states([5])


def test_what_is_missing_is_not_looked_for_unless_somebody_asks() -> None:
    past = past_of(small_service(60))
    kept, past.entries = past.entries, []
    for seqno in range(1, 41):
        assert past.historical.request(("app", seqno), [seqno]) is None
    past.settle()
    count = len(past.read_in_all)
    assert len(past.logs) == 1, "strangers cannot fill the log"
    for _ in range(20):
        past.tick(cache.AGAIN_MS)
        past.settle()
    assert len(past.read_in_all) == count
    past.entries = kept
    assert past.states([5], ("app", 5))
    assert past.states(range(1, 20), ("app", 5))


def test_handles_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "HANDLES_MAX", 10)
    past = past_of(small_service(60))
    past.entries = []
    for seqno in range(1, 41):
        past.historical.request(("app", seqno), [seqno])
    assert [seqno for seqno in range(1, 41) if past.historical.holds(("app", seqno))] == list(
        range(31, 41)
    )


def test_a_file_that_cannot_be_read_is_told() -> None:
    past = past_of(small_service())
    got: list[PyccfError | None] = []
    assert past.historical.request(("app", 1), [5]) is None
    past.historical.when([5], got.append)
    past.give(StorageError("Ledger file x: read failed: I/O error."))
    assert isinstance(got[0], LocalError)
    assert "file" not in got[0].message
    assert "I/O error" in past.logs[0]


def test_handles_share_states_and_let_them_go() -> None:
    past = past_of(small_service())
    past.states([3, 4], ("app", 1))
    past.states([4, 5], ("app", 2))
    count = len(past.read_in_all)
    assert past.historical.drop(("app", 1))
    assert not past.historical.drop(("app", 1))
    past.states([4], ("app", 3))
    assert len(past.read_in_all) == count
    past.states([3], ("app", 3))
    assert len(past.read_in_all) == count + 1


def test_the_same_handle_keeps_what_is_in_both_sets() -> None:
    past = past_of(small_service())
    (three, four) = past.states([3, 4])
    (again, _) = past.states([4, 5])
    assert again is four
    assert past.states([3])[0] is not three


def test_handles_expire_unless_they_are_used() -> None:
    past = past_of(small_service())
    past.historical.request(("app", 1), [3], 1000)
    past.settle()
    for _ in range(5):
        past.tick(900)
        assert past.historical.request(("app", 1), [3], 1000) is not None
    past.tick(1000)
    assert not past.historical.drop(("app", 1))


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    service = small_service(60)
    past = past_of(service, bytes_max=cache.CACHE_SHARE * 10 * 4096)
    for seqno in range(1, 31):
        past.states([seqno], ("app", seqno))
        assert past.historical._bytes <= 10 * 4096
    assert not past.historical.drop(("app", 1))
    assert past.historical.drop(("app", 30))


def test_one_state_is_served_whatever_its_size() -> None:
    past = past_of(small_service(60), bytes_max=1)
    assert len(past.states([5], ("app", 1))) == 1
    assert len(past.states([6], ("app", 2))) == 1
    assert not past.historical.holds(("app", 1))


def test_a_fault_counts_for_what_was_being_read() -> None:
    past = past_of(small_service(60))
    historical = past.historical
    assert historical.request(("app", 1), [5]) is None
    assert historical.request(("app", 2), [40]) is None
    first, last = past.reads.pop(0)
    historical.drop(("app", 1))
    historical.fetched(first, last, [], InvalidLedger("it is damaged"))
    assert historical.missing(40) is None
    past.settle()
    assert historical.request(("app", 2), [40]) is not None


def test_who_asks_for_more_than_fits_is_sent_away() -> None:
    past = past_of(small_service(60), bytes_max=cache.CACHE_SHARE * 4096)
    got: list[PyccfError | None] = []
    assert past.historical.request(("app", 1), range(1, 40)) is None
    past.historical.when(range(1, 40), got.append)
    past.settle()
    assert past.historical._bytes <= 4096
    assert not past.historical._waiters


def test_who_waits_is_told_once_and_in_time() -> None:
    past = past_of(small_service())
    got: list[tuple[int, PyccfError | None]] = []
    past.historical.request(("app", 1), [3, 9])
    past.historical.when([3, 9], lambda e: got.append((1, e)))
    past.historical.when([9], lambda e: got.append((2, e)))
    past.historical.when([3], lambda e: got.append((3, e)))
    past.settle()
    assert sorted(got, key=lambda g: g[0]) == [(1, None), (2, None), (3, None)]
    assert not past.historical._waiting
    past.historical.request(("app", 2), [4])
    past.historical.when([4], lambda e: got.append((4, e)))
    past.tick(cache.WAIT_MS)
    assert isinstance(got[-1][1], Unavailable)
    assert not past.historical._waiting


def test_a_request_made_by_who_was_told_is_served() -> None:
    """As a handler that walks back through history does."""
    past = past_of(small_service(200))
    seen: list[int] = []

    def step(seqno: int) -> None:
        found = past.historical.request(("app", seqno), [seqno])
        if found is None:
            past.historical.when([seqno], lambda e: step(seqno))
        else:
            seen.append(seqno)
            if seqno > 1:
                step(seqno - 1)

    step(100)
    past.settle()
    assert seen == list(range(100, 0, -1))


def test_one_tick_reads_so_much_and_no_more() -> None:
    service = small_service(1600, every=50)
    past = past_of(service)
    past.historical.request(("app", 1), range(1, 1601))
    while past.reads:
        past.give()
    read = sum(last - first + 1 for first, last in past.read_in_all)
    assert read <= cache.TURN_MAX + cache.SLICE_MAX
    assert past.states(range(1, 1601))


def test_a_signature_far_away_is_found_in_slices() -> None:
    service = Service()
    service.genesis()
    for i in range(3 * resolving.SCAN_SLICE):
        service.record(b"%d" % i)
    service.sign()
    past = past_of(service)
    (state,) = past.states([2])
    receipt.verify_json_receipt(state.receipt, service.identity.service_cert)


def test_questions_that_make_no_sense() -> None:
    past = past_of(small_service())
    with pytest.raises(LocalError, match="no transactions are asked for"):
        past.historical.request(("app", 1), [])
    with pytest.raises(LocalError, match="at most"):
        past.historical.request(("app", 1), range(1, 20_000))
    with pytest.raises(LocalError, match=r"Earliest known ledger secret at 1 .* \(0\)"):
        past.historical.request(("app", 1), range(2))


# --- ledger secrets of the past -----------------------------------------------------------------


def rekeyed(times: int = 3, **wrong: object) -> tuple[Service, LedgerSecrets]:
    """A ledger with a rekey every few entries; of the secrets the last is handed out."""
    service = Service()
    service.genesis()
    stored: int | None = None
    for i in range(times):
        for j in range(3):
            service.record(b"%d.%d" % (i, j), private=True)
        current = service.secrets.latest()
        key = SeededEntropy(f"key {i}").bytes(32)
        record = {
            "encrypted_data": b64(aead.seal(key, bytes(12), current.key)),
            "version": current.version,
            **({} if stored is None else {"previous_secret_stored_version": stored}),
            **wrong,
        }
        entry = service.write(
            {
                tables.HISTORICAL_ENCRYPTED_LEDGER_SECRET: {
                    UNIT: dump_json({"previous_ledger_secret": record})  # type: ignore[dict-item]
                }
            }
        )
        stored = entry.seqno
        service.secrets.add(LedgerSecret(stored + 1, key, stored))
        service.sign()
    service.record(b"last", private=True)
    service.sign()
    return service, LedgerSecrets([service.secrets.latest()])


def test_secrets_are_walked_back_as_far_as_need_be() -> None:
    service, known = rekeyed()
    past = past_of(service, known)
    for seqno in (service.last - 1, 8, 3):
        (state,) = past.states([seqno], ("app", seqno))
        assert state.changes()["records"][b"key"] is not None
        receipt.verify_json_receipt(state.receipt, service.identity.service_cert)
    assert past.states(range(1, service.last + 1), ("app", 0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"encrypted_data": b64(bytes(60))},
        {"encrypted_data": "??"},
        {"encrypted_data": 5},
        {"version": 999},
        {"version": True},
    ],
)
def test_a_stored_secret_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    service, known = rekeyed(1, **wrong)
    past = past_of(service, known)
    with pytest.raises(InvalidLedger, match="ledger secret"):
        past.states([2])


def test_without_a_stored_secret_older_entries_are_out_of_reach() -> None:
    service, _ = rekeyed(1)
    latest = service.secrets.latest()
    past = past_of(service, LedgerSecrets([LedgerSecret(latest.version, latest.key)]))
    with pytest.raises(LocalError, match="no earlier secret stored"):
        past.historical.request(("app", 1), [2])


# --- services of the past -----------------------------------------------------------------------


def recovered(times: int = 2) -> tuple[Service, list[str]]:
    """A ledger of several services; their certificates, oldest first."""
    service = small_service(6)
    found = [service.identity.service_cert]
    created = 1
    for i in range(times):
        service.recover(f"service {i}")
        more = {
            "previous_service_identity_version": created,
            "current_service_create_txid": f"{service.view}.{service.last}",
        }
        created = service.last
        service.sign()
        info = service._service_info("Open", **more)  # type: ignore[arg-type]
        service.write({tables.SERVICE_INFO: {UNIT: dump_json(info)}})
        for j in range(3):
            service.record(b"%d" % j, private=True)
        service.sign()
        found.append(service.identity.service_cert)
    return service, found


def endorsing(service: Service) -> Past:
    key, cert = service.identity.service_key, service.identity.service_cert
    return past_of(
        service,
        endorse=lambda old: certs.endorse_service(old, key, cert, SeededEntropy("endorse")),
    )


def test_receipts_of_earlier_services_verify_under_the_present_one() -> None:
    service, known = recovered(1)
    past = endorsing(service)
    endorsed = 0
    for state in past.states(range(1, service.last + 1)):
        proven = receipt.verify_json_receipt(state.receipt, known[-1])
        assert proven.txid in (None, state.txid)
        endorsed += "service_endorsements" in state.receipt
    assert endorsed == 8


def test_a_service_that_the_later_one_does_not_vouch_for_is_refused() -> None:
    service, _ = recovered(1)
    past = endorsing(service)
    past.rows[tables.PREVIOUS_SERVICE_IDENTITY, UNIT] = dump_json(
        Service("x").identity.service_cert
    )
    with pytest.raises(InvalidLedger, match="another service identity than the later one"):
        past.states([3])
    assert past.states([service.last - 1], ("app", 2))
