"""Tools: read in any form, checked, made from Python functions."""
