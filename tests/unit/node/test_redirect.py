"""Clients that are sent to another node."""

from __future__ import annotations

from typing import Any

import pytest

from pyccf.apps.python import App, AppContext, Reply, Table
from pyccf.apps.router import Redirection
from pyccf.errors import LocalError
from pyccf.http.message import Request
from pyccf.kv.store import Store
from pyccf.node.frontend import InterfaceRules
from pyccf.node.redirect import NodeByRole, Redirects, StaticAddress
from pyccf.service import tables
from pyccf.types import Json
from support.node import INTERFACE, Service
from support.node import Reply as Got
from support.told import Network

OTHER = "another_interface"


def make_app() -> App:
    app = App(title="test")
    records = Table("records", key=str, value=str)

    @app.put("/log")
    def write(ctx: AppContext) -> None:
        records(ctx).set("k", "v")

    @app.put("/local", forwarding="never")
    def local(ctx: AppContext) -> None:
        records(ctx).set("k", "v")

    @app.get("/log")
    def read(ctx: AppContext) -> Reply:
        return Reply(200, records(ctx).get("k") or "")

    @app.get("/backup", redirection="to_backup")
    def at_backup(ctx: AppContext) -> str:
        return "here"

    @app.put("/user", auth=["user_cert"])
    def user(ctx: AppContext) -> None:
        records(ctx).set("k", "v")

    return app


def network_with(redirections: dict[str, Json], *, backups: int = 2) -> Network:
    made = Network(app=make_app(), interfaces=(INTERFACE, OTHER), backups=backups)
    for member in made.members:
        member.node.interfaces[INTERFACE] = InterfaceRules.of(None, redirects=redirections)
    return made


ROLES: dict[str, Json] = {
    "to_primary": {"kind": "NodeByRole", "target": {"role": "primary"}},
    "to_backup": {"kind": "NodeByRole", "target": {"role": "backup"}},
}


def ask(at: Service, method: str, target: str) -> Got:
    (reply,) = at.send(Request(method, target))
    return reply


def moved_to(reply: Got) -> str:
    assert (reply.status, reply.body) == (307, b"")
    assert reply.headers.keys() == {"content-length", "location"}
    return reply.headers["location"]


def refused_with(reply: Got) -> tuple[int, str, str]:
    error = reply.json["error"]
    return reply.status, error["code"], error["message"]


def test_a_write_goes_to_the_primary() -> None:
    network = network_with(ROLES)
    backup, primary = network.backups[0], network.primary
    target = "/app/log?q=1%20x&y=a+b"
    assert moved_to(ask(backup, "PUT", target)) == f"https://10.0.0.0:80{target}"
    assert ask(primary, "PUT", target).status == 204
    assert backup.sent == [], "never forwarded"
    assert ask(backup, "GET", "/app/log").status == 200, "a read is answered here"
    assert ask(primary, "GET", "/app/log").status == 200


def test_a_session_that_was_sent_away_still_reads_here() -> None:
    backup = network_with(ROLES).backups[0]
    session = backup.session()
    (reply,) = backup.send(Request("PUT", "/app/log"), session)
    assert moved_to(reply)
    (reply,) = backup.send(Request("GET", "/app/log"), session)
    assert reply.status == 200


def test_who_calls_is_asked_by_the_primary() -> None:
    network = network_with(ROLES)
    assert moved_to(ask(network.backups[0], "PUT", "/app/user"))
    assert ask(network.primary, "PUT", "/app/user").status == 401


@pytest.mark.parametrize(
    ("method", "target", "status"), [("PUT", "/app/nope", 404), ("PATCH", "/app/log", 405)]
)
def test_what_is_nowhere_is_said_here(method: str, target: str, status: int) -> None:
    assert ask(network_with(ROLES).backups[0], method, target).status == status


def test_filters_come_before_redirects() -> None:
    backup = network_with(ROLES).backups[0]
    backup.node.interfaces[INTERFACE] = InterfaceRules.of(["/node/.*"], redirects=ROLES)
    reply = ask(backup, "PUT", "/app/log")
    assert (reply.status, reply.body) == (503, b"")


def test_what_is_never_forwarded_is_not_redirected() -> None:
    network = network_with(ROLES)
    status, code, message = refused_with(ask(network.backups[0], "PUT", "/app/local"))
    assert (status, code) == (503, "TransactionReplicationFailed")
    assert message == "Transaction failed to replicate."
    assert ask(network.primary, "PUT", "/app/local").status == 204


def test_the_primary_sends_to_every_backup_in_turn() -> None:
    network = network_with(ROLES, backups=3)
    seen = {moved_to(ask(network.primary, "GET", "/app/backup")) for _ in range(60)}
    assert seen == {f"https://10.0.0.{i}:80/app/backup" for i in (1, 2, 3)}
    assert ask(network.backups[0], "GET", "/app/backup").status == 200


def test_only_nodes_that_serve_are_sent_to() -> None:
    network = network_with(ROLES, backups=3)
    one, two, three = (backup.node.node_id for backup in network.backups)
    network.trust(one, 1, "Pending")
    network.trust(two, 2, "Retired", retired_committed=True)
    network.trust(three, 3, "Retired")
    seen = {moved_to(ask(network.primary, "GET", "/app/backup")) for _ in range(20)}
    assert seen == {"https://10.0.0.3:80/app/backup"}, "its removal is not complete"
    network.trust(three, 3, "Pending")
    assert refused_with(ask(network.primary, "GET", "/app/backup")) == (
        503,
        "BackupNotFound",
        "Request should be redirected to backup, but receiving node does not know any current"
        " backup address",
    )


