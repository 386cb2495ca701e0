"""The two ways an entry is sealed and opened: see `sealing`."""

class Sealer:
    """A ledger secret at work."""

    def __new__(cls, key: bytes, commit_secret: bytes, /) -> Sealer: ...
    def seal(
        self, view: int, seqno: int, public: bytes, private: bytes, claims: bytes, flags: int, /
    ) -> tuple[bytes, bytes]: ...

def unseal(
    data: bytes, view: int, seqno: int, sealer: Sealer | None, /
) -> tuple[bytes, bytes, bytes] | None: ...
