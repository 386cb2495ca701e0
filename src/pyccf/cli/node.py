"""`pyccf node`: run one node with CCF's command line (spec: config-and-cli.md §1).

Reads its few options itself, so that a node starts without the machinery of the other commands.
Both `--option value` and `--option=value` are taken. Refuses unknown options (109), missing ones
(106) and impossible values (105), each with two lines on standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pyccf.codec.text import parse_time_us
from pyccf.shell.config import ExitCode

LEVELS = ("trace", "debug", "info", "fail", "fatal")

HELP = """\
Usage: pyccf node --config FILE [options]

Run one node of a service until it is told to stop (SIGTERM or SIGINT).

Options:
  -c, --config FILE         JSON configuration of the node (required)
  --config-timeout TIME     wait so long for the file to appear, e.g. 10s (default 0s)
  --check                   check the configuration and stop
  --log-level LEVEL         trace, debug, info, fail or fatal (default info)
  --app MODULE:OBJECT       run this Python application instead of a JavaScript one
  --package FILE            file whose SHA-256 is the host data of the virtual platform
                            (default: a digest over pyccf and the application)
  -v, --version             print the version and stop
  -h, --help                print this text and stop"""

_SHORT = {"-c": "--config", "-v": "--version", "-h": "--help"}
_WITH_VALUE = ("--config", "--config-timeout", "--log-level", "--app", "--package")
_FLAGS = ("--check", "--version", "--help")


class _Refused(Exception):
    def __init__(self, code: ExitCode, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def main(arguments: Sequence[str]) -> int:
    """Run a node with these arguments; the exit code."""
    try:
        values, flags = parse(arguments)
        if "--help" in flags:
            print(HELP)
            return ExitCode.OK
        if "--version" in flags:
            from pyccf.cli.main import VERSION_TEXT

            print(VERSION_TEXT)
            return ExitCode.OK
        if "--config" not in values:
            raise _Refused(
                ExitCode.MISSING_OPTION,
                "--config is required",
                "Give the path of the node's JSON configuration: pyccf node --config FILE",
            )
        timeout_us = _time(values.get("--config-timeout", "0s"))
        level = _level(values.get("--log-level", "info"))
    except _Refused as error:
        print(f"Error: {error.message}\n{error.hint}", file=sys.stderr)
        return error.code
    from pyccf.shell import run

    return run.main(
        values["--config"],
        timeout_us,
        level,
        "--check" in flags,
        values.get("--app"),
        values.get("--package"),
    )


def parse(arguments: Sequence[str]) -> tuple[dict[str, str], set[str]]:
    """Options with their values (the last one given counts), and the flags."""
    values: dict[str, str] = {}
    flags: set[str] = set()
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        name = _SHORT.get(name, name)
        if name in _FLAGS and not equals:
            flags.add(name)
        elif name in _WITH_VALUE:
            if not equals:
                if not rest:
                    raise _Refused(
                        ExitCode.MISSING_OPTION, f"{name} needs a value", "See: pyccf node --help"
                    )
                value = rest.pop(0)
            values[name] = value
        else:
            raise _Refused(
                ExitCode.UNKNOWN_OPTION,
                f"Unknown option: {name}{equals}{value}",
                f"Known: {', '.join((*_WITH_VALUE, *_FLAGS))}",
            )
    return values, flags


def _time(text: str) -> int:
    try:
        return parse_time_us(text)
    except ValueError as error:
        raise _Refused(
            ExitCode.INVALID_VALUE,
            f"--config-timeout: {error}",
            "Give a number with a unit, for example 10s.",
        ) from error


def _level(text: str) -> str:
    if text.isascii() and text.isdigit() and int(text) < len(LEVELS):
        return LEVELS[int(text)]
    if text.lower() not in LEVELS:
        raise _Refused(
            ExitCode.INVALID_VALUE,
            f"--log-level: {text!r} is not a log level",
            f"Known: {', '.join(LEVELS)}, or 0 to {len(LEVELS) - 1}.",
        )
    return text.lower()
