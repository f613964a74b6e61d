"""A base model out of a GGUF file: the quantized weights that will run are those trained on.

On a CPU they are expanded once. On CUDA the packed blocks of the layers' matrices stay in memory,
and each is expanded for its product and thrown away; not measured on a GPU.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgetool.architectures import check_config, is_linear
from edgetool.calls.syntaxes import SYNTAX_KEY
from edgetool.errors import ModelError
from edgetool.gguf_base.base import BaseTensor, GgufBase, open_base
from edgetool.train.dequantize import dequantize

FLOATS = ("F32", "F16", "BF16")  # they are held in the dtype of compute


def config_of(file: str) -> Any:
    """transformers' configuration of a file. Raises ModelError as `open_base` and
    `check_config`."""
    from transformers import AutoConfig

    values = dict(open_base(Path(file)).config)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    check_config(config, file)
    return config


def tokenizer_of(file: str) -> Any:
    """Its tokenizer. Raises ModelError as `open_base`."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    files = open_base(Path(file)).files
    settings = dict(files["tokenizer_config.json"])
    template = settings.pop("chat_template", None)
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}
    try:
        made = Tokenizer.from_str(json.dumps(files["tokenizer.json"]))
    except Exception as error:  # the package raises nothing narrower
        raise ModelError(f"{file}: its tokenizer makes no sense: {error}") from error
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, name_or_path=file, **settings)
    tokenizer.chat_template = template
    return tokenizer


def generation_of(file: str) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(**open_base(Path(file)).files["generation_config.json"])


def named_syntax(file: str) -> str | None:
    """The call syntax that a file of ours names where its template teaches another."""
    found = open_base(Path(file)).header.fields.get(SYNTAX_KEY)
    return found if isinstance(found, str) else None


def load_gguf(
    file: str,
    config: Any,
    dtype: torch.dtype,
    device: torch.device,
    attention: str,
    *,
    packed: bool,
) -> Any:
    """The causal LM of a file.

    dtype    of compute; packed: keep the blocks of the layers' quantized matrices
    Raises ModelError for a tensor that is cut short or holds no numbers.
    """
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    base = open_base(Path(file))
    with init_empty_weights(include_buffers=False):
        causal = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention
        )
    for tensor in base.tensors.values():
        parent, _, name = tensor.name.rpartition(".")
        if packed and is_packed(tensor):
            _pack(causal, parent, tensor, base, device)
        else:
            module = causal.get_submodule(parent)
            values = _values(tensor, base, device, dtype)
            setattr(module, name, nn.Parameter(values, requires_grad=False))
    causal.tie_weights()
    if hollow := [name for name, p in causal.named_parameters() if p.is_meta]:
        raise ModelError(f"{file}: the weights lack '{hollow[0]}'")
    causal.generation_config = generation_of(file)
    return causal.to(device)


def is_packed(tensor: BaseTensor) -> bool:
    """May a tensor stay as blocks: is it the quantized matrix of a layer?"""
    return is_linear(tensor.name) and tensor.stored.kind not in FLOATS


def packed_bytes(file: str | Path, value_bytes: int) -> int:
    """Of the layers' matrices where blocks stay, `value_bytes` for each value of the others."""
    tensors = [t for t in open_base(Path(file)).tensors.values() if is_linear(t.name)]
    plain = [torch.Size(t.stored.shape).numel() for t in tensors if not is_packed(t)]
    return sum(t.stored.size for t in tensors if is_packed(t)) + value_bytes * sum(plain)


def _values(tensor: BaseTensor, base: GgufBase, device: torch.device, dtype: torch.dtype) -> Tensor:
    blocks = torch.from_numpy(tensor.packed(base.header.path)).to(device)
    values = dequantize(blocks, tensor.stored.kind)
    if not bool(values.isfinite().all()):
        raise ModelError(f"{base.header.path}: tensor '{tensor.name}' holds NaN or infinite values")
    values = values - 1.0 if tensor.shifted else values
    return values.reshape(tensor.stored.shape).to(dtype)


def _pack(
    causal: nn.Module, module: str, tensor: BaseTensor, base: GgufBase, device: torch.device
) -> None:
    """Put packed blocks in the place of a linear layer's weight."""
    parent, _, name = module.rpartition(".")
    blocks = torch.from_numpy(tensor.packed(base.header.path)).to(device)
    plain: Any = causal.get_submodule(module)
    setattr(causal.get_submodule(parent), name, PackedLinear(plain, blocks, tensor.stored.kind))


class PackedLinear(nn.Linear):
    """y = x W^T + b with W kept as ggml's blocks, uint8 [out, bytes of a row].

    W is expanded for each product and again on the way back, so no graph holds it.
    """

    def __init__(self, plain: nn.Linear, blocks: Tensor, kind: str) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.kind = plain.in_features, plain.out_features, kind
        self.weight = nn.Parameter(blocks, requires_grad=False)
        self.bias = plain.bias

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out] in the dtype of the input."""
        found: Tensor = _PackedProduct.apply(input, self.weight, self.kind)
        return found if self.bias is None else found + self.bias


class _PackedProduct(torch.autograd.Function):
    """x W^T; of W only its blocks are kept for the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: Tensor, kind: str) -> Tensor:
        ctx.save_for_backward(blocks)
        ctx.kind = kind
        return nn.functional.linear(x, dequantize(blocks, kind, x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (blocks,) = ctx.saved_tensors
        (grad,) = grads
        return grad @ dequantize(blocks, ctx.kind, grad.dtype), None, None
