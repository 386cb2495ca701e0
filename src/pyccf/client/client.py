"""The client as users see it: one object for application, node and governance requests."""

from __future__ import annotations

from pyccf.client.app_api import AppApi
from pyccf.client.gov_api import GovApi
from pyccf.client.node_api import NodeApi


class Client(NodeApi, GovApi, AppApi):
    """Talks to a service through one of its nodes; redirects and failures lead to others.

    Connect with `Client(url, service_cert, cert=..., key=...)`, or with several addresses instead
    of one; see `Connection` for the arguments.
    Certificate and key identify the caller in TLS and sign requests; a bearer token goes along with
    each request. Not for use from several threads at once.
    """

    def __enter__(self) -> Client:
        return self
