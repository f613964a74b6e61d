"""Reward functions: pure, found by name. Never torch."""

from edgetool.rewards.registry import RewardFunction, get, names, origin, reward

__all__ = ["RewardFunction", "get", "names", "origin", "reward"]
