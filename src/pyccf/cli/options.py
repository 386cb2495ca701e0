"""Options that many commands share, and the client they lead to.

Where the service is and who calls is given by options, by environment variables of the same names,
or taken from a sandbox: its workspace holds `sandbox.json`, which names all nodes and keys. Where
several nodes are known, each is asked until one answers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from pyccf.cli.output import Output
from pyccf.client import Client
from pyccf.client.connection import TIMEOUT_S
from pyccf.errors import LocalError

WORKSPACE = Path(".pyccf/sandbox")
"""Where a sandbox lives when it is not told otherwise."""
SANDBOX_FILE = "sandbox.json"

F = TypeVar("F", bound=Callable[..., object])


class Party(msgspec.Struct, frozen=True, omit_defaults=True):
    """Files of one member or user of a sandbox; users have no encryption key."""

    cert: str
    key: str
    enc_key: str | None = None


class SandboxNode(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node of a sandbox; the nodes are called node0, node1 and so on, in their order."""

    url: str
    node_id: str
    pid: int
    """Its process; 0 if the sandbox did not start it."""
    retired: bool = False
    """Whether `pyccf network remove` took it out: it is asked no more."""


class SandboxInfo(msgspec.Struct, frozen=True):
    """What a sandbox says of itself: printed by --json, kept in `sandbox.json`."""

    nodes: list[SandboxNode]
    service_cert: str
    members: list[Party]
    users: list[Party]
    ledgers: list[str]
    workspace: str

    @property
    def urls(self) -> tuple[str, ...]:
        """Where to ask: nodes that take part, or all if none does."""
        urls = tuple(node.url for node in self.nodes if not node.retired)
        return urls or tuple(node.url for node in self.nodes)

    def with_node(self, url: str, node_id: str, retired: bool) -> SandboxInfo:
        """The same with this node known, as one that takes part or does so no longer."""
        known = [node for node in self.nodes if node.node_id == node_id]
        one = known[0] if known else SandboxNode(url, node_id, 0)
        changed = msgspec.structs.replace(one, retired=retired)
        nodes = [changed if node is one else node for node in self.nodes]
        return msgspec.structs.replace(self, nodes=nodes if known else [*nodes, changed])

    def save(self) -> None:
        """Keep it in the workspace, whole or not at all. Raises LocalError."""
        path = Path(self.workspace) / SANDBOX_FILE
        part = path.with_suffix(".part")
        try:
            part.write_bytes(msgspec.json.encode(self) + b"\n")
            part.replace(path)
        except OSError as error:
            raise LocalError(f"Could not write {path}: {error.strerror}") from error

    def party(self, name: str) -> Party:
        """Files of `member0`, `user1` and so on. Raises LocalError."""
        for kind, parties in (("member", self.members), ("user", self.users)):
            number = name.removeprefix(kind)
            if number != name and number.isdigit() and int(number) < len(parties):
                return parties[int(number)]
        known = [f"member{i}" for i in range(len(self.members))]
        known += [f"user{i}" for i in range(len(self.users))]
        raise LocalError(f"The sandbox has no {name}", hint=f"Known: {', '.join(known)}")


class Target(msgspec.Struct, frozen=True):
    """Where a service is, and as whom to call it."""

    urls: tuple[str, ...]
    service_cert: str
    cert: str | None = None
    key: str | None = None
    patience_s: float = 0.0
    sandbox: SandboxInfo | None = None
    """The sandbox that this was taken from."""

    def connect(self, *urls: str, timeout_s: float = TIMEOUT_S) -> Client:
        """A client, of these addresses if some are given; use it in a `with` statement."""
        return Client(
            urls or self.urls,
            self.service_cert,
            cert=self.cert,
            key=self.key,
            timeout_s=timeout_s,
            patience_s=self.patience_s,
        )

    @property
    def words(self) -> list[str]:
        """Options that lead another command to the same service."""
        if self.sandbox is not None:
            return ["--workspace", self.sandbox.workspace]
        urls = [word for url in self.urls for word in ("--url", url)]
        return [*urls, "--service-cert", str(Path(self.service_cert).absolute())]

    @property
    def signing_words(self) -> list[str]:
        """The same for a command that some member gives, with that member's keys."""
        if self.sandbox is not None:
            return self.words
        return [*self.words, "--cert", "CERT", "--key", "KEY"]


