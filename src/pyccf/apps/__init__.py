"""Applications: what an endpoint is, what a handler may see, who may call it.

`context` is what a handler gets; `router` finds the endpoint of a request; `auth` decides who
calls; `openapi` describes; `python` is the decorator API; `js` runs JavaScript apps.
"""
