"""Which type each tensor gets: llama.cpp's own recipes (llama-quant.cpp).

More bits go where errors hurt most: attention values and FFN outputs of the first and last eighth
of the layers and of every third between, and the output matrix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgetool.errors import UsageError
from edgetool.gguf_base.reader import GgufHeader

# Types for rows that are no multiple of 256, the K-quants' block size.
FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "IQ4_XS": "IQ4_NL"}
# So many queries on one value make an error in it weigh more; it costs little, values being few.
MANY_QUERIES = 4
VALUES = (".attn_v.weight", ".attn_qkv.weight")  # by themselves, or fused with queries and keys


@dataclass(frozen=True)
class Quant:
    """A file's quantization: enum llama_ftype, the usual type, and the type where more bits go.

    better   None: no tensor in the layers differs
    types    of every tensor by its name, as another file has them; None: by llama.cpp's recipe
    """

    name: str
    file_type: int
    usual: str
    better: str | None = None
    types: Mapping[str, str] | None = field(default=None, compare=False, repr=False)

    @property
    def quantized(self) -> bool:
        return self.usual not in ("F32", "F16", "BF16")


QUANTS: Mapping[str, Quant] = {
    quant.name: quant
    for quant in (
        Quant("F32", 0, "F32"),
        Quant("F16", 1, "F16"),
        Quant("BF16", 32, "BF16"),
        Quant("Q8_0", 7, "Q8_0"),
        Quant("Q6_K", 18, "Q6_K"),
        Quant("Q5_K_M", 17, "Q5_K", "Q6_K"),
        Quant("Q4_K_M", 15, "Q4_K", "Q6_K"),
        Quant("Q4_0", 2, "Q4_0", "Q4_1"),
        Quant("IQ4_XS", 30, "IQ4_XS", "Q5_K"),
    )
}


# enum llama_ftype: ours, and those of files that others quantized
FILE_TYPES = {quant.file_type: quant.name for quant in QUANTS.values()} | {
    3: "Q4_1", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L",
    14: "Q4_K_S", 16: "Q5_K_S", 21: "Q2_K_S", 25: "IQ4_NL",
}  # fmt: skip


def quant_like(header: GgufHeader) -> Quant:
    """The quantization of a file, tensor by tensor."""
    kinds = {name: tensor.kind for name, tensor in header.tensors.items()}
    number = header.fields.get("general.file_type")
    sizes: Counter[str] = Counter()
    for tensor in header.tensors.values():
        sizes[tensor.kind] += tensor.size
    usual = sizes.most_common(1)[0][0]
    number = number if number in FILE_TYPES else 0
    return Quant(FILE_TYPES[number] if number else usual, number, usual, types=kinds)


def get_quant(name: str) -> Quant:
    """A quantization by its name in any case. Raises UsageError for an unknown one."""
    if name.upper() not in QUANTS:
        raise UsageError(f"unknown quantization '{name}'; known: {', '.join(QUANTS)}")
    return QUANTS[name.upper()]


def tensor_type(
    name: str,
    shape: tuple[int, ...],
    quant: Quant,
    *,
    layers: int,
    tied: bool,
    queries_per_value: int,
    weighed: bool,
    block_size: Callable[[str], int],
) -> str:
    """The ggml type of a tensor in a file of this quantization.

    name         GGUF name
    shape        numpy order, rows last
    layers       how many the model has
    tied         the token embedding is also the output matrix
    queries_per_value   how many query heads share a key and value head
    weighed      there is an importance matrix
    block_size   of a ggml type, see `ggml.block_size`
    """
    if not _is_matrix(name, shape):
        return "F32"
    if not quant.quantized:
        return quant.usual
    columns = shape[-1]
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        fits = columns % block_size(quant.usual) == 0
        wanted = "Q6_K" if fits and quant.usual != "Q8_0" else "Q8_0"
    else:
        more = _gets_more_bits(name, quant, layers, queries_per_value, weighed)
        wanted = quant.better if quant.better and more else quant.usual
    if columns % block_size(wanted):
        wanted = FALLBACK.get(wanted, wanted)
    return "F16" if columns % block_size(wanted) else wanted


def _is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """ggml counts dimensions without the trailing ones of size 1."""
    many_rows = any(size > 1 for size in shape[:-1])
    return many_rows and name.endswith("weight") and not name.endswith("_norm.weight")


def _gets_more_bits(
    name: str, quant: Quant, layers: int, queries_per_value: int, weighed: bool
) -> bool:
    """IQ4_XS gives the first FFN outputs more bits without an importance matrix, Q4_0 with one."""
    if not name.endswith((*VALUES, ".ffn_down.weight")):
        return False
    is_value = name.endswith(VALUES)
    layer, eighth = int(name.split(".")[1]), layers // 8
    if quant.usual == "IQ4_XS":
        return queries_per_value >= MANY_QUERIES if is_value else layer < eighth and not weighed
    if quant.usual == "Q4_0":
        return not is_value and layer < eighth and weighed
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
