"""A GGUF file, header first, then tensor by tensor as they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgetool.architectures import Architecture
from edgetool.calls.prompt.thinking import THINKING_KEY
from edgetool.calls.prompt.turns import STOPS_KEY
from edgetool.calls.syntaxes import SYNTAX_KEY
from edgetool.export.gguf import ggml
from edgetool.export.gguf.metadata import Metadata
from edgetool.export.gguf.quantize import Quant, tensor_type
from edgetool.export.rope import RopeScaling
from edgetool.export.safetensors_io import Floats, require_float16
from edgetool.export.shape import Shape
from edgetool.export.tokenizer.sentencepiece import UNREACHED, Pieces
from edgetool.export.tokenizer.vocabulary import Vocabulary

QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION


@dataclass(frozen=True)
class Plan:
    """What every GGUF file of one model holds, whatever its quantization.

    tensors   shape by GGUF name, in file order
    sources   transformers name by GGUF name, for all but computed tensors
    call_syntax   the one it was trained in, where that is not the chat template's
    thinking      it was trained to think before it answers
    """

    architecture: Architecture
    shape: Shape
    vocabulary: Vocabulary
    chat_template: str
    call_syntax: str | None
    thinking: bool
    metadata: Metadata
    tensors: dict[str, tuple[int, ...]]
    sources: dict[str, str]

    def types(self, quant: Quant, *, weighed: bool = False) -> dict[str, str]:
        """The ggml type of every tensor in a file of this quantization.

        weighed   there is an importance matrix
        """
        if quant.types is not None:
            return {name: quant.types.get(name, "F32") for name in self.tensors}
        tied = "output.weight" not in self.tensors
        queries = self.shape.head_count // self.shape.head_count_kv
        return {
            name: tensor_type(
                name, shape, quant,
                layers=self.shape.block_count, tied=tied, queries_per_value=queries,
                weighed=weighed, block_size=ggml.block_size,
            )
            for name, shape in self.tensors.items()
        }  # fmt: skip

    def estimate(self, quant: Quant, *, weighed: bool = False) -> int:
        """Bytes of tensors and vocabulary in a file of this quantization."""
        types = self.types(quant, weighed=weighed)
        tensors = sum(ggml.tensor_bytes(types[n], shape) for n, shape in self.tensors.items())
        words = self.vocabulary.tokens + self.vocabulary.merges
        return tensors + sum(len(word.encode()) + 12 for word in words)


@dataclass
class Kept:
    """How much of a change D to weights W survives quantizing W + D, over all rows it is given.

    share = sum <Q(W + D) - W, D> / sum <D, D>, in float64: 1 is all of it, 0 none. Steps much
    larger than D take it to 0 where W lies on the quantizer's own grid. None without a change.
    """

    kept: float = 0.0
    whole: float = 0.0

    def add(self, merged: Floats, stored: Floats, change: Floats) -> None:
        """W + D, Q(W + D) and D, all float32 of one size."""
        change = change.ravel().astype(np.float64)
        square = float(change @ change)
        self.whole += square
        self.kept += square + float((stored.ravel() - merged.ravel()) @ change)

    @property
    def share(self) -> float | None:
        return self.kept / self.whole if self.whole else None


@dataclass
class GgufFile:
    """One file being written. Give `add` the tensors in the plan's order, then `close`."""

    plan: Plan
    quant: Quant
    types: dict[str, str]
    writer: Any = field(repr=False)
    current: str = ""  # the tensor whose rows are being written
    kept: Kept = field(default_factory=Kept)

    @classmethod
    def create(cls, path: Path, plan: Plan, quant: Quant, *, weighed: bool = False) -> GgufFile:
        """Writes everything but the tensors' values; `weighed` as for `Plan.types`."""
        from gguf import GGMLQuantizationType, GGUFWriter

        writer = GGUFWriter(path, plan.architecture.name)
        plan.metadata.add_to(writer)
        writer.add_file_type(quant.file_type)
        if quant.quantized:
            writer.add_quantization_version(QUANTIZATION_VERSION)
        _add_shape(writer, plan.shape, plan.architecture.name)
        _add_vocabulary(writer, plan.vocabulary)
        writer.add_chat_template(plan.chat_template)
        if plan.call_syntax is not None:
            writer.add_string(SYNTAX_KEY, plan.call_syntax)
        if plan.thinking:
            writer.add_bool(THINKING_KEY, True)
        types = plan.types(quant, weighed=weighed)
        for name, kind in types.items():
            shape, number = plan.tensors[name], GGMLQuantizationType(ggml.TYPES[kind])
            size = ggml.tensor_bytes(kind, shape)
            writer.add_tensor_info(name, shape, np.dtype(np.float32), size, raw_dtype=number)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        return cls(plan, quant, types, writer)

    def add(
        self,
        name: str,
        values: Floats,
        importance: Floats | None = None,
        change: Floats | None = None,
    ) -> None:
        """Quantizes and writes the next tensor, or its next rows; `importance` as for
        `ggml.quantize`. Rows are quantized each by itself, so blocks give the same bytes.
        `change`, of the shape of `values`, is in them, and `kept` measures what is left of it.

        Raises ModelError when F16 cannot hold it.
        """
        if self.types[name] == "F16":
            require_float16(name, values)
        if name != self.current:
            self._align()
            self.current = name
        packed = ggml.quantize(values, self.types[name], importance=importance)
        packed.tofile(self.writer.fout[0])
        if change is not None:
            self.kept.add(values, ggml.dequantize(packed, self.types[name]), change)

    def close(self) -> None:
        self._align()
        self.writer.close()

    def _align(self) -> None:
        """GGUF's tensors begin, and its file ends, at a multiple of the alignment."""
        stream = self.writer.fout[0]
        self.writer.write_padding(stream, stream.tell())

    @property
    def type_counts(self) -> dict[str, int]:
        """How many tensors have each ggml type."""
        return dict(sorted(Counter(self.types.values()).items()))


