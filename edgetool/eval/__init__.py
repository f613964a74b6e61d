"""Evaluation: arms, statistics and the report. Knows engines only as `calls.runtime.Runtime`."""
