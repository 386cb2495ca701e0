"""A service that goes on with the ledger of another one, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyccf.apps.js.registry import JsApp
from pyccf.codec.text import b64, unb64
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import RsaPrivateKey
from pyccf.node.create import Parts
from pyccf.node.frontend import App
from pyccf.node.node import Limits
from pyccf.node.recover import RecoveryPlan, recover_service
from pyccf.node.restore import Restorable
from pyccf.service.identity import make_node, make_service
from pyccf.service.nodes import RpcInterface
from pyccf.shell.install import LoadedApp, install_endpoints
from support.node import INTERFACE, STARTED, Service
from support.transcripts import Client, Replay

ADDRESS = "127.0.0.1"


class Recovered(Service):
    """One node that recovers, spoken to as any other service of tests."""

    def __init__(
        self,
        ledger: Sequence[bytes],
        previous_identity: str,
        *,
        app: App | None = None,
        seed: int = 100,
        limits: Limits | None = None,
        snapshot: Restorable | None = None,
    ) -> None:
        """`ledger` with a snapshot still holds all entries: what is before it is not read."""
        self.entropy = SeededEntropy(seed.to_bytes(32, "big"))
        self.members = []
        self.ledger = list(ledger)
        self.committed = 0
        self.logs = []
        self.certificates = {}
        self.sent = []
        self.snapshots = {}
        self.spilled = {}
        self.calls = []
        self.stopped = ""
        self.disk = True
        self.now = 0
        self.recovery_from = None
        self._sessions = 0
        js = JsApp()
        plan = RecoveryPlan(
            previous_service_identity=previous_identity,
            snapshot=snapshot,
            host_data="ab" * 32,
            node_bind_address=f"{ADDRESS}:{seed}",
            node_published_address=f"{ADDRESS}:{seed}",
            rpc_interfaces={
                INTERFACE: RpcInterface(
                    bind_address=f"{ADDRESS}:2", published_address=f"{ADDRESS}:2"
                )
            },
            chunk_size_bytes=5 * 1024 * 1024,
            limits=limits or Limits(),
        )

        def install(parts: Parts) -> None:
            install_endpoints(parts, LoadedApp(None, js), self.entropy, dict, dict)

        self.parts = recover_service(
            plan,
            make_node(entropy=self.entropy, not_before=STARTED, days=365, sans=[f"IP:{ADDRESS}"]),
            make_service(entropy=self.entropy, not_before=STARTED, days=365),
            entropy=self.entropy,
            started=STARTED,
            app=app or js,
            install=install,
        )
        self.node = self.parts.node
        self.pump()

    @property
    def state(self) -> str:
        return self.node.state

    @property
    def identity(self) -> str:
        """Certificate of the new service."""
        return self.parts.service.cert_pem

    @property
    def lines(self) -> list[str]:
        return [log.text for log in self.logs]


class Consortium:
    """The members of a service, with all their keys, who bring it back."""

    def __init__(
        self, service: Service, members: Sequence[tuple[Client, RsaPrivateKey | None]]
    ) -> None:
        self.service = service
        self.members = list(members)
        self._replay = Replay(service, {})
        for i, (client, _) in enumerate(self.members):
            self._replay.clients[f"member{i}"] = client

    def decide(self, action: str, args: object) -> dict[str, object]:
        """Propose an action, and vote until it is decided."""
        path, version = "/gov/members/proposals", "?api-version=2024-07-01"
        body = self._replay.sign(
            "member0", "proposal", {"actions": [{"name": action, "args": args}]}
        )
        reply = self._replay.post(f"{path}:create{version}", body)
        ballot = {"ballot": "export function vote () { return true }"}
        for i, (client, _) in enumerate(self.members):
            if reply["proposalState"] != "Open":
                break
            signed = self._replay.sign(f"member{i}", "ballot", ballot, reply["proposalId"])
            url = f"{path}/{reply['proposalId']}/ballots/{client.id}:submit{version}"
            reply = self._replay.post(url, signed)
        found: dict[str, object] = reply
        return found

    def accept(self, previous: str, following: str) -> None:
        """Accept the recovered service."""
        args = {"previous_service_identity": previous, "next_service_identity": following}
        assert self.decide("transition_service_to_open", args)["proposalState"] == "Accepted"
        self.service.tick()

    def share(self, number: int) -> bytes:
        """The share of a member, decrypted."""
        client, key = self.members[number]
        assert key is not None
        path = f"/gov/recovery/encrypted-shares/{client.id}?api-version=2024-07-01"
        return key.decrypt_oaep(unb64(self.service.call("GET", path).json["encryptedShare"]))

    def submit(self, number: int, share: bytes, status: int = 200) -> dict[str, object]:
        """Hand in a share."""
        client = self.members[number][0]
        body = self._replay.sign(f"member{number}", "recovery_share", {"share": b64(share)})
        path = f"/gov/recovery/members/{client.id}:recover?api-version=2024-07-01"
        answer: dict[str, object] = self._replay.post(path, body, status)
        return answer

    def restore(self, done: Callable[[dict[str, object]], bool] | None = None) -> None:
        """Hand in shares until there are enough, and wait until the service is open."""
        for i, (_, key) in enumerate(self.members):
            if key is None:
                continue
            answer = self.submit(i, self.share(i))
            if "End of recovery" in str(answer["message"]):
                break
        for _ in range(5):
            self.service.tick()
