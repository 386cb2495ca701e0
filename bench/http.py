"""HTTP/1.1 beside HTTP/2, and what a connection costs in memory: a bare echo under h2load.

Needs h2load on PATH (`apt-get install nghttp2-client`); refuses to run without. Memory per
connection is the growth of the echo's resident memory: idle, after each of the connections made one
request; busy, at its highest while all of them ask without pause.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import socket
import ssl
import subprocess
import tempfile
import time

import msgspec
from h2.config import H2Configuration
from h2.connection import H2Connection

from bench.parts import Say
from bench.servers import Echo, rss_bytes

CONNECTIONS = 1000
RATE_CLIENTS = 32
STREAMS = 10
"""Requests under way at once on each HTTP/2 connection."""
H1, H2 = "http/1.1", "h2"
REQUESTS_EACH = 20
"""Of each connection that is busy."""
MARGIN_S = 60
SAMPLE_S = 0.05
SETTLE_S = 1.0
DESCRIPTORS = 4096
TIMEOUT_S = 30


class H2loadMissing(Exception):
    """There is no h2load to make load with."""

    def __str__(self) -> str:
        return "h2load is not installed: apt-get install nghttp2-client"


class Rate(msgspec.Struct, frozen=True):
    """The echo under load."""

    protocol: str
    clients: int
    streams: int
    rate: float
    """Requests answered in a second."""
    cpu_us: float
    """Processor time of the echo per request."""
    failed: int


class Held(msgspec.Struct, frozen=True):
    """Memory for many connections at once."""

    protocol: str
    state: str
    """idle or busy"""
    connections: int
    bytes_each: float
    failed: int = 0
    """Requests that were not answered: on a slow machine, handshakes that took too long."""


class Http(msgspec.Struct, frozen=True):
    """What was measured."""

    rates: list[Rate]
    memory: list[Held]


def measure(seconds: int, say: Say) -> Http:
    """Rates and memory, each with an echo of its own."""
    _allow_descriptors()
    rates: list[Rate] = []
    memory: list[Held] = []
    for protocol in (H1, H2):
        for streams in (1, STREAMS) if protocol == H2 else (1,):
            say(f"http: {protocol}, {RATE_CLIENTS} connections of {streams} at once …")
            with _echo(protocol) as echo:
                rates.append(_rate(echo, protocol, RATE_CLIENTS, streams, seconds))
        say(f"http: {protocol}, {CONNECTIONS} connections …")
        with _echo(protocol) as echo:
            memory.append(Held(protocol, "idle", CONNECTIONS, round(_idle(echo, protocol), 1)))
        with _echo(protocol) as echo:
            memory.append(_busy(echo, protocol))
    return Http(rates, memory)


def _echo(protocol: str) -> Echo:
    options = ["--sessions", str(2 * CONNECTIONS)]
    return Echo(*options, "--http2") if protocol == H2 else Echo(*options)


def _allow_descriptors() -> None:
    """A thousand connections need as many sockets here and there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


# --- load -----------------------------------------------------------------------------------------


def _command(echo: Echo, protocol: str, clients: int, streams: int, *how_long: str) -> list[str]:
    program = shutil.which("h2load")
    if program is None:
        raise H2loadMissing
    return [
        *(program, "--clients", str(clients), "--max-concurrent-streams", str(streams)),
        *how_long,
        *(["--h1"] if protocol == H1 else []),
        f"{echo.url}/",
    ]


def _rate(echo: Echo, protocol: str, clients: int, streams: int, seconds: int) -> Rate:
    before = echo.cpu_s()
    how_long = ("--duration", str(seconds), "--warm-up-time", "1")
    done = subprocess.run(
        _command(echo, protocol, clients, streams, *how_long),
        capture_output=True,
        text=True,
        timeout=seconds + MARGIN_S,
    )
    used = echo.cpu_s() - before
    rate = re.search(r"finished in [^,]*, ([0-9.]+) req/s", done.stdout)
    if rate is None:
        raise RuntimeError(f"h2load failed: {done.stdout}{done.stderr}")
    answered = int(json.loads(echo.stop())["requests"])
    return Rate(
        protocol=protocol,
        clients=clients,
        streams=streams,
        rate=float(rate[1]),
        cpu_us=round(1e6 * used / max(answered, 1), 2),
        failed=_failed(done.stdout),
    )


# --- memory ---------------------------------------------------------------------------------------


def _idle(echo: Echo, protocol: str) -> float:
    """Bytes for each connection that made a request and then nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    held = [_connected(echo, protocol, context)]
    before = rss_bytes(echo.pid)
    try:
        held += [_connected(echo, protocol, context) for _ in range(CONNECTIONS)]
        time.sleep(SETTLE_S)
        return (rss_bytes(echo.pid) - before) / CONNECTIONS
    finally:
        for connection in held:
            connection.close()


def _connected(echo: Echo, protocol: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection on which one request was answered."""
    host, _, port = str(echo.said["address"]).rpartition(":")
    made = context.wrap_socket(socket.create_connection((host, int(port)), TIMEOUT_S))
    if protocol == H1:
        made.sendall(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        made.recv(4096)
        return made
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    head = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "h")]
    client.send_headers(1, head, end_stream=True)
    made.sendall(client.data_to_send())
    while not any(
        getattr(event, "stream_ended", None) for event in client.receive_data(made.recv(4096))
    ):
        made.sendall(client.data_to_send())
    return made


def _busy(echo: Echo, protocol: str) -> Held:
    """Bytes for each connection at the worst moment while all of them ask."""
    before = peak = rss_bytes(echo.pid)
    # Not for a time: clients that connect when it is over would never end.
    command = _command(
        echo, protocol, CONNECTIONS, 1, "--requests", str(REQUESTS_EACH * CONNECTIONS)
    )
    # It says more than a pipe holds.
    with tempfile.TemporaryFile() as words:
        with subprocess.Popen(command, stdout=words, stderr=words) as load:
            while load.poll() is None:
                peak = max(peak, rss_bytes(echo.pid))
                time.sleep(SAMPLE_S)
        words.seek(0)
        said = words.read().decode()
    return Held(
        protocol, "busy", CONNECTIONS, round((peak - before) / CONNECTIONS, 1), _failed(said)
    )


def _failed(said: str) -> int:
    """Requests that were not answered, as h2load counts them. Raises RuntimeError."""
    counts = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed", said)
    if counts is None:
        raise RuntimeError(f"h2load failed: {said}")
    return int(counts[3])
