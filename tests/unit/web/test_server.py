"""What the explorer answers, to whom, and what it forbids."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyccf.errors import LocalError
from pyccf.ledger.receipt import verify_json_receipt
from pyccf.shell.disk import LedgerDisk
from pyccf.web import views
from pyccf.web.server import HOST, STATIC, Explorer
from support.ledgers import Service, small_service


@pytest.fixture(scope="module")
def service() -> Service:
    made = small_service(12)
    made.write(
        {
            "public:ccf.gov.members.info": {b"m0": b'{"status":"Active"}'},
            "public:ccf.gov.members.certs": {b"m0": b"no certificate"},
            "public:ccf.gov.proposals": {b"p0": b'{"actions":[{"name":"set_user"}]}'},
            "public:ccf.gov.proposals_info": {
                b"p0": b'{"state":"Open","proposer_id":"m0","ballots":{"m0":"x"}}'
            },
            "public:ccf.gov.modules": {b"/a.js": b"export {}"},
        }
    )
    made.sign()
    made.record(b"last")
    return made


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory, service: Service) -> Iterator[Explorer]:
    folder = tmp_path_factory.mktemp("explored") / "ledger"
    disk = LedgerDisk(folder)
    disk.append(service.entries)
    disk.commit(service.signed)
    disk.close()
    with Explorer([folder]) as started:
        deadline = time.monotonic() + 60
        while started.verification.state in ("waiting", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield started


def ask(
    explorer: Explorer,
    path: str,
    *,
    host: str | None = None,
    method: str = "GET",
    below: str | None = None,
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(HOST, explorer.port, timeout=60)
    try:
        whole = (explorer.path if below is None else below) + path
        connection.request(method, whole, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def get(explorer: Explorer, path: str) -> Any:
    status, _, body = ask(explorer, path)
    assert status == 200, body
    return json.loads(body)


def test_overview(explorer: Explorer, service: Service) -> None:
    shown = get(explorer, "/api/overview")
    assert (shown["first"], shown["last"], shown["complete"]) == (1, service.last, True)
    assert (shown["service_status"], shown["members"], shown["nodes"]) == ("Open", 1, 1)
    assert shown["service_certificate"]["pem"] == service.identity.service_cert
    assert shown["verification"]["state"] == "valid"
    assert shown["verification"]["proven"] == f"{service.view}.{service.signed}"


def test_entries_come_in_pages(explorer: Explorer, service: Service) -> None:
    seen: list[int] = []
    before = ""
    while True:
        page = get(explorer, f"/api/entries?count=5{before}")
        assert len(page["entries"]) <= 5
        seen += [entry["seqno"] for entry in page["entries"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert seen == list(range(service.last, 0, -1))


def test_entries_of_a_map_and_a_key(
    explorer: Explorer, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = get(explorer, "/api/entries?map=public:ccf.gov.modules")
    assert [entry["seqno"] for entry in found["entries"]] == [service.signed - 1]
    assert found["entries"][0]["governance"]
    assert len(get(explorer, "/api/entries?map=public:records&key=ke")["entries"]) == 9
    assert get(explorer, "/api/entries?map=public:records&key=nobody")["entries"] == []
    monkeypatch.setattr(views, "SCAN_MAX", 4)
    page = get(explorer, "/api/entries?key=a.js")
    assert page["next"] is not None
    seen = [entry["seqno"] for entry in page["entries"]]
    while page["next"] is not None:
        page = get(explorer, f"/api/entries?key=a.js&before={page['next']}")
        seen += [entry["seqno"] for entry in page["entries"]]
    assert seen == [service.signed - 1]


def test_one_entry(explorer: Explorer, service: Service) -> None:
    made = service.entries[4]
    shown = get(explorer, f"/api/entry/{made.seqno}")
    assert shown["leaf"] == made.leaf.hex()
    assert shown["maps"]["public:records"]["rows"][0]["key"] == "key"
    assert get(explorer, f"/api/entry/{service.last}")["covered_by"] is None


def test_proofs_lead_to_the_signed_root(explorer: Explorer, service: Service) -> None:
    for made in service.entries[: service.signed]:
        proof = get(explorer, f"/api/proof/{made.seqno}")
        assert proof["leaf"] == made.leaf.hex()
        assert proof["is_signature"] == made.committable
    assert proof["root"] == service.signed_root.hex()
    assert proof["node"] == service.identity.node_id
    status, _, body = ask(explorer, f"/api/proof/{service.last}")
    assert (status, json.loads(body)["error"]) == (
        422,
        f"No signature covers entry {service.last} yet.",
    )


def test_receipts(explorer: Explorer, service: Service, tmp_path: Path) -> None:
    status, _, body = ask(explorer, "/api/receipt/5")
    assert status == 422
    assert "--enc-key" in json.loads(body)["hint"]
    receipt = get(explorer, f"/api/receipt/{service.signed}")
    verify_json_receipt(receipt, service.identity.service_cert)
    disk = LedgerDisk(tmp_path / "ledger")
    disk.append(service.entries)
    disk.close()
    with Explorer([tmp_path / "ledger"], secrets=service.secrets) as opened:
        while not opened.book.complete:
            time.sleep(0.01)
        proven = verify_json_receipt(get(opened, "/api/receipt/5"), service.identity.service_cert)
        assert proven.txid is not None
        assert proven.txid.seqno == 5


def test_governance(explorer: Explorer, service: Service) -> None:
    events = get(explorer, "/api/governance")["events"]
    told = [event["title"] for event in events if event["seqno"] == service.signed - 1]
    assert told == ["Tables changed", "Member m0 is Active", "Proposal p0 is Open", "Proposal p0"]
    assert "set_user" in [event["detail"] for event in events]
    assert events[-1]["seqno"] == 1
    page = get(explorer, "/api/governance?count=1")
    assert page["next"] == service.signed - 1
    assert {
        e["seqno"] for e in get(explorer, f"/api/governance?before={page['next']}")["events"]
    } == {1, 3}


def test_people_and_maps(explorer: Explorer, service: Service) -> None:
    shown = get(explorer, "/api/people")
    assert shown["members"][0]["id"] == "m0"
    assert shown["members"][0]["certificate"] == {"pem": "no certificate"}
    assert shown["nodes"][0]["certificate"]["pem"] == service.identity.node_cert
    names = [one["name"] for one in get(explorer, "/api/maps")["maps"]]
    assert names == sorted(names)
    assert "public:records" in names


def test_only_this_machine_is_answered(explorer: Explorer) -> None:
    for path in ("/", "/api/overview"):
        assert ask(explorer, path, host="evil.example.com")[0] == 403
        assert ask(explorer, path, host=f"evil.example.com:{explorer.port}")[0] == 403
        assert ask(explorer, path, host=f"localhost:{explorer.port}")[0] == 200


def test_only_who_knows_the_address_is_shown_private_tables(
    explorer: Explorer, service: Service
) -> None:
    """Other users of this machine can connect as well."""
    assert explorer.url == f"http://{HOST}:{explorer.port}/"
    folder = [explorer.book.chunks[0].path.parent]
    with (
        Explorer(folder, secrets=service.secrets) as private,
        Explorer(folder, secrets=service.secrets) as other,
    ):
        assert private.url == f"http://{HOST}:{private.port}{private.path}/"
        assert len(private.path) > 20
        for below in ("", private.path[:-1], "/" + "A" * 22, other.path):
            for path in ("/", "/api/overview", "/app.js"):
                assert ask(private, path, below=below)[0] == 403
        assert ask(private, "/api/overview")[0] == 200


def test_who_goes_away_is_not_complained_about(
    explorer: Explorer, capfd: pytest.CaptureFixture[str]
) -> None:
    for linger in (1, 0):
        with socket.create_connection((HOST, explorer.port), timeout=60) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", linger, 0))
            host = f"Host: {HOST}:{explorer.port}"
            gone.sendall(f"GET {explorer.path}/api/people HTTP/1.0\r\n{host}\r\n\r\n".encode())
    get(explorer, "/api/overview")
    time.sleep(0.05)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "path",
    [
        "/../book.py",
        "/static/index.html",
        "/%2e%2e/book.py",
        "//etc/passwd",
        "/index.html",
        "/api/",
        "/api/entry",
    ],
)
def test_nothing_else_is_served(explorer: Explorer, path: str) -> None:
    assert ask(explorer, path)[0] == 404


@pytest.mark.parametrize("seqno", ["x", "-1", "1.5", "", "1e3", "٣", "9" * 30])
def test_seqnos_are_numbers(explorer: Explorer, seqno: str) -> None:
    from urllib.parse import quote

    assert ask(explorer, f"/api/entry/{quote(seqno)}")[0] == 400
    assert ask(explorer, "/api/entry/0")[0] == 422


def test_every_answer_forbids_foreign_content(explorer: Explorer) -> None:
    for path in (*STATIC, "/api/overview", "/api/entry/0", "/nowhere"):
        _, headers, body = ask(explorer, path)
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert body
    status, headers, body = ask(explorer, "/", method="HEAD")
    assert (status, body) == (200, b"")
    assert ask(explorer, "/", method="POST")[0] == 501


def test_a_port_that_is_taken(explorer: Explorer, tmp_path: Path) -> None:
    disk = LedgerDisk(tmp_path / "ledger")
    disk.append(small_service(1).entries)
    disk.close()
    with pytest.raises(LocalError, match=f"Port {explorer.port} on 127.0.0.1 cannot be used"):
        Explorer([tmp_path / "ledger"], port=explorer.port)


def test_a_ledger_that_is_not_valid(service: Service, tmp_path: Path) -> None:
    disk = LedgerDisk(tmp_path / "ledger")
    disk.append(service.entries)
    disk.close()
    (file, *_) = [f for f in (tmp_path / "ledger").iterdir() if b"value 4" in f.read_bytes()]
    file.write_bytes(file.read_bytes().replace(b"value 4", b"value X", 1))
    with Explorer([tmp_path / "ledger"]) as started:
        deadline = time.monotonic() + 60
        while started.verification.state in ("waiting", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        found = get(started, "/api/overview")["verification"]
        assert found["state"] == "invalid"
        (spoiled,) = [e.seqno for e in service.entries if b"value 4" in e.data]
        assert found["fault_seqno"] == spoiled
        status, _, body = ask(started, f"/api/proof/{spoiled}")
        assert status == 422
        assert "not what the signature" in json.loads(body)["error"]
