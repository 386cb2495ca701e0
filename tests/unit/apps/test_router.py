from __future__ import annotations

import time

import pytest

from pyccf.apps.router import AmbiguousPath, Endpoint, Templates, allow_header, compile_template


def endpoint(verb: str, path: str) -> Endpoint:
    return Endpoint(verb=verb, path=path, execute=lambda ctx: None)


def table(*rows: tuple[str, str]) -> Templates:
    templates = Templates()
    for verb, path in rows:
        templates.add(endpoint(verb, path))
    return templates


def test_parameters_stop_at_slashes_and_at_what_follows() -> None:
    found = table(("POST", "/members/{memberId}:ack")).find("POST", "/members/ab:ack")
    assert found is not None
    assert found[1] == {"memberId": "ab"}
    assert table(("GET", "/log/{id}")).find("GET", "/log/a/b") is None
    assert table(("GET", "/log/{id}")).find("GET", "/log/") is None


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/files/{name}.{ext}", "/files/{}.txt"),
        ("/{a}.{b}.{c}.{d}", "/{}.1.2.3"),
        ("/{a}{b}", "/{}b"),
        ("/{a}{b}{c}{d}{e}{f}", "/{}bcdef"),
    ],
)
def test_no_path_takes_long_to_match(template: str, path: str) -> None:
    """A dot is any character, so that a long text could be divided in very many ways."""
    routes = table(("GET", template))
    assert routes.find("GET", path.format("a" * 10)) is not None
    started = time.monotonic()
    assert routes.find("GET", path.format("a" * 500_000) + "/") is None
    for n in range(20, 3000, 300):
        assert routes.find("GET", path.format("a" * n) + "/") is None
    assert time.monotonic() - started < 10


def test_long_parameters_match_where_they_end_in_one_place() -> None:
    routes = table(("GET", "/files/{name}:{kind}/{rest}"))
    assert routes.find("GET", f"/files/{'a' * 100_000}:b/{'c' * 100_000}") is not None


def test_a_colon_belongs_to_a_parameter_at_the_end() -> None:
    found = table(("GET", "/echo/{a}"), ("POST", "/echo/{a}:act")).find("GET", "/echo/abc:act")
    assert found is not None
    assert found[1] == {"a": "abc:act"}


def test_exact_paths_win_over_templates() -> None:
    found = table(("GET", "/x/{a}"), ("GET", "/x/commit")).find("GET", "/x/commit")
    assert found is not None
    assert found[0].path == "/x/commit"


def test_two_matching_templates_are_an_error_that_names_both() -> None:
    templates = table(("GET", "/x/{a}"), ("GET", "/{b}/y"))
    with pytest.raises(AmbiguousPath) as e:
        templates.find("GET", "/x/y")
    assert str(e.value) == "Multiple potential matches for path: /x/y\n  /x/{a}\n  /{b}/y"


@pytest.mark.parametrize("template", ["/a/{b", "/a/{b}/{b}"])
def test_malformed_templates_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"parameter|bracket"):
        compile_template(template)


@pytest.mark.parametrize("template", ["/[{id}", "/{id}(", "/{id}/*?**"])
def test_templates_that_are_no_pattern_are_refused(template: str) -> None:
    """What is not a parameter is used as a regular expression, and may be none."""
    with pytest.raises(ValueError, match="Invalid templated path"):
        compile_template(template)


def test_the_last_registration_counts() -> None:
    templates = table(("GET", "/x/{a}"), ("GET", "/x/{a}"))
    assert len(templates.all()) == 1
    assert templates.find("GET", "/x/1") is not None


def test_verbs_are_listed_in_the_parsers_order() -> None:
    templates = table(("PATCH", "/x"), ("POST", "/x"), ("DELETE", "/{a}"), ("GET", "/x"))
    assert allow_header(templates.verbs("/x")) == "OPTIONS, DELETE, GET, POST, PATCH"
