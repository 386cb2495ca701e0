"""The clients as users see them: one object for application, node and governance requests.

Both talk to a service through one of its nodes; redirects and failures lead to others. Connect with
`Client(url, service_cert, cert=..., key=...)`, or with several addresses instead of one; see
`Connection` for the arguments. Certificate and key identify the caller in TLS and sign requests; a
bearer token goes along with each request.
"""

from __future__ import annotations

from pyccf.client.app_api import AppApi
from pyccf.client.gov_api import GovApi
from pyccf.client.node_api import NodeApi
from pyccf.client.steps import Awaiting, Blocking


class Client(Blocking, NodeApi, GovApi, AppApi):
    """Each method returns its answer. Not for use from several threads at once."""


class AsyncClient(Awaiting, NodeApi, GovApi, AppApi):
    """The same methods, to be awaited; as many at a time as tasks of the event loop ask for.

    A task that is cancelled sends nothing more; what it had sent may still be executed.
    """