def test_without_a_known_primary() -> None:
    backup = network_with(ROLES).backups[0]
    backup.engine.primary = None
    assert refused_with(ask(backup, "PUT", "/app/log")) == (
        503,
        "PrimaryNotFound",
        "Request should be redirected to primary, but receiving node does not know current"
        " primary address",
    )
    backup.engine.primary = "ee" * 32
    assert refused_with(ask(backup, "PUT", "/app/log"))[1] == "PrimaryNotFound"


def test_fixed_addresses() -> None:
    network = network_with(
        {
            "to_primary": {"kind": "StaticAddress", "target": {"address": "p.example:1"}},
            "to_backup": {"kind": "StaticAddress", "target": {"address": "b.example:2"}},
        }
    )
    network.backups[0].engine.primary = None
    assert moved_to(ask(network.backups[0], "PUT", "/app/log")) == "https://p.example:1/app/log"
    assert moved_to(ask(network.primary, "GET", "/app/backup")) == "https://b.example:2/app/backup"


@pytest.mark.parametrize("redirections", [{}, {"to_backup": {"kind": "NodeByRole"}}])
def test_without_more_the_primary_is_meant_even_as_backup(redirections: dict[str, Json]) -> None:
    network = network_with(redirections)
    assert moved_to(ask(network.backups[0], "PUT", "/app/log")) == "https://10.0.0.0:80/app/log"
    assert moved_to(ask(network.primary, "GET", "/app/backup")) == "https://10.0.0.0:80/app/backup"


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ({"interface": OTHER}, "10.0.0.0:81"),
        ({"interface": "nowhere"}, None),
        ({"role": "king"}, None),
    ],
)
def test_another_interface_or_role(target: dict[str, Json], address: str | None) -> None:
    network = network_with({"to_primary": {"kind": "NodeByRole", "target": target}})
    reply = ask(network.backups[0], "PUT", "/app/log")
    if address is None:
        assert refused_with(reply)[1] == "PrimaryNotFound"
    else:
        assert moved_to(reply) == f"https://{address}/app/log"


@pytest.mark.parametrize("interfaces", [None, [], {INTERFACE: None}, {INTERFACE: {}}])
def test_a_node_that_publishes_nothing_is_not_found(interfaces: Json) -> None:
    network = network_with(ROLES)
    tx = network.primary.node.store.tx()
    row = tables.get_object(tx, tables.NODES_INFO, network.primary.node.node_id)
    assert row is not None
    changed = {**row, "rpc_interfaces": interfaces}
    tables.put_json(tx, tables.NODES_INFO, network.primary.node.node_id, changed)
    network.primary.node.commit(tx)
    network.replicate()
    assert refused_with(ask(network.backups[0], "PUT", "/app/log"))[1] == "PrimaryNotFound"


def test_without_redirections_the_strategy_is_ignored() -> None:
    network = Network(app=make_app())
    assert ask(network.primary, "GET", "/app/backup").status == 200


def test_a_request_that_was_carried_is_not_sent_on() -> None:
    network = Network(app=make_app())
    network.primary.node.interfaces[INTERFACE] = InterfaceRules.of(None, redirects=ROLES)
    backup = network.backups[0]
    session = backup.session()
    replies = backup.send(Request("PUT", "/app/log"), session)
    replies += backup.send(Request("GET", "/app/backup"), session)
    network.settle()
    assert [reply.status for reply in replies] == [204]
    assert session.is_forwarding


@pytest.mark.parametrize(
    ("mode", "forwarding", "redirection", "expected"),
    [
        ("readwrite", None, None, Redirection.TO_PRIMARY),
        ("readonly", None, None, Redirection.NONE),
        ("readwrite", "never", None, Redirection.NONE),
        ("readonly", "always", None, Redirection.TO_PRIMARY),
        ("readonly", "sometimes", None, Redirection.TO_PRIMARY),
        ("readwrite", "never", "to_primary", Redirection.TO_PRIMARY),
        ("readonly", "always", "none", Redirection.NONE),
    ],
)
def test_what_a_python_endpoint_means(
    mode: str, forwarding: str | None, redirection: str | None, expected: Redirection
) -> None:
    app = App(title="test")

    @app.endpoint("PUT", "/x", mode=mode, forwarding=forwarding, redirection=redirection)
    def take(ctx: AppContext) -> None: ...

    found = app.lookup(Store(2).tx(), "PUT", "/x")
    assert found is not None
    assert found[0].redirection is expected


def test_how_targets_are_read() -> None:
    assert Redirects.parse({}) == Redirects(NodeByRole("primary"), NodeByRole("primary"))
    assert Redirects.parse(
        {
            "to_primary": {"kind": "StaticAddress", "target": {"address": "a:1"}},
            "to_backup": {"kind": "NodeByRole", "target": {"role": "backup", "interface": "x"}},
        }
    ) == Redirects(StaticAddress("a:1"), NodeByRole("backup", "x"))


@pytest.mark.parametrize(
    "given",
    [
        "primary",
        {},
        {"kind": "Nobody"},
        {"kind": "StaticAddress"},
        {"kind": "StaticAddress", "target": {"address": 1}},
    ],
)
def test_targets_that_say_nothing_are_refused(given: Any) -> None:
    with pytest.raises(LocalError, match="does not say where to redirect to"):
        Redirects.parse({"to_primary": given})
