"""The judge of client histories: silent about what a service may do, not about anything else."""

from __future__ import annotations

import ast
import inspect
import random
from collections.abc import Callable
from itertools import pairwise

import msgspec
import pytest

from pyccf.types import TxID
from support import linear
from support.linear import (
    NONE,
    History,
    Kind,
    Operation,
    Outcome,
    Seen,
    Status,
    check,
)

REGISTERS = ("a", "b")


class Model:
    """A service in memory that behaves, with elections that undo what was not committed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.view = 2
        self.log: list[tuple[TxID, int, str]] = []
        self.committed = 0
        self.views = [TxID(2, 1)]
        self.now = 0.0
        self.session = 1
        self.operations: list[Operation] = []
        self.statuses: list[Status] = []

    def tick(self) -> float:
        self.now += 0.001
        return self.now

    def seen(self, register: str) -> Seen:
        writes = [number for _, number, where in self.log if where == register]
        return Seen(len(writes), writes[-1] if writes else NONE)

    def note(self, **fields: object) -> Operation:
        made: dict[str, object] = {
            "number": len(self.operations) + 1,
            "session": self.session,
            "node": 0,
            "register": self.chance.choice(REGISTERS),
            "sent": self.tick(),
            "answered": self.tick(),
            **fields,
        }
        op = msgspec.convert(made, Operation, strict=False, from_attributes=True)
        self.operations.append(op)
        return op

    def write(self, *, waited: bool = False, answered: bool = True) -> None:
        register = self.chance.choice(REGISTERS)
        seen, txid = self.seen(register), TxID(self.view, len(self.log) + 1)
        op = self.note(
            register=register,
            kind=Kind.WRITE,
            outcome=Outcome.ANSWERED if answered else Outcome.UNKNOWN,
            txid=txid if answered else None,
            seen=seen if answered else None,
            waited=waited,
        )
        self.log.append((txid, op.number, register))
        if waited:
            self.commit()

    def read(self) -> None:
        register = self.chance.choice(REGISTERS)
        if self.log:
            self.note(
                register=register,
                kind=Kind.READ,
                outcome=Outcome.ANSWERED,
                txid=self.log[-1][0],
                seen=self.seen(register),
            )

    def refuse(self) -> None:
        self.note(kind=Kind.WRITE, outcome=Outcome.REFUSED, error="503")

    def commit(self) -> None:
        self.committed = len(self.log)

    def poll(self) -> None:
        named = [op.txid for op in self.operations if op.txid is not None]
        if named:
            txid = self.chance.choice(named)
            self.statuses.append(
                Status(
                    f"node {self.chance.randrange(3)}",
                    txid,
                    self.status(txid),
                    self.tick(),
                    self.tick(),
                )
            )

    def status(self, txid: TxID) -> str:
        here = txid.seqno <= len(self.log) and self.log[txid.seqno - 1][0] == txid
        if txid.seqno <= self.committed:
            return "Committed" if here else "Invalid"
        if here:
            return "Pending"
        return "Invalid" if self.committed and self.log[self.committed - 1][0] > txid else "Unknown"

    def elect(self) -> None:
        del self.log[self.committed :]
        self.view += 1
        self.session += 1
        self.views = [one for one in self.views if one.seqno <= self.committed]
        self.views.append(TxID(self.view, self.committed + 1))

    def history(self) -> History:
        self.write(waited=True)
        return History(
            self.operations,
            self.statuses,
            {r: [number for _, number, where in self.log if where == r] for r in REGISTERS},
            self.log[-1][0],
            self.views,
        )


def honest(seed: int, steps: int = 200) -> History:
    model = Model(seed)
    for _ in range(steps):
        act = model.chance.choice(
            [
                *[model.write] * 4,
                lambda: model.write(waited=True),
                lambda: model.write(answered=False),
                *[model.read] * 3,
                model.refuse,
                *[model.poll] * 2,
                model.commit,
                model.elect if model.chance.random() < 0.3 else model.read,
            ]
        )
        act()
    return model.history()


@pytest.mark.parametrize("seed", range(50))
def test_what_a_service_may_show_is_accepted(seed: int) -> None:
    history = honest(seed)
    assert check(history) == []
    assert sum(map(len, history.logs.values())) > 30


# -- each way of breaking a promise --------------------------------------------------------------

Breaker = Callable[[History], History]
change = msgspec.structs.replace


def committed(history: History) -> list[Operation]:
    return [
        op
        for op in history.operations
        if op.kind is Kind.WRITE
        and op.outcome is Outcome.ANSWERED
        and op.txid is not None
        and history.is_committed(op.txid)
    ]


def replaced(history: History, old: Operation, **fields: object) -> History:
    ops = [change(op, **fields) if op is old else op for op in history.operations]
    return change(history, operations=ops)


def with_log(history: History, register: str, log: list[int]) -> History:
    return change(history, logs={**history.logs, register: log})


def loses_a_committed_write(history: History) -> History:
    victim = next(op for op in committed(history) if not op.waited)
    log = [n for n in history.logs[victim.register] if n != victim.number]
    return with_log(history, victim.register, log)


def loses_a_write_answered_as_committed(history: History) -> History:
    victim = next(op for op in committed(history) if op.waited)
    log = [n for n in history.logs[victim.register] if n != victim.number]
    return with_log(history, victim.register, log)


def promises_commit_of_what_is_not(history: History) -> History:
    victim = next(
        op
        for op in history.operations
        if op.kind is Kind.WRITE and op.txid is not None and not history.is_committed(op.txid)
    )
    return replaced(history, victim, waited=True)


def executes_twice(history: History) -> History:
    victim = committed(history)[3]
    log = history.logs[victim.register]
    return with_log(history, victim.register, [*log, victim.number])


def invents_a_write(history: History) -> History:
    return with_log(history, "a", [*history.logs["a"], 10**9])


def executes_what_it_refused(history: History) -> History:
    victim = next(op for op in history.operations if op.outcome is Outcome.REFUSED)
    log = history.logs[victim.register]
    return with_log(history, victim.register, [*log, victim.number])


def keeps_what_it_invalidated(history: History) -> History:
    victim = next(
        op
        for op in history.operations
        if op.kind is Kind.WRITE and op.txid is not None and not history.is_committed(op.txid)
    )
    log = history.logs[victim.register]
    return with_log(history, victim.register, [*log, victim.number])


def keeps_what_it_said_cannot_commit(history: History) -> History:
    return replaced(history, committed(history)[-2], outcome=Outcome.INVALIDATED)


def gives_one_id_twice(history: History) -> History:
    one, two = committed(history)[4:6]
    return replaced(history, two, txid=one.txid)


def commits_two_at_one_seqno(history: History) -> History:
    one, two = committed(history)[4:6]
    assert one.txid is not None
    return replaced(history, two, txid=TxID(one.txid.view + 100, one.txid.seqno), waited=True)


def misses_a_committed_write(history: History) -> History:
    victim = next(op for op in reversed(committed(history)) if op.seen and op.seen.count > 2)
    assert victim.seen is not None
    log = history.logs[victim.register]
    count = victim.seen.count - 1
    return replaced(history, victim, seen=Seen(count, log[count - 1]))


def observes_another_order(history: History) -> History:
    log = list(history.logs["a"])
    log[1], log[2] = log[2], log[1]
    return with_log(history, "a", log)


def orders_ids_otherwise(history: History) -> History:
    one, two = [op for op in committed(history) if op.register == "a"][1:3]
    swapped = replaced(history, one, txid=two.txid)
    return replaced(swapped, two, txid=one.txid)


def reads(history: History) -> list[Operation]:
    return [
        op
        for op in history.operations
        if op.kind is Kind.READ
        and op.txid is not None
        and history.is_committed(op.txid)
        and op.seen is not None
        and op.seen.count > 1
    ]


def reads_another_value(history: History) -> History:
    victim = reads(history)[0]
    assert victim.seen is not None
    return replaced(history, victim, seen=Seen(victim.seen.count - 1, victim.seen.last))


def reads_what_comes_after(history: History) -> History:
    return replaced(history, reads(history)[-1], txid=committed(history)[0].txid)


def reads_without_what_is_there(history: History) -> History:
    victim = reads(history)[-1]
    log = history.logs[victim.register]
    assert victim.seen is not None
    return replaced(history, victim, seen=Seen(1, log[0]), session=10**6)


def observes_the_future(history: History) -> History:
    victim = committed(history)[10]
    return replaced(history, victim, sent=1e6, answered=1e6 + 1)


def forgets_the_time(history: History) -> History:
    """The ids of two writes of different registers, answered one after the other, change places."""
    ops = committed(history)
    pairs = pairwise(ops)
    one, two = next(
        p for p in pairs if p[0].register != p[1].register and p[0].answered < p[1].sent
    )
    swapped = replaced(history, one, txid=two.txid)
    return replaced(swapped, two, txid=one.txid)


def session_goes_back(history: History) -> History:
    session = reads(history)[0].session
    mine = [op for op in reads(history) if op.session == session]
    assert mine[0].txid is not None
    return replaced(history, mine[-1], txid=TxID(2, 1), seen=Seen(0, NONE))


def session_misses_its_own_write(history: History) -> History:
    """Not visible in ids: the read names a state that has the write, and does not show it."""
    done = {op.number: op for op in history.operations}
    victim = next(
        op
        for op in reads(history)
        if op.seen and done[op.seen.last].session == op.session and done[op.seen.last].seen
    )
    assert victim.seen is not None
    return replaced(history, victim, seen=done[victim.seen.last].seen)


def also_says(history: History, status: Status) -> History:
    return change(history, statuses=[*history.statuses, status])


def takes_commit_back(history: History) -> History:
    one = next(s for s in history.statuses if s.status == "Committed")
    return also_says(history, change(one, status="Unknown", sent=1e6, answered=1e6 + 1))


def takes_invalid_back(history: History) -> History:
    one = next(s for s in history.statuses if s.status == "Invalid")
    return also_says(history, change(one, status="Pending", sent=1e6, answered=1e6 + 1))


def nodes_disagree(history: History) -> History:
    one = next(s for s in history.statuses if s.status == "Committed")
    return also_says(history, change(one, status="Invalid", by="node 9"))


def skips_an_earlier_one(history: History) -> History:
    """v.s is Committed, v.s' with s' < s was Invalid; the history knows of neither otherwise."""
    at = history.committed
    one = Status("node 0", TxID(at.view, at.seqno), "Committed", 1e6, 1e6 + 1)
    two = Status("node 1", TxID(at.view, at.seqno - 1), "Invalid", 1e6, 1e6 + 1)
    return also_says(also_says(history, one), two)


BREAKERS: list[tuple[Breaker, str]] = [
    (loses_a_committed_write, "CommittedIsKept"),
    (loses_a_write_answered_as_committed, "CommittedIsKept"),
    (promises_commit_of_what_is_not, "WaitedIsCommitted"),
    (executes_twice, "AtMostOnce"),
    (invents_a_write, "OnlySent"),
    (executes_what_it_refused, "RefusedIsNotDone"),
    (keeps_what_it_invalidated, "InvalidNotObserved"),
    (keeps_what_it_said_cannot_commit, "InvalidNotObserved"),
    (gives_one_id_twice, "UniqueTxIds"),
    (commits_two_at_one_seqno, "UniqueSeqNumsCommitted"),
    (misses_a_committed_write, "AllCommittedObserved"),
    (observes_another_order, "AllCommittedObserved"),
    (orders_ids_otherwise, "CommittedRwSerializable"),
    (reads_another_value, "SameObservations"),
    (reads_what_comes_after, "SameObservations"),
    (reads_without_what_is_there, "SameObservations"),
    (observes_the_future, "OnlyObserveSentRequests"),
    (forgets_the_time, "CommittedRwOrderedRealTime"),
    (session_goes_back, "SessionGoesForward"),
    (session_misses_its_own_write, "SessionGoesForward"),
    (takes_commit_back, "StatusTransition"),
    (takes_invalid_back, "StatusTransition"),
    (nodes_disagree, "CommittedOrInvalid"),
    (skips_an_earlier_one, "OnceCommittedPrevCommitted"),
]


@pytest.mark.parametrize(("breaker", "rule"), BREAKERS, ids=[b.__name__ for b, _ in BREAKERS])
def test_every_broken_promise_is_found(breaker: Breaker, rule: str) -> None:
    found = check(breaker(honest(7, 600)))
    assert rule in {violation.rule for violation in found}, found


def test_every_rule_has_been_broken() -> None:
    """No rule of the judge is without a test that makes it speak."""
    rules = {
        node.args[0].value
        for node in ast.walk(ast.parse(inspect.getsource(linear)))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Violation"
        and isinstance(node.args[0], ast.Constant)
    }
    assert rules == {rule for _, rule in BREAKERS}
