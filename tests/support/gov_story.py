"""A service brought into the states that the published examples are about, by its clients alone.

`tell` runs every operation of the governance API once, in an order in which each finds what it
needs, and notes the answers. It asks only for a client, so it works on a service in memory as well
as on a real one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2

from pyccf import constitutions
from pyccf.client import Client, Identity
from pyccf.client.connection import Reply
from pyccf.client.gov_api import BALLOT_AGAINST, BALLOT_FOR
from pyccf.client.signing import MessageType, sign_governance
from pyccf.client.two_step import request_path
from pyccf.codec.text import b64url
from pyccf.crypto.keys import RsaPublicKey
from pyccf.service.identity import ServiceIdentity
from support.node import STARTED, Person, Service
from support.transcripts import make_service

MODULE = "export function compute(request) { return {body: 1}; }"


def transport(service: Service) -> httpx2.MockTransport:
    """Leads a client to a service in memory."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        target = request.url.raw_path.decode()
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = service.call(request.method, target, request.content, headers=headers)
        return httpx2.Response(reply.status, headers=reply.headers, content=reply.body)

    return httpx2.MockTransport(handle)


def identity(who: Person, tmp: Any, name: str) -> Identity:
    """A person as the client knows them, with files of its own."""
    (tmp / f"{name}_cert.pem").write_text(who.cert)
    (tmp / f"{name}_privk.pem").write_text(who.key.pem())
    return Identity.load(tmp / f"{name}_cert.pem", tmp / f"{name}_privk.pem")


def started(tmp: Any) -> tuple[Service, list[Identity]]:
    """A new service and its three members."""
    service = make_service(constitution=constitutions.text("default", "virtual"))
    service.tick()
    return service, [identity(m, tmp, f"m{i}") for i, m in enumerate(service.members)]


def client_of(service: Service, version: str) -> Client:
    """A client that speaks to a service in memory."""
    identity: ServiceIdentity = service.parts.service
    client = Client(
        "https://service.test",
        identity.cert_pem,
        transport=transport(service),
        unix_time=lambda: float(STARTED),
    )
    client.api_version = version
    return client


