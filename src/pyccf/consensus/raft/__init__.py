"""CCF's Raft variant: crash-fault-tolerant agreement that commits by signatures only.

One replica is one `Raft`, built in layers that call downwards:

    settings, messages                 numbers and words
    state      variables and roll-back
    roles      stepping down
    sending    append-entries and heartbeats to peers
    membership configurations, retirement, handing over
    commit     what is final
    election   standing, voting, becoming leader
    append     what a leader sends, taken over
    progress   what followers answer; CheckQuorum
    yielding   leaders that cannot help
    engine     the table of inputs

(spec: consensus-cft.md)
"""

from pyccf.consensus.raft.engine import Raft
from pyccf.consensus.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    ElectionType,
    Message,
    ProposeRequestVote,
    RequestVote,
    RequestVoteResponse,
    decode,
)
from pyccf.consensus.raft.settings import RaftSettings
from pyccf.consensus.raft.state import Phase

__all__ = [
    "AppendEntries",
    "AppendEntriesResponse",
    "ElectionType",
    "Message",
    "Phase",
    "ProposeRequestVote",
    "Raft",
    "RaftSettings",
    "RequestVote",
    "RequestVoteResponse",
    "decode",
]
