"""A run as text: one column per node, one line per thing that happened.

    time     n0                  n1                  n2
      1204   ─AE 2.9>2.12 c9───────────▶             ·          append-entries, arrives at n1
      1207         ◀──────────ACK 2.12               ·          its answer
      1210   ─AE 2.9>2.12 c9─────────────────────────╳          lost

Under the name of a node stands, whenever it changed, what it is: role, view, last and committed
seqno. Nothing here decides anything; a run without a transcript is the same run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.consensus.raft import messages as raft
from pyccf.errors import RemoteError
from pyccf.node.outputs import Channel
from pyccf.sim import peek
from pyccf.sim.shell import Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyccf.sim.shell import Shell
    from pyccf.types import Millis

WIDTH = 26
TIME_WIDTH = 7
_ROLE = {
    "None": "-",
    "Follower": "f",
    "PreVoteCandidate": "pre",
    "Candidate": "cand",
    "Leader": "L",
}


class Transcript:
    """Lines of one run."""

    def __init__(self, now: Callable[[], Millis]) -> None:
        self.lines: list[str] = []
        self._now = now
        self._states: dict[str, str] = {}

    def act(self, text: str) -> None:
        """The schedule acts."""
        self._line(f"── {text}")

    def note(self, shell: Shell, text: str) -> None:
        """Something happened at one node."""
        self._line(f"{self._indent(shell)}{shell.name}: {text}")

    def frame(
        self, sender: Shell, target: Shell, channel: Channel, data: bytes, heard: bool
    ) -> None:
        """A message arrived (and waits, if the process is stopped)."""
        self._arrow(sender, target, describe(channel, data), "▶◀" if heard else "▷◁")

    def lost(self, sender: Shell, target: Shell, channel: Channel, data: bytes) -> None:
        """A message will not arrive."""
        self._arrow(sender, target, describe(channel, data), "╳╳")

    def states(self, shells: list[Shell]) -> None:
        """What became of these nodes, if it changed."""
        for shell in shells:
            text = state(shell)
            if self._states.get(shell.name) != text:
                self._states[shell.name] = text
                self._line(f"{self._indent(shell)}[{shell.name} {text}]")

    def end(self, text: str) -> None:
        """What became of the run."""
        self._line(f"══ {text}")

    def text(self) -> str:
        """The whole run."""
        return "\n".join(self.lines) + "\n"

    def _indent(self, shell: Shell) -> str:
        return " " * (shell.number * WIDTH)

    def _arrow(self, sender: Shell, target: Shell, text: str, heads: str) -> None:
        left, right = sorted((sender.number, target.number))
        span = (right - left) * WIDTH
        if sender.number < target.number:
            body = f"{sender.name}─{text}".ljust(span, "─") + heads[0] + target.name
        else:
            body = f"{target.name}{heads[1]}" + f"{text}─{sender.name}".rjust(span, "─")
        self._line(" " * (left * WIDTH) + body)

    def _line(self, text: str) -> None:
        self.lines.append(f"{self._now():{TIME_WIDTH}d}  {text}")


def state(shell: Shell) -> str:
    """Role, view, last seqno and commit of a node in a few characters."""
    if shell.standing is Standing.GONE:
        return "gone"
    node = shell.node
    engine = peek.engine(node)
    phase = "" if engine.phase is None else f" {engine.phase.value}"
    role = _ROLE[engine.leadership.value]
    if node.state != "PartOfNetwork":
        role = node.state
    return f"{role} v{engine.view} {engine.last} c{engine.committed}{phase}"


def describe(channel: Channel, data: bytes) -> str:
    """A message in a few characters."""
    if channel is Channel.FORWARD:
        return f"forward {len(data)}B"
    try:
        message = raft.decode(data)
    except RemoteError:
        return f"garbage {len(data)}B"
    match message:
        case raft.AppendEntries():
            return (
                f"AE v{message.term} {message.prev_term}.{message.prev_idx}"
                f">{message.term_of_idx}.{message.idx} c{message.leader_commit_idx}"
            )
        case raft.AppendEntriesResponse():
            word = "ACK" if message.success else "NACK"
            return f"{word} v{message.term} {message.last_log_idx}"
        case raft.RequestVote():
            last = f"{message.term_of_last_committable_idx}.{message.last_committable_idx}"
            return f"{message.election_type.name[:3]} v{message.term}? {last}"
        case raft.RequestVoteResponse():
            return f"v{message.term} {'yes' if message.vote_granted else 'no'}"
        case raft.ProposeRequestVote():
            return f"stand v{message.term}"
