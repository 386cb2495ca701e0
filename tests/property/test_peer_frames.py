"""Whatever arrives on a connection of a node: what peers sent is delivered, nothing else, no error.

Frames are cut anywhere and damaged; TLS records are damaged, lost, repeated, swapped; handshakes
are damaged. Two oracles: a parser that reads everything at once, and the records before the first
one that was touched. `PYCCF_FUZZ_CASES=100000` makes a long run of it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from pyccf.errors import LocalError
from pyccf.node.outputs import Channel
from pyccf.shell.frames import (
    ADDRESS_MAX,
    FRAME_MAX,
    HEADER_SIZE,
    BadFrame,
    Frame,
    FrameParser,
    encode_header,
)
from pyccf.shell.listen import split_address
from pyccf.shell.peer_link import Incoming
from pyccf.shell.peers import Peers
from pyccf.shell.tls import peer_context
from pyccf.types import NodeId
from support.peering import MemoryLedger, identity

CASES = int(os.environ.get("PYCCF_FUZZ_CASES", "200"))
FUZZ = settings(
    max_examples=CASES,
    deadline=None,  # the machine is shared
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

A, B = identity("a"), identity("b")


# --- what is sent ---------------------------------------------------------------------------------

messages = st.builds(
    Frame, st.sampled_from([Channel.CONSENSUS, Channel.FORWARD]), st.binary(max_size=60)
)
hellos = st.builds(
    Frame,
    st.just(Channel.HELLO),
    st.one_of(
        st.sampled_from([b"127.0.0.1:8000", b"[::1]:1", b"a:0", b"h" * 300 + b":80", b"h:x", b":"]),
        st.binary(max_size=20),
    ),
)
frames = st.lists(st.one_of(messages, messages, messages, hellos), min_size=1, max_size=8)


def encoded(sent: list[Frame]) -> bytes:
    return b"".join(encode_header(f.channel, len(f.payload)) + f.payload for f in sent)


class Damage(NamedTuple):
    """What happens to a run of bytes: a name, a place (per mille), and bytes."""

    kind: str
    place: int
    data: bytes

    def apply(self, data: bytes) -> bytes:
        at = len(data) * self.place // 1000
        match self.kind:
            case "cut":
                return data[:at]
            case "insert":
                return data[:at] + self.data + data[at:]
            case "replace":
                return data[:at] + self.data + data[at + len(self.data) :]
            case "repeat":
                return data[:at] + data[max(0, at - 20) : at] + data[at:]
            case _:
                return data


def damages(*kinds: str) -> st.SearchStrategy[Damage]:
    lengths = st.sampled_from(
        [b"\0\0\0\0", b"\xff" * 4, (FRAME_MAX + 1).to_bytes(4, "little"), b"\1\0\0\0\4"]
    )
    return st.builds(
        Damage,
        st.sampled_from(kinds),
        st.integers(0, 1000),
        st.one_of(lengths, st.binary(min_size=1, max_size=12)),
    )


plain_damage = damages("none", "none", "cut", "insert", "replace", "repeat")


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Data cut at these places (per mille)."""
    places = sorted({len(data) * cut // 1000 for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


cuts = st.lists(st.integers(0, 1000), max_size=6)


class Read(NamedTuple):
    frames: list[Frame]
    bad: bool
    rest: int


def read_at_once(data: bytes) -> Read:
    """What a stream of bytes holds."""
    found: list[Frame] = []
    at = 0
    while len(data) - at >= HEADER_SIZE:
        size = int.from_bytes(data[at : at + 4], "little")
        if size == 0 or size > FRAME_MAX or data[at + 4] not in (1, 2, 3):
            return Read(found, True, len(data) - at)
        if len(data) - at - 4 < size:
            break
        found.append(Frame(Channel(data[at + 4]), data[at + 5 : at + 4 + size]))
        at += 4 + size
    return Read(found, False, len(data) - at)


def is_address(payload: bytes) -> bool:
    try:
        split_address(payload.decode())
    except (UnicodeDecodeError, LocalError):
        return False
    return len(payload) <= ADDRESS_MAX


def understood(data: bytes) -> tuple[list[Frame], bool]:
    """What of a stream the node is given, and whether it is refused then."""
    read = read_at_once(data)
    given_to_node: list[Frame] = []
    for frame in read.frames:
        if frame.channel is not Channel.HELLO:
            given_to_node.append(frame)
        elif not is_address(frame.payload):
            return given_to_node, True
    return given_to_node, read.bad


# --- the parser alone -----------------------------------------------------------------------------


def parsed(chunks: list[bytes]) -> Read:
    parser = FrameParser()
    found: list[Frame] = []
    try:
        for chunk in chunks:
            parser.feed(chunk)
            while (frame := parser.next()) is not None:
                found.append(frame)
    except BadFrame:
        return Read(found, True, 0)
    return Read(found, False, parser.pending)


@FUZZ
@given(st.binary(max_size=200), cuts)
def test_noise(data: bytes, at: list[int]) -> None:
    expected = read_at_once(data)
    got = parsed(pieces(data, at))
    assert got.frames == expected.frames
    assert got.bad == expected.bad
    assert got.bad or got.rest == expected.rest


@FUZZ
@given(frames, plain_damage, cuts)
def test_damaged_frames(sent: list[Frame], damage: Damage, at: list[int]) -> None:
    data = damage.apply(encoded(sent))
    expected = read_at_once(data)
    got = parsed(pieces(data, at))
    assert (got.frames, got.bad) == (expected.frames, expected.bad)
    if damage.kind == "none":
        assert got == Read(sent, False, 0)


# --- the whole way from the socket to the node ----------------------------------------------------


class Wire:
    """The transport of one connection: what the node writes, and what it does to it."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.aborted = False
        self.paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return ("192.0.2.1", 5)

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Bench:
    """Node A without sockets, and its peer B, which may be made to say anything."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.errors: list[object] = []
        self.heard: list[tuple[NodeId, Frame]] = []
        self.lines: list[str] = []
        self.peers = Peers(
            ledger=MemoryLedger(),
            receive=lambda peer, channel, data: self.heard.append((peer, Frame(channel, data))),
            congested=lambda peer, yes: None,
            accepts=lambda peer: True,
            log=lambda level, text: self.lines.append(f"{level} {text}"),
            connect_timeout_s=1,
            idle_timeout_s=1000,
        )
        self.peers.identify(A.id, A.key_pem, A.cert_pem, A.service_cert_pem)
        self.context = peer_context(B.cert_pem, B.key_pem)
        self.wire = Wire()
        self.link: Incoming | None = None
        self.tls: SSL.Connection | None = None

    def run(self, case: Callable[[], None]) -> None:
        async def turn() -> None:
            case()
            await asyncio.sleep(0)

        self.heard.clear()
        self.lines.clear()
        self.peers._log._said.clear()
        self.loop.run_until_complete(turn())
        assert not self.errors

    def connect(self, mangle: Callable[[bytes], bytes] = bytes) -> None:
        """A new connection; `mangle` changes what B says in the handshake."""
        self.end()
        link = self.peers._accept()
        assert isinstance(link, Incoming)
        self.link = link
        self.wire = Wire()
        link.connection_made(self.wire)  # type: ignore[arg-type]
        tls = SSL.Connection(self.context, None)
        tls.set_connect_state()
        self.tls = tls
        for _ in range(4):
            done = False
            try:
                tls.do_handshake()
                done = True
            except SSL.WantReadError:
                pass
            except SSL.Error:
                return
            data = mangle(self.spoken())
            if data:
                self.give([data])
            if done:
                return
            if self.wire.written:
                tls.bio_write(bytes(self.wire.written))
                self.wire.written.clear()

    def spoken(self) -> bytes:
        """What B's TLS wants to send."""
        assert self.tls is not None
        try:
            return bytes(self.tls.bio_read(1 << 20))
        except SSL.WantReadError:
            return b""

    def records(self, chunks: list[bytes]) -> list[bytes]:
        """Each chunk as one TLS record of B's."""
        assert self.tls is not None
        made: list[bytes] = []
        for chunk in chunks:
            self.tls.send(chunk)
            made.append(self.spoken())
        return made

    def give(self, chunks: list[bytes]) -> None:
        """Bytes arrive at A."""
        for chunk in chunks:
            if self.wire.aborted or self.link is None:
                break
            assert not self.wire.paused, "so little does not use up a turn's share"
            if chunk:
                self.link.data_received(chunk)

    def end(self) -> None:
        if self.link is not None:
            self.link.connection_lost(None)
            self.link = None

    def fresh(self) -> None:
        """A connection on which nothing was said yet, or everything so far was understood."""
        link = self.link
        if link is None or not link.open or link.handshaking or link._parser.pending:
            self.connect()
            assert self.link is not None
            assert not self.link.handshaking


BENCH: list[Bench] = []


def bench() -> Bench:
    if not BENCH:
        BENCH.append(Bench())
    return BENCH[0]


def refused(node: Bench) -> bool:
    """Whether the connection was ended; then the log says why."""
    if not node.wire.aborted:
        return False
    node.end()
    assert any(line.startswith("fail ") and "is refused: " in line for line in node.lines)
    return True


@FUZZ
@given(frames, plain_damage, cuts, cuts)
def test_whatever_a_peer_says(
    sent: list[Frame], damage: Damage, in_records: list[int], in_reads: list[int]
) -> None:
    node = bench()
    data = damage.apply(encoded(sent))
    expected, bad = understood(data)

    def case() -> None:
        node.fresh()
        records = node.records(pieces(data, in_records))
        node.give(pieces(b"".join(records), in_reads))
        assert node.heard == [(B.id, frame) for frame in expected]
        assert refused(node) == bad

    node.run(case)


touches = st.sampled_from(["flip", "drop", "twice", "swap", "cut", "garbage", "replay"])


@FUZZ
@given(frames, st.lists(st.integers(1, 999), min_size=2, max_size=6), touches, st.data())
def test_whatever_the_network_does(
    sent: list[Frame], at: list[int], touch: str, data: st.DataObject
) -> None:
    node = bench()
    plain = pieces(encoded(sent), at)
    number = data.draw(st.integers(0, len(plain) - 1), label="record")

    def case() -> None:
        node.connect()
        records = node.records(plain)
        intact = number
        record = records[number]
        place = data.draw(st.integers(0, len(record) - 1), label="place")
        match touch:
            case "flip":
                bit = data.draw(st.integers(1, 255), label="bits")
                records[number] = (
                    record[:place] + bytes([record[place] ^ bit]) + record[place + 1 :]
                )
            case "drop":
                del records[number]
            case "twice":
                intact += 1
                records.insert(number, record)
            case "swap":
                records[number:] = [*records[number + 1 :], record]
                intact = number if number < len(plain) - 1 else len(plain)
            case "cut":
                records[number:] = [record[:place]]
            case "garbage":
                records.insert(number, data.draw(st.binary(min_size=5, max_size=40)))
            case "replay":
                intact = len(plain)
                records += records[:1]
        node.give(records)
        expected, _ = understood(b"".join(plain[:intact]))
        assert node.heard == [(B.id, frame) for frame in expected]
        refused(node)

    node.run(case)


@FUZZ
@given(st.lists(damages("none", "cut", "insert", "replace", "repeat"), min_size=2, max_size=2))
def test_damaged_handshakes(damage: list[Damage]) -> None:
    node = bench()
    hello = Frame(Channel.CONSENSUS, b"hello")

    def case() -> None:
        flights = iter(damage)
        touched = False

        def mangle(data: bytes) -> bytes:
            nonlocal touched
            changed = next(flights, Damage("none", 0, b"")).apply(data)
            touched |= changed != data
            return changed

        node.connect(mangle)
        link = node.link
        assert link is not None
        if not node.wire.aborted and not link.handshaking:
            node.give(node.records([encoded([hello])]))
        # Some bytes of a handshake carry no meaning; then it may well be made.
        assert node.heard in ([], [(B.id, hello)])
        assert node.heard or touched
        refused(node)

    node.run(case)


@FUZZ
@given(st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=4), st.booleans())
def test_strangers(chunks: list[bytes], like_tls: bool) -> None:
    node = bench()

    def case() -> None:
        node.end()
        link = node.peers._accept()
        assert isinstance(link, Incoming)
        node.link, node.wire = link, Wire()
        link.connection_made(node.wire)  # type: ignore[arg-type]
        first = b"\x16\x03\x01" + len(chunks[0]).to_bytes(2, "big") if like_tls else b""
        node.give([first + chunks[0], *chunks[1:]])
        assert node.heard == []
        assert link.handshaking
        refused(node)

    node.run(case)