class Story:
    """Answers by operation id, while a consortium of three goes about its business."""

    def __init__(self, client: Client, members: list[Identity], signed: Callable[[], None]) -> None:
        """`signed` lets the service write a signature; the members must be active."""
        self.client = client
        self.members = members
        self.answers: dict[str, Reply] = {}
        self._signed = signed

    def sign(
        self, who: Identity, kind: MessageType, payload: object, about: str | None = None
    ) -> Reply:
        """Send a signed request."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        body = sign_governance(who, kind, raw, int(self.client._unix_time()), about)
        return self.client.send_signed(request_path(kind, who.id, about), body)

    def get(self, path: str, **params: str) -> Reply:
        return self.client.get(
            f"/gov{path}", params={"api-version": self.client.api_version, **params}
        )

    def decide(self, *actions: dict[str, Any]) -> None:
        """Have two of three accept something."""
        made = self.sign(self.members[0], MessageType.PROPOSAL, {"actions": actions}).check()
        ident = str(made.json()["proposalId"])
        for who in self.members[:2]:
            vote = {"ballot": BALLOT_FOR}
            reply = self.sign(who, MessageType.BALLOT, vote, ident).check().json()
        assert reply["proposalState"] == "Accepted"

    def tell(self) -> dict[str, Reply]:
        """Run everything; the answers by operation id."""
        self._members()
        self._proposals()
        self._service()
        return self.answers

    def _members(self) -> None:
        who = self.members[2]
        self._signed()
        updated = self.sign(who, MessageType.STATE_DIGEST, b"")
        path = f"/members/state-digests/{who.id}"
        self.answers["StateDigests_Update"] = updated
        self.answers["StateDigests_Get"] = self.get(path)
        digest = {"stateDigest": updated.check().json()["stateDigest"]}
        self.answers["StateDigests_Acknowledge"] = self.sign(who, MessageType.ACK, digest)
        share = self.get(f"/recovery/encrypted-shares/{self.members[0].id}")
        self.answers["EncryptedShares_Get"] = share

    def _proposals(self) -> None:
        cert = self.members[0].cert_pem
        key = self.client.member(self.members[0].id).public_encryption_key
        add = {"name": "set_member", "args": {"cert": cert, "encryption_pub_key": key}}
        made = self.sign(self.members[0], MessageType.PROPOSAL, {"actions": [add]})
        self.answers["Proposals_Create"] = made
        ident = str(made.check().json()["proposalId"])
        path = f"/members/proposals/{ident}"
        first = self.members[0]
        self.sign(first, MessageType.BALLOT, {"ballot": BALLOT_FOR}, ident).check()
        against = {"ballot": BALLOT_AGAINST}
        voted = self.sign(self.members[1], MessageType.BALLOT, against, ident)
        self.answers["Ballots_Submit"] = voted
        self.answers["Ballots_Get"] = self.get(f"{path}/ballots/{first.id}")
        self.answers["Proposals_Get"] = self.get(path)
        self.answers["Proposals_GetActions"] = self.get(f"{path}/actions")
        self.answers["Proposals_List"] = self.get("/members/proposals")
        withdrawn = self.sign(first, MessageType.WITHDRAWAL, b"", ident)
        self.answers["Proposals_Withdraw"] = withdrawn

    def _jwk(self) -> dict[str, str]:
        """Any RSA key: that of the first member."""
        pem = self.client.member(self.members[0].id).public_encryption_key
        assert pem is not None
        native = RsaPublicKey.from_pem(pem).native.public_numbers()
        e, n = (
            number.to_bytes((number.bit_length() + 7) // 8, "big")
            for number in (native.e, native.n)
        )
        return {"kty": "RSA", "kid": "key", "n": b64url(n), "e": b64url(e)}

    def _service(self) -> None:
        cert = self.members[0].cert_pem
        endpoint = {
            "js_module": "math.js",
            "js_function": "compute",
            "forwarding_required": "sometimes",
            "authn_policies": ["user_cert"],
            "mode": "readonly",
            "openapi": {},
        }
        bundle = {
            "metadata": {"endpoints": {"/compute": {"post": endpoint}}},
            "modules": [{"name": "math.js", "module": MODULE}],
        }
        issuer = {
            "issuer": "https://issuer.test",
            "ca_cert_bundle_name": "authorities",
            "auto_refresh": False,
            "jwks": {"keys": [self._jwk()]},
        }
        self.decide(
            {"name": "set_user", "args": {"cert": cert, "user_data": {"a": 1}}},
            {"name": "set_js_app", "args": {"bundle": bundle}},
            {"name": "set_ca_cert_bundle", "args": {"name": "authorities", "cert_bundle": cert}},
            {"name": "set_jwt_issuer", "args": issuer},
            {"name": "add_node_code", "args": {"code_id": "ab" * 32}},
            {"name": "add_snp_measurement", "args": {"measurement": "ab" * 48}},
            {
                "name": "add_snp_host_data",
                "args": {"host_data": "ab" * 32, "security_policy": ""},
            },
            {
                "name": "add_snp_uvm_endorsement",
                "args": {"did": "did:x509:0:sha256:x", "feed": "f", "svn": "100"},
            },
            {
                "name": "set_snp_minimum_tcb_version_hex",
                "args": {"cpuid": "00a00f11", "tcb_version": "d315000000000004"},
            },
        )
        node = self.get("/service/nodes").check().json()["value"][0]["nodeId"]
        commit = self.get("/service/transactions/commit")
        for operation, path in (
            ("ServiceState_GetConstitution", "constitution"),
            ("ServiceState_GetServiceInfo", "info"),
            ("ServiceState_GetJsApp", "javascript-app"),
            ("ServiceState_ListJsModules", "javascript-modules"),
            ("ServiceState_GetJsModule", "javascript-modules/%2Fmath.js"),
            ("ServiceState_GetJoinPolicies", "join-policy"),
            ("ServiceState_GetJwkInfo", "jwk"),
            ("ServiceState_ListMembers", "members"),
            ("ServiceState_GetMember", f"members/{self.members[0].id}"),
            ("ServiceState_ListUsers", "users"),
            ("ServiceState_GetUser", f"users/{self.members[0].id}"),
            ("ServiceState_ListNodes", "nodes"),
            ("ServiceState_GetNode", f"nodes/{node}"),
            ("Transactions_Get", f"transactions/{commit.json()['transactionId']}"),
        ):
            self.answers[operation] = self.get(f"/service/{path}")
        self.answers["Transactions_GetCommit"] = commit
