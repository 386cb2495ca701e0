"""Clients of a simulated service: they write, read, ask and remember what they were told.

Each node has its own connection per client; a connection that the service closes, or that was open
to a node that is gone, is replaced. What was answered goes to the judges at once: an answer is a
promise. A write that is never answered promises nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from pyccf.http.message import Request
from pyccf.sim.app import Link
from pyccf.sim.shell import parse_answer
from pyccf.types import NodeId, TxID

if TYPE_CHECKING:
    from pyccf.http.session import Session
    from pyccf.node.outputs import Answer
    from pyccf.sim.shell import Shell

TXID = "x-ms-ccf-transaction-id"
WAIT = {"x-pyccf-wait": "commit", "x-pyccf-wait-timeout-ms": "5000"}


class Written(msgspec.Struct, frozen=True):
    """An answered write: its number, its transaction, the link it observed."""

    number: int
    txid: TxID
    observed: Link
    waited: bool
    """The answer came only once the transaction was committed."""
    asked: int
    """Step in which it was asked for, and in which it was answered."""
    answered: int


class Judge(Protocol):
    """Who is told what clients were told."""

    def wrote(self, shell: Shell, written: Written) -> None: ...

    def asked_to_write(self, number: int) -> None: ...

    def asks(self, shell: Shell, session: Session) -> TxID | None:
        """A request is sent on this connection; the latest transaction it was told of."""
        ...

    def read(self, shell: Shell, session: Session, before: TxID | None, txid: TxID) -> None:
        """It was answered from, or with, this transaction."""
        ...

    def told(self, shell: Shell, txid: TxID, status: str) -> None:
        """A node said what became of a transaction."""
        ...


class Clients:
    """All clients of one run."""

    def __init__(self, judge: Judge, step: Callable[[], int]) -> None:
        self._judge = judge
        self._step = step
        self._sessions: dict[tuple[NodeId, int], Session] = {}
        self.writes = 0
        """Asked for."""
        self.answered = 0
        self.refused = 0
        self.txids: list[TxID] = []
        """Of answered writes, in the order of the answers."""

    def _session(self, shell: Shell, client: int) -> Session:
        key = (shell.node.node_id, client)
        session = self._sessions.get(key)
        if session is None or session.close_after:
            session = self._sessions[key] = shell.session()
        return session

    def write(self, shell: Shell, client: int = 0, *, wait: bool = False) -> int:
        """Ask for one write at a node; its number."""
        self.writes += 1
        number = self.writes
        session = self._session(shell, client)
        asked = self._step()
        before = self._judge.asks(shell, session)
        self._judge.asked_to_write(number)

        def answered(data: bytes) -> None:
            answer = parse_answer(data)
            if answer.status != 200:
                self.refused += 1
                return
            self.answered += 1
            txid = _txid(answer)
            self.txids.append(txid)
            observed = Link.parse(answer.body)
            step = self._step()
            self._judge.wrote(shell, Written(number, txid, observed, wait, asked, step))
            self._judge.read(shell, session, before, txid)

        request = Request("POST", "/app/write", WAIT if wait else None, b"%d" % number)
        shell.input(lambda: shell.serve(request, session, answered))
        return number

    def read(self, shell: Shell, client: int = 0) -> None:
        """Read the end of the chain at a node."""
        session = self._session(shell, client)
        before = self._judge.asks(shell, session)

        def answered(data: bytes) -> None:
            answer = parse_answer(data)
            if answer.status == 200 and TXID in answer.headers:
                self._judge.read(shell, session, before, _txid(answer))

        request = Request("GET", "/app/read")
        shell.input(lambda: shell.serve(request, session, answered))

    def ask(self, shell: Shell, txid: TxID) -> None:
        """Ask a node what became of a transaction."""

        def answered(data: bytes) -> None:
            answer = parse_answer(data)
            if answer.status == 200:
                status = msgspec.json.decode(answer.body)["status"]
                self._judge.told(shell, txid, status)

        request = Request("GET", f"/node/tx?transaction_id={txid}")
        session = shell.session()
        shell.input(lambda: shell.serve(request, session, answered))

    def govern(
        self,
        shell: Shell,
        act: str,
        names: list[NodeId],
        done: Callable[[Answer], None] | None = None,
    ) -> None:
        """Ask for an act of governance at a node."""
        session = shell.session()

        def answered(data: bytes) -> None:
            if done is not None:
                done(parse_answer(data))

        request = Request("POST", f"/gov/sim/{act}", None, " ".join(names).encode())
        shell.input(lambda: shell.serve(request, session, answered))

    def delete(self, shell: Shell, node_id: NodeId) -> None:
        """Ask for a retired node to be forgotten. Whether it may be is for the service to say."""
        request = Request("DELETE", f"/node/network/nodes/{node_id}")
        session = shell.session()
        shell.input(lambda: shell.serve(request, session, _ignore))


def _ignore(answer: bytes) -> None:
    """What the answer is does not matter here."""


def _txid(answer: Answer) -> TxID:
    txid = TxID.parse(answer.headers[TXID])
    assert txid is not None, "a node names transactions by their ids"
    return txid
