"""What clients of a network saw, and whether a linearizable service could have shown it to them.

Clients write to registers. A write puts its own number, which no other write has, at the end of the
log of its register and answers what it found there: how many writes and the last of them. A read
answers the same. So every answer tells which writes it saw, and the logs, read once the faults are
over, tell which writes there were, in which order.

`check` compares all of this with the promises of consensus-cft.md §14.4 (the rules carry their
names from there where they have one) and of docs/wait-for-commit.md, and returns every promise that
was broken. It takes nothing on trust but the clients' own clock, which is one for all of them.

Reads are not compared with the time: a primary that was voted out may answer old state for a while,
and says so by a transaction id that is older.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from itertools import pairwise
from operator import attrgetter, itemgetter

import msgspec

from pyccf.types import TxID

NONE = -1
"""What the last write of an empty register is called."""


class Kind(Enum):
    """What a client asked for."""

    WRITE = "write"
    READ = "read"


class Outcome(Enum):
    """What a client knows of its request afterwards."""

    ANSWERED = "answered"
    """It was executed, and `seen` is what it saw."""
    REFUSED = "refused"
    """The service said that nothing was executed."""
    INVALIDATED = "invalidated"
    """The service said that it was executed but can never be committed."""
    UNKNOWN = "unknown"
    """No answer, or one that leaves open whether it was executed."""


class Seen(msgspec.Struct, frozen=True):
    """A register: how many writes there were, and the last of them (NONE if there was none)."""

    count: int
    last: int


class Operation(msgspec.Struct, frozen=True):
    """One request of one client. Times are seconds on the clock that all clients share."""

    number: int
    """For a write also the value."""
    session: int
    node: int
    kind: Kind
    register: str
    sent: float
    answered: float
    """When it was answered, or given up."""
    outcome: Outcome
    txid: TxID | None = None
    seen: Seen | None = None
    waited: bool = False
    """It was to be answered once committed."""
    error: str = ""
    """Status and code of an answer that was none, or what broke."""


class Status(msgspec.Struct, frozen=True):
    """A node said how a transaction stands: Unknown, Pending, Committed or Invalid."""

    by: str
    """Who said it. A session that has forwarded is answered by another node than the one it is
    with, the same as long as it lasts."""
    txid: TxID
    status: str
    sent: float
    answered: float


class History(msgspec.Struct, frozen=True):
    """All that was asked and answered, and what was found in the end."""

    operations: Sequence[Operation]
    statuses: Sequence[Status]
    logs: dict[str, list[int]]
    """The writes of each register, in order, from committed state after the last operation."""
    committed: TxID
    """What was committed when the logs were read."""
    views: Sequence[TxID]
    """First transaction of each view, in order, as far as committed."""

    def is_committed(self, txid: TxID) -> bool:
        """Whether a transaction is among the committed ones."""
        at = bisect_right(self.views, txid.seqno, key=attrgetter("seqno")) - 1
        return txid.seqno <= self.committed.seqno and at >= 0 and self.views[at].view == txid.view


class Violation(msgspec.Struct, frozen=True):
    """A promise that was broken, and by what."""

    rule: str
    what: str


def check(history: History) -> list[Violation]:
    """Everything in a history that no linearizable service shows."""
    return [
        *_log_holds_what_was_written(history),
        *_committed_is_in_the_log(history),
        *_refused_is_not(history),
        *_unique_ids(history),
        *_committed_observe_their_past(history),
        *_reads_observe_their_state(history),
        *_nothing_from_the_future(history),
        *_real_time(history),
        *_sessions(history),
        *_statuses(history),
    ]


# -- the logs ------------------------------------------------------------------------------------


def _writes(history: History) -> dict[int, Operation]:
    return {op.number: op for op in history.operations if op.kind is Kind.WRITE}


def _committed(history: History) -> Iterator[Operation]:
    """Writes whose answer named a transaction that is committed, or promised it."""
    for op in history.operations:
        if op.kind is Kind.WRITE and op.outcome is Outcome.ANSWERED:
            assert op.txid is not None
            if op.waited or history.is_committed(op.txid):
                yield op


def _places(history: History) -> dict[int, tuple[str, int]]:
    """Register and position of each write that is in a log."""
    return {
        number: (register, position)
        for register, log in history.logs.items()
        for position, number in enumerate(log)
    }


def _log_holds_what_was_written(history: History) -> Iterator[Violation]:
    """Each value of a log was written, to that register, and once."""
    writes = _writes(history)
    for register, log in history.logs.items():
        met: set[int] = set()
        for number in log:
            if number in met:
                yield Violation("AtMostOnce", f"write {number} is twice in {register}")
            met.add(number)
            written = writes.get(number)
            if written is None or written.register != register:
                yield Violation("OnlySent", f"{register} holds {number}, which nobody wrote there")


def _committed_is_in_the_log(history: History) -> Iterator[Violation]:
    """No write that was committed, or answered as committed, is lost."""
    places = _places(history)
    for op in _committed(history):
        if op.number not in places:
            word = "answered as committed" if op.waited else "committed"
            yield Violation("CommittedIsKept", f"write {op.number} ({op.txid}), {word}, is lost")
        if op.waited and op.txid is not None and not history.is_committed(op.txid):
            yield Violation("WaitedIsCommitted", f"write {op.number} ({op.txid}) is not committed")


def _refused_is_not(history: History) -> Iterator[Violation]:
    """What was refused, or can no longer commit, never took effect."""
    places = _places(history)
    for op in history.operations:
        if op.kind is not Kind.WRITE or op.number not in places:
            continue
        if op.outcome is Outcome.REFUSED:
            yield Violation("RefusedIsNotDone", f"write {op.number} was refused ({op.error})")
        elif op.outcome is Outcome.INVALIDATED or (
            op.txid is not None and not history.is_committed(op.txid)
        ):
            yield Violation("InvalidNotObserved", f"write {op.number} ({op.txid}) is not committed")


def _unique_ids(history: History) -> Iterator[Violation]:
    """UniqueTxIds, UniqueSeqNumsCommitted."""
    ids: dict[TxID, int] = {}
    for op in history.operations:
        if op.kind is Kind.WRITE and op.outcome is Outcome.ANSWERED and op.txid is not None:
            other = ids.setdefault(op.txid, op.number)
            if other != op.number:
                yield Violation("UniqueTxIds", f"writes {other} and {op.number} are both {op.txid}")
    seqnos: dict[int, int] = {}
    for op in _committed(history):
        assert op.txid is not None
        other = seqnos.setdefault(op.txid.seqno, op.number)
        if other != op.number:
            yield Violation(
                "UniqueSeqNumsCommitted", f"writes {other} and {op.number} at {op.txid.seqno}"
            )


# -- what answers observed -----------------------------------------------------------------------


def _last(log: Sequence[int], count: int) -> int:
    return log[count - 1] if count else NONE


def _committed_observe_their_past(history: History) -> Iterator[Violation]:
    """AllCommittedObserved, CommittedRwSerializable: a committed write saw the writes before it.

    All of them and no other; and their order is the order of their transaction ids.
    """
    places = _places(history)
    by_position: dict[str, list[tuple[int, Operation]]] = defaultdict(list)
    for op in _committed(history):
        register, position = places.get(op.number, (None, 0))
        if register is None:
            continue
        assert op.seen is not None
        if op.seen != Seen(position, _last(history.logs[register], position)):
            yield Violation(
                "AllCommittedObserved",
                f"write {op.number} ({op.txid}) is number {position} of {register}, saw {op.seen}",
            )
        by_position[register].append((position, op))
    for register, found in by_position.items():
        found.sort(key=lambda one: one[0])
        for (_, one), (_, two) in pairwise(found):
            assert one.txid is not None
            assert two.txid is not None
            if one.txid.seqno >= two.txid.seqno:
                yield Violation(
                    "CommittedRwSerializable",
                    f"{register}: {one.number} ({one.txid}) is before {two.number} ({two.txid})",
                )


def _reads_observe_their_state(history: History) -> Iterator[Violation]:
    """SameObservations: a read saw the register as it stood at the transaction it names."""
    places = _places(history)
    known: dict[str, list[tuple[int, TxID]]] = defaultdict(list)
    for op in _committed(history):
        if op.number in places and op.txid is not None:
            register, position = places[op.number]
            known[register].append((position, op.txid))
    for found in known.values():
        found.sort()
    for op in history.operations:
        if op.kind is not Kind.READ or op.outcome is not Outcome.ANSWERED or op.txid is None:
            continue
        if not history.is_committed(op.txid):
            continue
        assert op.seen is not None
        log = history.logs.get(op.register, [])
        if op.seen.count > len(log) or op.seen.last != _last(log, op.seen.count):
            yield Violation("SameObservations", f"read {op.number} ({op.txid}) saw {op.seen}")
            continue
        named = known[op.register]
        at = bisect_left(named, op.seen.count, key=itemgetter(0))
        if at > 0 and named[at - 1][1].seqno > op.txid.seqno:
            saw = named[at - 1][1]
            yield Violation("SameObservations", f"read {op.number} ({op.txid}) saw {saw}")
        if at < len(named) and named[at][1].seqno <= op.txid.seqno:
            missed = named[at][1]
            yield Violation("SameObservations", f"read {op.number} ({op.txid}) missed {missed}")


def _nothing_from_the_future(history: History) -> Iterator[Violation]:
    """OnlyObserveSentRequests."""
    writes = _writes(history)
    for op in history.operations:
        if op.seen is None or op.seen.last == NONE:
            continue
        seen = writes.get(op.seen.last)
        if seen is None or seen.sent > op.answered:
            yield Violation(
                "OnlyObserveSentRequests", f"{op.kind.value} {op.number} saw {op.seen.last}"
            )


def _real_time(history: History) -> Iterator[Violation]:
    """CommittedRwOrderedRealTime: what was answered earlier has an earlier transaction id."""
    committed = list(_committed(history))
    finished = sorted(committed, key=attrgetter("answered"))
    latest: Operation | None = None
    done = 0
    for op in sorted(committed, key=attrgetter("sent")):
        while done < len(finished) and finished[done].answered < op.sent:
            one = finished[done]
            assert one.txid is not None
            if latest is None or latest.txid is None or one.txid.seqno > latest.txid.seqno:
                latest = one
            done += 1
        assert op.txid is not None
        if latest is not None and latest.txid is not None and latest.txid.seqno >= op.txid.seqno:
            yield Violation(
                "CommittedRwOrderedRealTime",
                f"write {latest.number} ({latest.txid}) was answered before {op.number} ({op.txid})"
                " was sent",
            )


# -- sessions ------------------------------------------------------------------------------------


def _sessions(history: History) -> Iterator[Violation]:
    """A session never goes back in time, and sees what it wrote."""
    sessions: dict[int, list[Operation]] = defaultdict(list)
    for op in history.operations:
        if op.outcome is Outcome.ANSWERED:
            sessions[op.session].append(op)
    for number, ops in sessions.items():
        yield from _one_session(number, sorted(ops, key=attrgetter("sent")))


def _one_session(number: int, ops: Iterable[Operation]) -> Iterator[Violation]:
    known: dict[str, int] = {}
    before: TxID | None = None
    for op in ops:
        assert op.txid is not None
        assert op.seen is not None
        if before is not None and op.txid.seqno < before.seqno:
            yield Violation(
                "SessionGoesForward", f"session {number}, node {op.node}: {op.txid} after {before}"
            )
        else:
            before = op.txid
        if op.seen.count < known.get(op.register, 0):
            yield Violation(
                "SessionGoesForward",
                f"session {number}: {op.register} has {op.seen.count} writes at {op.txid},"
                f" had {known[op.register]}",
            )
        known[op.register] = op.seen.count + (op.kind is Kind.WRITE)


# -- what nodes said of transactions -------------------------------------------------------------

FINAL = ("Committed", "Invalid")


def _statuses(history: History) -> Iterator[Violation]:
    """CommittedOrInvalidStrong, and that neither is ever taken back, by any node."""
    yield from _never_taken_back(history.statuses)
    for one in history.statuses:
        if one.status in FINAL and history.is_committed(one.txid) != (one.status == "Committed"):
            yield Violation("CommittedOrInvalid", f"{one.txid} was {one.status} for {one.by}")
    yield from _final_statuses_agree(history.statuses)


def _never_taken_back(statuses: Sequence[Status]) -> Iterator[Violation]:
    last: dict[tuple[str, TxID], Status] = {}
    for one in sorted(statuses, key=attrgetter("answered")):
        before = last.get((one.by, one.txid))
        if (
            before is not None
            and before.answered < one.sent
            and before.status in FINAL
            and before.status != one.status
        ):
            yield Violation(
                "StatusTransition",
                f"{one.by}: {one.txid} was {before.status}, then {one.status}",
            )
        last[one.by, one.txid] = one


def _final_statuses_agree(statuses: Sequence[Status]) -> Iterator[Violation]:
    said: dict[TxID, set[str]] = defaultdict(set)
    for one in statuses:
        if one.status in FINAL:
            said[one.txid].add(one.status)
    top: dict[int, int] = {}
    """Highest committed seqno of each view."""
    for txid, words in said.items():
        if len(words) > 1:
            yield Violation("CommittedOrInvalid", f"{txid} was Committed and Invalid")
        if "Committed" in words:
            top[txid.view] = max(top.get(txid.view, 0), txid.seqno)
    for txid, words in said.items():
        if "Invalid" in words and txid.seqno <= top.get(txid.view, 0):
            yield Violation(
                "OnceCommittedPrevCommitted",
                f"{txid} was Invalid, {txid.view}.{top[txid.view]} was Committed",
            )
