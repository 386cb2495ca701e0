"""pyccf.shell.config_reader: what a key may hold, asked one by one."""

from __future__ import annotations

from enum import Enum

import pytest

from pyccf.errors import ConfigError
from pyccf.shell.config_reader import VALUE_SHOWN_MAX, Reader, decode, shown
from pyccf.shell.config_schema import Address
from pyccf.types import Json


class Colour(Enum):
    RED = "Red"
    BLUE = "Blue"


def reader(active: bool = True, **data: Json) -> Reader:
    return Reader(data, "a.b", active, [])


def test_values_by_kind() -> None:
    r = reader(t="x", n=1, f=True, c="Blue", s="2KB", w="3ms", p="h:1", l=["x"], o={"k": "v"})
    assert r.text("t") == "x"
    assert r.integer("n", 0) == 1
    assert r.flag("f", False)
    assert r.choice("c", Colour, Colour.RED) is Colour.BLUE
    assert r.size("s", 0) == 2048
    assert (r.time_us("w", 0), r.time_ms("w")) == (3000, 3)
    assert r.address("p") == Address("h", 1)
    assert r.texts("l") == ("x",)
    assert r.section("o").text("k") == "v"
    r.done()


def test_defaults() -> None:
    r = reader()
    assert r.text("t", "x") == "x"
    assert r.integer("n", 7) == 7
    assert r.flag("f", True)
    assert r.choice("c", Colour, Colour.RED) is Colour.RED
    assert r.size("s", 5) == 5
    assert (r.time_us("w", 5), r.time_ms("w", 6)) == (5, 6)
    assert r.optional_address("p") is None
    assert r.texts("l") == ()
    assert r.sections("o") == []
    assert not r.section("o").present
    assert r.nullable("t", r.text, "d") == "d"


def test_null_where_it_is_allowed() -> None:
    r = reader(t=None, p="")
    assert r.nullable("t", r.text, "d") is None
    assert r.optional_address("p") is None
    with pytest.raises(ConfigError, match=r"^a\.b\.t: found null$"):
        r.text("t")


def test_an_object_not_in_force_is_judged_by_type_only() -> None:
    r = reader(active=False, n=-1, c="Green", s="?", p="h:x", unheard=1)
    assert r.integer("n", 0) == -1
    assert r.choice("c", Colour, None) is Colour.RED
    assert r.size("s", 9) == 9
    assert r.address("p") == Address("", 0)
    assert r.text("missing") == ""
    r.done()
    with pytest.raises(ConfigError, match=r"^a\.b\.n: found -1$"):
        r.text("n")


def test_unknown_keys_are_refused_or_noted() -> None:
    ignored: list[str] = []
    r = Reader({"k": 1, "x": 2}, "a", True, ignored)
    r.integer("k", 0)
    with pytest.raises(ConfigError, match=r"^a\.x: unknown key$") as caught:
        r.done()
    assert caught.value.hint == "Allowed in a: k."
    r.pass_over_unknown()
    assert ignored == ["a.x"]


def test_long_values_are_cut_in_errors() -> None:
    assert len(shown("x" * 1000)) == VALUE_SHOWN_MAX
    with pytest.raises(ConfigError) as caught:
        reader(n="x" * 1000).integer("n", 0)
    assert len(caught.value.message) < 100


def test_decode_names_the_file_and_the_place() -> None:
    with pytest.raises(ConfigError, match=r"node\.json: .*line 2 column 1"):
        decode('{"a": 1\n"b"}', "node.json")
    assert decode("{}", "x") == {}
