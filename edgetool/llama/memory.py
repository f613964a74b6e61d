"""How much memory llama.cpp will take for a GGUF file, from its header alone.

This is the one estimate: the engine's number of sequences, the layers that go to a GPU, the start
of a llama-server and what `serve` announces all come from it. Its parts follow llama.cpp's own
allocations, which tests hold it against:

    weights   the file. Where llama.cpp repacks matrices for the processor, the copy takes the place
              of pages of the file, which the system takes back when it needs them.
    cache     keys and values of each layer that has any, for cells in steps of 256
    compute   the larger of what attention and what the logits take for one micro-batch
    output    logits that a decoding step hands out
    working   both processes beside those
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetool.gguf_header import TOKENS, read_header
from edgetool.llama.load import CHUNK

# What the KV caches of several sequences may take together; one sequence may take what it needs.
CACHE_BYTES = 2**30
# Both processes beside weights, cache and buffers: 170 MiB were measured with nano, and so many
# bytes more for each token of a large vocabulary.
WORKING_BYTES, WORKING_BYTES_PER_TOKEN = 170 * 2**20, 600
_CELLS = 256  # llama.cpp rounds a cache up to whole multiples
_HALF, _FLOAT = 2, 4  # bytes of a number in the cache and in a buffer
# Every so manieth layer sees all tokens where the header does not say it, as llama.cpp has it.
_MOST_BLOCKS = 1_000  # a header may claim any number
_WINDOW_PATTERNS = {"gemma2": 2, "gemma3": 6}
ALL_LAYERS = -1  # as llama.cpp has it
# What is left for the rest of the machine: a desktop lives on the same card.
_SHARE = 0.9
_GPU_TYPES = (1, 2)  # GGML_BACKEND_DEVICE_TYPE_GPU and _IGPU


@dataclass(frozen=True)
class Opening:
    """How llama.cpp is opened, as far as it takes memory.

    batch           tokens that go through the model at once
    whole_windows   layers with a sliding window keep all tokens, so that a prompt can be taken back
    scores          attention scores are written out: no flash attention
    """

    batch: int = CHUNK
    whole_windows: bool = True
    scores: bool = True


OURS = Opening()
LLAMA_SERVER = Opening(batch=512, whole_windows=False, scores=False)


@dataclass(frozen=True)
class Layer:
    """One layer's part of a cache: bytes a token, and how many tokens back it looks.

    window   0: all
    """

    per_token: int
    window: int = 0


@dataclass(frozen=True)
class Footprint:
    """What a model takes, in bytes.

    weights      the file
    layers       those that keep keys and values, or the recurrent state in their place
    state        recurrent state of one sequence
    blocks       how many layers the model has, 0 where the header does not say
    heads        of queries; `head_size` numbers each, and `kept_size` of keys and values in all
    context      tokens it was trained on; 0: not told
    """

    weights: int
    layers: tuple[Layer, ...] = ()
    state: int = 0
    blocks: int = 0
    heads: int = 0
    head_size: int = 0
    kept_size: int = 0
    embedding: int = 0
    feed_forward: int = 0
    vocabulary: int = 0
    context: int = 0

    def cells(self, context: int) -> int:
        """Tokens a sequence's cache has room for."""
        context = min(context, self.context or context)
        return -(-context // _CELLS) * _CELLS

    def cache(self, context: int, opening: Opening = OURS) -> int:
        """Bytes of one sequence's keys, values and state."""
        cells = self.cells(context)

        def of(layer: Layer) -> int:
            if not layer.window or opening.whole_windows:
                return cells
            return min(cells, self.cells(layer.window + opening.batch))

        return self.state + sum(layer.per_token * of(layer) for layer in self.layers)

    def compute(self, context: int, sequences: int, opening: Opening = OURS) -> int:
        """Bytes of the buffer that one micro-batch is computed in."""
        cells, batch = self.cells(context), max(opening.batch, sequences)
        masks = 1 + any(layer.window for layer in self.layers)
        scores = cells * (masks + (self.heads if opening.scores else 0))
        attention = scores + 2 * self.heads * self.head_size + self.kept_size + 3 * self.embedding
        feed_forward = 3 * self.feed_forward + 3 * self.embedding
        logits = self.vocabulary + 2 * self.embedding
        return _FLOAT * batch * max(attention, feed_forward, logits)

    def output(self, sequences: int, opening: Opening = OURS) -> int:
        """Bytes of the logits that one decoding step may hand out: guesses fill a micro-batch."""
        return _FLOAT * self.vocabulary * max(opening.batch, sequences)

    def buffers(self, context: int, sequences: int, opening: Opening = OURS) -> int:
        """Bytes that are there once, whatever the number of layers."""
        return self.compute(context, sequences, opening) + self.output(sequences, opening)

    @property
    def working(self) -> int:
        return WORKING_BYTES + WORKING_BYTES_PER_TOKEN * self.vocabulary

    def needed(self, context: int, sequences: int, opening: Opening = OURS) -> int:
        """Bytes for writing up to `sequences` completions at once, of `context` tokens each."""
        sequences = self.affordable(context, sequences, opening)
        caches = sequences * self.cache(context, opening)
        buffers = self.buffers(context, sequences, opening)
        return self.weights + caches + buffers + self.working

    def affordable(self, context: int, sequences: int, opening: Opening = OURS) -> int:
        """At most `sequences`, at least one: so many that their caches fit CACHE_BYTES."""
        return max(1, min(sequences, CACHE_BYTES // max(1, self.cache(context, opening))))


def footprint(path: Path) -> Footprint:
    """What the header says; a header that makes no sense leaves the file's size."""
    weights, header = path.stat().st_size, _Header(read_header(path))
    if not header.blocks:
        return Footprint(weights)
    layers = [header.layer(number) for number in range(header.blocks)]
    recurrent = layers.count(0)
    return Footprint(
        weights,
        layers=tuple(
            Layer(per_token, header.window(number)) for number, per_token in enumerate(layers)
        ),
        state=recurrent * header.state,
        blocks=header.blocks,
        heads=max(header.each("attention.head_count")),
        head_size=header.head_sizes(0)[0],
        kept_size=max(layers) // _HALF,
        embedding=header.one("embedding_length"),
        feed_forward=header.feed_forward,
        vocabulary=header.vocabulary,
        context=header.one("context_length"),
    )


class _Header:
    """A header's numbers by their names without the architecture; of some there is one a layer."""

    def __init__(self, found: Mapping[str, object]) -> None:
        self._found, self._name = found, str(found.get("general.architecture"))
        self.blocks = min(self.one("block_count"), _MOST_BLOCKS)

    def one(self, key: str, default: int = 0) -> int:
        found = self._found.get(f"{self._name}.{key}", default)
        found = max(found, default=0) if isinstance(found, list) else found
        return found if isinstance(found, int) and found >= 0 else default

    def each(self, key: str, default: int = 0) -> Sequence[int]:
        found = self._found.get(f"{self._name}.{key}")
        if isinstance(found, list) and len(found) >= self.blocks:
            return [int(one) for one in found[: self.blocks]]
        return [self.one(key, default)] * self.blocks

    @property
    def vocabulary(self) -> int:
        tokens = self._found.get(TOKENS)
        return tokens if isinstance(tokens, int) else self.one("vocab_size")

    @property
    def feed_forward(self) -> int:
        """Width of what one token goes through; of experts, those that are used."""
        used = self.one("expert_used_count") * self.one("expert_feed_forward_length")
        return max(self.one("feed_forward_length"), used)

    def head_sizes(self, number: int) -> tuple[int, int]:
        """How wide a head's keys and values are in a layer."""
        wide = self.one("embedding_length") // max(1, max(self.each("attention.head_count")))
        sizes = [self.one(f"attention.{kind}_length", wide) for kind in ("key", "value")]
        if self.window(number):
            sizes = [
                self.one(f"attention.{kind}_length_swa", size)
                for kind, size in zip(("key", "value"), sizes, strict=True)
            ]
        return sizes[0], sizes[1]

    def layer(self, number: int) -> int:
        """Bytes of a token's keys and values in a layer; 0 for one that keeps none."""
        interval = self.one("full_attention_interval")
        shared = self.one("attention.shared_kv_layers")
        if (interval and (number + 1) % interval) or number >= self.blocks - shared:
            return 0
        heads = self.each("attention.head_count_kv", max(self.each("attention.head_count")))
        return _HALF * heads[number] * sum(self.head_sizes(number))

    def window(self, number: int) -> int:
        """How many tokens a layer sees; 0: all."""
        size = self.one("attention.sliding_window")
        pattern = self._found.get(
            f"{self._name}.attention.sliding_window_pattern", _WINDOW_PATTERNS.get(self._name)
        )
        if isinstance(pattern, list):
            return size if number < len(pattern) and pattern[number] else 0
        every = pattern if isinstance(pattern, int) else 0
        return size if every and (number + 1) % every else 0

    @property
    def state(self) -> int:
        """Bytes of a recurrent layer's state for one sequence."""
        inner, size = self.one("ssm.inner_size"), self.one("ssm.state_size")
        mixed = inner + 2 * self.one("ssm.group_count") * size
        convolved = max(0, self.one("ssm.conv_kernel") - 1) * mixed
        short = max(0, self.one("shortconv.l_cache") - 1) * self.one("embedding_length")
        return _FLOAT * (convolved + short + inner * size)


def readable(size: float) -> str:
    """Bytes as people say them: "1.4 GiB"."""
    unit = "GiB" if size >= 2**30 else "MiB"
    return f"{size / (2**30 if unit == 'GiB' else 2**20):.1f} {unit}"


def gpu_layers(path: Path, context: int, sequences: int) -> int:
    """ALL_LAYERS where the model fits the free memory of the GPUs, else as many layers as do.

    0 where llama.cpp was built without a GPU backend, or finds no GPU.
    """
    import llama_cpp

    if not llama_cpp.llama_supports_gpu_offload():
        return 0
    return layers_that_fit(footprint(path), free_gpu_bytes(), context, sequences)


def layers_that_fit(model: Footprint, free: int, context: int, sequences: int) -> int:
    """Layers that `free` bytes hold, each with its part of the weights and of the cache."""
    room = int(free * _SHARE)
    needed = model.needed(context, sequences)
    if needed <= room:
        return ALL_LAYERS
    once = model.working + model.buffers(context, sequences)
    # the output is as good as one layer more
    each = (needed - once) // (model.blocks + 1)
    return max(0, (room - once) // each) if model.blocks else 0


def free_gpu_bytes() -> int:
    """Free memory of all GPUs that llama.cpp sees.

    llama-cpp-python has no names for ggml's devices, so they are asked through its library.
    """
    from llama_cpp._ggml import libggml as ggml

    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    total = 0
    for number in range(ggml.ggml_backend_dev_count()):
        device = ctypes.c_void_p(ggml.ggml_backend_dev_get(ctypes.c_size_t(number)))
        if ggml.ggml_backend_dev_type(device) in _GPU_TYPES:
            free, whole = ctypes.c_size_t(), ctypes.c_size_t()
            ggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(whole))
            total += free.value
    return total
