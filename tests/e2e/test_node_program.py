"""The node program as a process: start, files, signals, refusals, failing disks."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path

import pytest

from pyccf.audit.verify import verify
from support.process import STOP_TIMEOUT_S, Member, NodeProcess, make_config


def used_s() -> float:
    """Seconds that processes used which were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_starts_quickly_answers_and_stops_cleanly(tmp_path: Path) -> None:
    make_config(tmp_path)
    before = used_s()
    with NodeProcess(tmp_path) as node:
        node.wait_ready()
        assert (tmp_path / "node.pid").read_text() == str(node.process.pid)
        status, body = node.get("/node/network")
        assert status == 200
        network = json.loads(body)
        assert network["service_status"] == "Opening"
        assert network["service_certificate"] == (tmp_path / "service_cert.pem").read_text()
        assert node.stop() == 0
    # Of its whole life; how long that takes, the machine's other work decides.
    assert used_s() - before < 5
    assert node.err.read_text() == ""
    report = verify([tmp_path / "ledger"])
    assert report.ok
    assert report.signatures >= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_stop_it_too(tmp_path: Path, number: signal.Signals) -> None:
    make_config(tmp_path)
    with NodeProcess(tmp_path) as node:
        node.wait_ready()
        assert node.stop(number) == 0
    word = "Hangup: " if number == signal.SIGHUP else "Terminated: "
    assert word in node.out.read_text()


def test_the_first_sigterm_may_be_a_notice(tmp_path: Path) -> None:
    make_config(tmp_path, ignore_first_sigterm=True)
    with NodeProcess(tmp_path) as node:
        node.wait_ready()
        node.process.send_signal(signal.SIGTERM)
        while node.get("/node/ready/gov")[0] != 503:
            pass
        assert json.loads(node.get("/node/state")[1])["stop_notice"] is True
        assert node.stop() == 0


def test_logs_json_when_asked(tmp_path: Path) -> None:
    make_config(tmp_path, logging={"format": "Json"}, slow_io_logging_threshold="0us")
    with NodeProcess(tmp_path) as node:
        node.wait_ready()
        node.stop()
    lines = node.out.read_text().splitlines()
    records = [json.loads(line) for line in lines[1:]]
    assert all(record["level"] in ("info", "debug") for record in records)
    assert any(record["msg"].startswith("Writing to the ledger took ") for record in records)


def test_check_only_reads_the_configuration(tmp_path: Path) -> None:
    make_config(tmp_path)
    with NodeProcess(tmp_path, "--check") as node:
        assert node.process.wait(STOP_TIMEOUT_S) == 0
    assert not (tmp_path / "node.pid").exists()


def test_check_refuses_what_could_not_start(tmp_path: Path) -> None:
    make_config(tmp_path, node_certificate={"subject_name": "nobody"})
    with NodeProcess(tmp_path, "--check") as node:
        assert node.process.wait(STOP_TIMEOUT_S) == 1
    assert "node_certificate.subject_name" in node.err.read_text()


def test_an_existing_pid_file_is_refused(tmp_path: Path) -> None:
    make_config(tmp_path)
    (tmp_path / "node.pid").write_text("1")
    with NodeProcess(tmp_path) as node:
        assert node.process.wait(STOP_TIMEOUT_S) == 103
    assert "PID file node.pid already exists. Exiting." in node.out.read_text()
    assert not (tmp_path / "ledger").exists()


def test_a_used_ledger_directory_is_refused(tmp_path: Path) -> None:
    make_config(tmp_path)
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "ledger_1").write_bytes(b"something")
    with NodeProcess(tmp_path) as node:
        assert node.process.wait(STOP_TIMEOUT_S) == 105
    assert "On start, ledger directory should not exist or be empty (" in node.out.read_text()
    assert (tmp_path / "ledger" / "ledger_1").read_bytes() == b"something"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unknown": 1}, "unknown"),
        ({"ledger": {"chunk_size": 5}}, "ledger.chunk_size"),
        ({"command": {"type": "Begin"}}, "command.type"),
    ],
)
def test_bad_configurations_name_the_key(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    make_config(tmp_path, **changes)
    with NodeProcess(tmp_path) as node:
        assert node.process.wait(STOP_TIMEOUT_S) != 0
    assert words in node.err.read_text()
    assert "Traceback" not in node.err.read_text()


def test_a_full_disk_stops_the_node_and_nothing_committed_is_lost(tmp_path: Path) -> None:
    """The ledger file may not grow beyond a limit: the write fails as on a full disk."""
    make_config(tmp_path, ledger={"chunk_size": "100MB"})
    member = Member(tmp_path)
    with NodeProcess(tmp_path, file_size_max=200_000) as node:
        node.wait_ready()
        committed = 0
        with pytest.raises(OSError):  # noqa: PT012 - it ends somewhere in here
            for _ in range(1000):
                status, headers, _ = node.request(
                    "POST",
                    f"/gov/members/state-digests/{member.id}:update?api-version=2024-07-01",
                    member.sign("state_digest"),
                    {"content-type": "application/cose", "x-pyccf-wait": "commit"},
                )
                assert status == 200
                committed = int(headers["x-ms-ccf-transaction-id"].split(".")[1])
        assert node.process.wait(STOP_TIMEOUT_S) == 1
    assert "ledger_1: write failed" in node.err.read_text()
    assert "Traceback" not in node.err.read_text()
    report = verify([tmp_path / "ledger"])
    assert report.last_valid is not None
    assert report.last_valid.seqno >= committed > 2
