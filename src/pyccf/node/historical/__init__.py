"""Committed transactions brought back from the ledger, with their receipts.

Who asks names a handle and the seqnos; what is not in memory is read from the ledger in slices, one
after the other, and verified against what was signed before anybody sees it. `cache` holds what was
asked for; `resolve` makes a state of entries; `eras` knows the service identities of the past and
`secrets` the ledger secrets before the node's own; `adapter` is what HTTP endpoints use
(spec: historical-and-indexing.md §1-4, http-api.md §8.4).
"""

from pyccf.node.historical.adapter import DAMAGED as DAMAGED
from pyccf.node.historical.adapter import adapt as adapt
from pyccf.node.historical.adapter import bring_back as bring_back
from pyccf.node.historical.cache import CACHE_BYTES_MAX as CACHE_BYTES_MAX
from pyccf.node.historical.cache import EXPIRY_MS as EXPIRY_MS
from pyccf.node.historical.cache import RANGE_MAX as RANGE_MAX
from pyccf.node.historical.cache import Handle as Handle
from pyccf.node.historical.cache import Historical as Historical
from pyccf.node.historical.cache import check as check
from pyccf.node.historical.state import State as State
