"""`python -m bench.recovery_files`: how long a service is away that comes back from its files.

The files of a service of one member, with one private write per entry, are laid out as a host would
have them; a node program is started with them, as docs/recovery.md says. Told are the seconds from
the start of the process until the public ledger was read and the members can govern, and from the
member's share until the service is open again, private state and all; what the member does in
between is not counted. The files were just written, so that they come from the system's cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.__main__ import positive
from bench.recovery import SIGNED_EVERY, Ledger, make
from bench.report import machine
from bench.servers import cpu_s, rss_bytes
from pyccf.client import Client
from pyccf.client.types import Action
from pyccf.codec.text import b64, unb64
from pyccf.shell.disk import LedgerDisk
from pyccf.types import Json

ENTRIES = 1_000_000
POLL_S = 0.02
PATIENCE_S = 900.0
PREVIOUS = "previous.pem"


class Figure(msgspec.Struct, frozen=True):
    """One recovery, in seconds."""

    entries: int
    signed_every: int
    ledger_bytes: int
    public_s: float
    """From the start of the process until members can govern."""
    private_s: float
    """From the last share until the service is open."""
    cpu_s: float
    """Processor time of the process."""
    resident_bytes: int


class Node:
    """The program that recovers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.began = time.monotonic()
        self._log = (folder / "log.txt").open("wb")
        command = [sys.executable, "-m", "pyccf.cli.main", "node", "--config", "config.json"]
        self.process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Wait. Raises RuntimeError when it takes for ever, or the program has ended."""
        end = time.monotonic() + PATIENCE_S
        while not done():
            if self.process.poll() is not None or time.monotonic() > end:
                log = (self.folder / "log.txt").read_text(encoding="utf-8")[-2000:]
                raise RuntimeError(f"waited in vain for {what}: {log}")
            time.sleep(POLL_S)


def lay_out(folder: Path, entries: int, signed_every: int) -> Ledger:
    """Files, keys and a configuration, as after a disaster."""
    disk = LedgerDisk(folder / "ledger")
    ledger = make(entries, signed_every, disk.append)
    disk.commit(disk.last)
    disk.close()
    for name, text in (
        (PREVIOUS, ledger.identity),
        ("cert.pem", ledger.member_cert),
        ("key.pem", ledger.signing_key),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    config: dict[str, Json] = {
        "network": {
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": {"main": {"bind_address": "127.0.0.1:0"}},
        },
        "command": {"type": "Recover", "recover": {"previous_service_identity_file": PREVIOUS}},
        "output_files": {"rpc_addresses_file": "rpc.json"},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return ledger


def measure(entries: int, signed_every: int, say: Callable[[str], None]) -> Figure:
    """Make a ledger, recover its service."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"writing {entries} entries, signed every {signed_every} …")
        ledger = lay_out(folder, entries, signed_every)
        size = sum(file.stat().st_size for file in (folder / "ledger").iterdir())
        say("recovering …")
        with Node(folder) as node:
            node.until((folder / "service_cert.pem").exists, "the public ledger to be read")
            address = json.loads((folder / "rpc.json").read_bytes())["main"]
            client = Client(
                f"https://{address}",
                str(folder / "service_cert.pem"),
                cert=str(folder / "cert.pem"),
                key=str(folder / "key.pem"),
            )
            with client:
                node.until(lambda: _governs(client), "governance")
                public_s = time.monotonic() - node.began
                private_s = _bring_back(node, client, ledger)
                return Figure(
                    entries,
                    signed_every,
                    size,
                    public_s,
                    private_s,
                    cpu_s(node.process.pid),
                    rss_bytes(node.process.pid),
                )


def _governs(client: Client) -> bool:
    return client.get("/node/ready/gov").status == 204


def _bring_back(node: Node, client: Client, ledger: Ledger) -> float:
    """What the member does; seconds from the share until the service is open."""
    identities: dict[str, Json] = {
        "previous_service_identity": client.previous_service_identity(),
        "next_service_identity": client.network().service_certificate,
    }
    proposal = client.submit([Action("transition_service_to_open", identities)])
    if proposal.proposal_state == "Open":
        proposal = client.vote(proposal.proposal_id)
    if proposal.proposal_state != "Accepted":
        raise RuntimeError(f"The recovered service was not accepted: {proposal}")
    sealed = client.encrypted_share(ledger.member_id).encrypted_share
    share = ledger.member_key.decrypt_oaep(unb64(sealed))
    began = time.monotonic()
    client.submit_share(b64(share))
    node.until(lambda: client.get("/node/ready/app").status == 204, "the service to open")
    return time.monotonic() - began


def main(given: list[str]) -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="python -m bench.recovery_files", description=__doc__)
    parser.add_argument("--entries", type=positive, default=ENTRIES)
    chosen = parser.parse_args(given)
    print(machine())
    for signed_every in SIGNED_EVERY:
        f = measure(
            chosen.entries, signed_every, lambda words: print(words, file=sys.stderr, flush=True)
        )
        print(
            f"{f.entries} entries ({f.ledger_bytes / 1e6:.0f} MB), signed every {f.signed_every}:"
            f" public {f.public_s:.1f} s, private {f.private_s:.1f} s,"
            f" {f.public_s + f.private_s:.1f} s in all; {f.cpu_s:.1f} s of processor time,"
            f" {f.resident_bytes / 1e6:.0f} MB resident",
            flush=True,
        )
        print(msgspec.json.encode(f).decode(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
