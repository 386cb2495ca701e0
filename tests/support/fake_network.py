"""Three nodes in dictionaries: what each says of itself and of the service."""

from __future__ import annotations

from typing import Any

from support.fake_service import URLS, FakeService

IDS = ("aa" * 32, "bb" * 32, "cc" * 32)


class FakeNode:
    """What one node answers; change it before asking."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.leadership: str | None = "Leader" if number == 0 else "Follower"
        self.membership = "Active"
        self.phase: str | None = None
        self.state = "PartOfNetwork"
        self.view = 2
        self.last = "2.40"
        self.committed = "2.38"
        self.acks: dict[str, Any] = {}
        self.has_consensus = True
        self.lists: list[int] | None = None
        """Nodes it lists; None for all."""


class FakeNetwork:
    """A service with three nodes, the first of which is primary. `publish` makes it answer."""

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.nodes = [FakeNode(i) for i in range(len(URLS))]
        self.status = ["Trusted"] * len(URLS)
        self.removable: set[int] = set()
        self.nodes[0].acks = {
            IDS[1]: {"seqno": 40, "last_received_ms": 12},
            IDS[2]: {"seqno": 39, "last_received_ms": 1234},
        }
        self.publish()

    def publish(self) -> None:
        """Let the nodes answer as they now are."""
        for key in [key for key in self.service.answers if "/node/" in key[1]]:
            del self.service.answers[key]
        for node in self.nodes:
            self._publish(node)

    def _publish(self, node: FakeNode) -> None:
        def on(path: str, body: object, **headers: str) -> None:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            self.service.on("GET", f"{URLS[node.number]}/node/{path}", body, headers=sent)

        primary = next((n for n in self.nodes if n.leadership == "Leader"), None)
        me = IDS[node.number]
        on("state", {"node_id": me, "state": node.state}, x_ms_ccf_transaction_id=node.last)
        on("commit", {"transaction_id": node.committed})
        listed = [
            {
                "node_id": IDS[i],
                "status": self.status[i],
                "primary": primary is not None and i == primary.number,
                "rpc_interfaces": {
                    "a_plain_one": {
                        "bind_address": "0.0.0.0:1",
                        "endorsement": {"authority": "Unsecured"},
                    },
                    "main": {"published_address": URLS[i].removeprefix("https://")},
                },
            }
            for i in (range(len(self.nodes)) if node.lists is None else node.lists)
        ]
        on("network/nodes", {"nodes": listed})
        on("network/removable_nodes", {"nodes": [listed[i] for i in sorted(self.removable)]})
        if not node.has_consensus:
            return
        on("network", {"service_status": "Open", "service_certificate": "", "recovery_count": 1})
        details = {
            "current_view": node.view,
            "membership_state": node.membership,
            "leadership_state": node.leadership,
            "acks": node.acks,
            "configs": [{"idx": 1, "rid": 1, "nodes": {one: {"address": "h:1"} for one in IDS}}],
            "ticking": True,
        }
        if node.phase is not None:
            details["retirement_phase"] = node.phase
        on("consensus", {"details": details})
