from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgetool.cpu import spread_small_products


def told_mkl(vendor: str, folder: Path) -> str | None:
    cpuinfo = folder / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nvendor_id : {vendor}\n", encoding="ascii")
    spread_small_products(cpuinfo)
    return os.environ.get("MKL_CBWR")


@pytest.mark.parametrize(("vendor", "expected"), [("AuthenticAMD", "AUTO"), ("GenuineIntel", None)])
def test_mkl_is_told_on_amd_alone(
    vendor: str, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKL_CBWR", "")  # so that it is put back afterwards
    monkeypatch.delenv("MKL_CBWR")
    assert told_mkl(vendor, tmp_path) == expected


def test_what_the_user_told_mkl_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert told_mkl("AuthenticAMD", tmp_path) == "COMPATIBLE"


def test_a_system_without_cpuinfo_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKL_CBWR", "")
    monkeypatch.delenv("MKL_CBWR")
    spread_small_products(tmp_path / "nothing")
    assert "MKL_CBWR" not in os.environ
