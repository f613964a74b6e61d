"""What a model is said to take, beside what llama.cpp takes."""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgetool.export.export import export_gguf
from edgetool.llama import load
from edgetool.llama.engine import Engine
from edgetool.llama.memory import (
    CACHE_BYTES,
    LLAMA_SERVER,
    WORKING_BYTES,
    WORKING_BYTES_PER_TOKEN,
    Footprint,
    Layer,
    footprint,
)
from tests.export.conftest import make_model  # noqa: F401 - a fixture
from tests.server.hosted import Hosted, tools_file

MIB = 2**20
ROUNDED = 0.02 * MIB  # the log has two digits
WINDOWS = {"sliding_window": 512, "use_sliding_window": True, "num_hidden_layers": 6}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "heads as wide as hidden / heads": ("Llama", {}),
    "wide heads": ("Qwen3", {"head_dim": 128}),
    "wide heads, many of them": (
        "Qwen3",
        {"head_dim": 128, "num_attention_heads": 16, "num_key_value_heads": 8},
    ),
    "narrow heads": ("Llama", {"head_dim": 32}),
    "sliding windows": ("Gemma3", {**WINDOWS, "head_dim": 128, "query_pre_attn_scalar": 128}),
}


@contextmanager
def _heard(lines: list[str]) -> Iterator[list[str]]:
    """As `load.listening`, with all that llama.cpp says."""
    import llama_cpp
    from llama_cpp._logger import llama_log_callback

    @llama_cpp.llama_log_callback
    def note(_: int, text: bytes, __: Any) -> None:
        lines.append(text.decode("utf-8", "replace"))

    llama_cpp.llama_log_set(note, ctypes.c_void_p(0))
    try:
        yield []
    finally:
        llama_cpp.llama_log_set(llama_log_callback, ctypes.c_void_p(0))


@pytest.fixture()
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[float]]:
    """MiB of all buffers of a kind that llama.cpp spoke of, in their order."""
    lines: list[str] = []
    monkeypatch.setattr(load, "listening", lambda: _heard(lines))

    def sizes(kind: str) -> list[float]:
        return [
            float(one) for one in re.findall(rf"{kind} buffer size = +([\d.]+)", "".join(lines))
        ]

    return sizes


@pytest.fixture(scope="module")
def shaped(make_model, tmp_path_factory) -> Callable[[str], Path]:  # noqa: F811
    made: dict[str, Path] = {}

    def file(name: str) -> Path:
        if name not in made:
            family, changes = SHAPES[name]
            folder = make_model(family, **changes)
            [written] = export_gguf(folder, None, tmp_path_factory.mktemp("shaped"), ["F16"])
            made[name] = written.path
        return made[name]

    return file


