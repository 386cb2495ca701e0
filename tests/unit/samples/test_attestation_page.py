"""docs/attestation.md: its examples verify evidence, its commands write proposals."""

from __future__ import annotations

import functools
import json
import re
import types
from pathlib import Path

import pytest

from pyccf.attest import amd, tdx
from pyccf.cli.main import main
from pyccf.errors import InvalidEvidence
from support import intel
from support import snp as made
from support.js_app import JsBench
from support.node import Service
from support.samples import SAMPLES

PAGE = (SAMPLES.parent / "docs" / "attestation.md").read_text(encoding="utf-8")


def example(language: str, which: int = 0) -> str:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found[which]


def sent(policy: int) -> bytes:
    evidence = made.evidence(policy=policy)
    body = {"evidence": evidence.quote.hex(), "endorsements": evidence.endorsements.hex()}
    return json.dumps(body).encode()


@pytest.fixture(autouse=True)
def our_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    for product, pem in made.roots().items():
        monkeypatch.setitem(amd.ROOT_KEYS, product, pem)


def test_the_script() -> None:
    bench = JsBench()
    bench.install({"app.js": example("js")}, {"POST /who": "app.js:whoRuns"})
    answer = bench.call("POST", "/who", sent(0x30000))
    assert answer.json() == {"firmware": "db18000000000204", "debug": 0}
    answer = bench.call("POST", "/who", sent(made.DEBUG))
    assert answer.status == 400
    assert b"debugging must not be enabled" in answer.body


def test_the_application_in_python() -> None:
    module = types.ModuleType("app")
    exec(compile(example("python"), "docs/attestation.md", "exec"), module.__dict__)
    service = Service(app=module.app)
    service.open_app()
    reply = service.call("POST", "/app/who", sent(0x30000))
    assert (reply.status, reply.json) == (200, "db18000000000204")
    reply = service.call("POST", "/app/who", sent(made.DEBUG))
    assert reply.status == 400
    assert "debugging must not be enabled" in reply.json["error"]["message"]


def test_quotes_of_intel(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("app")
    exec(compile(example("python", 1), "docs/attestation.md", "exec"), module.__dict__)
    verify = functools.partial(tdx.verify, root_key=intel.root_key())
    monkeypatch.setattr(tdx, "verify", verify)
    info = intel.tcb_info(True)
    for status, sound in (("UpToDate", True), ("SWHardeningNeeded", True), ("OutOfDate", False)):
        info["tcbLevels"][0]["tcbStatus"] = status
        collateral = intel.collateral(True, info=info)
        quote = intel.quote(4, tdx=True)
        if sound:
            assert module.measurement(quote, collateral, made.NOW) == "03" * 48
        else:
            with pytest.raises(InvalidEvidence, match="OutOfDate"):
                module.measurement(quote, collateral, made.NOW)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.rego").write_text("package policy\n")
    commands = re.findall(r"^    pyccf (.+)$", PAGE, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        words = command.replace("policy.rego", str(tmp_path / "policy.rego")).split()
        assert main(words) == 0
        written = json.loads(capsys.readouterr().out)
        assert written["actions"][0]["name"] == words[2]
