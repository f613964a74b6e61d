"""How the embedded default model is made; `scripts/build_nano.py` runs it."""
