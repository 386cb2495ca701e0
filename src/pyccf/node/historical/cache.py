"""What was asked for of the past, what of it is here, and what is read next.

A request is a handle and a set of seqnos; asked again with other seqnos, the handle keeps those in
both sets. States are shared by handles and go when no handle wants them: when its time is up, when
it is dropped, or when it was used least recently and memory is short. One slice of the ledger is
read at a time, and so many entries in one tick of the node, so that however much is asked for the
node goes on. An entry that cannot be had, or is not what was signed, is not asked for again within
a second (spec: historical-and-indexing.md §1).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

from pyccf.apps.context import NeedsHistory
from pyccf.errors import InvalidLedger, LocalError, PyccfError, StorageError, Unavailable
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.node.historical.eras import Row
from pyccf.node.historical.resolve import Missing, Resolver
from pyccf.node.historical.state import State
from pyccf.types import Millis, SeqNo

CACHE_BYTES_MAX = 512 * 1024 * 1024
"""Default bound of the cache (spec: config-and-cli.md, historical_cache_soft_limit)."""
CACHE_SHARE = 5
"""One in so many bytes of the bound may be entries; the rest is what is made of them."""
RANGE_MAX = 10_000
"""States one request may ask for."""
HANDLES_MAX = 50_000
"""Handles at a time; beyond that, those used least recently are forgotten."""
EXPIRY_MS: Millis = 1_800_000
"""How long a handle lives unused when nobody says otherwise."""
SLICE_MAX = 500
"""Entries read at once."""
TURN_MAX = 1000
"""Entries read between two ticks of the node."""
AGAIN_MS: Millis = 1000
"""How long nothing is tried again that did not go well."""
WAIT_MS: Millis = 5000
"""How long a request is kept waiting before it is told to come back later."""
COMPLAINTS_MAX = 1000
"""Lines remembered as logged already."""
WAITING_MAX = 4096
"""Requests that wait at a time; more are told to come back later at once."""

Handle: TypeAlias = tuple[str, int]
"""Who asks: "app" for endpoints, which choose their numbers, other words for the node itself."""
Resume: TypeAlias = "Callable[[PyccfError | None], None]"
"""Called when states are there (None), or with why they are not: InvalidLedger or LocalError for
good, Unavailable for now."""


class _Held:
    """What a handle holds."""

    __slots__ = ("seqnos", "until")

    def __init__(self, seqnos: Sequence[SeqNo], until: Millis) -> None:
        self.seqnos = seqnos
        self.until = until


class _Waiter:
    """Somebody who is told when certain states are here."""

    __slots__ = ("deadline", "missing", "resume")

    def __init__(self, missing: set[SeqNo], deadline: Millis, resume: Resume) -> None:
        self.missing = missing
        self.deadline = deadline
        self.resume = resume


class Historical:
    """The states of a node."""

    def __init__(
        self,
        secrets: LedgerSecrets,
        row: Row,
        *,
        committed: Callable[[], SeqNo],
        fetch: Callable[[SeqNo, SeqNo], None],
        log: Callable[[str, str, str], None],
        endorse: Callable[[str], str] | None = None,
        bytes_max: int = CACHE_BYTES_MAX,
    ) -> None:
        """`row` reads a row of a table as it is committed, `committed` is up to where it is;
        `fetch` has entries first..last read and given to `fetched`."""
        self._resolver = Resolver(secrets, row, endorse, committed)
        self._fetch = fetch
        self._log = log
        self._bytes_max = bytes_max // CACHE_SHARE
        self._bytes = 0
        self._now: Millis = 0
        self._held: OrderedDict[Handle, _Held] = OrderedDict()
        """Least recently used first."""
        self._holders: dict[SeqNo, int] = {}
        self._states: dict[SeqNo, State] = {}
        self._wanted: dict[SeqNo, None] = {}
        """Not here yet, in the order in which they were asked for."""
        self._failed: dict[SeqNo, tuple[Millis, PyccfError]] = {}
        self._waiters: OrderedDict[int, _Waiter] = OrderedDict()
        """By number, which is the order of their deadlines."""
        self._waiter_count = 0
        self._waiting: dict[SeqNo, list[int]] = {}
        """Numbers of those who wait for a state."""
        self._turning = False
        self._reading: tuple[SeqNo, SeqNo] | None = None
        self._reading_for: SeqNo = 0
        """The state that what is being read is needed for."""
        self._budget = TURN_MAX
        self._complained: set[str] = set()
        self._quiet_until: Millis = 0
        """Until then no further line about what is missing is logged."""

    # --- signatures that pass by ----------------------------------------------------------------

    def signed(self, seqno: SeqNo) -> None:
        """A signature transaction was ordered at `seqno`."""
        self._resolver.signed(seqno)

    def rollback(self, seqno: SeqNo) -> None:
        """Entries after `seqno` are gone."""
        self._resolver.rollback(seqno)

    @property
    def last_signed(self) -> SeqNo:
        """Seqno of the last signature transaction, 0 before the first."""
        return self._resolver.last_signed

    # --- asking ---------------------------------------------------------------------------------

    def request(
        self, handle: Handle, seqnos: Sequence[SeqNo], expiry: Millis = EXPIRY_MS
    ) -> list[State] | None:
        """The states of committed transactions, ascending; None while they are being read.

        Raises LocalError for what can never be had (too many, none, before the first secret known),
        InvalidLedger when an entry is not what was signed.
        """
        check(seqnos)
        self._resolver.secrets.stored_before(seqnos[0])
        self._hold(handle, seqnos, self._now + expiry)
        states = self._states
        found: list[State] = []
        for seqno in seqnos:
            state = states.get(seqno)
            if state is None:
                self._complain_of(seqnos)
                if seqno not in self._wanted:
                    self._want(seqnos)
                self._turn()
                return None
            found.append(state)
        return found

    def missing(self, seqno: SeqNo) -> PyccfError | None:
        """Why a state could not be had lately, for whoever would rather not ask again and again."""
        failed = self._failed.get(seqno)
        return None if failed is None else failed[1]

    def get(self, handle: Handle, seqno: SeqNo, what: str) -> State:
        """One state. Raises NeedsHistory, naming it `what`, while it is being read."""
        found = self.request(handle, (seqno,))
        if found is None:
            raise NeedsHistory((seqno,), what)
        return found[0]

    def holds(self, handle: Handle) -> bool:
        """Whether a handle is known: it was neither dropped nor had to make room."""
        return handle in self._held

    def drop(self, handle: Handle) -> bool:
        """Forget a handle; True if it was known."""
        held = self._held.pop(handle, None)
        if held is None:
            return False
        self._release(held.seqnos)
        return True

    def when(self, seqnos: Sequence[SeqNo], resume: Resume) -> None:
        """Call `resume` once all these states, which a handle asked for, are here or cannot be."""
        missing = {seqno for seqno in seqnos if seqno not in self._states}
        if missing and len(self._waiters) >= WAITING_MAX:
            resume(Unavailable("Too many requests wait for historical transactions."))
        elif missing:
            self._waiter_count += 1
            number = self._waiter_count
            self._waiters[number] = _Waiter(missing, self._now + WAIT_MS, resume)
            for seqno in missing:
                self._waiting.setdefault(seqno, []).append(number)
            self._turn()
        else:
            resume(None)

    def _hold(self, handle: Handle, seqnos: Sequence[SeqNo], until: Millis) -> None:
        held = self._held.get(handle)
        if held is not None:
            self._held.move_to_end(handle)
            held.until = until
            if held.seqnos == seqnos:
                return
        holders = self._holders
        for seqno in seqnos:
            holders[seqno] = holders.get(seqno, 0) + 1
        self._want(seqnos)
        if held is None:
            if len(self._held) >= HANDLES_MAX:
                self.drop(next(iter(self._held)))
            self._held[handle] = _Held(seqnos, until)
        else:
            old, held.seqnos = held.seqnos, seqnos
            self._release(old)

    def _want(self, seqnos: Sequence[SeqNo]) -> None:
        """Have read what is not here, unless that failed lately."""
        states, wanted, failed = self._states, self._wanted, self._failed
        for seqno in seqnos:
            if seqno not in states and seqno not in wanted and seqno not in failed:
                wanted[seqno] = None

    def _release(self, seqnos: Sequence[SeqNo]) -> None:
        """A handle lets go of these."""
        gone: list[SeqNo] = []
        for seqno in seqnos:
            count = self._holders[seqno] - 1
            if count:
                self._holders[seqno] = count
                continue
            del self._holders[seqno]
            self._wanted.pop(seqno, None)
            state = self._states.pop(seqno, None)
            if state is not None:
                self._bytes -= state.size
            gone.append(seqno)
        if gone and self._waiting:
            self._tell(gone, Unavailable("The request was dropped."))

    def _complain_of(self, seqnos: Sequence[SeqNo]) -> None:
        """Raise what is wrong with one of these, if it was found out lately."""
        for seqno, (_, error) in self._failed.items():
            if seqno in seqnos and not isinstance(error, Unavailable):
                raise error

    # --- reading --------------------------------------------------------------------------------

    def fetched(
        self, first: SeqNo, last: SeqNo, entries: list[bytes], damage: PyccfError | None = None
    ) -> None:
        """Entries first..last were read: all, the first of them, or none, perhaps for damage."""
        if self._reading != (first, last):
            return
        self._reading = None
        if entries:
            self._resolver.take(first, entries)
        else:
            self._fail_reading(first, damage)
        self._turn()

    def _fail_reading(self, first: SeqNo, damage: PyccfError | None) -> None:
        """An entry could not be read: what it was needed for cannot be had."""
        error = damage or Unavailable(
            f"Entry {first} is not in the ledger directories of this node.",
            hint="Give the node the missing ledger files, for example in a read-only directory.",
        )
        if isinstance(damage, StorageError):
            # Names of files are for the operator alone.
            self._complain(damage.message)
            error = LocalError(f"Entry {first} cannot be read from the disk of this node.")
        if self._reading_for in self._wanted:
            self._fail(self._reading_for, error)

    def _turn(self) -> None:
        """Make states of what was read, in the order asked for, and have more read."""
        if self._turning:
            # Somebody who was told that a state is here asks for the next one.
            return
        self._turning = True
        try:
            self._work()
        finally:
            self._turning = False

    def _work(self) -> None:
        resolver = self._resolver
        while self._reading is None and self._budget > 0 and self._wanted:
            seqno = next(iter(self._wanted))
            try:
                state = resolver.state(seqno)
            except Missing as need:
                self._read(seqno, need)
                return
            except (InvalidLedger, LocalError) as e:
                self._fail(seqno, e)
                continue
            self._keep(seqno, state)
        if not self._wanted:
            resolver.let_go()
            self._shrink()

    def _read(self, seqno: SeqNo, need: Missing) -> None:
        first, last = need.first, need.last
        if first == last == seqno:
            last = max(self._run_from(seqno), self._resolver.guess(seqno))
            last = min(last, seqno + SLICE_MAX - 1)
        self._budget -= last - first + 1
        self._reading = first, last
        self._reading_for = seqno
        self._fetch(first, last)

    def _run_from(self, seqno: SeqNo) -> SeqNo:
        """The last of the seqnos wanted that follow `seqno` without a gap."""
        last = seqno
        while last + 1 in self._wanted and last - seqno < SLICE_MAX:
            last += 1
        return last

    def _keep(self, seqno: SeqNo, state: State) -> None:
        del self._wanted[seqno]
        self._failed.pop(seqno, None)
        self._states[seqno] = state
        self._bytes += state.size
        if self._waiting:
            self._tell((seqno,), None)
        if self._resolver.complaints:
            self._report()

    def _fail(self, seqno: SeqNo, error: PyccfError) -> None:
        self._wanted.pop(seqno, None)
        self._failed[seqno] = self._now + AGAIN_MS, error
        text = f"Historical transaction {seqno}: {error.message}"
        if not isinstance(error, Unavailable):
            self._log("fail", "", text)
        elif self._now >= self._quiet_until:
            # What is missing may be asked for by anybody, and any number of it.
            self._quiet_until = self._now + AGAIN_MS
            self._complain(text)
        self._tell((seqno,), error)

    def _tell(self, seqnos: Sequence[SeqNo], error: PyccfError | None) -> None:
        """These states are here, or `error` is why not."""
        for seqno in seqnos:
            for number in self._waiting.pop(seqno, ()):
                waiter = self._waiters.get(number)
                if waiter is None:
                    continue
                waiter.missing.discard(seqno)
                if error is not None or not waiter.missing:
                    self._dismiss(number, error)

    def _dismiss(self, number: int, error: PyccfError | None) -> None:
        """This one waits no longer."""
        waiter = self._waiters.pop(number)
        for seqno in waiter.missing:
            others = self._waiting.get(seqno)
            if others is not None:
                others.remove(number)
                if not others:
                    del self._waiting[seqno]
        waiter.resume(error)

    def _report(self) -> None:
        """Say once what is wrong with the ledger."""
        for text in self._resolver.complaints:
            self._complain(text)
        self._resolver.complaints.clear()

    def _complain(self, text: str) -> None:
        """Log a line, the first time it is said."""
        if text not in self._complained:
            if len(self._complained) >= COMPLAINTS_MAX:
                self._complained.clear()
            self._complained.add(text)
            self._log("fail", "", text)

    # --- time and room --------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether there is more to read, or somebody waits."""
        return bool(self._wanted or self._waiters)

    def tick(self, now: Millis) -> None:
        """Time passed: forget what nobody used, give up on who waits too long, read on."""
        self._now = now
        self._budget = TURN_MAX
        for handle in [h for h, held in self._held.items() if held.until <= now]:
            self.drop(handle)
        for seqno in [s for s, (until, _) in self._failed.items() if until <= now]:
            del self._failed[seqno]
            if seqno in self._waiting:
                self._wanted[seqno] = None
        self._shrink()
        while self._waiters:
            number, waiter = next(iter(self._waiters.items()))
            if waiter.deadline > now:
                break
            self._dismiss(number, Unavailable("The historical transactions are not here yet."))
        self._turn()

    def _shrink(self) -> None:
        """Forget handles used least recently until the rest fits.

        A single state is kept whatever its size: it could never be had otherwise.
        """
        while self._bytes > self._bytes_max and self._held:
            handle, held = next(iter(self._held.items()))
            if len(self._held) == len(held.seqnos) == 1:
                return
            self.drop(handle)


def check(seqnos: Sequence[SeqNo]) -> None:
    """Raise LocalError unless one request may ask for these."""
    if not seqnos:
        raise LocalError("Invalid historical query: no transactions are asked for.")
    # A script may ask for a range that has no length Python could tell.
    count = seqnos.stop - seqnos.start if isinstance(seqnos, range) else len(seqnos)
    if count > RANGE_MAX:
        raise LocalError(f"A historical range has at most {RANGE_MAX} transactions, not {count}.")
