"""Which nodes may speak to each other, and that nobody else may."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from pyccf.crypto.entropy import SeededEntropy
from pyccf.errors import LocalError
from pyccf.node.outputs import Channel
from pyccf.shell import peers as peers_module
from pyccf.shell.frames import encode_header
from pyccf.shell.listen import split_address
from pyccf.shell.peers import INCOMING_PER_PEER
from pyccf.shell.tls import PEER_PROTOCOL
from support.listening import certificate, client_tls, present, run, stays, until
from support.peering import (
    DAYS,
    NOW,
    Identity,
    Note,
    Post,
    answering,
    dialled,
    identity,
    pipe,
    post,
    presenting,
    service,
    serving,
)

A, B, C = identity("a"), identity("b"), identity("c")
HELLO = encode_header(Channel.CONSENSUS, len(Note("hello").encode())) + Note("hello").encode()


def refusals(node: Post) -> int:
    count = node.peers.metrics()["refused_connections"]
    assert isinstance(count, int)
    return count


def incoming(node: Post) -> int:
    count = node.peers.metrics()["incoming"]
    assert isinstance(count, int)
    return count


def test_messages_arrive_whole_and_in_order() -> None:
    async def test() -> None:
        async with post(A) as a, post(B) as b:
            assert a.send(b, Note("first"))
            await until(lambda: b.texts == ["first"])
            for number in range(200):
                channel = Channel.FORWARD if number % 3 == 0 else Channel.CONSENSUS
                assert a.peers.send(b.id, b.address, channel, Note(str(number)))
            a.peers.turn_done()
            await until(lambda: len(b.heard) == 201)
            assert b.texts[1:] == [str(number) for number in range(200)]
            assert {note.sender for note in b.heard} == {A.id}
            assert [note.channel for note in b.heard[1:4]] == [
                Channel.FORWARD,
                Channel.CONSENSUS,
                Channel.CONSENSUS,
            ]
            assert not a.heard

    run(test())


def test_nothing_leaves_before_the_turn_is_done() -> None:
    async def test() -> None:
        async with post(A) as a, post(B) as b:
            a.send(b, Note("hello"))
            await until(lambda: b.texts == ["hello"])
            a.peers.send(b.id, b.address, Channel.CONSENSUS, Note("later"))
            await asyncio.sleep(0.05)
            assert b.texts == ["hello"]
            a.peers.turn_done()
            await until(lambda: b.texts == ["hello", "later"])

    run(test())


def test_two_nodes_that_dial_each_other_at_once() -> None:
    async def test() -> None:
        async with post(A) as a, post(B) as b:
            for number in range(4):
                a.send(b, Note(f"a{number}"))
                b.send(a, Note(f"b{number}"))
                await until(
                    lambda n=number: (  # type: ignore[misc]
                        b.texts[-1:] == [f"a{n}"] and a.texts[-1:] == [f"b{n}"]
                    )
                )
                for node in (a, b):
                    for link in node.peers._links():
                        link.abort("cut by the test")
                await until(lambda: not a.peers._links() and not b.peers._links())

    run(test())


# --- who is refused -------------------------------------------------------------------------------


def test_a_stranger_without_certificate() -> None:
    async def test() -> None:
        async with post(B) as b:
            context = client_tls([PEER_PROTOCOL.decode()])
            async with dialled(b, context) as stranger:
                stranger.send(HELLO)
                assert await stranger.rest() == b""
            await until(lambda: b.logged("TLS handshake failed: peer did not return a certificate"))
            assert not b.heard
            assert refusals(b) == 1

    run(test())


def self_signed() -> tuple[str, str]:
    return B.node.self_signed_pem, B.key_pem


def of_nobody() -> tuple[str, str]:
    cert_pem, key_pem, _ = certificate("nobody")
    return cert_pem, key_pem


def that_the_library_cannot_read() -> tuple[str, str]:
    # A TLS feature that nobody knows.
    odd = bytes.fromhex("3003020163")
    oid = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.24")
    cert_pem, key_pem, _ = certificate("odd", x509.UnrecognizedExtension(oid, odd))
    return cert_pem, key_pem


def of_another_service() -> tuple[str, str]:
    other = identity("b", of="another service")
    return other.cert_pem, other.key_pem


def of_the_service_itself() -> tuple[str, str]:
    return service().cert_pem, service().key.pem()


def of_this_node_itself() -> tuple[str, str]:
    return A.cert_pem, A.key_pem


@pytest.mark.parametrize(
    ("presented", "words"),
    [
        (self_signed, "its certificate is not signed by this service"),
        (of_nobody, "its certificate is not signed by this service"),
        (that_the_library_cannot_read, "its certificate is not signed by this service"),
        (of_another_service, "its certificate is not signed by this service"),
        (of_the_service_itself, "it presents the certificate of the service, not of a node"),
        (of_this_node_itself, "it presents a certificate of this node itself"),
    ],
)
def test_certificates_that_will_not_do(presented: object, words: str, tmp_path: Path) -> None:
    assert callable(presented)
    cert_pem, key_pem = presented()

    async def test() -> None:
        async with post(A) as a:
            async with dialled(a, presenting(tmp_path, cert_pem, key_pem)) as stranger:
                stranger.send(HELLO)
                assert await stranger.rest() == b""
            await until(lambda: a.logged(words))
            assert not a.heard
            assert refusals(a) == 1

    run(test())


def test_another_protocol(tmp_path: Path) -> None:
    async def test() -> None:
        async with post(A) as a:
            for offered in (None, ["http/1.1"]):
                context = client_tls(offered)
                present(context, tmp_path, B.cert_pem, B.key_pem)
                async with dialled(a, context) as stranger:
                    stranger.send(HELLO)
                    assert await stranger.rest() == b""
            await until(lambda: refusals(a) == 2)
            assert a.logged("does not speak the protocol of nodes")
            assert not a.heard

    run(test())


def test_tls_1_2(tmp_path: Path) -> None:
    async def test() -> None:
        async with post(A) as a:
            context = presenting(tmp_path, B.cert_pem, B.key_pem)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with dialled(a, context):
                    pass
            await until(lambda: a.logged("unsupported protocol"))

    run(test())


@pytest.mark.parametrize(("start", "days"), [(1_000_000_000, 1), (4_000_000_000, 30)])
def test_dates_of_certificates_do_not_matter(start: int, days: int) -> None:
    late = identity("late", not_before=start, days=days)

    async def test() -> None:
        async with post(A) as a, post(late) as b:
            a.send(b, Note("to"))
            b.send(a, Note("fro"))
            await until(lambda: b.texts == ["to"] and a.texts == ["fro"])

    run(test())


def test_a_node_that_is_not_accepted() -> None:
    async def test() -> None:
        async with post(A) as a, post(B) as b:
            b.refused.add(A.id)
            a.send(b, Note("hello"))
            await until(lambda: b.logged(f"node {A.id} is not trusted in this network"))
            assert not b.heard
            b.refused.clear()
            await until(lambda: bool(a.send(b, Note("again")) and b.heard))

    run(test())


def test_a_node_that_is_removed_is_cut_off_at_its_next_frame() -> None:
    async def test() -> None:
        async with post(A) as a, post(B) as b:
            a.send(b, Note("one"))
            await until(lambda: b.texts == ["one"])
            b.refused.add(A.id)
            for text in ("two", "three"):
                a.peers.send(b.id, b.address, Channel.CONSENSUS, Note(text))
            a.peers.turn_done()
            await until(lambda: b.logged("is not trusted in this network any more"))
            await until(lambda: not b.peers.metrics()["incoming"])
            assert b.texts == ["one"]

    run(test())


def test_what_a_node_is_sent_while_its_removal_is_handled_is_dropped() -> None:
    async def test() -> None:
        async with post(A) as a, post(B) as b:
            b.hook = lambda note: b.refused.add(note.sender)
            for text in ("one", "two", "three"):
                a.peers.send(b.id, b.address, Channel.FORWARD, Note(text))
            await until(lambda: b.logged("not trusted"))
            assert b.texts == ["one"]

    run(test())


# --- who answers ----------------------------------------------------------------------------------


def test_an_address_that_belongs_to_another_node() -> None:
    async def test() -> None:
        async with post(A) as a, post(C) as c:
            a.peers.send(B.id, c.address, Channel.CONSENSUS, Note("for b only"))
            await until(lambda: a.logged(f"node {C.id} answers, not node {B.id}"))
            a.send(c, Note("for c"))
            await until(lambda: c.texts == ["for c"])

    run(test())


def test_a_node_comes_back_as_another_one_at_the_same_address() -> None:
    async def test() -> None:
        async with post(A) as a:
            async with post(B) as b:
                port = split_address(b.address)[1]
                a.send(b, Note("to b"))
                await until(lambda: b.texts == ["to b"])
            async with post(C, port=port) as c:

                def refused() -> bool:
                    a.peers.send(B.id, c.address, Channel.CONSENSUS, Note("late"))
                    a.peers.turn_done()
                    return a.logged(f"node {C.id} answers, not node {B.id}")

                await until(refused)
                a.send(c, Note("to c"))
                await until(lambda: bool(c.texts))
                assert c.texts == ["to c"]

    run(test())


@pytest.mark.parametrize(
    "who",
    [
        identity("b", of="another service"),
        Identity(B.node, B.node.self_signed_pem, B.service_cert_pem),
    ],
)
def test_a_foreign_certificate_answers(who: Identity, tmp_path: Path) -> None:
    async def test() -> None:
        async with post(A) as a, answering(serving(tmp_path, who)) as impostor:
            a.peers.send(B.id, impostor.address, Channel.CONSENSUS, Note("secret"))
            await until(lambda: a.logged("its certificate is not signed by this service"))
            assert impostor.data == b""

    run(test())


def test_something_else_answers() -> None:
    async def test() -> None:
        async with post(A) as a, answering(None) as other:
            a.peers.send(B.id, other.address, Channel.CONSENSUS, Note("hello"))
            await until(lambda: bool(other.connections))
            other.connections[0].write(b"220 smtp.example ESMTP\r\n")
            await until(lambda: a.logged("TLS handshake failed"))

    run(test())


# --- identities -----------------------------------------------------------------------------------


def test_before_it_knows_who_it_is_a_node_neither_answers_nor_dials(tmp_path: Path) -> None:
    async def test() -> None:
        async with post(A, identified=False) as a, post(B) as b:
            a.send(b, Note("early"))
            b.send(a, Note("too early"))
            async with dialled(a, None) as stranger:
                assert await stranger.rest() == b""
            await asyncio.sleep(0.05)
            assert not b.heard
            a.peers.identify(A.id, A.key_pem.encode(), A.cert_pem, A.service_cert_pem)
            await until(lambda: b.texts == ["early"])
            await until(lambda: bool(a.texts))

    run(test())


def test_a_renewed_certificate_is_for_new_connections() -> None:
    async def test() -> None:
        async with post(A) as a, post(B) as b:
            a.send(b, Note("old"))
            await until(lambda: b.texts == ["old"])
            before = list(b.peers._incoming)
            new = A.renewed("again")
            assert new.cert_pem != A.cert_pem
            a.peers.identify(new.id, new.key_pem, new.cert_pem, new.service_cert_pem)
            a.send(b, Note("same connection"))
            await until(lambda: len(b.heard) == 2)
            assert list(b.peers._incoming) == before
            before[0].abort("cut by the test")
            await until(lambda: bool(a.send(b, Note("new")) and "new" in b.texts))

    run(test())


def test_a_renewed_service_certificate_has_the_same_key() -> None:
    renewed = service().certificate(NOW + 3600, DAYS, SeededEntropy(b"renewed"))
    assert renewed != service().cert_pem

    async def test() -> None:
        async with post(A) as a, post(B) as b:
            a.peers.identify(A.id, A.key_pem, A.cert_pem, renewed)
            a.send(b, Note("to"))
            b.send(a, Note("fro"))
            await until(lambda: b.texts == ["to"] and a.texts == ["fro"])

    run(test())


def test_an_identity_that_cannot_be() -> None:
    async def test() -> None:
        async with post(A, identified=False) as a:
            for who, words in (
                ((A.id, A.key_pem, B.cert_pem, A.service_cert_pem), "cannot serve TLS"),
                ((B.id, A.key_pem, A.cert_pem, A.service_cert_pem), "is for another key"),
                (
                    (A.id, A.key_pem, A.node.self_signed_pem, A.service_cert_pem),
                    "not signed by the service",
                ),
            ):
                with pytest.raises(LocalError, match=words):
                    a.peers.identify(*who)

    run(test())


def test_a_node_without_tables_answers_where_it_is_told_to() -> None:
    async def test() -> None:
        async with post(A) as a, post(B) as b:
            assert not b.peers.send(A.id, "", Channel.CONSENSUS, Note("where to?"))
            a.peers.identify(A.id, A.key_pem, A.cert_pem, A.service_cert_pem, a.address)
            a.send(b, Note("hello"))
            await until(lambda: b.texts == ["hello"])
            assert b.peers.send(A.id, "", Channel.CONSENSUS, Note("hello yourself"))
            await until(lambda: a.texts == ["hello yourself"])

    run(test())


@pytest.mark.parametrize("address", ["nowhere", "h:99999", "h" * 262 + ":1"])
def test_an_address_that_is_none_ends_the_connection(address: str) -> None:
    async def test() -> None:
        async with post(A) as a, post(B) as b:
            a.peers.identify(A.id, A.key_pem, A.cert_pem, A.service_cert_pem, address)
            a.send(b, Note("hello"))
            await until(lambda: b.logged("the address it names as its own is none"))
            assert not b.heard
            assert not b.peers.send(A.id, "", Channel.CONSENSUS, Note("where to?"))

    run(test())


# --- bounds ---------------------------------------------------------------------------------------


def test_a_peer_has_only_so_many_connections(tmp_path: Path) -> None:
    async def test() -> None:
        async with post(A) as a:
            context = presenting(tmp_path, B.cert_pem, B.key_pem)
            async with dialled(a, context) as one, dialled(a, context) as two:
                await until(lambda: a.peers.metrics()["incoming"] == INCOMING_PER_PEER)
                async with dialled(a, context) as three:
                    assert await one.rest() == b""
                    for client in (two, three):
                        client.send(HELLO)
                    await until(lambda: len(a.heard) == 2)
                    assert a.peers.metrics()["incoming"] == INCOMING_PER_PEER

    run(test())


def test_strangers_that_never_finish_do_not_keep_nodes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "STRANGERS_MAX", 8)

    async def test() -> None:
        async with post(A) as a, post(B) as b:
            host, port = split_address(a.address)
            strangers = [socket.create_connection((host, port)) for _ in range(30)]
            try:
                await until(lambda: incoming(a) > 0)
                assert await stays(lambda: incoming(a)) == 8
                b.send(a, Note("through"))
                await until(lambda: a.texts == ["through"])
            finally:
                for stranger in strangers:
                    stranger.close()

    run(test())


def test_a_handshake_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "HANDSHAKE_TIMEOUT_S", 0.1)

    async def test() -> None:
        async with post(A, idle_timeout_s=0.2) as a, dialled(a, None) as stranger:
            assert await stranger.rest() == b""
            await until(lambda: incoming(a) == 0)

    run(test())


def test_idle_connections_are_closed_and_made_again() -> None:
    async def test() -> None:
        async with post(A, idle_timeout_s=0.5) as a, post(B) as b:
            a.send(b, Note("one"))
            await until(lambda: b.texts == ["one"])
            await until(lambda: not a.peers._links() and not b.peers._links())
            await until(lambda: a.peers.metrics()["peers"] == {})
            a.send(b, Note("two"))
            await until(lambda: b.texts == ["one", "two"])

    run(test())


def test_a_silent_peer_is_let_go() -> None:
    async def test() -> None:
        async with post(A) as a, post(B, idle_timeout_s=0.5) as b:
            a.send(b, Note("one"))
            await until(lambda: b.texts == ["one"])
            await until(lambda: not b.peers._links() and not a.peers._links())
            await until(lambda: bool(a.send(b, Note("two")) and "two" in b.texts))

    run(test())


def test_closing_lets_the_last_messages_leave() -> None:
    async def test() -> None:
        async with post(B) as b:
            async with post(A) as a:
                a.send(b, Note("one"))
                await until(lambda: b.texts == ["one"])
                for number in range(100):
                    a.peers.send(b.id, b.address, Channel.FORWARD, Note(str(number)))
            assert not a.peers._links()
            assert not a.peers.send(b.id, b.address, Channel.FORWARD, Note("too late"))
            await until(lambda: len(b.heard) == 101)

    run(test())


def test_an_address_that_is_taken() -> None:
    async def test() -> None:
        async with post(A) as a:
            port = split_address(a.address)[1]
            with pytest.raises(LocalError, match="Address already in use"):
                async with post(B, port=port):
                    pass

    run(test())


# --- a network that loses its nerve ---------------------------------------------------------------


def test_reconnection_after_the_peer_died_and_came_back() -> None:
    async def test() -> None:
        async with post(A) as a:
            async with post(B) as b:
                port = split_address(b.address)[1]
                a.send(b, Note("before"))
                await until(lambda: b.texts == ["before"])

            def noticed() -> bool:
                a.send(b, Note("while it is away"))
                return a.logged(f"Cannot reach node {B.id}")

            await until(noticed)
            async with post(B, port=port) as again:
                await until(lambda: bool(a.send(again, Note("after")) and "after" in again.texts))

    run(test())


def test_a_connection_that_breaks_takes_what_it_carried_and_no_more() -> None:
    async def test() -> None:
        async with post(A) as a, post(B) as b, pipe(b.address) as network:
            a.send(b, Note("one"), at=network.address)
            await until(lambda: b.texts == ["one"])
            network.cut()
            await until(lambda: not a.peers._links())
            await until(
                lambda: bool(a.send(b, Note("two"), at=network.address) and "two" in b.texts)
            )
            assert b.texts.count("one") == 1

    run(test())


def test_a_peer_that_stops_and_goes_on() -> None:
    async def test() -> None:
        async with post(A) as a, post(B) as b, pipe(b.address) as network:
            a.send(b, Note("one"), at=network.address)
            await until(lambda: b.texts == ["one"])
            network.flows.clear()
            for number in range(5):
                a.send(b, Note(f"held {number}"), at=network.address)
                await asyncio.sleep(0.02)
            assert b.texts == ["one"]
            network.flows.set()
            await until(lambda: b.texts == ["one", *(f"held {number}" for number in range(5))])

    run(test())


def test_a_peer_that_takes_connections_but_does_not_answer() -> None:
    async def test() -> None:
        async with post(A, connect_timeout_s=0.1) as a, answering(None) as mute:

            def tried_again() -> bool:
                a.peers.send(B.id, mute.address, Channel.CONSENSUS, Note("hello"))
                return len(mute.connections) >= 3

            await until(tried_again)
            assert a.logged(f"Cannot reach node {B.id} at {mute.address}: no answer within 0.1 s")
            assert len(a.peers._links()) <= 1

    run(test())


def test_what_was_recorded_cannot_be_replayed() -> None:
    async def test() -> None:
        async with post(A) as a, post(B) as b:
            async with pipe(b.address) as network:
                a.send(b, Note("one"), at=network.address)
                await until(lambda: b.texts == ["one"])
            recorded = list(network.seen)
            await until(lambda: not b.peers._links())
            async with dialled(b, None) as replayer:
                replayer.send(recorded[0])
                await replayer.take(1000)
                replayer.send(b"".join(recorded[1:]))
                await replayer.rest()
            await until(lambda: refusals(b) == 1)
            assert b.texts == ["one"]

    run(test())


def twice(data: bytes) -> bytes:
    return data + data


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def garbage(data: bytes) -> bytes:
    return b"\x17\x03\x03\x00\x20" + bytes(32)


@pytest.mark.parametrize("mangle", [twice, flipped, garbage])
def test_records_that_were_tampered_with_end_the_connection(mangle: object) -> None:
    assert callable(mangle)

    async def test() -> None:
        async with post(A) as a, post(B) as b, pipe(b.address) as network:
            a.send(b, Note("one"), at=network.address)
            await until(lambda: b.texts == ["one"])
            network.mangle = mangle
            a.send(b, Note("two"), at=network.address)
            await until(lambda: b.logged("bad TLS record"))
            assert b.texts == (["one", "two"] if mangle is twice else ["one"])
            network.mangle = bytes
            await until(
                lambda: bool(a.send(b, Note("three"), at=network.address) and "three" in b.texts)
            )
            assert b.texts.count("two") <= 1

    run(test())


def test_refusals_do_not_fill_the_log() -> None:
    async def test() -> None:
        async with post(A) as a:
            for _ in range(20):
                async with dialled(a, None) as stranger:
                    stranger.send(b"GET / HTTP/1.1\r\n\r\n")
                    assert await stranger.rest() == b""
            await until(lambda: refusals(a) == 20)
            assert len(a.lines) == 1
            assert a.lines[0][0] == "fail"
            assert "it did not begin with TLS" in a.lines[0][1]

    run(test())
