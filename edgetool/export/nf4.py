"""The weights a QLoRA policy really multiplies with: NF4-quantized and dequantized.

NF4 with double quantization in blocks of 64, QLoRA (arXiv:2305.14314, section 3), done by
bitsandbytes itself, so that every rounding is the one that training saw.
"""

from __future__ import annotations

import numpy as np

from edgetool.export.safetensors_io import Floats
from edgetool.system import quiet_bitsandbytes

BLOCK_SIZE = 64


def round_trip(weight: Floats, dtype: str = "float32") -> Floats:
    """What a bitsandbytes Linear4bit computes with in place of `weight` [out, in].

    dtype   the dtype the policy loaded its base in: the values before quantization, and again
            after dequantization, are rounded to it
    """
    quiet_bitsandbytes()
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    source = torch.from_numpy(np.array(weight)).to(getattr(torch, dtype))
    packed, state = quantize_4bit(
        source, blocksize=BLOCK_SIZE, compress_statistics=True, quant_type="nf4"
    )
    return dequantize_4bit(packed, state).float().numpy()
