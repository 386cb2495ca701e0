"""A node as a process, as an operator would start it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from pyccf import constitutions
from pyccf.codec import cbor
from pyccf.crypto import certs, cosesign
from pyccf.crypto.keys import Curve, PrivateKey, RsaPrivateKey
from pyccf.shell.hardware import SystemEntropy
from support.tls import trusting

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
REQUEST_TIMEOUT_S = 60


def make_config(folder: Path, **changes: Any) -> dict[str, Any]:
    """Keys of one member and a configuration for a new service; keys of it may be replaced."""
    entropy = SystemEntropy()
    key = PrivateKey.generate(Curve.P384, entropy)
    cert = certs.self_signed(
        key, "CN=member0", not_before=int(time.time()) - 60, days=10, entropy=entropy
    )
    (folder / "member0_cert.pem").write_text(cert)
    (folder / "member0_privk.pem").write_text(key.pem())
    encryption_key = RsaPrivateKey.generate()
    (folder / "member0_enc_privk.pem").write_text(encryption_key.pem())
    (folder / "member0_enc_pubk.pem").write_text(encryption_key.public.pem())
    (folder / "constitution.js").write_text(constitutions.text("sandbox"))
    config: dict[str, Any] = {
        "network": {
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": {"main": {"bind_address": "127.0.0.1:0"}},
        },
        "command": {
            "type": "Start",
            "start": {
                "constitution_files": ["constitution.js"],
                "members": [
                    {
                        "certificate_file": "member0_cert.pem",
                        "encryption_public_key_file": "member0_enc_pubk.pem",
                    }
                ],
            },
        },
        "ledger_signatures": {"delay": "50ms"},
        "output_files": {"rpc_addresses_file": "rpc.json", "pid_file": "node.pid"},
    }
    config.update(changes)
    (folder / "config.json").write_text(json.dumps(config))
    return config


class Member:
    """The member whose keys `make_config` left in a folder."""

    def __init__(self, folder: Path) -> None:
        self.key = PrivateKey.from_pem((folder / "member0_privk.pem").read_text())
        self.id = certs.fingerprint((folder / "member0_cert.pem").read_text())

    def sign(self, message_type: str, payload: bytes = b"") -> bytes:
        """A signed governance request."""
        protected = cbor.mapping(
            (
                (cbor.integer(1), cbor.integer(-35)),
                (cbor.integer(4), cbor.bstr(self.id.encode())),
                (cbor.tstr("ccf.gov.msg.type"), cbor.tstr(message_type)),
                (cbor.tstr("ccf.gov.msg.created_at"), cbor.integer(int(time.time()))),
            )
        )
        return cosesign.sign1(self.key, protected, payload, detached=False)


class NodeProcess:
    """`pyccf node --config config.json` in a folder of its own; stopped when the block ends."""

    def __init__(self, folder: Path, *arguments: str, file_size_max: int | None = None) -> None:
        self.folder = folder
        self.out = folder / "out.txt"
        self.err = folder / "err.txt"

        def limit() -> None:
            if file_size_max is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_max, file_size_max))

        self.started = time.monotonic()
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "pyccf.cli.main",
                    "node",
                    "--config",
                    "config.json",
                    *arguments,
                ],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={},
                preexec_fn=limit,
            )

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)

    def wait_for(self, name: str) -> float:
        """Wait until a file is there; seconds since the start."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (self.folder / name).exists():
            assert self.process.poll() is None, f"ended: {self.err.read_text()}"
            assert time.monotonic() < deadline, f"{name} was never written"
            time.sleep(0.01)
        return time.monotonic() - self.started

    def wait_ready(self) -> None:
        """Wait until governance is served."""
        self.wait_for("service_cert.pem")
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with suppress(OSError):
                if self.get("/node/ready/gov")[0] == 204:
                    return
            assert self.process.poll() is None, f"ended: {self.err.read_text()}"
            assert time.monotonic() < deadline, "governance was never served"
            time.sleep(0.02)

    def address(self, interface: str = "main") -> tuple[str, int]:
        told = json.loads((self.folder / "rpc.json").read_text())[interface]
        host, _, port = told.rpartition(":")
        return host, int(port)

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One exchange on a connection of its own, the service's certificate checked."""
        context = trusting(self.folder / "service_cert.pem")
        host, port = self.address()
        connection = HTTPSConnection(host, port, timeout=REQUEST_TIMEOUT_S, context=context)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, bytes]:
        status, _, body = self.request("GET", path)
        return status, body

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        os.kill(self.process.pid, number)
        return self.process.wait(STOP_TIMEOUT_S)
