"""What each command does: the only modules that see every package. `cli` loads them when asked."""
