"""Adapter + base -> merged folder -> GGUF."""
