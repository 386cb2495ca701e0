"""Requests carried to the primary (being built)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyccf.node.node import Node
    from pyccf.types import Millis, NodeId


class Forwarder:
    def __init__(self, node: Node) -> None:
        self._node = node

    def receive(self, sender: NodeId, data: bytes) -> None: ...

    def tick(self, now: Millis) -> None: ...
