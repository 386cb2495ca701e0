"""The methods a request may have: those llhttp knows, in the order of its enumeration.

Verbs of a path are listed in this order (spec: http-api.md §3.4).
"""

# fmt: off
VERBS = (
    "DELETE", "GET", "HEAD", "POST", "PUT", "CONNECT", "OPTIONS", "TRACE", "COPY", "LOCK",
    "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "SEARCH", "UNLOCK", "BIND", "REBIND", "UNBIND",
    "ACL", "REPORT", "MKACTIVITY", "CHECKOUT", "MERGE", "M-SEARCH", "NOTIFY", "SUBSCRIBE",
    "UNSUBSCRIBE", "PATCH", "PURGE", "MKCALENDAR", "LINK", "UNLINK", "SOURCE", "QUERY",
)
# fmt: on

METHODS = {verb.encode(): verb for verb in VERBS}
"""By their bytes on the wire."""
