"""No test runs against compiled modules that are older than their sources, or by the clock."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import pyccf

# How fast and how easily examples are made says how busy the machine and how lucky the run is.
settings.register_profile(
    "pyccf",
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)
settings.load_profile("pyccf")


def stale(package: Path) -> list[Path]:
    """Sources beside which something older was compiled, which Python would use instead."""
    old = []
    for compiled in sorted(package.rglob("*.so")):
        source = compiled.with_name(f"{compiled.name.partition('.')[0]}.py")
        sources = [source] if source.exists() else sorted(compiled.parent.glob("native/*"))
        made = compiled.stat().st_mtime_ns
        old += [each for each in sources if each.stat().st_mtime_ns > made]
    return old


def pytest_configure() -> None:
    """Stop at once rather than test what is not in the sources."""
    old = stale(Path(pyccf.__file__).parent)
    if old:
        names = ", ".join(source.name for source in old)
        raise pytest.UsageError(
            f"compiled modules are older than their sources: {names}. Run `make -B install`, or"
            " `PYCCF_PURE=1 make -B install` to work without compiled modules."
        )
