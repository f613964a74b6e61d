from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgetool.system import forget_old_shapes, spread_small_products, without_amx


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


def test_onednn_keeps_few_programs_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    forget_old_shapes()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    forget_old_shapes()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "32"


@pytest.mark.parametrize(("built", "repacks"), [(b"AMX_INT8 = 1 | SSE3 = 1", False), (b"", True)])
def test_llama_cpp_keeps_off_amx_where_it_was_built_with_it(
    built: bytes, repacks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama_cpp = pytest.importorskip("llama_cpp.llama_cpp")
    monkeypatch.setattr(llama_cpp, "llama_print_system_info", lambda: built)
    with without_amx():
        assert llama_cpp.llama_model_default_params().use_extra_bufts == repacks


def test_a_model_that_cannot_be_opened_leaves_llama_cpps_defaults_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    llama_cpp = pytest.importorskip("llama_cpp.llama_cpp")
    monkeypatch.setattr(llama_cpp, "llama_print_system_info", lambda: b"AMX_INT8 = 1")
    before = llama_cpp.llama_model_default_params
    with pytest.raises(ValueError, match="damaged"), without_amx():
        raise ValueError("damaged")
    assert llama_cpp.llama_model_default_params is before
