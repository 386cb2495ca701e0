"""What waits for a peer, what is read from the ledger for it, and when it is dialled."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from pathlib import Path

import pytest

from pyccf.errors import StorageError
from pyccf.node.outputs import Channel
from pyccf.shell import frames as frames_module
from pyccf.shell import peer_sockets as sockets
from pyccf.shell import peer_way as module
from pyccf.shell.peer_link import OUTPUT_HIGH
from pyccf.shell.peer_way import (
    BACKOFF_MAX_S,
    FORWARD_BUFFER_MAX,
    FORWARDS_WAITING_MAX,
    PIECE_BYTES,
    QUEUE_MAX,
    TURN_BYTES_MAX,
    Way,
)
from pyccf.types import SeqNo
from support.listening import run, stays, until
from support.peering import (
    Heard,
    MemoryLedger,
    Note,
    Post,
    answering,
    identity,
    pipe,
    post,
    serving,
)

A, B, C = identity("a"), identity("b"), identity("c")


def entries(count: int, size: int = 300) -> list[bytes]:
    return [n.to_bytes(4, "little") + bytes(size - 4) for n in range(1, count + 1)]


def way(node: Post, to: Post) -> Way:
    return node.peers._way_to[to.id]


async def met(a: Post, b: Post) -> None:
    """Connect a to b."""
    a.send(b, Note("hello"))
    await until(lambda: bool(b.heard))
    b.heard.clear()


def together(heard: list[Heard]) -> list[bytes]:
    """The entries of notes that follow one another without gap."""
    after = 0
    parts: list[bytes] = []
    for note in heard:
        assert note.first == after + 1
        after = note.last
        parts.append(note.entries)
    return parts


# --- without a connection -------------------------------------------------------------------------


def test_the_newest_consensus_message_and_some_forwards_wait() -> None:
    async def test() -> None:
        async with post(A) as a, post(B) as b:
            for number in range(5):
                assert a.send(b, Note(f"c{number}"))
            kept = [
                a.send(b, Note(f"f{number}"), Channel.FORWARD)
                for number in range(FORWARDS_WAITING_MAX + 2)
            ]
            assert kept == [True] * FORWARDS_WAITING_MAX + [False, False]
            await until(lambda: len(b.heard) == FORWARDS_WAITING_MAX + 1)
            assert b.texts == [*(f"f{n}" for n in range(FORWARDS_WAITING_MAX)), "c4"]
            assert way(a, b).metrics()["dropped_messages"] == 4 + 2

    run(test())


def test_entries_of_a_message_that_waits_are_read_when_it_leaves() -> None:
    async def test() -> None:
        async with post(A, MemoryLedger(entries(3))) as a, post(B) as b:
            a.send(b, Note("append", 2, 3))
            assert a.ledger.reads == 0
            await until(lambda: bool(b.heard))
            assert b.heard[0].entries == b"".join(a.ledger.entries[1:])

    run(test())


def test_a_message_about_entries_that_were_cut_meanwhile_is_dropped() -> None:
    async def test() -> None:
        async with post(A, MemoryLedger(entries(3))) as a, post(B) as b:
            a.send(b, Note("of an earlier view", 2, 3))
            a.ledger.cut(1)
            a.ledger.entries += entries(9)
            await until(lambda: way(a, b).metrics()["connected"] is True)
            a.send(b, Note("of this view", 2, 3))
            await until(lambda: bool(b.heard))
            assert b.texts == ["of this view"]
            assert way(a, b).metrics()["dropped_messages"] == 1

    run(test())


def test_a_message_without_entries_outlives_a_cut() -> None:
    async def test() -> None:
        async with post(A, MemoryLedger(entries(3))) as a, post(B) as b:
            a.send(b, Note("vote for me"))
            a.ledger.cut(1)
            await until(lambda: b.texts == ["vote for me"])

    run(test())


@pytest.mark.parametrize("address", ["..:1", "node-1..example:80", "a" * 64 + ".example:80"])
def test_an_address_that_is_no_name_is_somebody_not_reached(address: str) -> None:
    async def test() -> None:
        async with post(A) as a:
            a.peers.send(B.id, address, Channel.CONSENSUS, Note("c"))
            await until(lambda: any(f"Cannot reach node {B.id}" in text for _, text in a.lines))
            assert any("names no host" in text for _, text in a.lines)

    run(test())


def test_what_waits_too_long_is_dropped_and_dialling_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX_S", 0.3)

    async def test() -> None:
        async with post(A) as a, post(B) as b:
            address = b.address
            await b.peers.close()
            a.peers.send(b.id, address, Channel.CONSENSUS, Note("c"))
            a.peers.send(b.id, address, Channel.FORWARD, Note("f"))
            assert not way(a, b).idle
            await until(lambda: way(a, b).idle)
            assert way(a, b).metrics()["queued"] == 0
            assert way(a, b).metrics()["dropped_messages"] == 2

    run(test())


def test_dialling_slows_down_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []

    async def nobody(address: str, local: str | None) -> None:
        tries.append(asyncio.get_running_loop().time())
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(module, "dial", nobody)
    monkeypatch.setattr(module, "BACKOFF_MAX_S", 0.2)
    monkeypatch.setattr(module, "BACKOFF_MIN_S", 0.02)

    async def test() -> None:
        async with post(A) as a:
            while len(tries) < 9:
                a.peers.send(B.id, "127.0.0.1:9", Channel.CONSENSUS, Note("hello"))
                await asyncio.sleep(0.005)
        gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
        assert min(gaps[-3:]) > 0.09
        assert BACKOFF_MAX_S <= 1.0, "after a partition heals messages flow within two seconds"

    run(test())


# --- with entries ---------------------------------------------------------------------------------


def test_live_entries_follow_at_once() -> None:
    async def test() -> None:
        ledger = MemoryLedger(entries(10))
        async with post(A, ledger) as a, post(B) as b, post(C) as c:
            await met(a, b)
            await met(a, c)
            for to in (b, c):
                a.peers.send(to.id, to.address, Channel.CONSENSUS, Note("append", 3, 6))
            assert ledger.reads == 1, "several peers get the same bytes"
            ledger.cut(2)
            a.peers.turn_done()
            await until(lambda: bool(b.heard and c.heard))
            for to in (b, c):
                assert (to.heard[0].first, to.heard[0].last) == (3, 6)
                assert to.heard[0].entries == b"".join(entries(10)[2:6])
            assert a.congestion == []

    run(test())


def test_a_catch_up_comes_in_pieces_and_says_when_it_is_through() -> None:
    async def test() -> None:
        ledger = MemoryLedger(entries(20_000))
        async with post(A, ledger) as a, post(B) as b:
            await met(a, b)
            assert a.send(b, Note("catch up", 1, 20_000))
            assert a.congestion == [(B.id, True)]
            assert a.send(b, Note("heartbeat"))
            assert a.send(b, Note("forward"), Channel.FORWARD)
            await until(lambda: "heartbeat" in b.texts)
            appends = [note for note in b.heard if note.text == "catch up"]
            assert b"".join(together(appends)) == b"".join(ledger.entries)
            assert len(appends) == -(-20_000 // (PIECE_BYTES // 300))
            assert max(len(note.entries) for note in appends) <= PIECE_BYTES
            assert b.texts[-1] == "heartbeat", "consensus messages keep their order"
            assert b.texts.index("forward") < 8, "forwards do not wait for it"
            assert a.congestion[-1] == (B.id, False)

    run(test())


def test_an_entry_larger_than_a_piece_goes_alone() -> None:
    async def test() -> None:
        sizes = [10, PIECE_BYTES + 1, 10, 10, 3 * PIECE_BYTES]
        ledger = MemoryLedger([bytes([n]) * size for n, size in enumerate(sizes)])
        async with post(A, ledger) as a, post(B) as b:
            await met(a, b)
            a.send(b, Note("append", 1, 5))
            await until(lambda: bool(b.heard) and b.heard[-1].last == 5)
            assert [(note.first, note.last) for note in b.heard] == [(1, 1), (2, 2), (3, 4), (5, 5)]
            assert b"".join(together(b.heard)) == b"".join(ledger.entries)

    run(test())


def test_entries_that_are_gone_end_the_message() -> None:
    async def test() -> None:
        ledger = MemoryLedger(entries(20_000))
        async with post(A, ledger) as a, post(B) as b:
            await met(a, b)
            a.send(b, Note("catch up", 1, 20_000))
            ledger.cut(10_000)
            ledger.entries += [b"another view"] * 10_000
            a.send(b, Note("append", 10_001, 10_001))
            await until(lambda: "append" in b.texts)
            caught_up = b"".join(together([note for note in b.heard if note.text == "catch up"]))
            assert len(caught_up) <= TURN_BYTES_MAX + PIECE_BYTES
            assert caught_up == b"".join(entries(20_000))[: len(caught_up)]
            assert b.heard[-1].entries == b"another view"
            a.send(b, Note("never written", 30_000, 30_001))
            a.send(b, Note("heartbeat"))
            await until(lambda: b.texts[-1] == "heartbeat")
            assert "never written" not in b.texts

    run(test())


def test_a_ledger_that_cannot_be_read_is_reported() -> None:
    class Broken(MemoryLedger):
        def raw(self, first: SeqNo, last: SeqNo, bytes_max: int) -> tuple[bytes, SeqNo]:
            raise StorageError("Ledger file x: read failed: Input/output error.")

    async def test() -> None:
        async with post(A, Broken()) as a, post(B) as b:
            await met(a, b)
            a.send(b, Note("append", 1, 1))
            a.send(b, Note("heartbeat"))
            await until(lambda: b.texts == ["heartbeat"])
            assert a.logged("Input/output error")

    run(test())


def test_an_entry_too_large_for_any_frame_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "FRAME_MAX", 100_000)

    async def test() -> None:
        ledger = MemoryLedger([b"x", bytes(100_000), b"y"])
        async with post(A, ledger) as a, post(B) as b:
            await met(a, b)
            a.send(b, Note("append", 2, 3))
            assert a.logged("too large to be sent")
            a.send(b, Note("heartbeat"))
            await until(lambda: b.texts == ["heartbeat"])

    run(test())


# --- a peer that does not keep up -----------------------------------------------------------------


class Large(Note):
    def encode(self) -> bytes:
        return bytes(500_000)


def test_a_peer_that_does_not_read_costs_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "DEAD_AFTER_MS", 600_000)

    async def test() -> None:
        size = 100_000
        ledger = MemoryLedger([bytes(size)] * 4_000)
        async with post(A, ledger) as a, answering(serving(tmp_path, B)) as slow:
            slow.reading = False
            a.peers.send(B.id, slow.address, Channel.CONSENSUS, Note("hello"))
            a.peers.turn_done()
            route = a.peers._way_to[B.id]
            await until(lambda: route.metrics()["connected"] is True)
            tracemalloc.start()
            try:
                a.peers.send(B.id, slow.address, Channel.CONSENSUS, Note("all", 1, 4_000))
                a.peers.turn_done()
                await until(lambda: int(str(route.metrics()["buffered_bytes"])) >= OUTPUT_HIGH)
                await stays(lambda: int(str(route.metrics()["buffered_bytes"])))
                assert a.congestion == [(B.id, True)]
                kept = 0
                for _ in range(2 * QUEUE_MAX):
                    kept += a.peers.send(B.id, slow.address, Channel.CONSENSUS, Note("beat"))
                    a.peers.turn_done()
                assert kept == QUEUE_MAX - 1
                forwards = 0
                for _ in range(2 * FORWARD_BUFFER_MAX // 500_000):
                    forwards += a.peers.send(B.id, slow.address, Channel.FORWARD, Large("x"))
                assert 0 < forwards * 500_000 <= FORWARD_BUFFER_MAX
                a.peers.turn_done()
                await asyncio.sleep(0.05)
                assert tracemalloc.get_traced_memory()[1] < 6 * FORWARD_BUFFER_MAX
            finally:
                tracemalloc.stop()
            for transport in slow.connections:
                transport.abort()
            await until(lambda: a.congestion[-1] == (B.id, False))

    run(test())


def test_a_peer_that_reads_again_gets_the_rest() -> None:
    async def test() -> None:
        ledger = MemoryLedger(entries(120_000))
        async with post(A, ledger) as a, post(B) as b, pipe(b.address) as network:
            a.send(b, Note("hello"), at=network.address)
            await until(lambda: b.texts == ["hello"])
            b.heard.clear()
            network.flows.clear()
            a.send(b, Note("catch up", 1, 120_000), at=network.address)
            await until(lambda: int(str(way(a, b).metrics()["buffered_bytes"])) >= OUTPUT_HIGH)
            network.flows.set()
            await until(lambda: bool(b.heard) and b.heard[-1].last == 120_000)
            assert b"".join(together(b.heard)) == b"".join(ledger.entries)
            await until(lambda: a.congestion[-1] == (B.id, False))

    run(test())


def test_a_catch_up_leaves_room_for_others() -> None:
    async def test() -> None:
        ledger = MemoryLedger(entries(100_000))
        async with post(A, ledger) as a, post(B) as b, post(C) as c:
            await met(a, b)
            await met(a, c)
            a.send(b, Note("catch up", 1, 100_000))
            beats = 0
            while not (b.heard and b.heard[-1].last == 100_000):
                a.send(c, Note("heartbeat"))
                beats += 1
                await until(lambda n=beats: len(c.heard) == n)  # type: ignore[misc]
            assert beats > 5

    run(test())


# --- keys wear out --------------------------------------------------------------------------------


def test_a_connection_is_replaced_before_its_keys_wear_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RECORDS_MAX", 20)

    async def test() -> None:
        async with post(A) as a, post(B) as b:
            await met(a, b)
            first = way(a, b)._link
            sent = 0
            while way(a, b)._link is first or sent < 100:
                assert a.send(b, Note(str(sent)), Channel.FORWARD)
                sent += 1
                await asyncio.sleep(0.005)
            await until(lambda: len(b.heard) == sent)
            assert sorted(map(int, b.texts)) == list(range(sent)), "nothing is lost by it"
            await until(lambda: len(a.peers._ways.links) <= 2)

    run(test())
