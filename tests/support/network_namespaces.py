"""Nodes as machines of their own: a network namespace each, and a router that can lose packets.

Every node has one cable to the router, and so has the test, which reaches all nodes whatever is cut
between them. A way is cut by a routing rule of the router that swallows packets from one address to
another: no reset, no error, exactly what a broken network does.

Needs the rights to make network namespaces and `ip`; `unavailable` says what is missing. Everything
made here is taken away again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from support.network import Place

RULE_PRIORITY = 100
NODES_MAX = 100


def _ip(*words: str) -> None:
    """Raises OSError or CalledProcessError, with what it said."""
    program = shutil.which("ip")
    if program is None:
        raise FileNotFoundError("there is no program ip")
    subprocess.run([program, *words], check=True, capture_output=True, text=True)


def unavailable() -> str | None:
    """Why this machine cannot do it; None if it can."""
    try:
        with Namespaces() as tried:
            tried.place(0, Path())
            tried.place(1, Path())
            tried.cut(0, 1)
            tried.heal()
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.strip()}"
    except OSError as error:
        return f"no network namespaces here: {error}"
    return None


class Namespaces:
    """`Links` of namespaces; use it in a `with` statement around the network."""

    _made = 0

    def __init__(self) -> None:
        Namespaces._made += 1
        self._name = f"pyccf{os.getpid()}-{Namespaces._made}"
        # A part of 10.0.0.0/8 that other runs on this machine are unlikely to use.
        self._prefix = f"10.{64 + (os.getpid() * 7 + Namespaces._made) % 128}"
        self._router = f"{self._name}r"
        self._names: list[str] = []
        self._cuts: list[tuple[str, str]] = []

    def __enter__(self) -> Namespaces:
        try:
            self._add(self._router)
            self._in_router("sysctl", "-qw", "net.ipv4.ip_forward=1")
            self._cable("root", None, 255)
            _ip("route", "add", f"{self._prefix}.0.0/16", "via", f"{self._prefix}.255.1")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._remove()

    def _remove(self) -> None:
        """With a namespace go its cables, and with them the routes over them."""
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        self._names.clear()

    def _add(self, name: str) -> None:
        _ip("netns", "add", name)
        self._names.append(name)
        _ip("-n", name, "link", "set", "lo", "up")

    def _in_router(self, *command: str) -> None:
        _ip("netns", "exec", self._router, *command)

    def _cable(self, name: str, namespace: str | None, net: int) -> None:
        """Connect a namespace (None for the test's own) to the router: .1 there, .2 here."""
        ours, theirs = f"v{self._name[5:]}-{net}"[:15], f"w{self._name[5:]}-{net}"[:15]
        _ip("link", "add", "dev", ours, "type", "veth", "peer", "name", theirs)
        _ip("link", "set", theirs, "netns", self._router)
        _ip("-n", self._router, "address", "add", f"{self._prefix}.{net}.1/30", "dev", theirs)
        _ip("-n", self._router, "link", "set", theirs, "up")
        inside: tuple[str, ...] = ()
        if namespace is not None:
            _ip("link", "set", ours, "netns", namespace)
            inside = ("-n", namespace)
        _ip(*inside, "address", "add", f"{self._prefix}.{net}.2/30", "dev", ours)
        _ip(*inside, "link", "set", ours, "up")
        if namespace is not None:
            _ip(*inside, "route", "add", "default", "via", f"{self._prefix}.{net}.1")

    def host(self, number: int) -> str:
        """Address of a node."""
        return f"{self._prefix}.{number}.2"

    def place(self, number: int, folder: Path) -> Place:
        assert 0 <= number < NODES_MAX
        name = f"{self._name}n{number}"
        self._add(name)
        self._cable(name, name, number)
        program = shutil.which("ip")
        assert program is not None
        return Place(self.host(number), command=(program, "netns", "exec", name))

    def cut(self, one: int, two: int) -> None:
        """Nothing gets from `one` to `two` any more; the other direction stays as it is."""
        way = (self.host(one), self.host(two))
        if way not in self._cuts:
            self._rule("add", way)
            self._cuts.append(way)

    def part(self, *groups: list[int]) -> None:
        """Nodes reach only those of their own group."""
        for group in groups:
            for other in groups:
                if other is not group:
                    for one in group:
                        for two in other:
                            self.cut(one, two)

    def heal(self) -> None:
        """Every packet gets through again."""
        for way in self._cuts:
            self._rule("del", way)
        self._cuts.clear()

    def _rule(self, verb: str, way: tuple[str, str]) -> None:
        priority = ("priority", str(RULE_PRIORITY))
        _ip("-n", self._router, "rule", verb, "from", way[0], "to", way[1], "blackhole", *priority)
