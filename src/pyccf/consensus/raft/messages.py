"""What Raft peers say to each other, as values and as bytes.

    u8 tag | fields, little-endian, integers u64 | only AppendEntries: the entries as in the ledger

    tag 0  AppendEntries           term, prev_idx, idx, prev_term, leader_commit_idx, term_of_idx
    tag 1  AppendEntriesResponse   term, last_log_idx, u8 success
    tag 3  RequestVote             term, last_committable_idx, term_of_last_committable_idx, u8 type
    tag 4  RequestVoteResponse     term, u8 granted, u8 type
    tag 5  ProposeRequestVote      term

`decode` refuses, with RemoteError, unknown tags, wrong sizes, flags that are neither 0 nor 1, views
that do not fit a ledger, seqnos above 2^48 and append-entries whose fields contradict each other.
Entries are split by the size in their header and not looked into; if the bytes do not hold exactly
the entries announced, those that are complete are given and the receiver answers as the rules say.

(spec: consensus-cft.md §4)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Self, TypeAlias

import msgspec

from pyccf.consensus.raft.split import split
from pyccf.errors import RemoteError
from pyccf.types import VIEW_MAX, SeqNo, View

SEQNO_MAX = (1 << 48) - 1
"""No ledger gets this long; sums of seqnos stay far from what 64 bits hold."""


class ElectionType(IntEnum):
    """Whether a vote is asked for, or only whether it would be given."""

    PRE_VOTE = 0
    REGULAR_VOTE = 1


class AppendEntries(msgspec.Struct, frozen=True, gc=False):
    """The leader of `term` says what follows `prev_idx`; without entries, that it is alive."""

    term: View
    prev_idx: SeqNo
    idx: SeqNo
    prev_term: View
    leader_commit_idx: SeqNo
    term_of_idx: View
    """View of every entry carried."""
    entries: list[bytes] = []
    """The entries prev_idx+1..idx; of a message to be sent, none: the shell attaches them."""

    @property
    def first(self) -> SeqNo:
        return self.prev_idx + 1

    @property
    def last(self) -> SeqNo:
        return self.idx

    def encode(self) -> bytes:
        return _APPEND.pack(
            0,
            self.term,
            self.prev_idx,
            self.idx,
            self.prev_term,
            self.leader_commit_idx,
            self.term_of_idx,
        )

    def upto(self, seqno: SeqNo) -> AppendEntries:
        """The same with the entries first..seqno only."""
        assert self.prev_idx <= seqno <= self.idx, "a part of a message is inside it"
        term = self.term_of_idx if seqno > self.prev_idx else self.prev_term
        return AppendEntries(
            self.term,
            self.prev_idx,
            seqno,
            self.prev_term,
            self.leader_commit_idx,
            term,
            self.entries[: seqno - self.prev_idx],
        )

    def after(self, seqno: SeqNo) -> AppendEntries:
        """The message that carries what comes after `seqno`."""
        assert self.prev_idx <= seqno <= self.idx, "a part of a message is inside it"
        if seqno == self.prev_idx:
            return self
        return AppendEntries(
            self.term,
            seqno,
            self.idx,
            self.term_of_idx,
            self.leader_commit_idx,
            self.term_of_idx,
            self.entries[seqno - self.prev_idx :],
        )


class _WithoutEntries(msgspec.Struct, frozen=True, gc=False):
    """Of a message that no ledger entries follow: it is never cut."""

    @property
    def first(self) -> SeqNo:
        return 1

    @property
    def last(self) -> SeqNo:
        return 0

    def upto(self, seqno: SeqNo) -> Self:
        return self

    def after(self, seqno: SeqNo) -> Self:
        return self


class AppendEntriesResponse(_WithoutEntries, frozen=True, gc=False):
    """A follower has everything up to `last_log_idx`, or could not take what was sent."""

    term: View
    last_log_idx: SeqNo
    success: bool

    def encode(self) -> bytes:
        return _APPEND_RESPONSE.pack(1, self.term, self.last_log_idx, not self.success)


class RequestVote(_WithoutEntries, frozen=True, gc=False):
    """A candidate asks for a vote and says where its last signature is."""

    term: View
    last_committable_idx: SeqNo
    term_of_last_committable_idx: View
    election_type: ElectionType

    def encode(self) -> bytes:
        return _VOTE.pack(
            3,
            self.term,
            self.last_committable_idx,
            self.term_of_last_committable_idx,
            self.election_type,
        )


class RequestVoteResponse(_WithoutEntries, frozen=True, gc=False):
    """The answer to RequestVote."""

    term: View
    vote_granted: bool
    election_type: ElectionType

    def encode(self) -> bytes:
        return _VOTE_RESPONSE.pack(4, self.term, self.vote_granted, self.election_type)


class ProposeRequestVote(_WithoutEntries, frozen=True, gc=False):
    """A leader that is about to leave asks a peer to stand for election."""

    term: View

    def encode(self) -> bytes:
        return _PROPOSE.pack(5, self.term)


Message: TypeAlias = (
    AppendEntries | AppendEntriesResponse | RequestVote | RequestVoteResponse | ProposeRequestVote
)

_APPEND = struct.Struct("<B6Q")
_APPEND_RESPONSE = struct.Struct("<BQQB")
_VOTE = struct.Struct("<BQQQB")
_VOTE_RESPONSE = struct.Struct("<BQBB")
_PROPOSE = struct.Struct("<BQ")


def decode(data: bytes) -> Message:
    """The message in these bytes. Raises RemoteError."""
    if not data:
        raise RemoteError("A consensus message is empty.")
    read = _READERS.get(data[0])
    if read is None:
        raise RemoteError(f"A consensus message has the unknown tag {data[0]}.")
    return read(data)


def _append(data: bytes) -> AppendEntries:
    if len(data) < _APPEND.size:
        raise RemoteError(f"An append-entries message has {len(data)} bytes.")
    _, term, prev_idx, idx, prev_term, commit, term_of_idx = _APPEND.unpack_from(data)
    if not 0 < term <= VIEW_MAX or idx > SEQNO_MAX or commit > SEQNO_MAX:
        raise RemoteError("A number of an append-entries message is out of range.")
    if prev_idx > idx or not prev_term <= term_of_idx <= term:
        raise RemoteError("An append-entries message contradicts itself.")
    entries = split(data, _APPEND.size, idx - prev_idx)
    return AppendEntries(term, prev_idx, idx, prev_term, commit, term_of_idx, entries)


def _append_response(data: bytes) -> AppendEntriesResponse:
    _, term, last, fail = _exactly(_APPEND_RESPONSE, data)
    return AppendEntriesResponse(_view(term), _seqno(last), not _flag(fail))


def _vote(data: bytes) -> RequestVote:
    _, term, last, last_term, kind = _exactly(_VOTE, data)
    if last_term > term:
        raise RemoteError("A candidate has a signature of a view it has not reached.")
    return RequestVote(_view(term), _seqno(last), last_term, ElectionType(_flag(kind)))


def _vote_response(data: bytes) -> RequestVoteResponse:
    _, term, granted, kind = _exactly(_VOTE_RESPONSE, data)
    return RequestVoteResponse(_view(term), _flag(granted), ElectionType(_flag(kind)))


def _propose(data: bytes) -> ProposeRequestVote:
    _, term = _exactly(_PROPOSE, data)
    return ProposeRequestVote(_view(term))


_READERS: dict[int, Callable[[bytes], Message]] = {
    0: _append,
    1: _append_response,
    3: _vote,
    4: _vote_response,
    5: _propose,
}


def _exactly(form: struct.Struct, data: bytes) -> tuple[int, ...]:
    if len(data) != form.size:
        raise RemoteError(f"A consensus message with tag {data[0]} has {len(data)} bytes.")
    return form.unpack(data)


def _view(value: int) -> View:
    if value > VIEW_MAX:
        raise RemoteError(f"No ledger can hold view {value}.")
    return value


def _seqno(value: int) -> SeqNo:
    if value > SEQNO_MAX:
        raise RemoteError(f"No ledger can hold seqno {value}.")
    return value


def _flag(value: int) -> bool:
    if value > 1:
        raise RemoteError(f"A flag of a consensus message is {value}.")
    return bool(value)
