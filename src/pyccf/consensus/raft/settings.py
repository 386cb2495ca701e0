"""Numbers that Raft obeys. Those of the node's configuration come first."""

from __future__ import annotations

import msgspec

from pyccf.types import Millis


class RaftSettings(msgspec.Struct, frozen=True):
    """Read once; the defaults are those of a node (spec: consensus-cft.md §2.3)."""

    message_timeout: Millis = 100
    """How often a leader says that it is alive."""
    election_timeout: Millis = 5000
    """How long a follower waits for a leader, and a leader for its quorum."""
    election_ticks: int = 4
    """How many ticks at least an election timeout takes. One that comes later than that says that
    this node stood still, not that the others did: what they sent meanwhile waits to be read."""
    pre_vote: bool = True
    """Whether a node asks if it would win before it starts a new view."""

    batch_bytes: int = 128 * 1024
    """About how many bytes of entries go into one message, and how many wait at most."""
    batch_entries: int = 1000
    """How many entries go into one message at most."""
    window: int = 20_000
    """How many entries may be under way to one peer."""
    messages_max: int = 32
    """How many messages one peer is sent in one go."""
    catch_up: int = 50_000
    """How many entries in a second, beside those that are new, a peer is sent that is behind: as
    fast as it can it would use up what clients and other nodes on its machine need."""
    silence: int = 5
    """Heartbeats without an answer after which a full window counts as lost or ignored."""
