"""pyccf.observe.log: lines as the original writes them."""

from __future__ import annotations

import io
import json

import pytest

from pyccf.observe.log import Level, LogSink, timestamp

WHEN = 1_795_258_291.25
STAMP = "2026-11-21T10:51:31.250000Z"


def sink(**options: object) -> tuple[LogSink, io.BytesIO]:
    stream = io.BytesIO()
    return LogSink(stream, now=lambda: WHEN, **options), stream  # type: ignore[arg-type]


def test_text_record() -> None:
    log, stream = sink()
    log.log("info", "", "Hello", "src/pyccf/shell/run.py", 12)
    expected = f"{STAMP}        0   [info ] src/pyccf/shell/run.py:12            | Hello\n"
    assert stream.getvalue().decode() == expected
    assert expected.index("|") == len(STAMP) + 8 + 4 + 45


def test_text_record_with_tag_and_without_place() -> None:
    log, stream = sink()
    log.fail("No", tag="app")
    assert stream.getvalue().decode() == f"{STAMP}        0   {'[fail ][app] ':<45}| No\n"


def test_a_long_file_name_loses_its_beginning() -> None:
    log, stream = sink()
    log.log(Level.FATAL, "js", "x", "a" * 100 + "/end.py", 7)
    line = stream.getvalue().decode()
    preamble = line[len(STAMP) + 12 : line.index("|")]
    assert len(preamble) == 45
    assert preamble.startswith("[fatal][js] a")
    assert preamble.endswith("/end.py:7 ")


def test_json_record_holds_strings_only() -> None:
    log, stream = sink(json=True, thread="3")
    log.debug("hidden")
    log.info('say "hi"\nagain', tag="gov", file="f.py", line=123)
    assert stream.getvalue().count(b"\n") == 1
    assert json.loads(stream.getvalue()) == {
        "h_ts": STAMP,
        "thread_id": "3",
        "level": "info",
        "tag": "gov",
        "file": "f.py",
        "number": "123",
        "msg": 'say "hi"\nagain',
    }
    assert stream.getvalue().startswith(b'{"h_ts":')


@pytest.mark.parametrize("level", list(Level))
def test_only_records_of_the_level_and_above_are_written(level: Level) -> None:
    log, stream = sink(level=level)
    for write in (log.trace, log.debug, log.info, log.fail, log.fatal):
        write("x")
    assert stream.getvalue().count(b"\n") == 5 - level
    assert log.enabled(level)
    assert log.enabled(Level.TRACE) == (level is Level.TRACE)


def test_levels_by_name_and_number() -> None:
    assert Level.parse("Info") is Level.INFO
    assert Level.parse("FATAL") is Level.FATAL
    assert Level.parse("3") is Level.FAIL
    for bad in ("loud", "5", "-1", ""):
        with pytest.raises(ValueError, match="trace, debug, info, fail, fatal"):
            Level.parse(bad)


def test_by_default_records_of_info_go_to_standard_output(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    log = LogSink(level="INFO")
    log.debug("no")
    log.info("yes")
    assert capfdbinary.readouterr().out.endswith(b"| yes\n")


def test_an_unknown_level_is_our_mistake() -> None:
    log, _ = sink()
    with pytest.raises(KeyError):
        log.log("loud", "", "x")


def test_text_that_is_not_unicode_is_escaped() -> None:
    for in_json in (False, True):
        log, stream = sink(json=in_json)
        log.log("info", "app", "a\ud800b", about={"request": "GET /\udcff"})
        assert b"/\\udcff" in stream.getvalue().replace(b"\\\\", b"\\")
        assert b"a\\ud800b" in stream.getvalue().replace(b"\\\\", b"\\")


def test_a_broken_stream_loses_records_and_counts_them() -> None:
    class Broken(io.BytesIO):
        def write(self, data: object) -> int:
            raise BrokenPipeError

    log = LogSink(Broken())
    log.info("x")
    stream = io.BytesIO()
    closed = LogSink(stream)
    stream.close()
    closed.info("x")
    assert (log.lost, closed.lost) == (1, 1)


def test_timestamps_round_to_microseconds() -> None:
    assert timestamp(0.9999999) == "1970-01-01T00:00:01.000000Z"
    assert timestamp(1.5) == "1970-01-01T00:00:01.500000Z"


def test_what_a_line_is_about() -> None:
    about = {"tx": "2.17", "request": "GET /app/x"}
    log, stream = sink()
    log.log("info", "app", "first\nsecond", about=about)
    assert stream.getvalue().decode().endswith("| first [2.17 GET /app/x]\n    second\n")
    log, stream = sink(json=True)
    log.log("info", "app", "first", about=about)
    record = json.loads(stream.getvalue())
    assert (record["msg"], record["tx"], record["request"]) == ("first", "2.17", "GET /app/x")


FORGED = f"{STAMP}        0   {'[fatal]':<45}| The disk is full"


@pytest.mark.parametrize(
    "feed", ["\n", "\r", "\r\n", "\v", "\f", "\x85", "\u2028", "\u2029", "\x1c"]
)
def test_no_text_passes_for_a_record(feed: str) -> None:
    log, stream = sink()
    for place in ({"text": f"x{feed}{FORGED}"}, {"text": "x", "about": {"r": f"/{feed}{FORGED}"}}):
        log.log("info", "app", **place)  # type: ignore[arg-type]
    lines = stream.getvalue().decode().splitlines()
    assert sum(line.startswith(STAMP) for line in lines) == 2


def test_terminals_are_told_nothing() -> None:
    log, stream = sink()
    log.info("a\x1b[2Jb\tc\x7f\x9b1m\0 \u00e4")
    assert stream.getvalue().decode().endswith("| a\\x1b[2Jb\tc\\x7f\\x9b1m\\x00 \u00e4\n")
