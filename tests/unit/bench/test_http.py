"""Connections held open against the echo, and load in both protocols, on a small scale."""

from __future__ import annotations

import pytest

from bench import http
from bench.servers import Echo
from support.programs import program


@pytest.mark.parametrize("protocol", [http.H1, http.H2])
def test_memory_of_idle_connections(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECTIONS", 20)
    monkeypatch.setattr(http, "SETTLE_S", 0.0)
    with http._echo(protocol) as echo:
        each = http._idle(echo, protocol)
    assert 0 < each < 1024 * 1024


def test_load_in_http2() -> None:
    program("h2load")
    with Echo("--http2") as echo:
        rate = http._rate(echo, http.H2, 2, 5, 1)
    assert rate.failed == 0
    assert rate.rate > 0
    assert rate.cpu_us > 0


def test_without_h2load_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with Echo() as echo, pytest.raises(http.H2loadMissing, match="nghttp2-client"):
        http._busy(echo, http.H1)
