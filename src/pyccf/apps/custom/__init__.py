"""JavaScript endpoints that the users of a Python application install while it runs.

    custom = CustomEndpoints()
    app.dynamic(custom)

    @app.put("/custom_endpoints", auth=["user_cert"])
    def install(ctx: AppContext, body: Bundle) -> None:
        allow(ctx.caller)                     # the application decides who may
        custom.install(ctx, body)
        audit.record(ctx, "set_custom_endpoints")

Nobody votes on such code, so it is kept in: its paths begin with a prefix that nothing else has,
its scripts see tables under some prefixes only, now and in the past, and its limits have ceilings.
`endpoints` serves and stores them, `bundle` judges what is to be installed, `audit` remembers who
did what and refuses to do it twice.
"""

from pyccf.apps.custom.audit import Audit, Entry
from pyccf.apps.custom.bundle import Bundle, Module
from pyccf.apps.custom.endpoints import CustomEndpoints, Options

__all__ = ["Audit", "Bundle", "CustomEndpoints", "Entry", "Module", "Options"]
