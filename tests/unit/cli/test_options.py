"""pyccf.cli.options: where the service is and who calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.cli.options import SandboxInfo, Target, find_target, read_sandbox
from pyccf.errors import LocalError


def find(**given: str) -> Target:
    names = ("url", "service_cert", "cert", "key", "workspace", "caller", "default_caller")
    return find_target(*(given.get(name) for name in names))


def test_given_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = find(url="u", service_cert="s", cert="c", key="k", default_caller="user0")
    assert target == Target("u", "s", "c", "k")
    assert find(url="u", service_cert="s", default_caller="user0") == Target("u", "s")


def test_from_the_sandbox(sandbox: SandboxInfo) -> None:
    url = sandbox.nodes[0].url
    member, user = sandbox.members[0], sandbox.users[1]
    assert find() == Target(url, sandbox.service_cert)
    assert find(default_caller="member0") == Target(
        url, sandbox.service_cert, member.cert, member.key
    )
    assert find(caller="user1", default_caller="member0").cert == user.cert
    assert find(workspace=sandbox.workspace, url="u").url == "u"
    assert find(cert="c", key="k", default_caller="member0").cert == "c"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"cert": "c"}, "belong together"),
        ({"url": "u"}, "--service-cert is missing"),
        ({}, "no sandbox in"),
        ({"workspace": "elsewhere"}, "no sandbox in elsewhere"),
    ],
)
def test_not_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LocalError, match=problem):
        find(**given)


@pytest.mark.parametrize("name", ["member1", "user2", "user", "user-1", "nobody", "membe0"])
def test_unknown_parties(sandbox: SandboxInfo, name: str) -> None:
    with pytest.raises(LocalError, match="has no") as caught:
        find(caller=name)
    assert caught.value.hint == "Known: member0, user0, user1"


def test_a_spoiled_file(sandbox: SandboxInfo) -> None:
    folder = Path(sandbox.workspace)
    assert read_sandbox(folder) == sandbox
    (folder / "sandbox.json").write_text("{")
    with pytest.raises(LocalError, match="Could not read"):
        read_sandbox(folder)
    assert read_sandbox(folder / "sandbox.json") is None
