from __future__ import annotations

from collections.abc import Mapping

import pytest

from pyccf.api import snapshot
from pyccf.api.snapshot import PART_MAX, PIECE, parse_range
from pyccf.errors import StorageError
from pyccf.http.message import Request
from pyccf.http.session import Flow, Source
from pyccf.node.fetch_snapshot import BEGAN_HEADER
from support.joining import make_primary
from support.node import Service
from support.shelf import Shelf

NAME = "snapshot_10_12.committed"
PATH = f"/node/snapshot/{NAME}"
LARGE = bytes(range(256)) * (PART_MAX // 256) + b"and more"


@pytest.fixture
def shelf() -> Shelf:
    return Shelf({NAME: b"0123456789"})


@pytest.fixture
def service(shelf: Shelf) -> Service:
    made = make_primary()
    for endpoint in snapshot.endpoints(made.node, shelf):
        made.node.node.add(endpoint)
    return made


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("bytes=0-10", (0, 10)),
        ("bytes=2-5", (2, 5)),
        ("bytes=2-", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-0", (10, 10)),
        ("bytes=0-0", (0, 0)),
        ("bytes=10-", (10, 10)),
        ("bytes=3-99", (3, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=0x5-4y", (0, 4)),
    ],
)
def test_ranges(header: str, found: tuple[int, int]) -> None:
    assert parse_range(header, 10) == found


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("Bytes=0-1", "Only 'bytes'"),
        (" bytes=0-1", "Only 'bytes'"),
        ("", "Only 'bytes'"),
        ("bytes", "Invalid format"),
        ("bytes=1-2-3", "Invalid format"),
        ("bytes=0-1,2-3", "Multiple ranges"),
        ("bytes=11-", "Start of range 11 is larger than total file size 10"),
        ("bytes=5-4", r"Start \(5\) and end \(4\) out of order"),
        ("bytes= 1-2", "Unable to parse start of range value  1 in"),
        ("bytes=\u0661-2", "Unable to parse start"),
        ("bytes=1-x", "Unable to parse end of range value x"),
        ("bytes=-x", "Unable to parse end of range offset value x"),
        ("bytes=-", "Must contain range-start or range-end"),
        (f"bytes={1 << 64}-", "Unable to parse start"),
        (f"bytes=0-{'9' * 5000}", "Unable to parse end"),
    ],
)
def test_ranges_that_are_none(header: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_range(header, 10)


def test_the_newest(service: Service, shelf: Shelf) -> None:
    shelf.files["snapshot_9_20.committed"] = b"older"
    reply = service.call("GET", "/node/snapshot")
    assert (reply.status, reply.headers["location"]) == (308, f"https://127.0.0.1:2{PATH}")
    assert service.call("GET", "/node/snapshot?since=9").status == 308
    gone = service.call("GET", "/node/snapshot?since=10")
    assert gone.status == 404
    assert gone.json["error"]["message"] == "This node has no committed snapshots since 10"
    assert service.call("HEAD", "/node/snapshot?since=10").status == 404


def test_its_bytes(service: Service) -> None:
    reply = service.call("GET", PATH, headers={"range": "bytes=2-4"})
    assert (reply.status, reply.body) == (206, b"23")
    assert reply.headers["content-range"] == "bytes 2-4/10"
    head = service.call("HEAD", PATH, headers={"range": "bytes=2-4"})
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "10")


def test_the_one_that_the_node_began_with(service: Service, shelf: Shelf) -> None:
    """Who joins a service that is being recovered may have nobody else's word for it."""
    shelf.files["snapshot_9_20.committed"] = b"older"
    assert BEGAN_HEADER not in service.call("GET", PATH).headers
    service.node.startup_seqno, service.node.began_with = 10, b"\x01\xff"
    for method in ("GET", "HEAD"):
        assert service.call(method, PATH).headers[BEGAN_HEADER] == "01ff"
    older = service.call("GET", "/node/snapshot/snapshot_9_20.committed")
    assert (older.status, BEGAN_HEADER in older.headers) == (206, False)


@pytest.mark.parametrize("name", ["snapshot_1_2.committed", "..", "%2e%2e", "x"])
def test_what_is_not_there(service: Service, name: str) -> None:
    reply = service.call("GET", f"/node/snapshot/{name}")
    assert reply.status == 404
    assert reply.json["error"]["message"].startswith("This node does not have a snapshot named ")


class Listening:
    """A connection that takes so many bytes before it asks to wait."""

    def __init__(self, room: int) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []
        self.over = ""
        self.source: Source
        self._room = self._left = room

    def open(self, source: Source) -> Flow:
        self.source = source
        return self

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, dict(headers)

    def push(self, piece: bytes) -> bool:
        self.body.append(piece)
        self._left -= len(piece)
        return self._left > 0

    def more(self) -> None:
        self._left = self._room
        self.source.room()

    def end(self) -> None:
        self.over = "ended"

    def fail(self) -> None:
        self.over = "failed"


def stream(service: Service, listening: Listening) -> None:
    session = service.session()
    session.streamer = listening.open
    assert service.node.handle(session, Request("GET", PATH, {}, b"")) is None


def test_a_large_answer_is_streamed_as_the_client_reads(service: Service, shelf: Shelf) -> None:
    large = shelf.files[NAME] = 8 * LARGE
    listening = Listening(room=2 * PIECE)
    stream(service, listening)
    assert listening.status == 206
    assert listening.headers["content-range"] == f"bytes 0-{len(large)}/{len(large)}"
    assert shelf.reads == 2
    turns = 0
    while not listening.over:
        listening.more()
        turns += 1
    assert turns > 10
    assert listening.over == "ended"
    assert b"".join(listening.body) == large


def test_a_client_that_goes_away(service: Service, shelf: Shelf) -> None:
    shelf.files[NAME] = LARGE
    listening = Listening(room=1)
    stream(service, listening)
    listening.source.gone()
    assert shelf.reads == 1


def test_a_snapshot_that_is_pruned_meanwhile(
    service: Service, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.files[NAME] = LARGE
    listening = Listening(room=1)
    stream(service, listening)

    def gone(name: str, start: int, end: int) -> bytes:
        raise StorageError("gone")

    monkeypatch.setattr(shelf, "read", gone)
    listening.more()
    assert listening.over == "failed"


def test_files_are_not_named_to_clients(
    service: Service, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(name: str) -> int:
        raise StorageError("Snapshot file /secret/x: open failed: Permission denied.")

    monkeypatch.setattr(shelf, "size", refused)
    reply = service.call("GET", PATH)
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert any("/secret/x" in log.text for log in service.logs)


def test_without_a_stream_the_answer_is_short_and_says_so(service: Service, shelf: Shelf) -> None:
    shelf.files[NAME] = LARGE
    reply = service.call("GET", PATH)
    assert reply.status == 206
    assert len(reply.body) == PART_MAX
    assert reply.headers["content-range"] == f"bytes 0-{PART_MAX}/{len(LARGE)}"
