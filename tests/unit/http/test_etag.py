from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyccf.errors import RpcError
from pyccf.http.etag import is_unchanged, parse, quoted
from pyccf.http.message import Request


def asked(method: str = "PUT", **headers: str) -> Request:
    return Request(method, "/x", {n.replace("_", "-"): v for n, v in headers.items()}, b"")


def test_without_conditions_everything_goes() -> None:
    assert not is_unchanged(asked(), "a")
    assert not is_unchanged(asked("GET"), None)


@pytest.mark.parametrize("header", ['"a"', '"b", "a"', " * ", "*", '"a" ,"b"'])
def test_if_match_holds(header: str) -> None:
    assert not is_unchanged(asked(if_match=header), "a")


@pytest.mark.parametrize("header", ['"b"', 'W/"a"', '"A"'])
def test_if_match_fails(header: str) -> None:
    with pytest.raises(RpcError, match='has the entity tag "a"') as caught:
        is_unchanged(asked(if_match=header), "a")
    assert (caught.value.status, caught.value.code) == (412, "PreconditionFailed")


def test_nothing_matches_what_does_not_exist() -> None:
    for header in ("*", '"a"'):
        with pytest.raises(RpcError, match="does not exist"):
            is_unchanged(asked(if_match=header), None)
        assert not is_unchanged(asked(if_none_match=header), None)


@pytest.mark.parametrize("header", ['"a"', 'W/"a"', "*", '"b", W/"a"'])
def test_if_none_match(header: str) -> None:
    assert is_unchanged(asked("GET", if_none_match=header), "a")
    assert is_unchanged(asked("HEAD", if_none_match=header), "a")
    with pytest.raises(RpcError) as caught:
        is_unchanged(asked("POST", if_none_match=header), "a")
    assert caught.value.status == 412
    if header != "*":
        assert not is_unchanged(asked("POST", if_none_match=header), "c")


@pytest.mark.parametrize(
    "header", ["", "a", '"a', '"a" "b"', '"a",', ',"a"', '"a";', '*, "a"', '"\n"']
)
@pytest.mark.parametrize("name", ["if_match", "if_none_match"])
def test_what_is_no_list_of_tags_is_refused(name: str, header: str) -> None:
    for present in ("a", None):
        if present is None and name == "if_match":
            continue
        with pytest.raises(RpcError) as caught:
            is_unchanged(asked(**{name: header}), present)
        assert (caught.value.status, caught.value.code) == (400, "InvalidHeaderValue")


def test_what_cannot_be_a_tag() -> None:
    for tag in ('"', "a b", "\n", "\x00"):
        with pytest.raises(ValueError, match="cannot be an entity tag"):
            quoted(tag)


@given(st.lists(st.text(st.characters(min_codepoint=0x23, max_codepoint=0x7E)), min_size=1))
def test_lists_are_read_as_written(tags: list[str]) -> None:
    header = ", ".join(quoted(tag) for tag in tags)
    assert parse("if-match", header) == tuple(quoted(tag) for tag in tags)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse("if-match", text)
    except RpcError as e:
        found = (str(e.status),)
    assert found in (("*",), ("400",)) or all(tag.endswith('"') for tag in found)
