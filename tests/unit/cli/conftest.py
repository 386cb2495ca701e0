"""Running commands as a person does, against a fake service."""

from __future__ import annotations

from pathlib import Path

import httpx2
import msgspec
import pytest

from pyccf.cli import main as program
from pyccf.cli.keys import make_identity
from pyccf.cli.options import Party, SandboxInfo, SandboxNode, Target
from pyccf.client import Client
from pyccf.crypto.entropy import SeededEntropy
from support.cli import Ran, Run
from support.fake_service import URL, FakeService


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `pyccf` with arguments."""

    def call(*arguments: object) -> Ran:
        code = program.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """A fake service that every command talks to."""
    fake = FakeService()

    def connect(self: Target, *urls: str, timeout_s: float = 10.0) -> Client:
        client = Client(
            urls or self.urls,
            self.service_cert,
            cert=self.cert,
            key=self.key,
            patience_s=self.patience_s,
            transport=httpx2.MockTransport(fake.handle),
            monotonic=lambda: fake.clock,
        )
        client._sleep = fake.sleep
        return client

    monkeypatch.setattr(Target, "connect", connect)
    return fake


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SandboxInfo:
    """The files of a sandbox, in the default workspace of the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "SERVICE_CERT", "CERT", "KEY", "WORKSPACE"):
        monkeypatch.delenv(f"PYCCF_{name}", raising=False)
    folder = tmp_path / ".pyccf" / "sandbox"
    made = {
        name: make_identity(folder, name, entropy=SeededEntropy(name), now=1_795_258_291)
        for name in ("member0", "user0", "user1")
    }
    info = SandboxInfo(
        nodes=[SandboxNode(URL, "ab" * 32, 1)],
        service_cert=made["user0"].cert,
        members=[Party(made["member0"].cert, made["member0"].key, "enc.pem")],
        users=[Party(made[name].cert, made[name].key) for name in ("user0", "user1")],
        ledgers=[str(folder / "node0" / "ledger")],
        workspace=str(folder),
    )
    (folder / "sandbox.json").write_bytes(msgspec.json.encode(info))
    return info
