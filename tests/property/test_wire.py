"""Write sets survive their wire form, and nothing else is taken for one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyccf.errors import InvalidLedger
from pyccf.kv.changes import Changes
from pyccf.kv.wire import decode, encode

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = texts | texts.map(lambda text: "public:" + text)
blobs = st.binary(max_size=10)
changes = st.dictionaries(blobs, st.none() | blobs, min_size=1, max_size=4)
write_sets = st.dictionaries(names, changes, max_size=4)


def u64(n: int) -> bytes:
    return n.to_bytes(8, "little")


def lp(data: bytes) -> bytes:
    return u64(len(data)) + data


def by_the_book(maps: Changes, public: bool) -> bytes:
    """ledger.md §6, written out."""
    out = b""
    for name in sorted(maps, key=lambda name: name.encode()):
        if name.startswith("public:") is not public:
            continue
        written = sorted((k, v) for k, v in maps[name].items() if v is not None)
        removed = sorted(k for k, v in maps[name].items() if v is None)
        out += lp(name.encode()) + u64(0) + u64(0)
        out += u64(len(written)) + b"".join(lp(k) + lp(v) for k, v in written)
        out += u64(len(removed)) + b"".join(map(lp, removed))
    return out


@given(write_sets)
def test_encoding_is_by_the_book(maps: Changes) -> None:
    assert encode(maps) == (by_the_book(maps, True), by_the_book(maps, False))


@given(write_sets)
def test_round_trip(maps: Changes) -> None:
    public, private = encode(maps)
    assert decode(public) | decode(private) == maps
    assert all(name.startswith("public:") for name in decode(public))
    assert not any(name.startswith("public:") for name in decode(private))


@given(write_sets.filter(bool), st.data())
def test_cut_off_or_followed_by_more(maps: Changes, data: st.DataObject) -> None:
    """A prefix is accepted only where a section ends, and then holds the maps before."""
    whole = b"".join(encode(maps))
    end = data.draw(st.integers(0, len(whole)))
    try:
        found = decode(encode(maps)[0][:end])
    except InvalidLedger:
        pass
    else:
        assert found.items() <= maps.items()
    for tail in (b"\0", u64(0), whole):
        for domain in encode(maps):
            if domain:
                try:
                    decode(domain + tail)
                except InvalidLedger:
                    continue
                raise AssertionError("trailing bytes were taken")


@given(write_sets.filter(bool), st.data())
def test_one_byte_changed(maps: Changes, data: st.DataObject) -> None:
    """Either refused, or it is the encoding of what it is read as, but for what is skipped.

    Skipped is the read version, which may hold the changed byte, and whatever a changed count turns
    into a read section, which makes the encoding shorter.
    """
    whole = bytearray(next(domain for domain in encode(maps) if domain))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        found = decode(bytes(whole))
    except InvalidLedger:
        return
    if all(found.values()):
        again = b"".join(b"".join(encode({name: content})) for name, content in found.items())
        assert len(again) <= len(whole)
        if len(again) == len(whole):
            assert sum(a != b for a, b in zip(again, whole, strict=True)) <= 1


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_do_anything_else(data: bytes) -> None:
    try:
        found = decode(data)
    except InvalidLedger:
        return
    assert data == b"" or found
