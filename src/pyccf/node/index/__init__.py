"""The indexes of a node: kept up with the committed ledger, and spilled to its disk.

`driver` shows committed transactions to strategies in order; `spill` seals what they put on disk;
`declared` installs those that the JavaScript application names
(spec: historical-and-indexing.md §6).
"""

from pyccf.node.index.declared import DeclaredIndexes as DeclaredIndexes
from pyccf.node.index.driver import Indexer as Indexer
from pyccf.node.index.spill import Spill as Spill
