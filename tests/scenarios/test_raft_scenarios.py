"""Scenario files: CCF's own, and ours for what those do not reach."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pyccf.consensus.raft import Raft
from pyccf.sim import scenario
from support import vectors

OURS = sorted(Path(__file__).parent.glob("*.scenario"))
FOLDER = (vectors.find_vectors() or Path("absent")) / "ccf" / "raft_scenarios"
CCFS = sorted(FOLDER.iterdir()) if FOLDER.is_dir() else []


def outcome(path: Path, seed: str = "") -> str | None:
    return scenario.run_file(path, io.StringIO(), seed)


@pytest.mark.parametrize("path", CCFS, ids=lambda p: p.name)
def test_ccfs_scenario(path: Path) -> None:
    assert outcome(path) is None


def test_ccfs_scenarios_are_there() -> None:
    vectors.vectors_dir()
    assert len(CCFS) >= 20


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.stem)
def test_our_scenario(path: Path) -> None:
    assert outcome(path) is None


@pytest.mark.parametrize("seed", ["a", "b", "c"])
def test_scenarios_do_not_depend_on_how_long_timers_are(seed: str) -> None:
    assert [f for path in (*CCFS, *OURS) if (f := outcome(path, seed))] == []


# --- the driver can fail --------------------------------------------------------------------------

START = "start_node,0\nemit_signature,2\ntrust_nodes,2,1,2\nemit_signature,2\n"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("start_node,0\nnonsense,1", 2, "unknown command nonsense"),
        ("start_node,0\nperiodic_one,0", 2, "does not take 1 arguments"),
        ("start_node,0\nperiodic_one,0,soon", 2, "soon is not a number"),
        ("start_node,0\nstart_node,1", 2, "first node"),
        ("start_node,0\nreplicate,7,x", 2, "no node leads view 7"),
        ("start_node,0\n\n# comment\nassert_commit_idx,0,5", 4, "has committed 0, not 5"),
        ("start_node,0\nassert_commit_idx,9,0", 2, "there is no node 9"),
        ("start_node,0\nassert_detail,0,leadership_state,Follower", 2, "is Leader, not Follower"),
        ("start_node,0\nassert_!detail,0,current_view,2", 2, "current_view of 0 is 2"),
        ("start_node,0\nassert_detail,0,retirement_phase,Ordered", 2, "has no retirement_phase"),
        (START + "assert_state_sync", 5, "view of 0 is 2"),
        (START + "assert_config,0,3,0,1", 5, "is 0,1,2"),
        (START + "assert_absent_config,0,3", 5, "has a configuration"),
        (START + "dispatch_all\nperiodic_one,0,100\nperiodic_one,0,100", 7, "no leader"),
        ("start_node,0\npre_vote_enabled,yes", 2, "neither true nor false"),
        ("start_node,0\nsetting,speed,9", 2, "no setting speed"),
        ("start_node,0\nswap_nodes,2,1", 2, "neither in nor out"),
        ("start_node,0\nhand_over,0", 2, "nobody to hand over to"),
    ],
)
def test_what_fails_is_named_by_file_and_line(
    tmp_path: Path, text: str, line: int, what: str
) -> None:
    file = tmp_path / "case"
    file.write_text(text)
    failure = outcome(file)
    assert failure is not None
    assert what in failure
    assert failure.startswith(f"{file}:{line}: ")


def test_the_file_ends_at_the_equal_signs(tmp_path: Path) -> None:
    file = tmp_path / "case"
    file.write_text("start_node,0\n====\nnonsense")
    assert outcome(file) is None


def test_main_says_failures_on_standard_error_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("start_node,0\n")
    bad.write_text("start_node,0\nassert_commit_idx,0,5\n")
    assert scenario.main([str(good)]) == 0
    assert capsys.readouterr().err == ""
    assert scenario.main([str(bad), str(good)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"{bad}:2: assert_commit_idx,0,5: ")
    assert "<RaftDriver>" in captured.out
    assert scenario.main([str(tmp_path / "absent")]) == 1
    assert "absent" in capsys.readouterr().err
    assert scenario.main([]) == 2


def test_a_broken_rule_fails_the_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Raft, "_commit_allowed", lambda self, seqno: True)
    path = next(p for p in OURS if p.stem == "old_view")
    failure = outcome(path)
    assert failure is not None
    assert "NeverCommitEntryPrevTermsProp" in failure
