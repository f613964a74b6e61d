"""GRPO on a 4-bit base with LoRA."""
