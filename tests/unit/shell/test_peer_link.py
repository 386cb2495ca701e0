"""One connection between two nodes: frames cut anywhere, and a fair share of each turn."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from pyccf.node.outputs import Channel
from pyccf.shell import peer_link as module
from pyccf.shell.frames import FRAME_MAX, encode_header
from pyccf.shell.peer_link import TURN_BYTES_MAX
from support.listening import run, until
from support.peering import (
    Heard,
    MemoryLedger,
    Note,
    answering,
    dialled,
    identity,
    post,
    presenting,
    serving,
)

A, B = identity("a"), identity("b")


def framed(note: Note, channel: Channel = Channel.CONSENSUS, entries: bytes = b"") -> bytes:
    payload = note.encode() + entries
    return encode_header(channel, len(payload)) + payload


def test_a_frame_that_comes_byte_by_byte(tmp_path: Path) -> None:
    async def test() -> None:
        async with post(A) as a, dialled(a, presenting(tmp_path, B.cert_pem, B.key_pem)) as peer:
            for byte in framed(Note("one")) + framed(Note("two"), Channel.FORWARD):
                peer.send(bytes([byte]))
                await asyncio.sleep(0)
            await until(lambda: a.texts == ["one", "two"])
            assert [note.sender for note in a.heard] == [B.id, B.id]

    run(test())


def test_a_connection_cut_at_every_byte_of_a_frame(tmp_path: Path) -> None:
    async def test() -> None:
        async with post(A) as a:
            context = presenting(tmp_path, B.cert_pem, B.key_pem)
            data = framed(Note("whole")) + framed(Note("cut"))
            whole = len(framed(Note("whole")))
            for at in range(1, len(data)):
                async with dialled(a, context) as peer:
                    peer.send(data[:at])
                    peer.writer.write_eof() if peer.writer.can_write_eof() else peer.writer.close()
                    await until(lambda: a.peers.metrics()["incoming"] == 0)
                assert a.texts == (["whole"] if at >= whole else []), at
                a.heard.clear()

    run(test())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes(5), "has 0 bytes"),
        ((FRAME_MAX + 1).to_bytes(4, "little") + b"\x01", "bytes; 1 to"),
        (b"\x02\x00\x00\x00\x07x", "channel 7"),
        (b"GET / HTTP/1.1\r\n\r\n", "bytes; 1 to"),
    ],
)
def test_frames_no_node_sends_end_the_connection(data: bytes, words: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with post(A) as a, dialled(a, presenting(tmp_path, B.cert_pem, B.key_pem)) as peer:
            peer.send(framed(Note("good")) + data + framed(Note("never")))
            assert await peer.rest() == b""
            await until(lambda: a.logged(words))
            assert a.texts == ["good"]
            assert a.peers.metrics()["refused_connections"] == 1

    run(test())


def test_a_largest_possible_frame_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with post(A) as a, dialled(a, presenting(tmp_path, B.cert_pem, B.key_pem)) as peer:
            note = Note("large", 1, 1)
            size = FRAME_MAX - 1 - len(note.encode())
            peer.send(encode_header(Channel.CONSENSUS, FRAME_MAX - 1) + note.encode())
            sent = 0
            while sent < size:
                chunk = min(1 << 20, size - sent)
                peer.send(bytes(chunk))
                sent += chunk
                await peer.writer.drain()
            peer.send(framed(Note("next")))
            await until(lambda: len(a.heard) == 2)
            assert len(a.heard[0].entries) == size
            assert a.texts == ["large", "next"]

    run(test())


def test_a_peer_has_a_share_of_each_turn() -> None:
    """What one peer sends in bulk does not keep the loop from anything else."""

    async def test() -> None:
        ledger = MemoryLedger([bytes(1000)] * 20_000)
        async with post(A, ledger) as a, post(B) as b:
            loop = asyncio.get_running_loop()
            taken: list[int] = [0]
            turns = 0

            def turn() -> None:
                nonlocal turns
                turns += 1
                if taken[-1]:
                    taken.append(0)
                loop.call_soon(turn)

            def count(note: Heard) -> None:
                taken[-1] += len(note.entries)

            b.hook = count
            loop.call_soon(turn)
            a.send(b, Note("catch up", 1, 20_000))
            await until(lambda: bool(b.heard) and b.heard[-1].last == 20_000)
            assert sum(taken) == 20_000_000
            assert max(taken) <= 2 * TURN_BYTES_MAX

    run(test())


def test_who_catches_up_rests_between_its_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST_PER_WORK", 50.0)

    async def test() -> None:
        ledger = MemoryLedger([bytes(1000)] * 2_000)
        async with post(A, ledger) as a, post(B) as b:
            loop = asyncio.get_running_loop()
            others = 0
            at: list[int] = []

            def turn() -> None:
                nonlocal others
                others += 1
                loop.call_soon(turn)

            b.hook = lambda note: at.append(others)
            loop.call_soon(turn)
            a.send(b, Note("catch up", 1, 2_000))
            await until(lambda: bool(b.heard) and b.heard[-1].last == 2_000)
            gaps = [later - now for now, later in itertools.pairwise(at)]
            assert max(gaps) > 10, "others had turns of their own"

    run(test())


def test_small_frames_have_their_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_BYTES_MAX", 20 * module.FRAME_COST_MIN)

    async def test() -> None:
        async with post(A) as a, dialled(a, presenting(tmp_path, B.cert_pem, B.key_pem)) as peer:
            loop = asyncio.get_running_loop()
            taken = [0]

            def turn() -> None:
                if taken[-1]:
                    taken.append(0)
                loop.call_soon(turn)

            def count(note: Heard) -> None:
                taken[-1] += 1

            a.hook = count
            loop.call_soon(turn)
            peer.send(framed(Note("x")) * 1000)
            await until(lambda: len(a.heard) == 1000)
            assert max(taken) <= 40
            peer.send(framed(Note("more")))
            await until(lambda: a.texts[-1] == "more")

    run(test())


def test_who_is_dialled_has_nothing_to_say(tmp_path: Path) -> None:
    async def test() -> None:
        async with post(A) as a, answering(serving(tmp_path, B)) as chatty:
            a.peers.send(B.id, chatty.address, Channel.CONSENSUS, Note("hello"))
            await until(lambda: bool(chatty.data))
            chatty.connections[0].write(framed(Note("hello yourself")))
            await until(lambda: a.logged("it sent data where it only listens"))
            assert not a.heard

    run(test())


def test_a_mistake_of_ours_ends_the_connection_only(tmp_path: Path) -> None:
    async def test() -> None:
        mistakes: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: mistakes.append(str(context["exception"])))
        async with post(A) as a, dialled(a, presenting(tmp_path, B.cert_pem, B.key_pem)) as peer:

            def stumble(note: Heard) -> None:
                assert note.text != "bad", "we did not expect that"

            a.hook = stumble
            peer.send(framed(Note("good")) + framed(Note("bad")) + framed(Note("good")))
            assert await peer.rest() == b""
            await until(lambda: any("we did not expect that" in text for text in mistakes))
            assert a.texts == ["good", "bad"]
            async with dialled(a, presenting(tmp_path, B.cert_pem, B.key_pem)) as again:
                again.send(framed(Note("good")))
                await until(lambda: a.texts == ["good", "bad", "good"])

    run(test())