@pytest.mark.parametrize(("context", "sequences"), [(2048, 8), (1000, 3), (100, 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_cache_and_buffer_are_what_llama_cpp_allocates(shaped, told, shape, context, sequences):
    path = shaped(shape)
    found = footprint(path)
    engine = Engine(path, context, 1, sequences)
    engine.close()
    cached, computed = told("KV"), told("compute")
    parts = 2 if shape == "sliding windows" else 1  # of the first, small context, and of ours
    assert len(cached) == 2 * parts
    assert sequences * found.cache(context) == pytest.approx(sum(cached[parts:]) * MIB, abs=ROUNDED)
    # llama.cpp rounds up what several small tensors take
    close = pytest.approx(computed[-1] * MIB, rel=0.1, abs=0.13 * MIB)
    assert found.compute(context, sequences) == close


def test_nano_is_told_to_the_byte(nano_gguf, told):
    Engine(nano_gguf, 4096, 1, 8).close()
    assert 8 * footprint(nano_gguf).cache(4096) == told("KV")[-1] * MIB
    assert footprint(nano_gguf).weights == pytest.approx(told("model")[-1] * MIB, rel=0.01)


def test_llama_servers_cache_keeps_windows_only(shaped):
    import llama_cpp

    path, lines = shaped("sliding windows"), []
    with _heard(lines):
        llama = llama_cpp.Llama(str(path), n_ctx=64, verbose=False)
        del lines[:]
        asked = llama_cpp.llama_context_default_params()
        asked.n_ctx, asked.n_seq_max, asked.kv_unified = 3 * 2048, 3, False
        asked.n_ubatch, asked.swa_full = LLAMA_SERVER.batch, False
        llama_cpp.llama_free(llama_cpp.llama_init_from_model(llama._model.model, asked))
    llama.close()
    sizes = [float(one) for one in re.findall(r"KV buffer size = +([\d.]+)", "".join(lines))]
    assert 3 * footprint(path).cache(2048, LLAMA_SERVER) == sum(sizes) * MIB
    assert footprint(path).cache(2048, LLAMA_SERVER) < footprint(path).cache(2048)


def test_the_engine_opens_as_many_sequences_as_the_caches_of_wide_heads_allow(shaped, monkeypatch):
    path = shaped("wide heads, many of them")
    found = footprint(path)
    # by hand: 2 layers x 8 heads x (128 + 128) numbers of 2 bytes, 2048 cells
    assert found.cache(2048) == 2 * 8 * (128 + 128) * 2 * 2048
    monkeypatch.setattr("edgetool.llama.memory.CACHE_BYTES", 3 * found.cache(2048) + 1)
    engine = Engine(path, 2048, 1, 8)
    assert engine.sequences == 3
    engine.close()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="no /proc here")
@pytest.mark.parametrize("shape", ["wide heads, many of them", "sliding windows"])
def test_what_serve_announces_is_what_it_holds(shaped, tmp_path, shape):
    with Hosted(shaped(shape), "--tools", str(tools_file(tmp_path))) as hosted:
        announced = float(re.search(r"about ([\d.]+) MiB", hosted.said[0])[1])
        _ask_eight_times(hosted.url)
        held = sum(_proportional(pid) for pid in _family(hosted.process.pid))
    # never more than announced; less by what other processes here share of the same libraries
    assert 0.65 * announced < held < announced


def _ask_eight_times(url: str) -> None:
    """Buffers count once they were written to."""
    asked = {"messages": [{"role": "user", "content": "weather in Oslo"}], "max_tokens": 20}

    def ask(_: int) -> None:
        assert httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=60).is_success

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))


def _family(pid: int) -> Sequence[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    return [pid, *(one for child in children for one in _family(child))]


def _proportional(pid: int) -> float:
    """MiB of a process, its part of what it shares."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(re.search(r"^Pss: +(\d+)", rollup, re.MULTILINE)[1]) / 1024


def header(tmp_path: Path, architecture: str = "a", **numbers: Any) -> Footprint:
    """What a file with nothing but these keys is said to take; "__" is a dot."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    def value(given: Any) -> bytes:
        if isinstance(given, str):
            return struct.pack("<I", 8) + text(given)
        if isinstance(given, list):
            numbers = b"".join(struct.pack("<I", one) for one in given)
            return struct.pack("<IIQ", 9, 4, len(given)) + numbers
        return struct.pack("<II", 4, given)

    keys = {"general.architecture": architecture}
    keys |= {f"{architecture}.{key.replace('__', '.')}": given for key, given in numbers.items()}
    body = b"".join(text(key) + value(given) for key, given in keys.items())
    path = tmp_path / "made.gguf"
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, len(keys)) + body)
    return footprint(path)


BASE = {"block_count": 4, "embedding_length": 64, "attention__head_count": 4}


