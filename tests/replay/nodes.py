"""Three nodes as processes, configured as the recorded ones were."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import ssl
import sys
import time
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from pyccf import constitutions
from pyccf.codec.text import b64, unb64
from pyccf.crypto import certs
from pyccf.crypto.keys import RsaPrivateKey
from replay import clock
from replay.recording import Recording
from support.network import PACKAGE, PACKAGE_FILE, NetworkNode, Place
from support.transcripts import Client

MAIN = "primary_rpc_interface"
SIGNATURE_MS = 100
HEARTBEAT_MS = 100
ELECTION_MS = (20_000, 10_000, 20_000)
"""By node number: when the first is suspended, the second is elected, as was recorded."""
PATIENCE_S = 60.0
POLL_S = 0.02
CERTIFICATE_DAYS = 30
SERVICE_DAYS = 60
SNAPSHOT_TX_COUNT = 20


class Nodes:
    """The network of one recording; `number` names a node as the recording does."""

    def __init__(self, recording: Recording, folder: Path, members: dict[str, Client]) -> None:
        self.folder = folder
        self.members = members
        self.encryption_keys = {name: RsaPrivateKey.generate() for name in members}
        self.interfaces = recording.interfaces()
        self.recovered_interfaces = recording.recovered_interfaces()
        self.held = recording.held_addresses()
        self.moved: dict[str, str] = {}
        """Recorded addresses between nodes that are taken → ours."""
        self.service_name = recording.service_name()
        self.signed_names = recording.signed_names()
        self.running: dict[int, NetworkNode] = {}
        self.clock = folder / "clock"
        folder.mkdir(parents=True, exist_ok=True)
        self.set_clock(recording.began())

    def set_clock(self, seconds: int) -> None:
        """What time it is, for the nodes."""
        clock.write(self.clock, seconds)

    def start(self) -> None:
        """Start the first node, let the others join; the service is opening."""
        self._launch(0, self._founding())
        (self.folder / "service_cert.pem").write_bytes(
            self._wait_file(0, "service_cert.pem").read_bytes()
        )
        self.wait(lambda: self.status(0, "/node/ready/gov") == 204, "the first node")
        for number in range(1, len(self.interfaces)):
            folder = self._folder(number)
            shutil.copyfile(self.folder / "service_cert.pem", folder / "service_cert.pem")
            host, port = self.address(0, MAIN)
            self._launch(
                number,
                {
                    "type": "Join",
                    "service_certificate_file": "service_cert.pem",
                    "join": {"target_rpc_address": f"{host}:{port}", "retry_timeout": "100ms"},
                },
            )
            self.wait(lambda n=number: self.status(n, "/node/ready/gov") == 204, f"node {number}")

    def stop(self) -> None:
        """End all processes."""
        for node in self.running.values():
            if node.process.poll() is None:
                node.process.kill()
            node.process.wait(PATIENCE_S)
        self.running.clear()

    def _folder(self, number: int) -> Path:
        folder = self.folder / f"node{number}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _founding(self) -> dict[str, Any]:
        folder = self._folder(0)
        (folder / "constitution.js").write_text(constitutions.text("test", "virtual"))
        listed = []
        for name, member in self.members.items():
            (folder / f"{name}_cert.pem").write_text(member.cert)
            (folder / f"{name}_enc.pem").write_text(self.encryption_keys[name].public.pem())
            listed.append(
                {
                    "certificate_file": f"{name}_cert.pem",
                    "encryption_public_key_file": f"{name}_enc.pem",
                }
            )
        start: dict[str, Any] = {
            "service_subject_name": self.service_name,
            "constitution_files": ["constitution.js"],
            "members": listed,
            "service_configuration": {"recovery_threshold": len(listed)},
            # The sockets' own clock is the real one, and a recording may be replayed much later.
            "initial_service_certificate_validity_days": SERVICE_DAYS,
        }
        if self.signed_names is not None:
            start["cose_signatures"] = self.signed_names
        return {"type": "Start", "start": start}

    def _launch(self, number: int, command: dict[str, Any]) -> None:
        folder = self._folder(number)
        config = {
            "network": {
                "node_to_node_interface": {"bind_address": self._between(number)},
                "rpc_interfaces": self.interfaces[number],
            },
            "node_certificate": {"initial_validity_days": CERTIFICATE_DAYS},
            "consensus": {
                "message_timeout": f"{HEARTBEAT_MS}ms",
                "election_timeout": f"{ELECTION_MS[min(number, len(ELECTION_MS) - 1)]}ms",
            },
            "ledger_signatures": {"delay": f"{SIGNATURE_MS}ms"},
            "snapshots": {"tx_count": SNAPSHOT_TX_COUNT},
            "output_files": {"rpc_addresses_file": "rpc.json", "pid_file": "node.pid"},
            "command": command,
        }
        (folder / "config.json").write_text(json.dumps(config))
        (folder / PACKAGE_FILE).write_bytes(PACKAGE)
        self.running[number] = NetworkNode(folder, number, self._place())

    def _between(self, number: int) -> str:
        """Where a node listens for others: the recorded address, if nobody has it now."""
        wanted = self.held.get(number)
        if wanted is None or wanted in self.moved:
            return self.moved.get(wanted or "", "127.0.0.1:0")
        host, _, port = wanted.rpartition(":")
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((host, int(port)))
            except OSError:
                trial.bind((host, 0))
                self.moved[wanted] = f"{host}:{trial.getsockname()[1]}"
        return self.moved.get(wanted, wanted)

    def _place(self) -> Place:
        command = (sys.executable, str(Path(clock.__file__)), str(self.clock.resolve()))
        return Place("127.0.0.1", command=command)

    # --- asking ---------------------------------------------------------------------------------

    def address(self, number: int, interface: str) -> tuple[str, int]:
        """Where an interface of a node listens."""
        told = json.loads((self._folder(number) / "rpc.json").read_text())
        if interface not in told:
            raise ConnectionRefusedError(f"node {number} has no interface {interface}")
        host, _, port = told[interface].rpartition(":")
        return host, int(port)

    def place(self, port: int) -> tuple[int | None, str]:
        """The node that listens at a port, and the name of the interface."""
        for number, rows in self.interfaces.items():
            for name, row in rows.items():
                if row["bind_address"].endswith(f":{port}"):
                    return number, name
        return None, ""

    def number_at(self, port: int) -> int | None:
        """The node that listens at a port."""
        return self.place(port)[0]

    def quiet(self, interface: str, number: int) -> None:
        """Wait until a node has noticed that nobody uses an interface any more."""

        def idle() -> bool:
            _, body = self.ask(number, "/node/metrics")
            found = json.loads(body)["sessions"]["interfaces"][interface]
            return bool(found["active"] == 0)

        self.wait(idle, f"{interface} to be left")

    def ask(self, number: int, path: str, timeout_s: float = 3.0) -> tuple[int, bytes]:
        """Status and body of a GET; status 0 when the node does not answer."""
        try:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = HTTPSConnection(
                *self.address(number, MAIN), timeout=timeout_s, context=context
            )
        except OSError:
            return 0, b""
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException):
            return 0, b""
        finally:
            connection.close()

    def status(self, number: int, path: str) -> int:
        node = self.running[number]
        assert node.process.poll() is None, node.log_tail()
        return self.ask(number, path)[0]

    def wait(self, done: Any, what: str, timeout_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(POLL_S)

    def _wait_file(self, number: int, name: str) -> Path:
        path = self._folder(number) / name
        node = self.running[number]

        def there() -> bool:
            assert node.process.poll() is None, node.log_tail()
            return path.exists()

        self.wait(there, str(path))
        return path

    def awake(self) -> list[int]:
        return [number for number, node in self.running.items() if node.running]

    def primary(self) -> int:
        """The node that leads, as soon as one does."""
        found: list[int] = []

        def lead() -> bool:
            found[:] = [n for n in self.awake() if self.ask(n, "/node/primary")[0] == 200]
            return bool(found)

        self.wait(lead, "a primary")
        return found[0]

    def settled(self, seqno: int) -> None:
        """Wait until every node that is awake has committed so far."""
        for number in self.awake():
            self.wait(lambda n=number: self._committed(n) >= seqno, f"node {number} at {seqno}")

    def _committed(self, number: int) -> int:
        status, body = self.ask(number, "/node/commit")
        return int(json.loads(body)["transaction_id"].partition(".")[2]) if status == 200 else 0

    def id(self, number: int) -> str:
        pem = (self._folder(number) / "nodecert.pem").read_text()
        return hashlib.sha256(certs.spki(pem)).hexdigest()

    # --- disaster -------------------------------------------------------------------------------

    def recover(self, survivor: int) -> None:
        """End all nodes; a new one, in place of the first, recovers from the ledger of one."""
        before = json.loads(self.ask(survivor, "/node/network")[1])["service_certificate"]
        self.resume(survivor)
        ledger = self._folder(survivor) / "ledger"
        for node in self.running.values():
            if node.process.poll() is None:
                node.process.kill()
            node.process.wait(PATIENCE_S)
        self.running.clear()
        folder = self._folder(0)
        folder.rename(self.folder / "node0.before")
        if survivor == 0:
            ledger = self.folder / "node0.before" / "ledger"
        shutil.copytree(ledger, self._folder(0) / "ledger")
        (folder / "previous.pem").write_text(before)
        if self.recovered_interfaces is not None:
            self.interfaces[0] = self.recovered_interfaces
        self._launch(
            0,
            {
                "type": "Recover",
                "service_certificate_file": "service_cert.pem",
                "recover": {"previous_service_identity_file": "previous.pem"},
            },
        )
        self._wait_file(0, "service_cert.pem")
        self.wait(lambda: self.status(0, "/node/ready/gov") == 204, "the recovering node")

    def share(self, member: str, member_id: str) -> str:
        """A member's recovery share, decrypted with its key."""
        path = f"/gov/recovery/encrypted-shares/{member_id}?api-version=2024-07-01"
        told = json.loads(self.ask(0, path)[1])["encryptedShare"]
        return b64(self.encryption_keys[member].decrypt_oaep(unb64(told)))

    # --- what happened to the recorded ones -----------------------------------------------------

    def suspend(self, number: int) -> None:
        if self.running[number].running:
            self.running[number].pause()

    def resume(self, number: int) -> None:
        if self.running[number].paused:
            self.running[number].resume()

    def ended(self) -> list[int]:
        """Nodes whose process is gone."""
        return [n for n, node in self.running.items() if node.process.poll() is not None]