def read_sandbox(workspace: Path) -> SandboxInfo | None:
    """What is known of a sandbox, or None if there is none. Raises LocalError for a bad file."""
    path = workspace / SANDBOX_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=SandboxInfo)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise LocalError(
            f"Could not read {path}: {error}", hint="Start the sandbox again: pyccf sandbox"
        ) from error


def find_target(
    urls: tuple[str, ...],
    service_cert: str | None,
    cert: str | None,
    key: str | None,
    workspace: str | None,
    caller: str | None,
    default_caller: str | None,
    patience_s: float = 0.0,
) -> Target:
    """Decide where to connect from what was given. Raises LocalError if that is not enough."""
    if (cert is None) != (key is None):
        raise LocalError("--cert and --key belong together", hint="Give both, or neither.")
    if urls and workspace is None and caller is None:
        if service_cert is None:
            raise LocalError(
                "--service-cert is missing",
                hint="Give the service_cert.pem of the service, so that its nodes can be trusted.",
            )
        return Target(urls, service_cert, cert, key, patience_s)
    folder = Path(workspace) if workspace is not None else WORKSPACE
    sandbox = read_sandbox(folder)
    if sandbox is None:
        raise LocalError(
            f"No service given, and no sandbox in {folder}",
            hint="Start one with `pyccf sandbox`, or give --url and --service-cert.",
        )
    if cert is None and (caller or default_caller):
        party = sandbox.party(caller or default_caller or "")
        cert, key = party.cert, party.key
    if not urls:
        urls = sandbox.urls
    return Target(urls, service_cert or sandbox.service_cert, cert, key, patience_s, sandbox)


def json_option(function: F) -> F:
    """Add --json; the command gets an `out: Output`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @functools.wraps(function)
    def command(*args: object, as_json: bool, **kwargs: object) -> object:
        return function(*args, out=Output(as_json), **kwargs)

    return command  # type: ignore[return-value]


def connection_options(
    default_caller: str | None = None, *, find: bool = True, identity: bool = True
) -> Callable[[F], F]:
    """Add the options that name a service; the command gets a `target: Target`.

    Without `find` it gets `find: Callable[[], Target]` instead, for commands that may do without a
    service. Without `identity` the caller shows no certificate, and there are no options for it.
    """

    def decorate(function: F) -> F:
        @click.option(
            "--url",
            "urls",
            envvar="PYCCF_URL",
            multiple=True,
            help="Address of a node, https://host:port; may be given for several nodes.",
        )
        @click.option(
            "--service-cert",
            "--cacert",
            envvar="PYCCF_SERVICE_CERT",
            help="Certificate of the service (PEM file).",
        )
        @click.option(
            "--workspace",
            envvar="PYCCF_WORKSPACE",
            help=f"Take all this from the sandbox in this folder (default {WORKSPACE}).",
        )
        @click.option(
            "--patience",
            "patience_s",
            type=click.FloatRange(min=0),
            default=0.0,
            metavar="SECONDS",
            help="Send again for so long what the service could not take, e.g. in an election.",
        )
        @functools.wraps(function)
        def command(
            *args: object,
            urls: tuple[str, ...],
            service_cert: str | None,
            workspace: str | None,
            patience_s: float,
            cert: str | None = None,
            key: str | None = None,
            caller: str | None = None,
            **kwargs: object,
        ) -> object:
            def found() -> Target:
                return find_target(
                    urls, service_cert, cert, key, workspace, caller, default_caller, patience_s
                )

            if find:
                return function(*args, target=found(), **kwargs)
            return function(*args, find=found, **kwargs)

        if identity:
            return _identity_options(default_caller)(command)  # type: ignore[return-value]
        return command  # type: ignore[return-value]

    return decorate


def _identity_options(default_caller: str | None) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        usual = f" (default {default_caller})." if default_caller else "."
        for option in (
            click.option(
                "--as",
                "caller",
                metavar="NAME",
                help=f"Call as this party of the sandbox, e.g. member0 or user1{usual}",
            ),
            click.option("--key", envvar="PYCCF_KEY", help="Your private key (PEM file)."),
            click.option("--cert", envvar="PYCCF_CERT", help="Your certificate (PEM file)."),
        ):
            function = option(function)
        return function

    return decorate
