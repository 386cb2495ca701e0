"""`pyccf network`: how the nodes of a service stand, and who of them takes part."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import msgspec

from pyccf.cli.governing import decide, tell
from pyccf.cli.network_view import PRIMARY, RETIRED, TRUSTED, NetworkView, NodeView, address, look
from pyccf.cli.options import Target, connection_options, json_option
from pyccf.cli.output import TABLE_WIDTH_MAX, Output, pyccf_line, short, word
from pyccf.client import Client, Identity
from pyccf.client.types import Action, Proposal
from pyccf.errors import LocalError, PyccfError, Unavailable
from pyccf.types import NodeId, SeqNo, TxID

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

INTERVAL_S = 1.0
WAIT_S = 30.0
POLL_S = 0.2

COLUMNS = (
    "node",
    "id",
    "status",
    "role",
    "view",
    "last",
    "committed",
    "behind",
    "heard",
    "address",
)
SPARE = ("address", "id", "heard", "committed")
"""What --watch leaves out in a narrow terminal, in this order."""


@click.group("network")
def command() -> None:
    """See how the nodes stand; let nodes in and out."""


# -- looking -------------------------------------------------------------------------------------


@command.command("status")
@click.option("--watch", is_flag=True, help="Keep showing it, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=INTERVAL_S,
    show_default=True,
    help="Seconds between two looks of --watch.",
)
@click.option("--count", type=click.IntRange(1), help="End --watch after so many looks.")
@connection_options()
@json_option
def status(watch: bool, interval: float, count: int | None, target: Target, out: Output) -> None:
    """Show role, view, last and committed entry of every node.

    Every node is asked itself, so that one that is cut off or stopped is seen as such. "behind" is
    how many entries of the primary it lacks, "heard" how long ago the primary last heard of it.
    With --json, --watch prints one document per look.
    """
    if not watch:
        view = look(target)
        out.result(view)
        for line in _summary(view):
            out.line(line)
        out.table(COLUMNS, _rows(view), "The service lists no nodes.")
        return
    looks = _looks(target, interval, count=count)
    try:
        if out.as_json:
            for found in looks:
                out.result({"error": found.message} if isinstance(found, PyccfError) else found)
        else:
            _live(out, looks)
    except KeyboardInterrupt:
        return  # this is how a person ends it


@command.command("nodes")
@connection_options()
@json_option
def nodes(target: Target, out: Output) -> None:
    """List the nodes that the service knows."""
    with target.connect() as client:
        listed = client.nodes()
        removable = {node.node_id for node in client.removable_nodes()}
    out.result([{**msgspec.to_builtins(n), "removable": n.node_id in removable} for n in listed])
    rows = [
        (
            node.node_id,
            _status(node.status, node.node_id in removable),
            PRIMARY if node.primary else "",
            (address(node) or "").removeprefix("https://"),
        )
        for node in listed
    ]
    out.table(("node", "status", "", "address"), rows, "The service lists no nodes.")


@command.command("wait")
@click.option("--nodes", "number", type=click.IntRange(1), help="Wait for so many trusted nodes.")
@click.option("--committed", metavar="TXID", help="Wait until all have this committed.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=WAIT_S,
    show_default=True,
    help="Seconds to wait.",
)
@connection_options()
@json_option
def wait(
    number: int | None, committed: str | None, timeout: float, target: Target, out: Output
) -> None:
    """Wait until there is a primary and every trusted node keeps up with it.

    A node keeps up if it answers, is in the primary's view, and has committed what the primary had
    at the first look (or --committed). The exit code is 0 only if all this comes true in time.
    """
    goal: SeqNo | None = None
    if committed is not None:
        txid = TxID.parse(committed)
        if txid is None:
            raise click.UsageError(f"{committed!r} is not a transaction id, such as 2.17.")
        goal = txid.seqno
    missing = ""
    view: NetworkView | None = None
    for found in _looks(target, POLL_S, timeout_s=timeout):
        if isinstance(found, PyccfError):
            missing = found.message
            continue
        view = found
        if view.primary is not None and goal is None:
            goal = view.primary.seqno
        missing = _missing(view, number, goal)
        if not missing:
            break
    if missing:
        raise Unavailable(
            f"Waited {timeout:g} s in vain: {missing}", hint="See: pyccf network status"
        )
    assert view is not None, "nothing is missing, so there was a look"
    out.result(view)
    for line in _summary(view):
        out.line(line)


def _missing(view: NetworkView, number: int | None, goal: SeqNo | None) -> str:
    """What is not as it should be; nothing if all is well."""
    primary, trusted = view.primary, view.trusted
    if primary is None or goal is None:
        return "there is no primary"
    if number is not None and len(trusted) < number:
        return f"{len(trusted)} of {number} nodes are trusted"
    silent = [node for node in trusted if node.problem is not None]
    if silent:
        return f"{_called(silent[0])} does not answer"
    late = [node for node in trusted if node.view != primary.view]
    if late:
        return f"{_called(late[0])} is in view {late[0].view}, the primary in {primary.view}"
    behind = [node for node in trusted if node.committed_seqno < goal]
    if behind:
        return f"{_called(behind[0])} has committed {behind[0].committed}, not yet {goal}"
    return ""


# -- deciding ------------------------------------------------------------------------------------


@command.command("trust")
@click.argument("node")
@connection_options("member0")
@json_option
def trust(node: str, target: Target, out: Output) -> None:
    """Propose that NODE, which is pending, takes part.

    NODE is an id or the beginning of one. All members whose keys are at hand vote for it: those of
    a sandbox, else the one that calls.
    """
    found, _ = _find(target, node)
    if found.status == TRUSTED:
        raise LocalError(f"{_called(found)} is trusted already", hint="See: pyccf network status")
    if found.status == RETIRED:
        raise LocalError(
            f"{_called(found)} is retired, and a retired node does not come back",
            hint="Start a new node in its place, with a ledger folder of its own.",
        )
    # A little earlier than now, for members whose clocks run ahead of the node's.
    begin = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() - 60))
    action = Action("transition_node_to_trusted", {"node_id": found.node_id, "valid_from": begin})
    with target.connect() as client:
        proposal = _propose(client, action, target, out)
    out.result(proposal)
    if proposal.proposal_state == "Accepted":
        _note(target, found, retired=False)
        out.line(f"{_called(found)} is trusted. See it catch up:")
        out.line("  " + pyccf_line("network", "status", *target.words))


@command.command("remove")
@click.argument("node")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=WAIT_S,
    show_default=True,
    help="Seconds to wait until its retirement is complete.",
)
@connection_options("member0")
@json_option
def remove(node: str, timeout: float, target: Target, out: Output) -> None:
    """Propose that NODE takes part no longer, and wait until it may be stopped.

    NODE is an id, the beginning of one, or a name of the sandbox. All members whose keys are at
    hand vote for it: those of a sandbox, else the one that calls.
    """
    found, view = _find(target, node)
    assert found.node_id is not None, "it was found by its id"
    if view.trusted == [found]:
        raise LocalError(
            f"{_called(found)} is the only trusted node: without it the service would end",
            hint="Let another node in first; see: pyccf network trust --help",
        )
    # A node that is removed need not hear of it, so it is asked last.
    others = tuple(url for url in target.urls if url != found.url)
    target = msgspec.structs.replace(target, urls=(*others, found.url) if others else target.urls)
    with target.connect() as client:
        proposal = _propose(client, Action("remove_node", {"node_id": found.node_id}), target, out)
        out.result(proposal)
        if proposal.proposal_state != "Accepted":
            return
        if found.status not in (TRUSTED, RETIRED):
            out.line(f"{_called(found)} was pending, and is forgotten.")
            return
    if not _retired(target, found.node_id, timeout):
        raise Unavailable(
            f"{_called(found)} is being retired, but that is not complete after {timeout:g} s",
            hint="Keep it running until `pyccf network nodes` shows it as removable.",
        )
    _note(target, found, retired=True)
    out.line(f"{_called(found)} is retired: stop its process, then let the service forget it:")
    path = f"/node/network/nodes/{found.node_id}"
    out.line("  " + pyccf_line("call", "-X", "DELETE", path, *target.words))


def _note(target: Target, node: NodeView, *, retired: bool) -> None:
    """Let the next commands in this sandbox know whom to ask."""
    if target.sandbox is not None and node.node_id is not None:
        target.sandbox.with_node(node.url, node.node_id, retired).save()


def _propose(client: Client, action: Action, target: Target, out: Output) -> Proposal:
    """Propose and vote with the keys at hand, and tell how it went. Raises LocalError."""
    if client.identity is None:
        raise LocalError(
            "A proposal must be signed by a member", hint="Give --cert and --key of one."
        )
    members = [client.identity]
    if target.sandbox is not None:
        party = [Identity.load(member.cert, member.key) for member in target.sandbox.members]
        members += [one for one in party if one.id != client.identity.id]
    proposal, _ = decide(client, [action], members)
    tell(out, proposal)
    if proposal.proposal_state == "Open":
        out.line(
            "More votes are needed. Another member votes, with --cert and --key of theirs, by:"
        )
        out.line("  " + pyccf_line("proposal", "vote", proposal.proposal_id, *target.words))
    elif proposal.proposal_state != "Accepted":
        raise LocalError(
            f"The proposal {proposal.proposal_id} is {proposal.proposal_state}",
            hint=f"See: pyccf proposal show {proposal.proposal_id}",
        )
    return proposal


def _retired(target: Target, node_id: NodeId, timeout_s: float) -> bool:
    """Whether the retirement of a node is complete in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        with target.connect() as client:
            if any(node.node_id == node_id for node in client.removable_nodes()):
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)


