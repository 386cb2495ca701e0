"""The network that can be cut: bytes arrive, wait, and are late, in one direction or both."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from support.fault_proxy import FaultProxy

PATIENCE_S = 60.0
SILENCE_S = 0.15


class Echo:
    """Node 0 listens and sends back what it gets; node 1 dials."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.server = socket.create_server(("127.0.0.1", 0))
        self.accepted: list[socket.socket] = []
        self.received = b""
        threading.Thread(target=self._serve, daemon=True).start()
        self.address = proxy.listen(0, lambda: self.server.getsockname())
        proxy.listen(1, lambda: None)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            self.accepted.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while True:
                try:
                    data = connection.recv(65536)
                    if not data:
                        return
                    self.received += data
                    connection.sendall(data)
                except OSError:
                    return

    def dial(self, source: str = FaultProxy.source(1)) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        made = socket.create_connection((host, int(port)), PATIENCE_S, (source, 0))
        made.settimeout(PATIENCE_S)
        return made


@pytest.fixture
def echo() -> Iterator[Echo]:
    with FaultProxy() as proxy:
        made = Echo(proxy)
        yield made
        made.server.close()


def take(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError("the connection ended")
        data += more
    return data


def until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def silent(connection: socket.socket) -> bool:
    connection.settimeout(SILENCE_S)
    try:
        return not connection.recv(1) and False
    except TimeoutError:
        return True
    finally:
        connection.settimeout(PATIENCE_S)


def test_bytes_and_ends_get_through(echo: Echo) -> None:
    data = bytes(range(256)) * 4000
    with echo.dial() as connection:
        connection.sendall(data[:100_000])
        assert take(connection, 100_000) == data[:100_000]
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def test_what_is_cut_waits_and_arrives_in_order_when_healed(echo: Echo) -> None:
    with echo.dial() as connection:
        connection.sendall(b"one")
        assert take(connection, 3) == b"one"
        echo.proxy.part([0], [1])
        connection.sendall(b"two")
        connection.sendall(b"three")
        assert silent(connection)
        assert echo.received == b"one"
        echo.proxy.heal()
        assert take(connection, 8) == b"twothree"


def test_one_direction_can_be_cut_alone(echo: Echo) -> None:
    with echo.dial() as connection:
        echo.proxy.cut(0, 1)
        connection.sendall(b"heard")
        until(lambda: echo.received == b"heard", "the open direction carries it")
        assert silent(connection)
        echo.proxy.heal()
        assert take(connection, 5) == b"heard"


def test_there_is_no_new_connection_over_a_cut_way(echo: Echo) -> None:
    echo.proxy.cut(1, 0)
    with echo.dial() as connection:
        connection.sendall(b"late")
        assert silent(connection)
        assert echo.accepted == []
        echo.proxy.heal()
        assert take(connection, 4) == b"late"


def test_the_end_of_a_connection_waits_too(echo: Echo) -> None:
    connection = echo.dial()
    connection.sendall(b"a")
    assert take(connection, 1) == b"a"
    echo.proxy.cut(1, 0)
    connection.close()
    time.sleep(SILENCE_S)
    (there,) = echo.accepted
    assert there.fileno() != -1
    echo.proxy.heal()
    until(lambda: there.fileno() == -1, "the end arrives")


def test_delay_is_for_one_direction_and_keeps_the_order(echo: Echo) -> None:
    with echo.dial() as connection:
        connection.sendall(b"0")
        assert take(connection, 1) == b"0"
        echo.proxy.delay(1, 0, 0.5)
        started = time.monotonic()
        for i in range(20):
            connection.sendall(b"%02d" % i)
        assert take(connection, 40) == b"".join(b"%02d" % i for i in range(20))
        # Twenty pieces one after the other would take 10 s.
        assert 0.5 <= time.monotonic() - started < 5


def test_reset_breaks_connections(echo: Echo) -> None:
    with echo.dial() as connection:
        connection.sendall(b"a")
        assert take(connection, 1) == b"a"
        echo.proxy.reset(0, 1)
        with pytest.raises(OSError):
            take(connection, 1)


def test_strangers_are_refused(echo: Echo) -> None:
    with echo.dial("127.0.0.1") as connection, pytest.raises(OSError):
        take(connection, 1)
    assert echo.proxy.strangers == 1
