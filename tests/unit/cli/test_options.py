"""pyccf.cli.options: where the service is and who calls."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pyccf.cli.options import SandboxInfo, Target, find_target, read_sandbox
from pyccf.errors import LocalError


def find(*urls: str, **given: str) -> Target:
    get = given.get
    return find_target(
        urls,
        get("service_cert"),
        get("cert"),
        get("key"),
        get("workspace"),
        get("caller"),
        get("default_caller"),
    )


def test_given_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = find("u", service_cert="s", cert="c", key="k", default_caller="user0")
    assert target == Target(("u",), "s", "c", "k")
    assert find("u", "v", service_cert="s", default_caller="user0") == Target(("u", "v"), "s")


def test_the_words_that_lead_to_the_same_service(
    sandbox: SandboxInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find().words == ["--workspace", sandbox.workspace]
    monkeypatch.chdir(tmp_path)
    words = find("u", "v", service_cert="s.pem").words
    assert words == ["--url", "u", "--url", "v", "--service-cert", str(tmp_path / "s.pem")]


def test_from_the_sandbox(sandbox: SandboxInfo) -> None:
    urls = tuple(node.url for node in sandbox.nodes)
    member, user = sandbox.members[0], sandbox.users[1]
    assert find() == Target(urls, sandbox.service_cert, sandbox=sandbox)
    assert find(default_caller="member0") == Target(
        urls, sandbox.service_cert, member.cert, member.key, sandbox=sandbox
    )
    assert find(caller="user1", default_caller="member0").cert == user.cert
    assert find("u", workspace=sandbox.workspace).urls == ("u",)
    assert find(cert="c", key="k", default_caller="member0").cert == "c"


@pytest.mark.parametrize(
    ("urls", "given", "problem"),
    [
        ((), {"cert": "c"}, "belong together"),
        (("u",), {}, "--service-cert is missing"),
        ((), {}, "no sandbox in"),
        ((), {"workspace": "elsewhere"}, "no sandbox in elsewhere"),
    ],
)
def test_not_enough(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    urls: tuple[str, ...],
    given: dict[str, str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LocalError, match=problem):
        find(*urls, **given)


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


def test_nodes_come_and_go(sandbox: SandboxInfo) -> None:
    first = sandbox.nodes[0]
    more = sandbox.with_node("u", "cd", retired=False)
    assert more.urls == (first.url, "u")
    assert (more.nodes[1].pid, more.nodes[1].retired) == (0, False)
    less = more.with_node("other", first.node_id, retired=True)
    assert less.urls == ("u",)
    assert (less.nodes[0].url, less.nodes[0].pid) == (first.url, first.pid)
    assert len(less.nodes) == 2
    assert less.with_node("u", "cd", retired=True).urls == (first.url, "u")
    less.save()
    assert read_sandbox(Path(sandbox.workspace)) == less
    assert find().urls == ("u",)
    gone = msgspec.structs.replace(less, workspace="nowhere/at/all")
    with pytest.raises(LocalError, match="Could not write"):
        gone.save()
