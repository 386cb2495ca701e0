"""What docs/jwt.md shows is what the constitution and the policies take."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from pyccf.apps.auth import js_policy
from support.constitution import Constitution
from support.service import person
from support.tokens import Issuer

PAGE = Path(__file__).parents[3] / "docs" / "jwt.md"
BLOCK = re.compile(r"```json\n(\{.*?)```", re.DOTALL)
POLICIES = re.compile(r"`(\{\"all_of\".*?\}|\[\"jwt\".*?\])`")


def test_the_proposals_are_accepted() -> None:
    page = PAGE.read_text(encoding="utf-8")
    issuer = Issuer("https://issuer.example.com", ec=True)
    key = issuer.jwk()
    pem = person("member0").cert
    shown = BLOCK.findall(page)
    assert len(shown) == 2
    for text in shown:
        text = text.replace('"x": "…", "y": "…"', f'"x": "{key["x"]}", "y": "{key["y"]}"')
        actions = json.loads(text)["actions"]
        for action in actions:
            if "cert_bundle" in action["args"]:
                action["args"]["cert_bundle"] = pem
        made = Constitution()
        assert made.validate(*((a["name"], a["args"]) for a in actions)) == ""
        written = made.apply(*((a["name"], a["args"]) for a in actions))
        assert written["jwt.issuers"].keys() == {"https://issuer.example.com"}


def test_the_command_writes_the_proposal(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    (line,) = re.findall(r"```sh\n(pyccf .*?)```", page, re.DOTALL)
    (tmp_path / "ca.pem").write_text(person("member0").cert)
    words = shlex.split(line.replace("\\\n", " "))[1:]
    done = subprocess.run(
        [sys.executable, "-m", "pyccf.cli.main", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "issuer.json").read_text())
    shown = json.loads(BLOCK.findall(page)[1])
    for document in (made, shown):
        document["actions"][0]["args"]["cert_bundle"] = "PEM"
    assert made == shown


def test_the_policies_are_known() -> None:
    page = PAGE.read_text(encoding="utf-8")
    shown = [json.loads(text) for text in POLICIES.findall(page)]
    assert len(shown) == 2
    for spec in shown:
        policies = [js_policy(one) for one in (spec if isinstance(spec, list) else [spec])]
        assert "jwt" in policies[0].name
