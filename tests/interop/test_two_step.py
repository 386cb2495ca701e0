"""Signing in two steps, half with the original's tools and half with ours."""

from __future__ import annotations

import base64
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyccf.cli import main as program
from pyccf.client.two_step import read_signature
from pyccf.codec import cose
from pyccf.crypto import cosesign
from pyccf.crypto.keys import Curve
from support.fake_service import NOW, make_identity

ID = "cd" * 32
WHEN = datetime.datetime.fromtimestamp(NOW, datetime.UTC).isoformat()
KINDS = {"proposal": (), "ballot": (ID,), "withdrawal": (ID,), "ack": (), "recovery_share": ()}

CASES = [(Curve.P384, kind) for kind in KINDS] + [(Curve.P256, "ack"), (Curve.P521, "proposal")]

Step = Callable[..., bytes]


def theirs(step: str, kind: str, *about: str) -> bytes:
    """Standard output of one of the original's tools; fails if it does."""
    tool = Path(sys.executable).with_name(f"ccf_cose_sign1_{step}")
    assert tool.is_file(), f"{tool.name} of the development dependency ccf is missing"
    arguments = ["--content", "content", "--signing-cert", "m_cert.pem"]
    arguments += ["--ccf-gov-msg-type", kind, "--ccf-gov-msg-created-at", WHEN]
    for ident in about:
        arguments += ["--ccf-gov-msg-proposal-id", ident]
    if step == "finish":
        arguments += ["--signature", "signature.json"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    ran = subprocess.run([tool, *arguments], capture_output=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout


def ours(step: str, kind: str, *about: str) -> bytes:
    arguments = ["--content", "content", "--cert", "m_cert.pem", "--type", kind]
    arguments += ["--created-at", WHEN, "--out", "out"]
    for ident in about:
        arguments += ["--proposal-id", ident]
    if step == "finish":
        arguments += ["--signature", "signature.json"]
    assert program.main(["proposal", step, *arguments]) == 0
    return Path("out").read_bytes()


@pytest.mark.parametrize(("curve", "kind"), CASES)
@pytest.mark.parametrize(("first", "second"), [(ours, theirs), (theirs, ours)])
def test_one_prepares_and_the_other_finishes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    curve: Curve,
    kind: str,
    first: Step,
    second: Step,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYCCF_CERT", raising=False)
    who = make_identity(tmp_path, "m", curve)
    Path("content").write_bytes(b"" if kind == "withdrawal" else b'{"any": "thing"}')
    asked = json.loads(first("prepare", kind, *KINDS[kind]))
    raw = read_signature(who.key.sign_digest(base64.b64decode(asked["value"])), curve)
    answer = {"alg": asked["alg"], "value": base64.urlsafe_b64encode(raw).decode()}
    Path("signature.json").write_text(json.dumps(answer))
    body = second("finish", kind, *KINDS[kind])
    parsed = cose.parse_sign1(body, rules=cose.MEMBER)
    assert cosesign.verify1(parsed, who.key.public)
    assert parsed.payload == Path("content").read_bytes()
    assert parsed.headers["ccf.gov.msg.type"] == kind
    assert parsed.headers["ccf.gov.msg.created_at"] == NOW
    assert body == ours("finish", kind, *KINDS[kind])
