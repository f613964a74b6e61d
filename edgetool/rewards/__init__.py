"""Reward functions: pure, found by name. Never torch."""
