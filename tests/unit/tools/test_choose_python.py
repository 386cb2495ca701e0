"""`tools/choose-python`, and how the Makefile uses it.

The interpreters are the one that runs the tests, made to say other things about themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
CHOOSE = PROJECT / "tools" / "choose-python"

# As recorded by builds of these origins, shortened.
PYENV = "'--prefix=/home/u/.pyenv/versions/3.11.7' '--enable-shared' 'LDFLAGS=-L/home/u/lib'"
PYENV_OPTIMISED = "'--prefix=/home/u/.pyenv/versions/3.11.7' '--enable-optimizations' '--with-lto'"
DOCKER = "'--build=x86_64-linux-gnu' '--enable-loadable-sqlite-extensions' '--enable-optimizations'"
FEDORA = "'--with-lto' '--without-static-libpython' '--without-ensurepip' '--enable-optimizations'"
STANDALONE = "'--prefix=/install' '--enable-shared' '--enable-optimizations' '--with-lto'"
DEBIAN = "'--enable-shared' '--prefix=/usr' '--with-dbmliborder=bdb:gdbm' '--without-ensurepip'"

PRETEND = """
import importlib.util, pathlib, sys, sysconfig
sys.executable = {path!r}
sys.version_info = ({version}, 0, "final", 0)
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == {without!r} else find(name)
sysconfig.get_config_var = {{"CONFIG_ARGS": {configured!r}}}.get
sysconfig.get_path = lambda name: {include!r}
sysconfig.get_scheme_names = lambda: ("posix_prefix", *{schemes!r})
if "-m" not in sys.argv:
    exec(sys.argv[-1])
else:
    made = pathlib.Path(sys.argv[-1])
    (made / "bin").mkdir(parents=True)
    (made / "maker").write_text({path!r})
    for tool in ("python", "pip"):
        (made / "bin" / tool).write_text("#!/bin/sh")
        (made / "bin" / tool).chmod(0o755)
