"""Runs schedules, and makes a failing one small.

A run has three parts. The network is formed, without faults; the schedule plays, with whatever
faults it has; then all faults stop and the network must recover: a primary, a write that commits,
every trusted node with the same ledger (spec: consensus-cft.md §14.3). The judges look after every
step. A run is a function of its schedule alone.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pyccf.sim import fast
from pyccf.sim.actor import Actor
from pyccf.sim.checkers import Judges, Violated
from pyccf.sim.client import Clients
from pyccf.sim.cluster import Cluster
from pyccf.sim.disk import Broken
from pyccf.sim.replicas import Violation
from pyccf.sim.schedule import Schedule
from pyccf.sim.transcript import Transcript
from pyccf.types import Millis

if TYPE_CHECKING:
    from pyccf.sim.schedule import Act
    from pyccf.sim.shell import Shell

LIVENESS = "Liveness"
FORM_MAX: Millis = 60_000
"""How long a network without faults may take to form."""
RECOVER_TIMEOUTS = 60
"""Within how many election timeouts a network must have recovered once faults stop."""
STEPS_MAX = 200_000
"""A run that takes more steps than this runs wild."""
SHRINK_RUNS_MAX = 120
SHRINK_SECONDS_MAX = 60.0


class Figures(msgspec.Struct):
    """What happened in one run or in many."""

    schedules: int = 0
    acts: int = 0
    steps: int = 0
    virtual_ms: int = 0
    elections: int = 0
    reconfigurations: int = 0
    commits: int = 0
    """Entries that the networks agreed on."""
    writes: int = 0
    answered: int = 0
    committed_writes: int = 0
    messages: int = 0
    lost: int = 0
    nodes: int = 0
    unjudged: int = 0
    """Runs whose recovery could not be asked for: a configuration had lost its majority."""

    def add(self, other: Figures) -> None:
        """Sum up."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Outcome(msgspec.Struct):
    """What became of one run."""

    figures: Figures
    violation: Violation | None = None
    where: str = ""
    """For a failure inside a node: the end of its traceback."""


class Simulation:
    """One run."""

    def __init__(self, schedule: Schedule, *, drawn: bool = False) -> None:
        self.schedule = schedule
        self.cluster = Cluster(schedule.setup)
        self.judges = Judges(self.cluster)
        self.clients = Clients(self.judges, lambda: self.judges.steps)
        self.actor = Actor(self.cluster, self.clients)
        self.transcript: Transcript | None = None
        self.unjudged = 0
        self._played = 0
        if drawn:
            self.transcript = Transcript(lambda: self.cluster.clock.now)
            self.cluster.transcript = self.transcript

    def run(self) -> Outcome:
        """Play everything; the outcome, never an exception for what nodes do."""
        violation: Violation | None = None
        where = ""
        try:
            self._form()
            self._play()
            self._recover()
            self.judges.at_end()
        except Violated as e:
            violation = e.found
        except Broken as e:
            violation = Violation("ShellContract", (), str(e))
            where = traceback.format_exc(limit=-4)
        if self.transcript is not None:
            self.transcript.end(str(violation) if violation else "no rule was violated")
        return Outcome(self._figures(), violation, where)

    def live(self) -> Violation | None:
        """Form the network and play the schedule, and leave everything as it then is."""
        try:
            self._form()
            self._play()
        except Violated as e:
            return e.found
        except Broken as e:
            return Violation("ShellContract", (), str(e))
        return None

    def _figures(self) -> Figures:
        judges, network = self.judges, self.cluster.network
        return Figures(
            schedules=1,
            acts=sum(self.actor.done.values()),
            steps=judges.steps,
            virtual_ms=self.cluster.clock.now,
            elections=judges.elections,
            reconfigurations=judges.reconfigurations,
            commits=judges.agreed.last,
            writes=self.clients.writes,
            answered=self.clients.answered,
            committed_writes=len(judges.agreed.links),
            messages=network.sent,
            lost=network.lost,
            nodes=len(self.cluster.shells),
            unjudged=self.unjudged,
        )

    # --- parts ----------------------------------------------------------------------------------

    def _step(self) -> None:
        cluster = self.cluster
        try:
            more = cluster.clock.step()
        except (Violated, Broken):
            raise
        except Exception as e:
            raise Violated(self._failure(e)) from e
        assert more, "nodes tick for ever"
        if self.judges.steps >= STEPS_MAX:
            raise Violated(Violation(LIVENESS, (), f"{STEPS_MAX} steps and no end"))
        if self.transcript is not None:
            self.transcript.states(cluster.changed)
        self.judges.after_step(cluster.changed)
        cluster.changed.clear()

    def _failure(self, error: Exception) -> Violation:
        """Something in a node failed in a way nobody foresaw."""
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        path = " < ".join(f"{Path(f.filename).stem}.{f.name}:{f.lineno}" for f in reversed(frames))
        names = tuple(shell.name for shell in self.cluster.changed)
        return Violation("NodeNeverFails", names, f"{type(error).__name__}: {error} at {path}")

    def _until(self, done: Callable[[], bool], limit: Millis, what: str) -> None:
        """Go on until something holds. Raises Violated when it never does."""
        end = self.cluster.clock.now + limit
        while not done():
            if self.cluster.clock.now > end:
                raise Violated(Violation(LIVENESS, (), f"{what} did not happen within {limit} ms"))
            self._step()

    def _form(self) -> None:
        cluster = self.cluster
        first = cluster.start()
        self._until(lambda: "Service" in first.certificates, FORM_MAX, "the first commit")
        while len(cluster.shells) < self.schedule.setup.nodes:
            cluster.join(first)
        self._until(self._all_in, FORM_MAX, "the joining of all nodes")
        self.clients.govern(first, "open", [])
        self._until(
            lambda: all(shell.node.app.open for shell in cluster.shells),
            FORM_MAX,
            "the opening of the service",
        )

    def _all_in(self) -> bool:
        shells = self.cluster.shells
        return all(
            shell.node.state == "PartOfNetwork"
            and len(shell.node.consensus.nodes()) == len(shells)
            and "Service" in shell.certificates
            for shell in shells
        )

    def _play(self) -> None:
        clock = self.cluster.clock
        begin = clock.now
        for act in self.schedule.acts:
            clock.at(begin + act.at, lambda act=act: self._act(act))  # type: ignore[misc]
        while self._played < len(self.schedule.acts):
            self._step()

    def _act(self, act: Act) -> None:
        self._played += 1
        if self.transcript is not None:
            self.transcript.act(str(act).strip())
        self.actor.do(act)

    def _recover(self) -> None:
        """Faults stop: the network must work again."""
        cluster = self.cluster
        cluster.note_all("all faults stop")
        cluster.heal()
        limit = RECOVER_TIMEOUTS * self.schedule.setup.election_timeout
        end = cluster.clock.now + self.schedule.setup.election_timeout
        while cluster.clock.now < end:
            self._step()
        try:
            self._until(lambda: cluster.primary() is not None, limit, "the election of a primary")
            committed = self._last_write(limit)
            self._until(lambda: self._converged(committed), limit, "agreement of all trusted nodes")
        except Violated as e:
            # A node may have ended by itself, and a configuration lost its majority with it.
            if e.found.rule != LIVENESS or cluster.can_recover():
                raise
            self.unjudged = 1

    def _last_write(self, limit: Millis) -> int:
        """A new write commits; how much is committed then."""
        numbers: list[int] = []

        def committed() -> bool:
            links = self.judges.agreed.links
            if numbers and any(link.number in numbers for link in links[-len(numbers) :]):
                return True
            if not numbers or self.cluster.clock.now >= retry[0]:
                members = [shell for shell in self.cluster.members() if shell.running]
                if members:
                    shell = members[len(numbers) % len(members)]
                    numbers.append(self.clients.write(shell, client=9))
                retry[0] = self.cluster.clock.now + 2 * self.schedule.setup.election_timeout
            return False

        retry = [0]
        self._until(committed, limit, "the commit of a new write")
        return self.judges.agreed.last

    def _converged(self, committed: int) -> bool:
        primary = self.cluster.primary()
        base = primary.disk.base if primary is not None else 0
        helps = primary is not None and primary.disk.snapshots.offers(base)
        fetches = self.schedule.setup.fetch

        # Who fell behind the snapshot that the primary began with fetches one, unless it may not or
        # the one that is offered is damaged: then it must be replaced.
        def can_follow(shell: Shell) -> bool:
            last = shell.node.consensus.last
            return last >= base or (helps and (fetches or last == 0))

        members = [s for s in self.cluster.members() if s.staying and can_follow(s)]
        engines = [shell.node.consensus for shell in members]
        return (
            bool(engines)
            and all(engine.committed >= committed for engine in engines)
            and len({(engine.view, engine.last, engine.committed) for engine in engines}) == 1
            and len({engine.primary for engine in engines}) == 1
        )


