"""A conversation that runs tools."""