"""


@dataclass(frozen=True, slots=True)
class Interpreters:
    """Makes executables that speak like a certain Python."""

    folder: Path

    def __call__(
        self,
        name: str,
        configured: str | None = PYENV,
        *,
        version: str = "3, 11",
        without: str = "",
        headers: bool = True,
        schemes: tuple[str, ...] = (),
    ) -> str:
        include = self.folder / ("include" if headers else "empty")
        path = self.folder / name / "python3"
        path.parent.mkdir(parents=True)
        path.with_suffix(".py").write_text(
            PRETEND.format(
                path=str(path),
                version=version,
                without=without,
                configured=configured,
                include=str(include),
                schemes=schemes,
            )
        )
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {path}.py "$@"\n')
        path.chmod(0o755)
        return str(path)


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreters:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "Python.h").touch()
    return Interpreters(tmp_path)


def choose(*candidates: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(CHOOSE), *candidates], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("configured", "schemes"),
    [
        pytest.param(PYENV_OPTIMISED, (), id="pyenv, told to optimise"),
        pytest.param(DOCKER, (), id="docker"),
        pytest.param(FEDORA, (), id="fedora"),
        pytest.param(STANDALONE, (), id="standalone"),
        pytest.param(DEBIAN, ("deb_system", "posix_local"), id="debian"),
    ],
)
def test_optimised_build_is_preferred(
    interpreter: Interpreters, configured: str, schemes: tuple[str, ...]
) -> None:
    plain = interpreter("plain")
    optimised = interpreter("optimised", configured, schemes=schemes)
    chosen = choose(plain, optimised)
    assert (chosen.returncode, chosen.stdout) == (0, f"{optimised}\n")
    assert chosen.stderr.count("\n") == 1
    assert f"{plain} (3.11.0) was built without optimisation" in chosen.stderr


@pytest.mark.parametrize("configured", [PYENV, PYENV_OPTIMISED, None])
def test_among_equals_the_first_is_taken_without_a_word(
    interpreter: Interpreters, configured: str | None
) -> None:
    first = interpreter("first", configured)
    chosen = choose(first, interpreter("second", configured))
    assert (chosen.returncode, chosen.stdout, chosen.stderr) == (0, f"{first}\n", "")


def test_the_first_stays_when_it_is_the_optimised_one(interpreter: Interpreters) -> None:
    first = interpreter("first", DOCKER)
    chosen = choose(first, interpreter("second"))
    assert (chosen.returncode, chosen.stdout, chosen.stderr) == (0, f"{first}\n", "")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"version": "3, 10"}, "(3.10.0) is older than 3.11"),
        ({"version": "3, 6", "without": "venv"}, "is older than 3.11, has no module venv"),
        ({"without": "ensurepip"}, "(3.11.0) has no module ensurepip"),
        ({"headers": False}, "(3.11.0) has no headers (Python.h)"),
    ],
)
def test_what_lacks_something_is_passed_over(
    interpreter: Interpreters, fault: dict[str, str | bool], said: str
) -> None:
    unfit = interpreter("unfit", DOCKER, **fault)  # type: ignore[arg-type]
    plain = interpreter("plain")
    chosen = choose(unfit, plain)
    assert (chosen.returncode, chosen.stdout) == (0, f"{plain}\n")
    assert chosen.stderr.startswith(f"Taking {plain} (3.11.0): {unfit} ")
    assert said in chosen.stderr
    assert "without optimisation" not in chosen.stderr

    none = choose(unfit)
    assert (none.returncode, none.stdout) == (1, "")
    assert said in none.stderr


def test_none_at_all_is_an_error_of_two_lines(interpreter: Interpreters, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no version is set' >&2\nexit 127\n")
    broken.chmod(0o755)
    chosen = choose(str(broken), str(tmp_path / "absent"), interpreter("old", version="3, 9"))
    assert (chosen.returncode, chosen.stdout) == (1, "")
    first, second = chosen.stderr.splitlines()
    for name in ("broken", "absent"):
        assert f"{tmp_path / name} is absent or does not start" in first
    assert "is older than 3.11" in first
    assert "apt-get install python3 python3-venv python3-dev" in second
    assert "PYTHON=" in second


def make(*arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    """Runs make with `path`'s folder in front of PATH; the variables it could inherit are unset."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHON", "MAKEFLAGS")}
    env["PATH"] = f"{Path(path).parent}:{env['PATH']}"
    command = ["make", "-C", str(PROJECT), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_make_takes_the_one_on_path_or_the_one_named(
    interpreter: Interpreters, tmp_path: Path
) -> None:
    on_path = interpreter("path", DOCKER)
    named = interpreter("named", version="3, 9")
    for name, arguments in ((on_path, ()), (named, (f"PYTHON={named}",))):
        venv = tmp_path / "venv" / Path(name).parent.name
        made = make("install", f"VENV={venv}", *arguments, path=on_path)
        assert made.returncode == 0, made.stderr
        assert (venv / "maker").read_text() == name


def test_make_leaves_an_environment_as_it_is(interpreter: Interpreters, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    first = interpreter("first", DOCKER)
    assert make("install", f"VENV={venv}", path=first).returncode == 0
    second = interpreter("second", DOCKER)
    again = make("--always-make", "install", f"VENV={venv}", f"PYTHON={second}", path=second)
    assert again.returncode == 0, again.stderr
    assert (venv / "maker").read_text() == first


def test_make_stops_when_there_is_none(interpreter: Interpreters, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    old = interpreter("old", version="3, 9")
    made = make("install", f"VENV={venv}", f"PYTHONS={old}", path=old)
    assert made.returncode != 0
    assert "is older than 3.11" in made.stderr
    assert not venv.exists()


def test_help_asks_no_interpreter(interpreter: Interpreters, tmp_path: Path) -> None:
    broken = interpreter("broken")
    Path(broken).write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\n")
    assert make("help", path=broken).returncode == 0
    assert not (tmp_path / "asked").exists()
