"""Before a node listens: what is refused before anything is opened, and what is there by then.

`prepare` refuses everything that can be refused early and takes possession of the files of one node
(PID file, ledger directory), in the order in which the original does (spec: node-lifecycle.md §3,
config-and-cli.md §3-4). What comes of it, `making` makes a node of.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pyccf.attest import virtual
from pyccf.codec.text import dump_json
from pyccf.errors import ConfigError, LocalError, PyccfError
from pyccf.shell import config as cfg
from pyccf.shell import config_checks, platform
from pyccf.shell.config import ExitCode, NodeConfig
from pyccf.shell.config_schema import StartupFiles
from pyccf.shell.descriptors import raise_limit
from pyccf.shell.disk import LedgerDisk
from pyccf.shell.install import AppSource, LoadedApp, load_app
from pyccf.shell.package import digest_of_code, digest_of_file
from pyccf.shell.snapshot_files import SnapshotFiles
from pyccf.types import Json


class Exit(Exception):
    """The program cannot start; ends it with a particular code."""

    def __init__(self, error: PyccfError, code: ExitCode) -> None:
        super().__init__(error.message)
        self.error = error
        self.code = code


class Prepared(msgspec.Struct, frozen=True):
    """What is there before anything listens."""

    files: StartupFiles
    app: LoadedApp
    host_data: str
    """Hex SHA-256 of the program."""
    disk: LedgerDisk
    snapshots: SnapshotFiles
    threshold: int
    """Shares that recover a new service; 0 when none is started."""


class Addresses(msgspec.Struct, frozen=True):
    """Where this node really listens, host:port."""

    node: str
    rpc: dict[str, str]
    """By the name of the interface."""


# --- before anything listens ----------------------------------------------------------------------


def judge(config: NodeConfig) -> int:
    """Refuse what no node can be made of; the shares that recover a new service, 0 for another.

    Opens nothing. Raises PyccfError, Exit.
    """
    config_checks.check(config)
    try:
        cfg.check_memory(config.memory)
        if config.command.start is not None:
            return cfg.effective_recovery_threshold(config.command.start)
    except ConfigError as e:
        raise Exit(e, ExitCode.INVALID_VALUE) from None
    return 0


def prepare(config: NodeConfig, source: AppSource) -> Prepared:
    """Everything that can be refused before a socket is opened. Raises PyccfError, Exit."""
    starting = config.command.type is cfg.CommandType.START
    recovering = config.command.type is cfg.CommandType.RECOVER
    threshold = judge(config)
    platform.check(os.environ)
    files = cfg.read_files(config)
    config_checks.check_members(config, files)
    app = load_app(source)
    if source.package is not None:
        host_data = digest_of_file(Path(source.package))
    else:
        host_data = digest_of_code([Path(__file__).resolve().parents[1], *app.roots])
    _write_pid(config.output_files.pid_file)
    ledger = config.ledger
    if starting and _holds_anything(ledger.directory):
        raise Exit(
            LocalError(
                f"On start, ledger directory should not exist or be empty ({ledger.directory})"
            ),
            ExitCode.INVALID_VALUE,
        )
    raise_limit()
    disk = LedgerDisk(ledger.directory, ledger.read_only_directories, keep=recovering)
    snapshots = SnapshotFiles(
        config.snapshots.directory,
        config.snapshots.read_only_directory,
        kept=config.snapshots.kept,
    )
    if recovering and not disk.last and not snapshots.candidates():
        raise LocalError(
            " ".join(
                [f"There is no ledger to recover in {ledger.directory}."]
                + [f"{note.rstrip('.')}." for note in disk.notes]
            ),
            hint="Put the ledger files of the service there, or name their directories in"
            " ledger.read_only_directories. See what files hold: pyccf recover inspect DIR",
        )
    write(f"{attestation_name()}.measurement", virtual.measurement_file(host_data))
    return Prepared(files, app, host_data, disk, snapshots, threshold)


def _holds_anything(directory: str) -> bool:
    try:
        return any(os.scandir(directory))
    except OSError:
        return False


def _write_pid(path: str) -> None:
    try:
        with open(path, "x") as f:
            f.write(str(os.getpid()))
    except FileExistsError:
        raise Exit(
            LocalError(
                f"PID file {path} already exists. Exiting.",
                hint="Another node may be running here; if not, remove the file.",
            ),
            ExitCode.PID_FILE_EXISTS,
        ) from None
    except OSError as e:
        raise LocalError(f"Cannot write PID file {path}: {e.strerror}") from None


# --- files ----------------------------------------------------------------------------------------


def attestation_name() -> str:
    """Stem of the files that tell what this process attests."""
    return f"ccf_virtual_attestation.{os.getpid()}"


def write(path: str, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it. Raises LocalError."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as f:
            f.write(content)
        os.replace(temporary, path)
    except OSError as e:
        raise LocalError(f"Cannot write {path}: {e.strerror}") from None


def write_json(path: str | None, value: Json) -> None:
    """The same for JSON; nothing without a path."""
    if path:
        write(path, dump_json(value))
