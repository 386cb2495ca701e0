"""An application with an index and a change feed, over real connections and ledger files."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pyccf.client import Client
from support.sandbox import Sandbox

APP = '''
"""Records, where they were written, and a feed of them."""

import msgspec

from pyccf.apps.python import App, AppContext, Reply, Table

app = App(title="Feed")
records = Table("records", key=int, value=str)
by_id = app.index(records)


class Record(msgspec.Struct):
    id: int
    msg: str


@app.post("/records", auth=["user_cert"])
def write(ctx: AppContext, body: Record) -> bool:
    records(ctx).set(body.id, body.msg)
    return True


@app.get("/history/{id}", auth=["user_cert"], forwarding="never")
def history(ctx: AppContext, path: dict[str, int]) -> Reply | list[str | None]:
    index = by_id(ctx)
    seqnos = index.writes(path["id"], 1, ctx.services.last_committed().seqno)
    if seqnos is None:
        return Reply(202, headers={"retry-after": "1"})
    return [records.of(state).get(path["id"]) for state in ctx.historical_states(seqnos) or ()]


@app.feed("/feed", records, auth=["user_cert"])
def feed(ctx: AppContext) -> None:
    """Tell users what is written"""
'''

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("feed")
    (folder / "app.py").write_text(APP)
    with Sandbox(folder, folder / "sandbox", "--users", "1") as sandbox:
        yield sandbox


def write(client: Client, record_id: int, msg: str) -> str:
    reply = client.post("/app/records", json={"id": record_id, "msg": msg}, wait="commit")
    assert reply.check().json() is True
    return str(reply.txid)


@contextlib.contextmanager
def listen(sandbox: Sandbox, party: str | None = "user0", **headers: str) -> Iterator[Any]:
    """The response of a feed, to be read as it comes."""
    context = ssl.create_default_context(cadata=Path(sandbox.info.service_cert).read_text())
    if party is not None:
        user = sandbox.info.party(party)
        context.load_cert_chain(user.cert, user.key)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{sandbox.info.nodes[0].url}/app/feed"
    with (
        httpx2.Client(verify=context, timeout=PATIENCE_S, trust_env=False) as client,
        client.stream("GET", url, headers=names) as response,
    ):
        yield response


def events(response: Any) -> Iterator[tuple[str, Any]]:
    """Ids and data as they arrive."""
    ident = ""
    for line in response.iter_lines():
        if line.startswith("id: "):
            ident = line[4:]
        elif line.startswith("data: "):
            yield ident, json.loads(line[6:])


def test_writes_are_told_as_they_happen_and_again_to_who_comes_back(sandbox: Sandbox) -> None:
    with sandbox.client("user0") as user:
        with listen(sandbox) as response:
            assert response.status_code == 200
            assert response.headers["content-type"] == "text/event-stream"
            told = events(response)
            txids = []
            for i in range(3):
                txids.append(write(user, 1, f"{i}"))
                ident, data = next(told)
                assert ident == txids[-1]
                assert data["writes"] == [{"key": 1, "value": f"{i}"}]
        missed = [write(user, 2, f"missed {i}") for i in range(3)]
        with listen(sandbox, last_event_id=txids[1]) as response:
            told = events(response)
            assert [next(told)[0] for _ in range(4)] == [txids[2], *missed]


def test_strangers_are_told_nothing(sandbox: Sandbox) -> None:
    with listen(sandbox, None) as response:
        assert response.status_code == 401


def test_a_listener_that_does_not_read_holds_up_nobody(sandbox: Sandbox) -> None:
    with listen(sandbox) as response:
        assert response.status_code == 200
        with sandbox.client("user0") as user:
            for i in range(20):
                write(user, 3, f"{i}")
            assert user.get("/node/commit").status == 200


def test_an_index_finds_every_version_of_a_record(sandbox: Sandbox) -> None:
    with sandbox.client("user0") as user:
        for i in range(5):
            write(user, 4, f"version {i}")
        deadline = time.monotonic() + PATIENCE_S
        while (reply := user.get("/app/history/4")).status == 202:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert reply.json() == [f"version {i}" for i in range(5)]
        (shown,) = user.get("/node/index/strategies").json()  # type: ignore[misc, union-attr]
        assert isinstance(shown, dict)
        assert shown["name"] == "SeqnosByKey records"
