"""Reward functions: pure, found by name. Never torch."""

from edgetool.rewards.registry import RewardFunction, get, names, reward

__all__ = ["RewardFunction", "get", "names", "reward"]
