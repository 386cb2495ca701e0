"""The network benchmark: what is made of rounds, what is reached, what is printed."""

from __future__ import annotations

import msgspec
import pytest

from bench import network
from bench.load import Counted, Errors
from bench.network_nodes import Settings
from bench.network_parts import (
    CatchUp,
    ReadFigure,
    WriteFigure,
    WriteRound,
    overall_p99_ms,
    percentile,
    write_figure,
)
from bench.report import Machine

SETTINGS = Settings(signature_tx_count=5000, signature_delay_ms=50)
PLAN = network.Plan(4, 1, 1, [64], 1000, SETTINGS)
MACHINE = Machine("cpu", 2, 1 << 30, "Linux", "3.11", "OpenSSL", "0", "c0ffee")


def a_round(rate: float, errors: int = 0, committed_ms: tuple[float, ...] = (40.0,)) -> WriteRound:
    return WriteRound(
        answered_rate=rate,
        committed_rate=rate - 10,
        p50_ms=1.0,
        p95_ms=2.0,
        p99_ms=3.0,
        committed_ms=list(committed_ms),
        primary_cpu_us=50.0,
        backup_cpu_us=[8.0, 9.0, 10.0],
        primary_share=0.9,
        others_share=0.01,
        entries=1000,
        requests=990,
        errors=errors,
    )


def figure(nodes: int, rate: float) -> WriteFigure:
    return write_figure(nodes, 64, [a_round(rate)])


def test_a_figure_takes_medians_pools_samples_and_adds_errors() -> None:
    rounds = [a_round(100, 1, (10.0, 20.0)), a_round(300), a_round(200, 2, (30.0,))]
    found = write_figure(4, 64, rounds)
    assert (found.answered_rate, found.committed_rate, found.errors) == (200, 190, 3)
    assert (found.committed_p50_ms, found.committed_p99_ms) == (30.0, 40.0)
    assert found.backup_cpu_us == 9.0
    alone = write_figure(1, 64, [msgspec.structs.replace(rounds[0], backup_cpu_us=[])])
    assert alone.backup_cpu_us == 0.0


def test_percentiles_of_few_values() -> None:
    assert percentile([5.0], 0.99) == 5.0
    assert [percentile(range(100), share) for share in (0.5, 0.95, 0.99)] == [50, 95, 99]


def test_latency_while_catching_up_counts_only_rounds_of_that_time() -> None:
    none = Errors(0, 0, 0, 0, 0)
    rounds = [Counted(1, 1, 1, 1, p99, p99, none) for p99 in (2000, 3000, 90_000)]
    assert overall_p99_ms(rounds, 7.0) == 3.0
    assert overall_p99_ms(rounds, 100.0) == 90.0
    assert overall_p99_ms(rounds, 0.1) == 2.0


def test_goals_compare_with_one_node_and_with_the_original() -> None:
    late = CatchUp(1000, 1.0, 50_000, 9.0, 1.0, 500, 2.0, 5.0, 0)
    results = network.Results(
        "now", MACHINE, PLAN, writes=[figure(1, 30_000), figure(4, 24_000)], catch_up=late
    )
    found = {goal.what: goal for goal in network.goals(results)}
    share = found["of our own one-node rate, at 64 connections"]
    assert (share.measured, share.reached) == (0.8, True)
    assert not found["JS writes/s aimed at, at 64 connections"].reached
    assert found["CPU µs per entry of a backup, at 64 connections"].reached
    assert found["p95 in ms of commits, at 64 connections"].reached
    assert found["entries/s of catching up"].reached
    assert not found["write p99 while a node catches up, of before"].reached
    assert not any("C++" in what for what in found)


def test_the_text_tells_all_parts() -> None:
    results = network.Results(
        "now",
        MACHINE,
        PLAN,
        writes=[figure(1, 30_000), figure(4, 24_000)],
        reads=[ReadFigure(4, 64, 30_000, 50_000, 4.0, 25.0, 0)],
        catch_up=CatchUp(1000, 1.0, 50_000, 9.0, 1.0, 500, 2.0, 5.0, 0),
    )
    text = network.text(msgspec.structs.replace(results, goals=network.goals(results)))
    for words in ("24000", "50000/s spread over 4 nodes", "1000 entries in 1.0 s", "NOT reached"):
        assert words in text
    assert "Others used" not in text
    again = msgspec.json.decode(msgspec.json.encode(results), type=network.Results)
    assert again == results


def test_settings_become_members_of_the_configuration() -> None:
    assert SETTINGS.config()["ledger_signatures"] == {"tx_count": 5000, "delay": "50ms"}
    assert SETTINGS.config()["consensus"] == {
        "message_timeout": "100ms",
        "election_timeout": "5000ms",
    }


def test_command_line() -> None:
    chosen = network.arguments(["--connections", "8,4", "--only", "reads", "--entries", "10"])
    assert (chosen.connections, chosen.only, chosen.entries) == ([8, 4], ["reads"], 10)
    for bad in (["--nodes", "0"], ["--only", "nothing"]):
        with pytest.raises(SystemExit):
            network.arguments(bad)