def run(schedule: Schedule, *, drawn: bool = False) -> tuple[Outcome, Simulation]:
    """Run one schedule."""
    simulation = Simulation(schedule, drawn=drawn)
    with fast.collected_between(), fast.signatures_remembered():
        return simulation.run(), simulation


# --- shrinking --------------------------------------------------------------------------------


def shrink(schedule: Schedule, rule: str) -> list[int]:
    """A small set of acts after which the same rule is violated, by delta debugging.

    Bounded in runs and in time, so not always the smallest.
    """
    keep = list(range(len(schedule.acts)))
    runs = 0
    end = time.monotonic() + SHRINK_SECONDS_MAX

    def fails(chosen: list[int]) -> bool:
        nonlocal runs
        runs += 1
        found = run(schedule.only(chosen))[0].violation
        return found is not None and found.rule == rule

    parts = 2
    while len(keep) > 1 and runs < SHRINK_RUNS_MAX and time.monotonic() < end:
        smaller = None
        for chosen in _without_parts(keep, parts):
            if runs >= SHRINK_RUNS_MAX or time.monotonic() > end:
                break
            if fails(chosen):
                smaller = chosen
                break
        if smaller is not None:
            keep = smaller
            parts = max(2, parts - 1)
        elif parts >= len(keep):
            break
        else:
            parts = min(len(keep), parts * 2)
    return keep


def _without_parts(keep: list[int], parts: int) -> Iterator[list[int]]:
    """All but one part, the last part first: what comes late is needed least."""
    size = -(-len(keep) // parts)
    for start in reversed(range(0, len(keep), size)):
        yield keep[:start] + keep[start + size :]


def ranges(numbers: list[int]) -> str:
    """1,4-6 for 1, 4, 5, 6; "none" for none."""
    out: list[str] = []
    at = 0
    while at < len(numbers):
        end = at
        while end + 1 < len(numbers) and numbers[end + 1] == numbers[end] + 1:
            end += 1
        out.append(str(numbers[at]) if end == at else f"{numbers[at]}-{numbers[end]}")
        at = end + 1
    return ",".join(out) or "none"


def parse_ranges(text: str) -> list[int]:
    """The reverse of `ranges`. Raises ValueError."""
    numbers: list[int] = []
    for part in text.split(",") if text != "none" else ():
        first, dash, last = part.partition("-")
        numbers.extend(range(int(first), int(last if dash else first) + 1))
    return numbers
