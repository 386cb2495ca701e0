"""Listeners: what is negotiated of TLS, and the certificates of both sides."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from OpenSSL._util import lib

from pyccf.shell.listen import Listener, split_address
from support.listening import (
    PATIENCE_S,
    Script,
    answer,
    ask,
    certificate,
    client_tls,
    connect,
    listening,
    present,
    run,
)

pytestmark = pytest.mark.usefixtures("sending")


@pytest.mark.parametrize(
    ("version", "cipher"),
    [
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (ssl.TLSVersion.TLSv1_3, "TLS_AES_256_GCM_SHA384"),
    ],
)
def test_versions_and_ciphers(version: ssl.TLSVersion, cipher: str) -> None:
    async def test() -> None:
        async with listening(Script()) as listener:
            context = client_tls()
            context.minimum_version = context.maximum_version = version
            client = await connect(listener, context)
            assert client.writer.get_extra_info("cipher")[0] == cipher
            client.send(ask("/"))
            await client.expect(answer("/"))
            await client.close()

    run(test())


@pytest.mark.parametrize(
    "prepare",
    [
        lambda context: context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305"),
        lambda context: context.set_ecdh_curve("secp256k1"),
    ],
)
def test_what_is_not_offered_is_refused(prepare: Any) -> None:
    async def test() -> None:
        async with listening(Script()) as listener:
            context = client_tls()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            prepare(context)
            with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
                await connect(listener, context)

    run(test())


def test_groups() -> None:
    async def test() -> None:
        async with listening(Script()) as listener:
            for group, name in (("P-521", "secp521r1"), ("P-384", "secp384r1")):
                assert await asyncio.to_thread(negotiated, listener.address, group) == name
            assert await asyncio.to_thread(negotiated, listener.address, "P-256") is not None
            with pytest.raises(SSL.Error):
                await asyncio.to_thread(negotiated, listener.address, "X25519")

    run(test())


def negotiated(address: str, group: str) -> str | None:
    """The group of a handshake in which the client offers only this one."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    assert lib.SSL_CTX_set1_curves_list(context._context, group.encode()) == 1
    with socket.create_connection(split_address(address), timeout=PATIENCE_S) as sock:
        sock.settimeout(None)
        connection = SSL.Connection(context, sock)
        connection.set_connect_state()
        connection.do_handshake()
        return connection.get_group_name()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, None),
        (["http/1.1"], "http/1.1"),
        (["h2", "http/1.1"], "http/1.1"),
        (["h2"], None),
        (["x"], None),
    ],
)
def test_alpn(offered: list[str] | None, chosen: str | None) -> None:
    async def test() -> None:
        async with listening(Script()) as listener:
            client = await connect(listener, client_tls(offered))
            assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
            client.send(ask("/"))
            await client.expect(answer("/"))
            await client.close()

    run(test())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_any_client_certificate_is_taken_and_known(version: ssl.TLSVersion, tmp_path: Path) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler) as listener:
            expected: list[bytes | None] = []
            for given in (None, certificate("stranger"), certificate("old", expired=True)):
                context = client_tls()
                context.minimum_version = context.maximum_version = version
                if given is not None:
                    present(context, tmp_path, given[0], given[1])
                expected.append(None if given is None else given[2])
                client = await connect(listener, context)
                client.send(ask("/"))
                await client.expect(answer("/"))
                await client.close()
            assert [session.peer_cert for session in handler.sessions] == expected

    run(test())


def test_there_is_no_resumption() -> None:
    async def test() -> None:
        async with listening(Script()) as listener:
            context = client_tls()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            for _ in range(2):
                assert not await asyncio.to_thread(resumed, listener.address, context)

    run(test())


def resumed(address: str, context: ssl.SSLContext) -> bool:
    """Whether a second connection could go on with the first one's session."""
    session = None
    for _ in range(2):
        with (
            socket.create_connection(split_address(address), timeout=PATIENCE_S) as sock,
            context.wrap_socket(sock, session=session) as tls,
        ):
            session = tls.session
            reused = bool(tls.session_reused)
    return reused


def test_certificates_come_and_change() -> None:
    async def test() -> None:
        handler = Script()
        listener = Listener("rpc", "127.0.0.1:0", handler)
        await listener.start()
        try:
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await connect(listener)
            assert listener.metrics()["active"] == listener.metrics()["peak"] == 0
            first = None
            for name in ("first", "second"):
                cert_pem, key_pem, der = certificate(name)
                listener.set_certificate(cert_pem, key_pem)
                client = await connect(listener)
                assert client.writer.get_extra_info("ssl_object").getpeercert(True) == der
                first = first or client
            assert first is not None
            first.send(ask("/still"))
            await first.expect(answer("/still"))
            await first.close()
            await client.close()
        finally:
            await listener.close()

    run(test())
