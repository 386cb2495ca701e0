"""What the platform of a process may be, and what is said where protection may be expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.errors import LocalError
from pyccf.shell import platform
from pyccf.shell.config_schema import Attestation, EndorsementServer


def test_the_virtual_platform_is_what_there_is() -> None:
    platform.check({})
    platform.check({"CCF_PLATFORM_OVERRIDE": "Virtual"})


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("SNP", "cannot make evidence of SEV-SNP"), ("snp", "not a platform"), ("", "not a platform")],
)
def test_another_platform_is_refused(wanted: str, message: str) -> None:
    with pytest.raises(LocalError, match=message) as caught:
        platform.check({"CCF_PLATFORM_OVERRIDE": wanted})
    assert caught.value.hint


def test_hardware_that_is_not_used_is_told(tmp_path: Path) -> None:
    device = tmp_path / "sev-guest"
    assert platform.warnings(Attestation(), {}, str(device)) == []
    device.touch()
    (warning,) = platform.warnings(Attestation(), {}, str(device))
    assert warning.startswith(f"{device} is there, but is not used")
    chosen = {"CCF_PLATFORM_OVERRIDE": "Virtual"}
    assert platform.warnings(Attestation(), chosen, str(device)) == []


def test_settings_without_effect_are_told(tmp_path: Path) -> None:
    given = Attestation(
        snp_uvm_endorsements_file="a", snp_endorsements_servers=(EndorsementServer(url="h:1"),)
    )
    assert platform.warnings(given, {}, str(tmp_path / "none")) == [
        "attestation.snp_uvm_endorsements_file, attestation.snp_endorsements_servers without"
        " effect: this node runs on the virtual platform, which protects nothing"
    ]
