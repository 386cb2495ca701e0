"""Constitutions to start a service with: JavaScript texts, and how they go together.

A constitution is one module made of parts: actions, further actions, validate, resolve, apply
(spec: governance.md §2, §11). `sample("sandbox")` gives the parts of a ready one in order;
`text(...)` joins them as the configuration of a node would. `cases` runs tests of a constitution,
on a service in memory (`trial`); each sample has such tests in its folder. Nothing here judges a
constitution.
"""

from __future__ import annotations

from importlib import resources

from pyccf.errors import LocalError

SAMPLES = ("default", "sandbox", "veto", "operator", "operator_provisioner", "test")
"""Each differs from `default` in how proposals are resolved."""

AT_ONCE = "sandbox"
"""The one under which proposals are never voted on."""

ABOUT = {
    "default": "More than half of the active members are for it; nothing is ever rejected.",
    "sandbox": "Everything is accepted at once.",
    "veto": "One vote against rejects; else more than half of the members must vote.",
    "operator": "Operators admit operators alone; the other members decide by majority.",
    "operator_provisioner": "Provisioners appoint operators alone; the others decide by majority.",
    "test": "By majority, with shortcuts by the names of test actions.",
}
"""How each of them decides, in a line."""

EXTRAS = {
    "roles": "roles/set_role_definition.js",
    "virtual": "virtual/virtual_attestation_actions.js",
    "test": "test/test_actions.js",
}
"""Further actions that any constitution may take up."""


def sample(name: str, *extras: str) -> list[tuple[str, str]]:
    """Parts of a constitution as (file name, text), in the order in which they are joined.

    The `test` constitution always has the actions that its resolution knows. Raises LocalError for
    an unknown name.
    """
    if name not in SAMPLES:
        raise LocalError(f"No constitution named {name}", hint=f"Known: {', '.join(SAMPLES)}")
    wanted = list(extras)
    if name == "test" and "test" not in wanted:
        wanted.insert(0, "test")
    unknown = [extra for extra in wanted if extra not in EXTRAS]
    if unknown:
        raise LocalError(
            f"No further actions named {', '.join(unknown)}", hint=f"Known: {', '.join(EXTRAS)}"
        )
    parts = ["default/actions.js", *(EXTRAS[extra] for extra in wanted)]
    parts += ["default/validate.js", f"{name}/resolve.js", "default/apply.js"]
    root = resources.files(__name__)
    return [(part, root.joinpath(part).read_text(encoding="utf-8")) for part in parts]


def text(name: str, *extras: str) -> str:
    """A whole constitution as one module: its parts joined by newlines."""
    return "\n".join(part for _, part in sample(name, *extras))


def tests(name: str) -> list[tuple[str, str]]:
    """The tests that a sample, or further actions, come with: file name and text."""
    if name not in SAMPLES and name not in EXTRAS:
        raise LocalError(f"No constitution named {name}", hint=f"Known: {', '.join(SAMPLES)}")
    folder = resources.files(__name__).joinpath(name, "tests")
    found = [(one.name, one.read_text(encoding="utf-8")) for one in folder.iterdir()]
    return sorted(found)
