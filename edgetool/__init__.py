"""edgetool: teach a small language model to call your tools, and ship it as one GGUF file."""

__version__ = "0.1.0"
