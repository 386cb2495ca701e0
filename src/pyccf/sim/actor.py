"""Carries out the acts of a schedule on a cluster.

Who is meant is found out at the moment of the act. An act that makes no sense then, or that would
leave too few nodes, is left out: a schedule never breaks what the protocol may rely on.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from pyccf.sim.network import Weather
from pyccf.sim.shell import Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyccf.sim.client import Clients
    from pyccf.sim.cluster import Cluster
    from pyccf.sim.schedule import Act
    from pyccf.sim.shell import Shell

NODES_MAX = 14
"""Nodes of one run, gone ones included."""
ALIVE_MAX = 8


class Actor:
    """The hand of a schedule."""

    def __init__(self, cluster: Cluster, clients: Clients) -> None:
        self._cluster = cluster
        self._clients = clients
        self._chance = Random(f"{cluster.setup.seed} actor")
        self._primary: Shell | None = None
        """The primary, or who was it last."""
        self._outcast: Shell | None = None
        """Who was cut off or stopped last."""
        self.done: dict[str, int] = {}
        """How many acts of each kind were carried out."""
        self._acts: dict[str, Callable[[Act], bool]] = {
            "write": self._write,
            "read": self._read,
            "ask": self._ask,
            "isolate": self._isolate,
            "cut1": self._cut_one_way,
            "split": self._split,
            "mend": self._mend,
            "mend_cuts": self._mend_cuts,
            "weather": self._weather,
            "pause": self._pause,
            "resume": self._resume,
            "crash": self._crash,
            "terminate": self._terminate,
            "join": self._join,
            "trust": self._trust,
            "remove": self._remove,
            "replace": self._replace,
            "rekey": self._rekey,
            "reap": self._reap,
            "delete": self._delete,
            "replay": self._replay,
            "clog": self._clog,
            "unclog": self._unclog,
            "lag": self._lag,
            "quick": self._quick,
            "skew": self._skew,
            "jump": self._jump,
            "slow": self._slow,
        }

    @property
    def kinds(self) -> frozenset[str]:
        """What kinds of act there are."""
        return frozenset(self._acts)

    def do(self, act: Act) -> None:
        """Carry out one act."""
        if self._acts[act.kind](act):
            self.done[act.kind] = self.done.get(act.kind, 0) + 1

    # --- who ------------------------------------------------------------------------------------

    def find(self, who: str) -> Shell | None:
        """The node that is meant, if there is one.

        `p` the primary or who was it last, `o` who was cut off or stopped last, `x` a member that
        is neither, `b<n>` some backup, `a<n>` any member.
        """
        cluster = self._cluster
        members = cluster.members()
        primary = cluster.primary()
        if primary is None:
            primary = self._primary if self._primary in members else None
        self._primary = primary
        if who == "p":
            return primary or (members[0] if members else None)
        if who == "o" and self._outcast in members:
            return self._outcast
        if who == "x":
            members = [s for s in members if s is not primary and s is not self._outcast]
            return members[0] if members else None
        choice = members
        if who.startswith("b") and len(members) > 1:
            choice = [shell for shell in members if shell is not primary]
        return choice[int(who[1:] or 0) % len(choice)] if choice else None

    def newcomers(self) -> list[Shell]:
        """Nodes that ask to be let in, the oldest first."""
        return [
            shell
            for shell in self._cluster.alive
            if shell.staying and shell.node.state != "PartOfNetwork"
        ]

    # --- clients --------------------------------------------------------------------------------

    def _write(self, act: Act) -> bool:
        shell = self.find(act.who)
        if shell is None:
            return False
        self._clients.write(shell, self._chance.randrange(2), wait=act.value == 1)
        return True

    def _read(self, act: Act) -> bool:
        shell = self.find(act.who)
        if shell is None:
            return False
        self._clients.read(shell, self._chance.randrange(2))
        return True

    def _ask(self, act: Act) -> bool:
        shell = self.find(act.who)
        txids = self._clients.txids
        if shell is None or not txids:
            return False
        self._clients.ask(shell, txids[-1 - self._chance.randrange(min(10, len(txids)))])
        return True

    # --- the network ----------------------------------------------------------------------------

    def _isolate(self, act: Act) -> bool:
        shell = self.find(act.who)
        if shell is None:
            return False
        self._cluster.note(shell, "is cut off")
        self._outcast = shell
        self._cluster.isolate(shell)
        return True

    def _cut_one_way(self, act: Act) -> bool:
        a, b = self.find(act.who), self.find(act.whom)
        if a is None or b is None or a is b:
            return False
        self._cluster.note(a, f"way to {b.name} is cut")
        self._cluster.cut(a, b, both=False)
        return True

    def _split(self, act: Act) -> bool:
        alive = self._cluster.alive
        group = [shell for i, shell in enumerate(alive) if act.value >> (i % 6) & 1]
        if not group or len(group) == len(alive):
            return False
        for shell in group:
            self._cluster.note(shell, "on one side of a split")
        self._cluster.split(group)
        return True

    def _mend(self, act: Act) -> bool:
        self._cluster.network.mend_all()
        self._cluster.note_all("the network is mended")
        return True

    def _mend_cuts(self, act: Act) -> bool:
        """Cut ways are open again; slow ones stay slow."""
        self._cluster.network.mend_cuts()
        self._cluster.note_all("cut ways are mended")
        return True

    def _weather(self, act: Act) -> bool:
        chance = Random(f"{act.value} weather")
        self._cluster.network.weather = Weather(
            delay_min=1,
            delay_max=chance.choice((5, 20, 60, 150)),
            loss=chance.choice((0.0, 0.05, 0.2, 0.4)),
            repeat=chance.choice((0.0, 0.1, 0.4)),
            reorder=chance.choice((0.0, 0.2, 0.6)),
            straggle_max=chance.choice((30, 150, 500)),
        )
        self._cluster.note_all("the weather turns")
        return True

    def _replay(self, act: Act) -> bool:
        self._cluster.network.replay(act.value, 100)
        self._cluster.note_all(f"{act.value} old messages arrive again")
        return True

    def _clog(self, act: Act) -> bool:
        a, b = self.find(act.who), self.find(act.whom)
        if a is None or b is None or a is b or not a.running:
            return False
        peer = b.node.node_id
        a.input(lambda: a.clog(peer))
        return True

    def _unclog(self, act: Act) -> bool:
        for shell in self._cluster.alive:
            shell.unclog_all()
        return True

    # --- machines -------------------------------------------------------------------------------

    def _pause(self, act: Act) -> bool:
        shell = self.find(act.who)
        if shell is None or not shell.running:
            return False
        self._cluster.note(shell, "stops (SIGSTOP)")
        self._outcast = shell
        shell.pause()
        return True

    def _resume(self, act: Act) -> bool:
        for shell in self._cluster.alive:
            if shell.standing is Standing.STOPPED:
                self._cluster.note(shell, "goes on (SIGCONT)")
                shell.resume()
        return True

    def _crash(self, act: Act) -> bool:
        shell = self.find(act.who)
        if shell is None or shell.ending or not self._cluster.may_lose(shell):
            return False
        self._cluster.crash(shell)
        return True

    def _terminate(self, act: Act) -> bool:
        shell = self.find(act.who)
        if shell is None or shell.ending or not shell.running:
            return False
        if not self._cluster.may_lose(shell):
            return False
        self._cluster.note(shell, "is told to stop (SIGTERM)")
        self._cluster.terminate(shell)
        return True

    def _lag(self, act: Act) -> bool:
        shell = self.find(act.who)
        if shell is None:
            return False
        shell.disk.lag = act.value
        return True

    def _quick(self, act: Act) -> bool:
        for shell in self._cluster.alive:
            shell.disk.lag = 0
        return True

    def _skew(self, act: Act) -> bool:
        shell = self.find(act.who)
        if shell is None:
            return False
        shell.skew(act.value / 100)
        return True

    def _jump(self, act: Act) -> bool:
        shell = self.find(act.who)
        if shell is None:
            return False
        timeout = self._cluster.setup.election_timeout
        self._cluster.note(shell, f"clock jumps by {timeout} ms")
        shell.jump(timeout)
        return True

    def _slow(self, act: Act) -> bool:
        a, b = self.find(act.who), self.find(act.whom)
        if a is None or b is None or a is b:
            return False
        self._cluster.note(a, f"way to {b.name} takes {act.value} ms")
        way = self._cluster.network.way(a.name, b.name)
        way.weather = Weather(delay_min=act.value, delay_max=act.value + 50)
        return True

    # --- membership -----------------------------------------------------------------------------

    def _join(self, act: Act) -> bool:
        cluster = self._cluster
        target = self.find(act.who)
        if target is None or len(cluster.shells) >= NODES_MAX or len(cluster.alive) >= ALIVE_MAX:
            return False
        shell = cluster.join(target)
        cluster.note(shell, f"asks {target.name} to be let in")
        return True

    def _trust(self, act: Act) -> bool:
        shell = self.find(act.who)
        names = [s.node.node_id for s in self.newcomers()[: max(1, act.value)]]
        if shell is None or not names:
            return False
        self._cluster.note(shell, f"is asked to trust {self._names(names)}")
        self._clients.govern(shell, "trust", names)
        return True

    def _remove(self, act: Act) -> bool:
        shell, leaves = self.find(act.who), self.find(act.whom)
        if shell is None or leaves is None:
            return False
        self._cluster.note(shell, f"is asked to remove {leaves.name}")
        self._clients.govern(shell, "remove", [leaves.node.node_id])
        return True

    def _replace(self, act: Act) -> bool:
        """One newcomer for one member: the one named, or one that is gone."""
        shell = self.find(act.who)
        newcomers = self.newcomers()
        if shell is None or not newcomers:
            return False
        leaves = self.find(act.whom) if act.whom else self._gone_member(shell)
        names = [newcomers[0].node.node_id]
        if leaves is not None:
            names.append(leaves.node.node_id)
        self._cluster.note(shell, f"is asked to replace {self._names(names[1:] + names[:1])}")
        self._clients.govern(shell, "replace", names)
        return True

    def _gone_member(self, seen_by: Shell) -> Shell | None:
        for node_id in sorted(seen_by.node.consensus.nodes()):
            shell = self._cluster.by_id[node_id]
            if not shell.staying:
                return shell
        return None

    def _rekey(self, act: Act) -> bool:
        shell = self.find(act.who)
        if shell is None:
            return False
        self._cluster.note(shell, "is asked to rekey the ledger")
        self._clients.govern(shell, "rekey", [])
        return True

    def _reap(self, act: Act) -> bool:
        """The operator stops nodes whose retirement is complete."""
        done = False
        for shell in self._cluster.alive:
            if shell.node.retired:
                self._cluster.crash(shell)
                done = True
        return done

    def _delete(self, act: Act) -> bool:
        """The operator takes a node that is gone for good out of the table."""
        shell = self.find(act.who)
        if shell is None:
            return False
        done = False
        for gone in self._cluster.shells:
            if gone.standing is Standing.GONE and gone.node.retired:
                self._clients.delete(shell, gone.node.node_id)
                done = True
        return done

    def _names(self, ids: list[str]) -> str:
        return " ".join(self._cluster.named(node_id) for node_id in ids)
