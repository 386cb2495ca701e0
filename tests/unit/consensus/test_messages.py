from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyccf.consensus.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    ElectionType,
    Message,
    ProposeRequestVote,
    RequestVote,
    RequestVoteResponse,
    decode,
    split,
)
from pyccf.errors import RemoteError

PRE, REGULAR = ElectionType.PRE_VOTE, ElectionType.REGULAR_VOTE


def ledger_entry(body: bytes) -> bytes:
    """The size field is all that matters here."""
    return b"\x01\x00" + len(body).to_bytes(6, "little") + body


EXAMPLES: list[Message] = [
    AppendEntries(5, 10, 10, 4, 9, 4),
    AppendEntriesResponse(5, 10, True),
    AppendEntriesResponse(5, 0, False),
    RequestVote(5, 9, 4, REGULAR),
    RequestVote(5, 9, 5, PRE),
    RequestVoteResponse(5, True, PRE),
    RequestVoteResponse(5, False, REGULAR),
    ProposeRequestVote(5),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=repr)
def test_a_message_survives_the_wire(message: Message) -> None:
    assert decode(message.encode()) == message


@pytest.mark.parametrize("message", EXAMPLES, ids=repr)
def test_a_cut_message_is_refused(message: Message) -> None:
    data = message.encode()
    for end in range(len(data)):
        with pytest.raises(RemoteError):
            decode(data[:end])


@pytest.mark.parametrize("message", EXAMPLES[1:], ids=repr)
def test_a_message_that_is_too_long_is_refused(message: Message) -> None:
    with pytest.raises(RemoteError):
        decode(message.encode() + b"\x00")


def test_entries_are_split_by_their_headers() -> None:
    entries = [ledger_entry(b"abc"), ledger_entry(b""), ledger_entry(b"x" * 300)]
    message = AppendEntries(5, 10, 13, 4, 9, 5)
    got = decode(message.encode() + b"".join(entries))
    assert isinstance(got, AppendEntries)
    assert got.entries == entries


def test_missing_and_surplus_bytes_show_in_the_number_of_entries() -> None:
    one = ledger_entry(b"abc")
    assert split(one + one[:-1], 0, 2) == [one]
    assert split(one + one[:4], 0, 2) == [one]
    assert split(one + one, 0, 1) == [one, b""]
    assert split(b"", 0, 3) == []


@pytest.mark.parametrize(
    "fields",
    [
        (0, 10, 10, 0, 9, 0),
        (2**31, 10, 10, 4, 9, 4),
        (5, 11, 10, 4, 9, 4),
        (5, 10, 2**48, 4, 9, 4),
        (5, 10, 10, 4, 2**64 - 1, 4),
        (5, 10, 11, 4, 9, 3),
        (5, 10, 11, 4, 9, 6),
    ],
    ids=["view 0", "view", "prev after idx", "idx", "commit", "older view", "newer view"],
)
def test_append_entries_with_impossible_numbers_is_refused(fields: tuple[int, ...]) -> None:
    with pytest.raises(RemoteError):
        decode(struct.pack("<B6Q", 0, *fields))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02" + bytes(16),
        b"\xff",
        struct.pack("<BQQB", 1, 5, 10, 2),
        struct.pack("<BQQB", 1, 2**31, 10, 0),
        struct.pack("<BQQB", 1, 5, 2**48, 0),
        struct.pack("<BQQQB", 3, 5, 9, 6, 1),
        struct.pack("<BQQQB", 3, 5, 9, 4, 7),
        struct.pack("<BQBB", 4, 5, 9, 0),
        struct.pack("<BQ", 5, 2**63),
    ],
)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        decode(data)


@given(st.binary(max_size=80))
def test_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        message = decode(data)
    except RemoteError:
        return
    assert data.startswith(message.encode())


def test_a_message_is_cut_in_two() -> None:
    whole = AppendEntries(6, 10, 14, 4, 9, 5, [b"a", b"b", b"c", b"d"])
    assert (whole.first, whole.last) == (11, 14)
    assert whole.upto(12) == AppendEntries(6, 10, 12, 4, 9, 5, [b"a", b"b"])
    assert whole.after(12) == AppendEntries(6, 12, 14, 5, 9, 5, [b"c", b"d"])
    assert whole.upto(14) == whole == whole.after(10)


def test_a_message_cut_to_nothing_is_a_heartbeat() -> None:
    none = AppendEntries(6, 10, 14, 4, 9, 5).upto(10)
    assert none.last < none.first
    assert none.term_of_idx == 4
    assert decode(none.encode()) == none


def test_other_messages_carry_no_entries() -> None:
    for message in EXAMPLES[1:]:
        assert message.last < message.first
        assert message.upto(7) is message is message.after(7)
