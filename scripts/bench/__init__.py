"""Measurements against other tools, and of how cost grows; each script stands alone."""
