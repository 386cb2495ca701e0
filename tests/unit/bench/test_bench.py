"""The benchmark's own workings: figures are right, applications do what the load expects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench import __main__ as program
from bench import load, report, servers, stages
from bench.memory_node import MemoryNode
from bench.parts import Growth, LedgerCost, Plan, Verified
from support import programs

ROOT = Path(servers.__file__).parents[1]
PLAN = Plan(seconds=1, rounds=1, connections=[64], keys=[10, 1000], ledger_entries=10)
MACHINE = report.Machine("cpu", 2, 1 << 30, "Linux", "3.11", "OpenSSL", "0", "c0ffee")


def a_round(rate: float, p99_ms: float = 5.0, errors: int = 0) -> load.Round:
    return load.Round(
        rate=rate,
        p50_ms=1.0,
        p95_ms=2.0,
        p99_ms=p99_ms,
        max_ms=9.0,
        cpu_us=30.0,
        cpu_share=0.9,
        others_share=0.01,
        errors=errors,
    )


def figure(target: str, rate: float, p99_ms: float = 5.0) -> load.Figure:
    return load.summary(target, 64, [a_round(rate, p99_ms)])


def test_summary_takes_medians_and_adds_errors() -> None:
    rounds = [a_round(100, errors=1), a_round(300), a_round(200, errors=2)]
    found = load.summary("js write", 64, rounds)
    assert (found.rate, found.errors, found.rounds) == (200, 3, rounds)


def test_goals_compare_with_the_echo_of_the_same_kind() -> None:
    figures = [
        figure("echo write", 40_000),
        figure("echo read", 50_000),
        figure("js write", 25_000),
        figure("js read", 30_000, p99_ms=16.0),
    ]
    results = report.Results("now", MACHINE, PLAN, load={"64": figures})
    found = {goal.what: goal for goal in report.goals(results)}
    write = found["JS write, of echo, at 64 connections"]
    assert (write.measured, write.reached) == (0.625, True)
    read = found["JS read, of echo, at 64 connections"]
    assert (read.measured, read.reached) == (0.6, False)
    assert found["JS writes/s of the C++ CCF, at 64 connections"].reached
    assert not found["JS writes/s aimed at, at 64 connections"].reached
    assert found["p99 in ms of js write, at 64 connections"].reached
    assert not found["p99 in ms of js read, at 64 connections"].reached
    assert found["errors at 64 connections"].reached


def test_goals_of_growth_and_ledger_and_the_text() -> None:
    verified = Verified(10, 10, 1, 1.0, 30_000.0, 30.0, 1 << 20, 2 << 20)
    longer = msgspec.structs.replace(verified, entries=20, memory_peak_bytes=50 << 20)
    growth = [
        Growth(10, 900.0, figure("10 write", 100), figure("10 read", 100)),
        Growth(1000, 200.0, figure("1000 write", 86), figure("1000 read", 84)),
    ]
    results = report.Results(
        "now",
        MACHINE,
        PLAN,
        growth=growth,
        ledger=LedgerCost(verified, longer),
        stages={"js write": {"tls": 1.0}},
    )
    found = report.goals(results)
    assert [goal.reached for goal in found] == [True, False, True, True, False]
    text = report.text(msgspec.structs.replace(results, goals=found))
    for words in ("1000 write", "30000 entries/s", "tls 1.00", "NOT reached"):
        assert words in text
    assert "Others used" not in text
    again = msgspec.json.decode(msgspec.json.encode(results), type=report.Results)
    assert again == results


def test_processor_time_and_memory_are_read_from_proc() -> None:
    before = servers.cpu_s(os.getpid())
    times = os.times()
    assert abs(before - (times.user + times.system)) < 0.5
    assert 1 << 20 < servers.rss_bytes(os.getpid()) < 1 << 40
    assert servers.machine_cpu_s() > before


def test_command_line() -> None:
    chosen = program.arguments(["--seconds", "2", "--connections", "8,4", "--only", "stages"])
    assert (chosen.seconds, chosen.connections, chosen.only) == (2, [8, 4], ["stages"])
    for bad in (["--seconds", "0"], ["--keys", "1,x"], ["--only", "nothing"]):
        with pytest.raises(SystemExit):
            program.arguments(bad)


def test_without_wrk_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert program.main(["--only", "load"]) == 1
    assert "apt-get install wrk" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("app", "path"),
    [("app-js", "/app/records"), ("app-js", "/app/fresh/records"), ("app-py", "/app/records")],
)
def test_applications_write_read_and_fill(app: str, path: str) -> None:
    node = MemoryNode(app)
    assert node.call(stages.parse(stages.write_request(path))).endswith(b"\r\n\r\ntrue")
    answer = node.call(stages.parse(stages.read_request(path)))
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"msg": stages.MESSAGE.decode()}
    assert node.node.store.read_committed(stages.TABLE, stages.KEY) is None  # not yet signed
    body = json.dumps({"first": 0, "count": 50, "msg": "x"}).encode()
    head = f"POST /app/fill HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    assert node.call(stages.parse(head.encode() + body)).endswith(b"50")
    node.sign()
    assert node.node.store.read_committed(stages.TABLE, b"00000007") == b"x"
    with pytest.raises(RuntimeError, match="404"):
        node.call(stages.parse(b"GET /app/records?id=99999999 HTTP/1.1\r\nhost: x\r\n\r\n"))


@pytest.mark.parametrize(("app", "kind"), [("app-js", "write"), ("app-py", "read")])
def test_stages_are_measured(monkeypatch: pytest.MonkeyPatch, app: str, kind: str) -> None:
    monkeypatch.setattr(stages, "CALLS", 20)
    monkeypatch.setattr(stages, "TLS_CALLS", 20)
    monkeypatch.setattr(stages, "SIGNATURE_EVERY", 20)
    found = stages.measure(app, "/app/records", kind)
    for name in ("tls", "http", "route_auth", "reply", "node"):
        assert getattr(found, name) > 0, name
    for name in ("encrypt_digest_merkle", "signature_share", "ledger_file"):
        assert (getattr(found, name) != 0) == (kind == "write"), name


def test_load_reaches_a_server_and_is_counted() -> None:
    programs.program("wrk")
    with servers.Echo() as echo:
        for kind in ("write", "read"):
            target = load.Target(f"echo {kind}", echo, kind, "/app/records", 10)
            found = load.one_round(target, 4, 1)
            assert found.errors == 0
            assert found.rate > 100
            assert 0 < found.cpu_us < 10_000
            assert 0 < found.p50_ms <= found.p95_ms <= found.p99_ms <= found.max_ms


def test_a_ledger_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.ledger", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "no ledger files" in done.stderr
