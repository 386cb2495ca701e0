"""Numbers of the configuration that the node itself obeys."""

from __future__ import annotations

import msgspec

from pyccf.node import historical as hist
from pyccf.node.snapshots import TX_COUNT as SNAPSHOT_TX_COUNT
from pyccf.types import Millis

SIGNATURE_TX_COUNT = 5000
SIGNATURE_DELAY_MS = 1000
UNCOMMITTED_MAX = 10_000
WRITES_BYTES_MAX = (64 << 20) - 4096
"""Most bytes of the ledger that one transaction may write: an entry must fit into a message between
nodes, and into what is read of the ledger at once."""
KEY_REFRESH_INTERVAL: Millis = 30 * 60 * 1000


class Limits(msgspec.Struct, frozen=True):
    """Of one node; the defaults are those of CCF's configuration."""

    signature_tx_count: int = SIGNATURE_TX_COUNT
    signature_delay_ms: Millis = SIGNATURE_DELAY_MS
    uncommitted_max: int = UNCOMMITTED_MAX
    """0: no limit."""
    historical_bytes_max: int = hist.CACHE_BYTES_MAX
    key_refresh_interval: Millis = KEY_REFRESH_INTERVAL
    snapshot_tx_count: int = SNAPSHOT_TX_COUNT
    snapshot_interval_ms: Millis | None = None
    """None: snapshots are taken by count and at governance's demand only."""