def _find(target: Target, name: str) -> tuple[NodeView, NetworkView]:
    """The node of this name, and the network it is in. Raises LocalError."""
    view = look(target)
    found = view.find(name)
    if found is None or found.status is None:
        known = ", ".join(_called(node) for node in view.nodes if node.status is not None)
        raise LocalError(f"There is no one node {name} in the service", hint=f"Nodes: {known}")
    return found, view


# -- showing -------------------------------------------------------------------------------------


def _looks(
    target: Target,
    interval_s: float,
    *,
    count: int | None = None,
    timeout_s: float | None = None,
) -> Iterator[NetworkView | PyccfError]:
    """One look after the other, for so many or so long; one that reaches no node is its error."""
    begin, number = time.monotonic(), 0
    while True:
        try:
            yield look(target)
        except PyccfError as error:
            yield error
        number += 1
        if number == count or (timeout_s is not None and time.monotonic() - begin > timeout_s):
            return
        time.sleep(interval_s)


def _live(out: Output, looks: Iterator[NetworkView | PyccfError]) -> None:
    """Show each look in the place of the one before."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    before: NetworkView | None = None
    then = time.monotonic()
    with Live(console=out.console, auto_refresh=False, transient=False) as live:
        for view in looks:
            now = time.monotonic()
            if isinstance(view, PyccfError):
                told = f"{time.strftime('%H:%M:%S')}  {word(view.message)}"
                live.update(Text(told), refresh=True)
                continue
            lines = [f"{time.strftime('%H:%M:%S')}  {line}" for line in _summary(view)]
            if before is not None and view.primary and before.primary and now > then:
                entries = view.primary.seqno - before.primary.seqno
                lines.append(f"{max(0, entries) / (now - then):,.0f} entries/s")
            before, then = view, now
            live.update(
                Group(*map(Text, map(word, lines)), _table(view, out.console)), refresh=True
            )


def _table(view: NetworkView, console: Console) -> Table:
    """The table of a view, without the columns for which a narrow terminal has no room."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = list(range(len(COLUMNS)))
    wide = console.options.update(max_width=TABLE_WIDTH_MAX)
    for dropped in (None, *map(COLUMNS.index, SPARE)):
        shown = [index for index in shown if index != dropped]
        table = Table(*(COLUMNS[index] for index in shown), box=SIMPLE_HEAD, pad_edge=False)
        for row, node in zip(_rows(view), view.nodes, strict=True):
            style = "red" if node.problem else "bold green" if node.role == PRIMARY else ""
            table.add_row(*(Text(word(row[index]), no_wrap=True) for index in shown), style=style)
        if console.measure(table, options=wide).maximum <= console.width:
            break
    return table


