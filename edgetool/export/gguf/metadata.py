"""What a GGUF file says about itself, and its name, by GGUF's naming convention.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgetool.export.model_folder import ModelFolder


@dataclass(frozen=True)
class Metadata:
    """The `general.*` keys.

    name         the finetune as a person would say it
    base         the base model's name
    finetune     what it was tuned for; None for a base model
    size_label   "7.2M", "1.5B"
    license      SPDX id, None when the base folder names none
    """

    name: str
    base: str
    finetune: str | None
    size_label: str
    license: str | None

    def add_to(self, writer: Any) -> None:
        writer.add_type("model")
        writer.add_name(self.name)
        writer.add_basename(self.base)
        writer.add_size_label(self.size_label)
        if self.finetune:
            writer.add_finetune(self.finetune)
            writer.add_base_model_count(1)
            writer.add_base_model_name(0, self.base)
        if self.license:
            writer.add_license(self.license)

    def for_tokenizer(self, added: Iterable[Mapping[str, Any]]) -> Metadata:
        """llama.cpp takes "phi-3" or "phi3" in a name for Phi-3's own tokenizer: control tokens
        swallow the spaces after them, and a file without its tokens is not loaded. A tokenizer
        whose </s> does not do so gets another name.

        added   tokenizer.json's added tokens
        """
        if any(token["content"] == "</s>" and token.get("rstrip") for token in added):
            return self
        return replace(self, name=re.sub("(?i)phi-?3", "Phi 3", self.name))

    def file_name(self, quant: str) -> str:
        """<Base>-<Size>-<Finetune>-<Encoding>.gguf"""
        from gguf.utility import naming_convention

        stem = naming_convention(self.name, self.base, self.finetune, None, self.size_label, None)
        return f"{stem}-{quant}.gguf"


def describe(
    folder: ModelFolder, parameters: int, *, name: str | None, finetune: str | None
) -> Metadata:
    """Metadata from what the base folder says about itself.

    name       None: the base's name and `finetune`
    finetune   None: the export is of the base model itself
    """
    from gguf.utility import size_label

    base = folder.name
    name = name or (f"{base} {finetune}" if finetune else base)
    return Metadata(name, base, finetune, size_label(parameters, 0, 0, 0), folder.license)
