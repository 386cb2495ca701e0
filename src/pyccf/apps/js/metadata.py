"""What is known of an endpoint of the JavaScript application."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pyccf.apps.router import Forwarding, Mode, Redirection

if TYPE_CHECKING:
    from pyccf.apps.auth import Policy
    from pyccf.apps.feed import FeedSpec
    from pyccf.apps.index import Declared
    from pyccf.types import Json


class Metadata(msgspec.Struct, frozen=True):
    """What a row says of an endpoint (spec: js-runtime.md §1.2)."""

    module: str
    function: str
    mode: Mode
    forwarding: Forwarding
    redirection: Redirection
    auth: tuple[Policy, ...]
    openapi: dict[str, Json] | None
    hidden: bool
    reuse_key: str | None
    record: bool
    """Whether requests that write are kept in the ledger (see `recording`)."""
    indexes: dict[str, Declared]
    """Indexes its function may ask, by the names it uses."""
    feed: FeedSpec | None
    """What its callers may listen to, if it is a change feed."""
