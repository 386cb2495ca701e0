"""Whatever a peer says about forwarded requests, a node goes on and changes nothing by it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyccf.api import common
from pyccf.apps.python import App, AppContext, Table
from pyccf.apps.router import Endpoint
from pyccf.http.message import Request
from pyccf.node.forward import Answered, Carried
from pyccf.node.node import Node
from pyccf.node.outputs import Channel
from support.node import Service
from support.told import Network

STRANGER = "ee" * 32
KNOWN = ("01" * 32, "02" * 32)


def make_app() -> App:
    app = App(title="test")
    records = Table("records", key=int, value=str)

    @app.put("/log/{id}")
    def write(ctx: AppContext, path: dict[str, int]) -> None:
        records(ctx).set(path["id"], "x")

    @app.get("/log/{id}", auth=["user_cert"])
    def read(ctx: AppContext, path: dict[str, int]) -> str | None:
        return records(ctx).get(path["id"])

    return app


def install(node: Node) -> list[tuple[str, list[Endpoint]]]:
    return [("node", common.endpoints(node, lambda ctx: {}))]


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(app=make_app(), install=install)


NUMBERS = st.integers(0, 3) | st.integers(0, 2**64 - 1)
WORDS = st.text(max_size=8)
REQUESTS = st.builds(
    Carried,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.none() | st.binary(max_size=40),
    st.sampled_from(["GET", "HEAD", "OPTIONS", "PATCH"]) | WORDS.filter(lambda w: w != "PUT"),
    st.sampled_from(["/app/log/1", "/node/commit", "/node/tx?transaction_id=2.1", "*"]) | WORDS,
    st.dictionaries(
        st.sampled_from(["accept", "x-pyccf-wait", "x-pyccf-wait-timeout-ms"]) | WORDS,
        st.sampled_from(["commit", "receipt", "1"]) | WORDS,
        max_size=3,
    ),
    st.binary(max_size=40),
)
ANSWERS = st.builds(
    Answered,
    NUMBERS,
    st.booleans(),
    st.binary(max_size=40).map(lambda b: b"HTTP/1.1 200 OK\r\n" + b) | st.binary(max_size=40),
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message, whole or damaged, or bytes of any kind."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.binary(max_size=64))
    data = bytearray(msgspec.msgpack.encode(draw(REQUESTS | ANSWERS)))
    for _ in range(draw(st.integers(0, 2))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


def state(member: Service) -> object:
    node = member.node
    return node.store.version, {n: dict(m.data) for n, m in node.store.maps.items()}


@given(sent=st.lists(st.tuples(st.sampled_from([*KNOWN, STRANGER]), messages()), max_size=4))
def test_a_primary_goes_on(network: Network, sent: list[tuple[str, bytes]]) -> None:
    primary = network.primary
    before = state(primary)
    for sender, data in sent:
        primary.node.receive(sender, Channel.FORWARD, data)
        primary.pump()
    assert all(message.to in KNOWN for message in primary.sent)
    assert len(primary.sent) <= len(sent)
    primary.sent.clear()
    assert state(primary) == before
    assert primary.call("GET", "/node/commit").status == 200


@given(sent=st.lists(st.tuples(st.booleans(), messages()), max_size=4))
def test_a_backup_goes_on(network: Network, sent: list[tuple[bool, bytes]]) -> None:
    backup, primary = network.backups[0], network.primary.node.node_id
    before = state(backup)
    raw: list[bytes] = []
    session = backup.session()
    session.deferrer = lambda: raw.append
    assert backup.node.handle(session, Request("PUT", "/app/log/1")) is None
    backup.pump()
    backup.sent.clear()
    for from_primary, data in sent:
        backup.node.receive(primary if from_primary else KNOWN[1], Channel.FORWARD, data)
        backup.pump()
    backup.sent.clear()
    assert len(raw) <= 1
    backup.tick(3000)
    assert len(raw) == 1, "one answer, whatever came"
    assert raw[0].startswith(b"HTTP/1.1 ")
    assert len(backup.node.forwarder) == 0
    assert state(backup) == before