def _add_shape(writer: Any, shape: Shape, architecture: str) -> None:
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.embedding_length)
    writer.add_block_count(shape.block_count)
    writer.add_feed_forward_length(shape.feed_forward_length)
    writer.add_head_count(shape.head_count)
    writer.add_head_count_kv(shape.head_count_kv)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.rms_epsilon)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_rope_dimension_count(shape.rope_dimensions)
    writer.add_rope_freq_base(shape.rope_theta)
    for key, value in shape.scales.items():
        writer.add_float32(f"{architecture}.{key}", value)
    if shape.window:
        writer.add_sliding_window(shape.window.size)
        writer.add_sliding_window_pattern(shape.window.layers)
        writer.add_rope_freq_base_swa(shape.window.rope_theta)
    _add_rope_scaling(writer, shape.rope_scaling)


def _add_rope_scaling(writer: Any, scaling: RopeScaling) -> None:
    """llama3's scaling is a tensor (`rope_freqs.weight`), not metadata; longrope's is in part."""
    from gguf import RopeScalingType

    if scaling.kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType(scaling.kind))
        writer.add_rope_scaling_factor(scaling.factor)
    if scaling.kind == "longrope":
        writer.add_rope_scaling_attn_factors(scaling.attention_factor)
    if scaling.kind in ("yarn", "longrope"):
        writer.add_rope_scaling_orig_ctx_len(scaling.original_context)


def _add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    pieces = vocabulary.pieces
    writer.add_tokenizer_model("gpt2" if pieces is None else pieces.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if pieces is None:
        writer.add_token_merges(vocabulary.merges)
    else:
        _add_pieces(writer, pieces, vocabulary.tokens)
    writer.add_eos_token_id(vocabulary.eos)
    # llama.cpp takes token 11, an ordinary one, for a beginning that is not named.
    bos = vocabulary.bos if vocabulary.bos is not None else vocabulary.eos
    writer.add_bos_token_id(bos)
    if vocabulary.pad is not None:
        writer.add_pad_token_id(vocabulary.pad)
    _add_other_ends(writer, vocabulary.other_ends)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)


def _add_other_ends(writer: Any, ends: Sequence[int]) -> None:
    """llama.cpp has names for two ends beside eos; further ones only our engine reads."""
    for add, end in zip((writer.add_eot_token_id, writer.add_eom_token_id), ends, strict=False):
        add(end)
    if len(ends) > 2:
        writer.add_string(STOPS_KEY, ",".join(map(str, ends)))


def _add_pieces(writer: Any, pieces: Pieces, tokens: Sequence[str]) -> None:
    writer.add_token_scores([pieces.scores.get(token, UNREACHED) for token in tokens])
    writer.add_add_space_prefix(pieces.space_prefix)
    if pieces.unknown is not None:
        writer.add_unk_token_id(tokens.index(pieces.unknown))
    if pieces.model == "t5":
        writer.add_remove_extra_whitespaces(pieces.trims)
    if pieces.charsmap:
        writer.add_precompiled_charsmap(pieces.charsmap)
