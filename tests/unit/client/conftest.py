"""A fake service and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2
import pytest

from pyccf.client import Client, Identity
from support.fake_service import NOW, URL, FakeService, make_identity


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def member(tmp_path: Path) -> Identity:
    return make_identity(tmp_path, "member0")


@pytest.fixture
def connect(service: FakeService, member: Identity) -> Callable[..., Client]:
    """Makes clients of the fake service; `signed=False` for one without an identity."""

    def make(
        signed: bool = True,
        urls: str | Sequence[str] = URL,
        patience_s: float = 0.0,
        token: str | Callable[[], str] | None = None,
    ) -> Client:
        client = Client(
            urls,
            member.cert_pem,
            cert=member.cert_path if signed else None,
            key=member.key_path if signed else None,
            patience_s=patience_s,
            token=token,
            transport=httpx2.MockTransport(service.handle),
            unix_time=lambda: float(NOW),
            monotonic=lambda: service.clock,
        )
        client._sleep = service.sleep
        return client

    return make


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    return connect()