def _summary(view: NetworkView) -> list[str]:
    """The service in one line, and what is wrong with it in more."""
    primary, trusted = view.primary, view.trusted
    answering = sum(node.problem is None for node in trusted)
    lines = [
        f"Service {view.service_status or 'unknown'}, view {view.view}, "
        f"primary {_called(primary) if primary else 'unknown'}, "
        f"{answering} of {len(trusted)} trusted nodes answer"
    ]
    if primary is None:
        lines.append("There is no primary: writes wait until one is elected.")
    elif not view.can_commit:
        lines.append("The primary has no majority: nothing is committed until more nodes answer.")
    lines += [
        f"{_called(node)} also takes itself for the primary, in the older view {node.view}."
        for node in view.nodes
        if node.role == PRIMARY and node.node_id != view.primary_id
    ]
    return lines


def _rows(view: NetworkView) -> list[tuple[str, ...]]:
    return [
        (
            node.name or "",
            short(node.node_id or "?"),
            _status(node.status, node.removable),
            _role(node),
            _number(node.view),
            node.last or "",
            node.committed or "",
            _number(node.behind),
            "" if node.heard_ms is None else f"{node.heard_ms:,} ms",
            node.url.removeprefix("https://"),
        )
        for node in view.nodes
    ]


def _role(node: NodeView) -> str:
    if node.problem is not None:
        return "no answer"
    parts = [node.role or "none"]
    if node.retirement_phase:
        parts.append(f"({node.retirement_phase})")
    elif node.state != "PartOfNetwork":
        parts.append(f"({node.state})")
    return " ".join(parts)


def _status(status: str | None, removable: bool) -> str:
    if status is None:
        return "not listed"
    return f"{status}, removable" if removable else status


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _called(node: NodeView) -> str:
    """What a person calls a node."""
    return node.name or short(node.node_id or node.url)
