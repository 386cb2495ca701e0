"""pyccf.cli.output: one JSON document for scripts, whole identifiers for people."""

from __future__ import annotations

import json

import pytest

from pyccf.cli.output import Output, short


def test_json_is_one_line_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=True)
    out.line("for people")
    out.fields([("a", "b")])
    out.table(("a",), [("b",)], "none")
    out.result({"x": "é"})
    assert capsys.readouterr().out == '{"x":"é"}\n'


def test_lists_are_written_piece_by_piece(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=True)
    for values in ([], [1], [{"a": 1}, None]):
        out.result_list("entries", values)
        assert json.loads(capsys.readouterr().out) == {"entries": values}


def test_tables_keep_identifiers_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    out = Output(as_json=False)
    out.table(("id", "other"), [("ab" * 32, "[bold]x[/bold]")], "none")
    said = capsys.readouterr().out
    assert "ab" * 32 in said
    assert "[bold]x[/bold]" in said  # data are no markup
    out.table(("id",), [], "There is nothing.")
    out.result("for scripts")
    assert capsys.readouterr().out == "There is nothing.\n"


ORDER = "\x1b]0;title\x07\x9b2J\r"
"""What a terminal would obey."""


def test_nobody_gives_orders_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=False)
    out.line(f"one\n\ttwo{ORDER}")
    out.fields([("name", f"{ORDER}\nother: forged")])
    out.table(("id",), [(f"{ORDER}\nforged\udcff",)], "none")
    said = capsys.readouterr().out
    assert said.startswith("one\n\ttwo\\x1b]0;title\\x07\\x9b2J\\r\nname:  ")
    assert {c for c in said if not c.isprintable()} == {"\n", "\t"}
    assert "\nother" not in said
    assert "\nforged" not in said
    assert "\\udcff" in said


def test_names_of_files_that_are_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=True)
    out.result({"files": [{"path": "x\udcff"}], "more": (1, None)})
    assert json.loads(capsys.readouterr().out) == {
        "files": [{"path": "x\\udcff"}],
        "more": [1, None],
    }


def test_an_answer_is_not_changed_on_its_way_to_a_file(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Output(as_json=False)
    out.body(b"\xff\x00\x1b\r\n")
    assert capsysbinary.readouterr().out == b"\xff\x00\x1b\r\n\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    out.body(b"a\r\n\x1b[2Jb")
    assert capsysbinary.readouterr().out == b"a\n\\x1b[2Jb\n"


def test_fields_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).fields([("a", "1"), ("long", "2")])
    assert capsys.readouterr().out == "a:     1\nlong:  2\n"


def test_short_identifiers() -> None:
    assert short("a" * 16) == "a" * 16
    assert short("a" * 17) == "a" * 16 + "…"
