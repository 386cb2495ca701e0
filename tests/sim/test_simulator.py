"""The simulator itself: time, network, disk, schedules, shrinking, transcripts, the program."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.ledger.entry import Entry
from pyccf.node.outputs import Answer, Call, CallFailed
from pyccf.sim import __main__ as program
from pyccf.sim import explore
from pyccf.sim.bugs import BUGS
from pyccf.sim.clock import Clock
from pyccf.sim.cluster import Cluster, Setup
from pyccf.sim.disk import Broken, Disk
from pyccf.sim.network import Network, Weather
from pyccf.sim.schedule import THEMES, generate


def entry(seqno: int) -> Entry:
    return Entry(2, seqno, b"entry %d" % seqno, False, bytes(32))


# --- time -----------------------------------------------------------------------------------------


def test_events_happen_in_order_of_time_and_then_of_asking() -> None:
    clock = Clock()
    seen: list[str] = []
    clock.at(5, lambda: seen.append("b"))
    clock.at(3, lambda: seen.append("a"))
    clock.at(5, lambda: seen.append("c"))
    clock.after(0, lambda: clock.at(1, lambda: seen.append("first")))
    while clock.step():
        pass
    assert seen == ["first", "a", "b", "c"]
    assert clock.now == 5


def test_time_never_goes_back() -> None:
    clock = Clock()
    clock.at(7, lambda: clock.at(2, lambda: None))
    assert clock.step()
    assert clock.step()
    assert clock.now == 7
    assert not clock.step()


# --- network --------------------------------------------------------------------------------------


def arrivals(network: Network, clock: Clock, count: int, *, ordered: bool = False) -> list[int]:
    seen: list[int] = []
    for n in range(count):
        network.carry("a", "b", lambda n=n: seen.append(n), ordered=ordered)  # type: ignore[misc]
    while clock.step():
        pass
    return seen


def test_fair_weather_delivers_everything_once_and_in_order() -> None:
    clock = Clock()
    assert arrivals(Network(clock, "1"), clock, 50) == list(range(50))


def test_bad_weather_loses_repeats_and_reorders() -> None:
    clock = Clock()
    network = Network(clock, "1")
    network.weather = Weather(loss=0.2, repeat=0.3, reorder=0.5, straggle_max=200)
    seen = arrivals(network, clock, 200)
    assert set(seen) < set(range(200))
    assert len(seen) > len(set(seen))
    assert seen != sorted(seen)
    assert (network.lost, network.repeated, network.reordered) != (0, 0, 0)


def test_what_must_stay_in_order_is_neither_repeated_nor_overtaken() -> None:
    clock = Clock()
    network = Network(clock, "1")
    network.weather = Weather(repeat=0.9, reorder=0.9, straggle_max=500)
    assert arrivals(network, clock, 50, ordered=True) == list(range(50))


def test_a_cut_way_loses_what_travels_and_leaves_the_way_back_open() -> None:
    clock = Clock()
    network = Network(clock, "1")
    seen: list[str] = []
    assert network.carry("a", "b", lambda: seen.append("travelling"))
    network.cut("a", "b")
    assert not network.carry("a", "b", lambda: seen.append("cut"))
    assert network.carry("b", "a", lambda: seen.append("back"))
    while clock.step():
        pass
    assert seen == ["back"]
    network.mend("a", "b")
    assert network.carry("a", "b", lambda: seen.append("mended"))


def test_each_way_has_its_own_chance() -> None:
    def fate(also: bool) -> list[int]:
        clock = Clock()
        network = Network(clock, "9")
        network.weather = Weather(loss=0.5)
        if also:
            for _ in range(10):
                network.carry("a", "c", lambda: None)
        return arrivals(network, clock, 40)

    assert fate(False) == fate(True)


# --- disk -----------------------------------------------------------------------------------------


def test_a_disk_refuses_what_a_node_must_never_ask() -> None:
    disk = Disk()
    disk.append([entry(1), entry(2), entry(3)], 0)
    with pytest.raises(Broken, match="written after"):
        disk.append([entry(5)], 0)
    with pytest.raises(Broken, match="ledger ends"):
        disk.commit(4)
    disk.commit(2)
    with pytest.raises(Broken, match="is committed"):
        disk.truncate(1)
    with pytest.raises(Broken, match="after 2"):
        disk.commit(1)


def test_a_slow_disk_tells_later_and_never_of_what_was_cut() -> None:
    disk = Disk()
    disk.lag = 10
    disk.append([entry(1), entry(2)], 0)
    disk.append([entry(3), entry(4)], 5)
    assert disk.written(9) is None
    disk.truncate(3)
    assert disk.written(10) == 2
    assert disk.next_written == 15
    assert disk.written(20) == 3
    assert disk.written(30) is None
    assert disk.read(2, 9) == [b"entry 2", b"entry 3"]


# --- schedules ------------------------------------------------------------------------------------


def test_a_schedule_is_made_by_its_seed() -> None:
    assert generate(5, 50) == generate(5, 50)
    assert generate(5, 50) != generate(6, 50)
    assert len(generate(5, 50).acts) == 50


@pytest.mark.parametrize("theme", sorted(THEMES))
def test_acts_of_each_theme_are_in_order_and_known(theme: str) -> None:
    acts = generate(1, 200, theme=theme).acts
    assert [act.at for act in acts] == sorted(act.at for act in acts)
    simulation = explore.Simulation(generate(1, 1))
    for act in acts:
        assert act.kind in simulation.actor.kinds


def test_acts_can_be_left_out() -> None:
    schedule = generate(5, 50)
    few = schedule.only([0, 7, 49, 80])
    assert few.acts == (schedule.acts[0], schedule.acts[7], schedule.acts[49])
    assert few.setup == schedule.setup


@pytest.mark.parametrize(
    ("numbers", "text"), [([], "none"), ([4], "4"), ([0, 1, 2, 5, 7, 8], "0-2,5,7-8")]
)
def test_ranges_are_written_and_read(numbers: list[int], text: str) -> None:
    assert explore.ranges(numbers) == text
    assert explore.parse_ranges(text) == numbers


# --- failing runs ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _little_shrinking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explore, "SHRINK_RUNS_MAX", 12)


def test_a_failing_run_shrinks_to_one_that_fails_alike() -> None:
    bug = BUGS["vote-for-anyone"]
    with bug.on():
        schedule, rule = next(
            (schedule, outcome.violation.rule)
            for schedule in bug.schedules(30)
            if (outcome := explore.run(schedule)[0]).violation is not None
        )
        keep = explore.shrink(schedule, rule)
        again = explore.run(schedule.only(keep))[0].violation
    assert len(keep) < len(schedule.acts)
    assert again is not None
    assert again.rule == rule


def test_the_program_prints_one_line_to_replay_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawing = tmp_path / "run.txt"
    words = ["run", "--seeds", "20", "--seed", "0", "--steps", "60", "--theme", "elections"]
    status = program.main([*words, "--bug", "leader-stays", "--transcript", str(drawing)])
    told = capsys.readouterr().out
    assert status == 1
    replays = [line for line in told.splitlines() if line.startswith("replay: ")]
    assert len(replays) == 2
    assert "══ " in drawing.read_text()
    # The line plays it again, the shrunk one too.
    for line in replays:
        assert program.main([*line.split()[4:], "--no-shrink"]) == 1
    assert program.main(["run", "--seeds", "1", "--seed", "1", "--steps", "10"]) == 0


def test_the_program_lists_bugs_and_plays_scenarios(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["bugs"]) == 0
    assert "quorum-minus-one" in capsys.readouterr().out
    good = tmp_path / "good"
    good.write_text("start_node,0\nemit_signature,2\nassert_commit_idx,0,2\n")
    bad = tmp_path / "bad"
    bad.write_text("start_node,0\nemit_signature,2\nassert_commit_idx,0,7\n")
    assert program.main(["scenario", str(good)]) == 0
    assert program.main(["scenario", str(bad)]) != 0


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(SystemExit) as e:
        program.main(["run", "--bug", "no-such-bug"])
    assert e.value.code == 2


# --- clients --------------------------------------------------------------------------------------


def test_a_formed_network_serves_writes_on_every_node() -> None:
    simulation = explore.Simulation(generate(1, 0, nodes=3))
    outcome = simulation.run()
    assert outcome.violation is None
    judges = simulation.judges
    assert len(judges.agreed.links) >= 1
    assert {len(shell.node.consensus.nodes()) for shell in simulation.cluster.shells} == {3}
    assert len({shell.node.consensus.committed for shell in simulation.cluster.shells}) == 1


# --- the world outside ----------------------------------------------------------------------------


def test_nobody_is_there_but_the_nodes() -> None:
    """A call to somebody outside the network, such as a token issuer, fails at once."""
    cluster = Cluster(Setup(seed=1, nodes=1))
    shell = cluster.start()
    outcomes: list[Answer | CallFailed] = []
    call = Call("issuer.test:443", "GET", "/", {}, b"", "", 1000, outcomes.append)
    cluster.carry_call(shell, call)
    assert outcomes == [CallFailed("no such host")]
