"""Running a node program from its command line to its exit code.

Reads the configuration, refuses what cannot be (`start`), and lets the node work (`program`).
Nothing goes to stderr but the reason of a failed start, of a disk that failed or of a node that
could not go on (spec: node-lifecycle.md §3, config-and-cli.md §1, §4).
"""

from __future__ import annotations

import sys

import uvloop

from pyccf import CCF_VERSION, __version__
from pyccf.crypto import hashing
from pyccf.errors import ConfigError, PyccfError
from pyccf.kv import tx
from pyccf.ledger import sealing
from pyccf.observe.log import Level, LogSink
from pyccf.shell import config as cfg
from pyccf.shell import config_checks, start
from pyccf.shell.config import ExitCode
from pyccf.shell.install import AppSource
from pyccf.shell.program import Program, refuse


def main(
    config_path: str,
    config_timeout_us: int = 0,
    log_level: str = "info",
    check: bool = False,
    app: str | None = None,
    package: str | None = None,
) -> int:
    """Run a node until it is told to stop; the exit code (spec: config-and-cli.md §1)."""
    try:
        level = Level.parse(log_level)
    except ValueError as e:
        print(f"--log-level: {e}", file=sys.stderr)
        return int(ExitCode.INVALID_VALUE)
    sink = LogSink(sys.stdout.buffer, level=level)
    try:
        config = cfg.load_config(config_path, config_timeout_us)
    except ConfigError as e:
        return refuse(sink, e, ExitCode.ABORTED)
    sink.json = config.logging.format is cfg.LogFormat.JSON
    sink.log("info", "", f"CCF version: {CCF_VERSION} (pyccf {__version__}, {_hot_path()})")
    if not check:
        sink.log("info", "", f"Configuration: {config.text}")
    for key in config.ignored_keys:
        sink.log("info", "", f"Configuration key {key} is not known and has no effect.")
    for key in config_checks.without_effect(config):
        sink.log("info", "", f"Configuration key {key} has no effect on this node.")
    for warning in config_checks.warnings(config):
        sink.log("fail", "", warning)
    try:
        if check:
            start.judge(config)
            sink.log("info", "", "Configuration file successfully verified")
            return ExitCode.OK
        prepared = start.prepare(config, AppSource(app, package))
    except start.Exit as e:
        return refuse(sink, e.error, e.code)
    except PyccfError as e:
        return refuse(sink, e, ExitCode.FAILED)
    return uvloop.run(Program(config, sink, prepared).run())


def _hot_path() -> str:
    """Whether what every request passes through is compiled, and what is not in C (setup.py)."""
    made = ["interpreted" if (tx.__file__ or "").endswith(".py") else "compiled"]
    if not sealing.NATIVE:
        made.append("entries sealed in Python")
    if not hashing.NATIVE:
        made.append("Merkle tree hashed in Python")
    return ", ".join(made)
