"""The client as users see it: one object for application, node and governance requests."""

from __future__ import annotations

from pyccf.client.gov_api import GovApi
from pyccf.client.node_api import NodeApi


class Client(NodeApi, GovApi):
    """Talks to one node of a service; redirects lead to others.

    Connect with `Client(url, service_cert, cert=..., key=...)`; see `Connection` for the arguments.
    Certificate and key identify the caller in TLS and sign governance requests. Not for use from
    several threads at once.
    """

    def __enter__(self) -> Client:
        return self
