"""What is going to happen in a run: a list of timed acts, made from a seed.

An act names nodes by their part in the network at that moment (`p` the primary, `b2` some backup,
`a5` any member, `n1` some newcomer), so that a schedule with acts taken out is still a schedule:
that is how a failing run is shrunk.

Chance alone rarely meets the moments that matter. So acts come in figures, short scenes known to be
hard for protocols of this kind: a primary cut off right after writes, primaries that leap-frog each
other, a retirement while its messages are late. Which figures a run is made of depends on its
theme. What a figure does is never told to the judges.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import msgspec

from pyccf.sim.cluster import Setup
from pyccf.types import Millis


class Act(msgspec.Struct, frozen=True):
    """One thing that happens at one time."""

    at: Millis
    """After the network was formed."""
    kind: str
    who: str = ""
    whom: str = ""
    value: int = 0

    def __str__(self) -> str:
        words = [f"{self.at:6d}", self.kind, self.who, self.whom]
        if self.value:
            words.append(str(self.value))
        return " ".join(word for word in words if word)


class Schedule(msgspec.Struct, frozen=True):
    """A network and what happens to it."""

    setup: Setup
    theme: str
    acts: tuple[Act, ...]

    def only(self, keep: list[int]) -> Schedule:
        """The same with some of its acts only."""
        chosen = tuple(self.acts[i] for i in keep if i < len(self.acts))
        return Schedule(self.setup, self.theme, chosen)


class _Script:
    """A schedule being written."""

    def __init__(self, chance: Random, setup: Setup) -> None:
        self.chance = chance
        self.setup = setup
        self.now: Millis = 0
        self.acts: list[Act] = []

    def add(self, after: Millis, kind: str, who: str = "", whom: str = "", value: int = 0) -> None:
        self.acts.append(Act(self.now + after, kind, who, whom, value))

    def within(self, low: Millis, high: Millis) -> Millis:
        return self.chance.randint(low, high)

    @property
    def patience(self) -> Millis:
        """About the time until an election is over."""
        timeout = self.setup.election_timeout
        return self.within(timeout // 2, timeout + timeout // 2)

    def backup(self) -> str:
        return f"b{self.chance.randrange(8)}"

    def anybody(self) -> str:
        return f"a{self.chance.randrange(8)}"

    def writes(self, most: int, who: str | None = None, after: Millis = 0) -> None:
        for _ in range(self.within(1, most)):
            where = who or ("p" if self.chance.random() < 0.6 else self.anybody())
            wait = 1 if self.chance.random() < 0.15 else 0
            self.add(after + self.within(0, 40), "write", where, value=wait)


Figure = Callable[[_Script], None]


def quiet(s: _Script) -> None:
    """Writes, reads and questions, nothing else."""
    s.writes(4)
    if s.chance.random() < 0.5:
        s.add(s.within(0, 60), "read", s.chance.choice(("p", s.anybody())))
    if s.chance.random() < 0.5:
        s.add(s.within(0, 120), "ask", s.anybody())
    s.now += s.within(10, 150)


def cut_off(s: _Script) -> None:
    """The primary is cut off right after writes, others go on, then all meet again."""
    s.writes(5, "p")
    s.add(s.within(0, 45), "isolate", "p")
    s.writes(3, "a0", after=s.within(20, 120))
    s.now += s.patience
    s.writes(4, "p")
    s.writes(2)
    s.now += s.within(20, 250)
    s.add(0, "mend")
    s.writes(2)
    s.now += s.within(20, 200)


def leap_frog(s: _Script) -> None:
    """Primaries follow one another before they can commit, and come back in turn."""
    for _ in range(s.within(2, 4)):
        s.writes(4, "p")
        s.add(s.within(0, 160), "isolate", "p")
        s.now += s.patience
        if s.chance.random() < 0.7:
            s.add(0, "mend")
    s.add(s.within(0, 60), "mend")
    s.now += s.within(50, 300)


def half_cut(s: _Script) -> None:
    """Some ways are cut in one direction only."""
    for _ in range(s.within(1, 4)):
        pair = ("p", s.backup()) if s.chance.random() < 0.5 else (s.anybody(), s.anybody())
        if s.chance.random() < 0.5:
            pair = (pair[1], pair[0])
        s.add(s.within(0, 100), "cut1", *pair)
    s.writes(4)
    s.now += s.patience
    s.writes(4)
    s.now += s.within(50, 300)
    s.add(0, "mend")


def split(s: _Script) -> None:
    """The network falls in two, both sides are written to."""
    s.writes(3)
    s.add(s.within(0, 60), "split", value=s.chance.randrange(1, 64))
    s.writes(3, s.anybody())
    s.now += s.patience
    s.writes(3)
    s.writes(3, s.anybody())
    s.now += s.within(0, 400)
    s.add(0, "mend")
    s.now += s.within(0, 200)


def stop_and_go(s: _Script) -> None:
    """A process stops for a while, and then handles everything that came meanwhile."""
    who = s.chance.choice(("p", "p", s.backup()))
    s.writes(4)
    s.add(s.within(0, 50), "pause", who)
    s.now += s.patience
    s.writes(4)
    s.now += s.within(0, 300)
    s.add(0, "resume")
    s.writes(2)
    s.now += s.within(0, 150)


def crash(s: _Script) -> None:
    """A machine dies; perhaps another takes its place."""
    s.writes(4)
    s.add(s.within(0, 60), "crash", s.chance.choice(("p", s.backup())))
    s.writes(2)
    s.now += s.patience
    if s.chance.random() < 0.7:
        s.add(0, "join", s.anybody())
        s.add(s.within(150, 500), "replace", s.anybody())
        s.now += s.within(100, 500)


def grow(s: _Script) -> None:
    """Nodes join and are trusted."""
    count = s.within(1, 3)
    for _ in range(count):
        s.add(s.within(0, 60), "join", s.anybody())
    s.now += s.within(100, 400)
    s.writes(3)
    s.add(s.within(0, 50), "trust", s.anybody(), value=s.within(1, count))
    s.writes(3)
    s.now += s.within(50, 300)
    s.add(s.within(0, 100), "trust", s.anybody(), value=count)


def shrink(s: _Script) -> None:
    """Nodes are removed, the primary perhaps among them."""
    s.writes(3)
    for _ in range(s.within(1, 2)):
        who = s.chance.choice(("p", s.backup(), s.backup()))
        s.add(s.within(0, 80), "remove", s.anybody(), who)
    s.writes(3)
    s.now += s.within(20, 300)
    s.writes(2)
    if s.chance.random() < 0.5:
        s.add(s.within(100, 500), "reap")
        s.add(s.within(500, 600), "delete", s.anybody())
    s.now += s.within(20, 300)


def swap(s: _Script) -> None:
    """One node for another, in one transaction."""
    s.add(0, "join", s.anybody())
    s.now += s.within(150, 400)
    s.writes(2)
    s.add(s.within(0, 40), "replace", s.anybody(), s.chance.choice(("p", s.backup())))
    s.writes(3)
    s.now += s.within(50, 400)
    s.add(0, "reap")
    s.add(s.within(10, 100), "delete", s.anybody())


def change_and_fault(s: _Script) -> None:
    """The configuration changes while a fault begins, so that it may be lost or half known."""
    act = s.chance.choice(("remove", "remove", "replace", "trust"))
    if act != "remove":
        s.add(0, "join", s.anybody())
        s.now += s.within(150, 350)
    s.add(s.within(0, 10), act, "p", s.chance.choice(("p", s.backup())), s.within(1, 2))
    s.writes(3, "p")
    kind = s.chance.choice(("isolate", "crash", "pause", "cut1", "split", "isolate"))
    who = s.chance.choice(("p", s.backup()))
    s.add(s.within(0, 120), kind, who, s.backup(), s.chance.randrange(1, 64))
    s.now += s.patience
    s.writes(4)
    if s.chance.random() < 0.4:
        s.add(s.within(0, 100), "remove", s.anybody(), s.anybody())
    s.now += s.within(0, 400)
    s.add(0, "mend")
    s.add(0, "resume")
    s.writes(2)
    s.now += s.within(0, 300)


def storm(s: _Script) -> None:
    """Messages are late, lost, repeated and out of order for a while."""
    s.add(0, "weather", value=s.chance.randrange(1, 1 << 16))
    for _ in range(s.within(1, 4)):
        s.writes(4)
        s.now += s.within(30, 200)
    if s.chance.random() < 0.4:
        s.add(s.within(0, 50), s.chance.choice(("isolate", "pause")), "p")
        s.now += s.patience
        s.writes(3)
    s.add(0, "mend")
    s.add(0, "resume")
    s.now += s.within(0, 150)


def echo(s: _Script) -> None:
    """Messages of long ago arrive again, while nodes stand for election or are cut off."""
    s.writes(3)
    s.add(s.within(0, 40), "replay", value=s.within(5, 60))
    if s.chance.random() < 0.5:
        s.add(s.within(0, 60), s.chance.choice(("jump", "isolate", "pause")), "p")
        s.add(s.within(60, 200), "replay", value=s.within(5, 60))
        s.now += s.patience
    s.writes(3)
    s.add(s.within(0, 100), "replay", value=s.within(5, 60))
    s.now += s.within(20, 150)
    s.add(0, "mend")
    s.add(0, "resume")


def clog(s: _Script) -> None:
    """The way to a node is full for a while; what waits leaves when it is free again."""
    s.add(0, "clog", s.chance.choice(("p", s.anybody())), s.backup())
    for _ in range(s.within(1, 3)):
        s.writes(5)
        s.now += s.within(20, 200)
    if s.chance.random() < 0.3:
        s.add(0, "isolate", "p")
        s.now += s.patience
        s.add(0, "mend")
    s.add(0, "unclog")
    s.now += s.within(0, 100)


def slow_disk(s: _Script) -> None:
    """Writes to disk take their time."""
    s.add(0, "lag", s.chance.choice(("p", s.anybody())), value=s.within(20, 300))
    s.writes(5)
    s.now += s.within(50, 300)
    if s.chance.random() < 0.5:
        s.add(0, "isolate", "p")
        s.now += s.patience
        s.add(0, "mend")
    s.add(s.within(0, 50), "lag", "a0", value=1)
    s.add(s.within(0, 50), "quick")


def skewed(s: _Script) -> None:
    """Clocks run at different rates."""
    for _ in range(s.within(1, 3)):
        s.add(s.within(0, 20), "skew", s.anybody(), value=s.within(40, 250))
    s.writes(4)
    s.now += s.within(100, 500)


def hand_over(s: _Script) -> None:
    """The primary is told to stop."""
    s.writes(4, "p")
    s.add(s.within(0, 30), "terminate", s.chance.choice(("p", "p", s.backup())))
    s.writes(4)
    s.now += s.within(150, 400)
    if s.chance.random() < 0.6:
        s.add(0, "join", s.anybody())
        s.add(s.within(150, 400), "replace", s.anybody())
        s.now += s.within(100, 400)


def rekey(s: _Script) -> None:
    """The ledger secret changes, and perhaps not after all."""
    s.add(0, "rekey", s.chance.choice(("p", s.anybody())))
    s.writes(3, "p")
    if s.chance.random() < 0.5:
        s.add(s.within(0, 30), "isolate", "p")
        s.now += s.patience
        s.writes(2)
        s.add(0, "mend")
    s.now += s.within(20, 200)


def stand(s: _Script) -> None:
    """Clocks jump: nodes stand for election one after the other, and at the same time."""
    for _ in range(s.within(2, 6)):
        who = s.chance.choice(("o", "x", s.backup(), s.anybody()))
        s.add(s.within(0, 30), "jump", who)
        if s.chance.random() < 0.4:
            s.add(s.within(0, 40), "jump", s.anybody())
        s.writes(3, "p", after=s.within(0, 60))
        s.now += s.within(10, 180)


def suffix(s: _Script) -> None:
    """One node has a signed suffix of its own; the next primary can hardly reach it."""
    for _ in range(s.within(4, 9)):
        s.add(s.within(0, 15), "write", "p")
    s.add(16, "isolate", "p")
    s.now += s.setup.signature_delay + s.within(40, 80)
    s.add(0, "jump", "x")
    s.add(s.within(1, 3), "jump", "x")
    s.now += s.within(20, 40)
    s.add(0, s.chance.choice(("clog", "clog", "slow")), "p", "o", s.within(100, 200))
    s.add(s.within(1, 10), "mend_cuts")
    if s.chance.random() < 0.6:
        s.add(s.within(5, 30), s.chance.choice(("pause", "cut1", "isolate")), "x", "p")
    for _ in range(s.within(4, 9)):
        s.add(s.within(10, 60), "write", "p")
    s.now += s.within(110, 220)
    s.add(0, "unclog")
    s.now += s.within(10, 120)
    s.add(0, "mend")
    s.add(0, "resume")
    s.now += s.within(0, 100)


def late_answers(s: _Script) -> None:
    """What a node once confirmed arrives when its confirmer has gone another way."""
    s.add(0, "slow", "b0", "p", s.within(120, 250))
    for _ in range(s.within(4, 8)):
        s.add(s.within(0, 30), "write", "p")
    s.add(s.within(35, 45), "cut1", "p", "b0")
    s.now += 50
    for _ in range(s.within(2, 3)):
        s.add(s.within(0, 5), "jump", "p")
    s.now += s.within(20, 40)
    s.add(s.within(0, 10), s.chance.choice(("cut1", "isolate", "quick")), "p", "b1")
    for _ in range(s.within(4, 9)):
        s.add(s.within(5, 60), "write", "p")
    s.now += s.within(150, 300)
    s.add(0, "mend")
    s.now += s.within(20, 200)


def late_votes(s: _Script) -> None:
    """A vote arrives when its candidate already stands again, against somebody else."""
    s.add(0, "cut1", "p", "b1")
    s.add(0, "slow", "b0", "b1", s.within(15, 90))
    s.add(5, "jump", "b1")
    again = s.within(11, 25)
    s.add(again, "jump", s.chance.choice(("b1", "p")))
    s.add(again + s.within(0, 2), "jump", s.chance.choice(("p", "b1")))
    s.writes(3, "p", after=again + 10)
    s.now += s.within(100, 250)
    s.add(0, "mend")
    s.now += s.within(20, 200)


THEMES: dict[str, tuple[tuple[Figure, int], ...]] = {
    "elections": (
        (quiet, 2),
        (cut_off, 4),
        (leap_frog, 4),
        (stop_and_go, 3),
        (hand_over, 1),
        (stand, 3),
    ),
    "suffixes": ((quiet, 1), (suffix, 4), (late_answers, 4), (stand, 2), (cut_off, 1)),
    "votes": ((quiet, 1), (late_votes, 4), (stand, 3), (stop_and_go, 1), (echo, 1)),
    "partitions": ((quiet, 2), (cut_off, 3), (half_cut, 4), (split, 4), (leap_frog, 1)),
    "reordering": ((quiet, 1), (storm, 6), (echo, 3), (cut_off, 2), (leap_frog, 2), (clog, 2)),
    "growth": ((quiet, 2), (grow, 4), (swap, 2), (crash, 2), (change_and_fault, 3), (rekey, 1)),
    "retirement": ((quiet, 2), (grow, 2), (shrink, 4), (swap, 3), (change_and_fault, 4)),
    "machines": (
        (quiet, 2),
        (slow_disk, 3),
        (skewed, 2),
        (stop_and_go, 3),
        (crash, 2),
        (clog, 2),
        (hand_over, 2),
        (rekey, 2),
    ),
    "everything": (
        (quiet, 4),
        (cut_off, 2),
        (leap_frog, 2),
        (half_cut, 2),
        (split, 2),
        (stop_and_go, 2),
        (crash, 2),
        (grow, 2),
        (shrink, 2),
        (swap, 2),
        (change_and_fault, 3),
        (storm, 2),
        (clog, 1),
        (slow_disk, 1),
        (skewed, 1),
        (hand_over, 2),
        (rekey, 2),
        (stand, 2),
        (suffix, 1),
        (late_answers, 1),
        (late_votes, 1),
        (echo, 2),
    ),
}


def generate(seed: int, steps: int, nodes: int | None = None, theme: str | None = None) -> Schedule:
    """The schedule of a seed: at least `steps` acts of one theme."""
    chance = Random(f"schedule {seed}")
    chosen = theme or chance.choice(tuple(THEMES))
    count = chance.choice((2, 3, 3, 3, 4, 5, 5))
    pre_vote = chance.random() < (0.2 if chosen == "votes" else 0.7)
    setup = Setup(
        seed=seed,
        nodes=nodes or count,
        # Without pre-vote a node that is behind stands again and again before it has caught up.
        election_timeout=chance.choice((300, 400, 600)) if pre_vote else 800,
        signature_tx_count=chance.choice((2, 4, 8, 20)),
        signature_delay=chance.choice((50, 100, 200)),
        frame_bytes_max=chance.choice((1500, 4096, 65536)),
        batch_entries=chance.choice((2, 5, 20)),
        window=chance.choice((4, 20, 1000)),
        pre_vote=pre_vote,
        # Chosen apart, so that the schedules of seeds known to meet something stay what they are.
        election_ticks=Random(f"ticks {seed}").choice((1, 4)),
        snapshot_tx_count=Random(f"snapshots {seed}").choice((3, 10, 30, 100)),
        fetch=Random(f"fetch {seed}").random() < 0.7,
    )
    script = _Script(chance, setup)
    figures = [figure for figure, _ in THEMES[chosen]]
    weights = [weight for _, weight in THEMES[chosen]]
    while len(script.acts) < steps:
        chance.choices(figures, weights)[0](script)
    acts = sorted(script.acts, key=lambda act: act.at)[:steps]
    return Schedule(setup, chosen, tuple(acts))
