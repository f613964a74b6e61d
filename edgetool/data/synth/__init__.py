"""Rows for one's own tools, made offline from their schemas or written by a model elsewhere."""
