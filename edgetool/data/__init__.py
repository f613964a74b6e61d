"""Rows in and out: canonical JSONL <-> Example, and the bundled demo rows. Never torch."""
