"""Indexes that an application names: in Python by `app.index`, in JavaScript in its metadata.

In the metadata of an endpoint (other members of it are CCF's, which ignores this one):

    "indexes": {"by_id": {"map": "records", "kind": "seqnos_by_key"}}

The name is what the endpoint's function says; endpoints that name the same map and kind share one
index. Refuses (ValueError) unknown kinds and members, and what an index cannot be made of.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from pyccf.apps.index.buckets import SeqnosByKeyBucketed, SeqnosForValueBucketed
from pyccf.apps.index.seqnos import SeqnosByKey
from pyccf.errors import LocalError
from pyccf.types import Json

DECLARED_MAX = 32
"""Indexes that one endpoint may name."""

Index = SeqnosByKey | SeqnosByKeyBucketed


class Kind(Enum):
    """Kinds of index an application can have without writing one."""

    SEQNOS_BY_KEY = "seqnos_by_key"
    SEQNOS_BY_KEY_BUCKETED = "seqnos_by_key_bucketed"
    SEQNOS_FOR_VALUE = "seqnos_for_value"


class Declared(msgspec.Struct, frozen=True):
    """One index an application wants."""

    map: str
    kind: Kind

    def make(self) -> Index:
        """A new index of this kind. Raises LocalError for a map that it cannot index."""
        match self.kind:
            case Kind.SEQNOS_BY_KEY:
                return SeqnosByKey(self.map)
            case Kind.SEQNOS_BY_KEY_BUCKETED:
                return SeqnosByKeyBucketed(self.map)
            case Kind.SEQNOS_FOR_VALUE:
                return SeqnosForValueBucketed(self.map)

    @property
    def name(self) -> str:
        """What the index is called in the node."""
        single = self.kind is Kind.SEQNOS_FOR_VALUE
        return f"{(SeqnosForValueBucketed if single else SeqnosByKey).prefix} {self.map}"


def parse(value: Json) -> dict[str, Declared]:
    """The indexes in an endpoint's metadata, by the names its function uses. ValueError."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > DECLARED_MAX:
        raise ValueError(f"indexes is not an object of at most {DECLARED_MAX} members")
    found: dict[str, Declared] = {}
    for name, one in value.items():
        if not isinstance(one, dict) or not one.keys() <= {"map", "kind"}:
            raise ValueError(f'index {name} is not an object of "map" and "kind"')
        table, kind = one.get("map"), one.get("kind", Kind.SEQNOS_BY_KEY.value)
        if not isinstance(table, str) or not table:
            raise ValueError(f"index {name} names no map")
        try:
            found[name] = Declared(table, Kind(kind))
            found[name].make()
        except (ValueError, LocalError):
            known = ", ".join(k.value for k in Kind)
            raise ValueError(
                f"index {name} cannot be of kind {kind!r} over {table}: kinds are {known}, and"
                " all but the first need a public map"
            ) from None
    return found
