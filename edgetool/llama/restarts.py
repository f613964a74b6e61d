"""When a child that ended is started again: at once, later, or never.

One that ends now and then is replaced at once. One that keeps ending soon after its start is waited
for, longer each time, so that the machine is not kept busy with loading it: meanwhile clients are
told when to ask again. One that cannot even load its model any more is given up, and the server
ends with it: who started the server (systemd, docker, a person) has to know.
"""

from __future__ import annotations

# A child that ends within so many seconds of its start, this often in a row, is waited for.
SOON_SECONDS, AT_ONCE = 60.0, 3
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 300.0
# Starts in a row that fail.
MOST_FAILURES = 3


class Restarts:
    """Counts the ends of one child, the failed starts among them."""

    def __init__(self) -> None:
        self._soon = self._failures = 0

    @property
    def given_up(self) -> bool:
        return self._failures >= MOST_FAILURES

    def ended(self, lived: float) -> float:
        """It ended `lived` seconds after its start; how many to wait before the next one."""
        self._failures = 0
        self._soon = self._soon + 1 if lived < SOON_SECONDS else 1
        return self._pause(self._soon - AT_ONCE)

    def failed(self) -> float:
        """It did not start; how many seconds to wait before the next try."""
        self._failures += 1
        return self._pause(max(0, self._soon - AT_ONCE) + self._failures - 1)

    def _pause(self, doublings: int) -> float:
        return min(FIRST_PAUSE * 2.0**doublings, LONGEST_PAUSE) if doublings >= 0 else 0.0