@pytest.mark.parametrize(
    ("keys", "per_token"),
    [
        # layers x heads x (keys + values) x 2 bytes
        ({}, 4 * 4 * (16 + 16) * 2),
        ({"attention__head_count_kv": 2}, 4 * 2 * (16 + 16) * 2),
        ({"attention__key_length": 128}, 4 * 4 * (128 + 16) * 2),
        ({"attention__key_length": 24, "attention__value_length": 8}, 4 * 4 * (24 + 8) * 2),
        ({"attention__head_count_kv": [1, 0, 2, 0]}, (1 + 2) * (16 + 16) * 2),
        ({"full_attention_interval": 2}, 2 * 4 * (16 + 16) * 2),
        ({"attention__shared_kv_layers": 3}, 1 * 4 * (16 + 16) * 2),
    ],
)
def test_a_token_takes_its_keys_and_values_in_each_layer_that_keeps_them(tmp_path, keys, per_token):
    assert header(tmp_path, **BASE, **keys).cache(256) == 256 * per_token


def test_layers_with_a_window_may_have_heads_of_another_width(tmp_path):
    keys = {"attention__sliding_window": 256, "attention__sliding_window_pattern": [1, 1, 1, 0]}
    found = header(tmp_path, **BASE, **keys, attention__key_length_swa=8)
    assert [layer.window for layer in found.layers] == [256, 256, 256, 0]
    assert found.cache(256) == 256 * 2 * 4 * (3 * (8 + 16) + (16 + 16))
    # llama-server keeps 256 + its 512 tokens of the first three
    wide = 2 * 4 * (3 * (8 + 16) * 768 + (16 + 16) * 4096)
    assert found.cache(4096, LLAMA_SERVER) == wide


def test_a_recurrent_state_does_not_grow_with_the_context(tmp_path):
    keys = {"ssm__conv_kernel": 4, "ssm__inner_size": 128, "ssm__state_size": 16}
    found = header(tmp_path, **BASE, **keys, ssm__group_count=2, attention__head_count_kv=[0] * 4)
    # 4 layers of floats: 3 x (128 + 2 x 2 x 16) convolved, and 128 x 16
    assert found.cache(256) == found.cache(4096) == 4 * 4 * (3 * 192 + 2048)


def test_a_context_beyond_the_training_is_not_paid_for(tmp_path):
    found = header(tmp_path, **BASE, context_length=512)
    assert found.cache(10**6) == found.cache(512)


def test_memory_is_the_file_the_caches_the_buffers_and_what_any_model_takes(nano_gguf):
    found = footprint(nano_gguf)
    # nano: 4 layers, 2 heads of keys and values, 64 wide: 4 x 2 x 128 numbers of 2 bytes
    assert found.cache(256) == 256 * 2048
    once = found.compute(4096, 2) + 4 * 64 * found.vocabulary
    working = WORKING_BYTES + WORKING_BYTES_PER_TOKEN * 640
    assert found.needed(4096, 2) == found.weights + 2 * 2048 * 4096 + once + working


def test_many_sequences_share_what_caches_may_take_together():
    model = Footprint(0, (Layer(CACHE_BYTES // 4096 // 3),))
    assert [model.affordable(4096, asked) for asked in (1, 3, 8)] == [1, 3, 3]
    assert model.affordable(10 * 4096, 8) == 1


@pytest.mark.parametrize("cut", [0, 3, 20, 40, 100, 200])
def test_a_header_that_is_cut_short_leaves_the_files_size(nano_gguf, tmp_path, cut):
    short = tmp_path / "short.gguf"
    short.write_bytes(nano_gguf.read_bytes()[:cut])
    assert footprint(short) == Footprint(cut)


def test_a_header_that_claims_much_is_not_followed(nano_gguf, tmp_path):
    whole = bytearray(nano_gguf.read_bytes()[:4096])
    whole[24:32] = b"\xff" * 8  # the length of the first key
    short = tmp_path / "claims.gguf"
    short.write_bytes(whole)
    assert footprint(short) == Footprint(4096)


@pytest.mark.parametrize("claimed", [2**32 - 1, [1, 2], [], "many"])
@pytest.mark.parametrize("key", [*BASE, "attention__head_count_kv", "context_length"])
def test_any_number_in_a_header_gives_some_estimate(tmp_path, key, claimed):
    found = header(tmp_path, **{**BASE, key: claimed})
    assert found.needed(4096, 8) > 0
    assert found.affordable(4096, 8) >= 1
