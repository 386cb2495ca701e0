"""The recorded opening of a service, replayed against three nodes as processes.

`make replay` plays everything that was recorded.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from replay import play
from replay.recording import Recording
from support.vectors import vectors_dir

EQUAL = 57
RECORDED = 60


def free(recording: Recording) -> bool:
    """Whether the recorded ports can be listened at."""
    for rows in recording.interfaces().values():
        for row in rows.values():
            host, _, port = row["bind_address"].rpartition(":")
            with socket.socket() as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    trial.bind((host, int(port)))
                except OSError:
                    return False
    return True


def test_a_service_opens_as_recorded(tmp_path: Path) -> None:
    recording = Recording(vectors_dir() / "ccf" / "transcripts")
    if not free(recording):
        pytest.skip("the recorded ports are in use")
    (result,) = play.network(recording, tmp_path, ["opening"])
    unlisted = [one for one in result.outcomes if one.kind == "unlisted"]
    assert not unlisted
    assert len(result.outcomes) == RECORDED
    assert result.count("equal") >= EQUAL
