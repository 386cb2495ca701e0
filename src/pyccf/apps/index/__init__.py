"""Indexes: what an application remembers of committed transactions, beside the tables.

A strategy is shown every committed transaction once, in order, by the node (`pyccf.node.index`) and
keeps what it likes; handlers ask it. It is never shown what might be rolled back, and is rebuilt
from the ledger whenever a node starts: nothing in an index needs to be backed up, and no two nodes
need to be equally far (spec: historical-and-indexing.md §6).

`strategy` holds what all have in common and the base for own ones, `seqnos` those that remember
where keys were written, `buckets` the one that keeps little of it in memory, `declared` how
applications name the indexes they want.
"""

from pyccf.apps.index.buckets import SeqnosByKeyBucketed as SeqnosByKeyBucketed
from pyccf.apps.index.buckets import SeqnosForValueBucketed as SeqnosForValueBucketed
from pyccf.apps.index.buckets import Storage as Storage
from pyccf.apps.index.declared import Declared as Declared
from pyccf.apps.index.declared import Kind as Kind
from pyccf.apps.index.seqnos import SeqnosByKey as SeqnosByKey
from pyccf.apps.index.strategy import Indexes as Indexes
from pyccf.apps.index.strategy import Lazy as Lazy
from pyccf.apps.index.strategy import Strategy as Strategy
from pyccf.apps.index.strategy import VisitEachEntryInMap as VisitEachEntryInMap
