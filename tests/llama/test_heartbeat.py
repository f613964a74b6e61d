"""What a child has to say to be taken for alive, and when one that ended is started again."""

from __future__ import annotations

import pytest

from edgetool.llama.heartbeat import (
    PATIENCE,
    PREPARING,
    PREPARING_PATIENCE,
    WRITING,
    Watchdog,
    patience_for,
)
from edgetool.llama.restarts import FIRST_PAUSE, LONGEST_PAUSE, MOST_FAILURES, Restarts


def beats(watchdog: Watchdog, count: int, *said: dict) -> list[str | None]:
    """What is found wrong at each of `count` beats, before which the child said this."""
    found = []
    for beat in range(count):
        for message in said:
            watchdog.heard({"alive": {k: f(beat) for k, f in message["alive"].items()}})
        found.append(watchdog.tick())
    return found


def alive(**parts) -> dict:
    return {"alive": parts}


def test_a_child_that_says_nothing_is_found_in_seconds():
    found = beats(Watchdog({}), PATIENCE + 1)
    assert found[:-1] == [None] * PATIENCE
    assert "said nothing for 10 s" in found[-1]


@pytest.mark.parametrize("step", [lambda beat: beat, lambda beat: None, lambda beat: [beat, 1]])
def test_a_child_that_goes_on_or_is_idle_is_well(step):
    assert beats(Watchdog({}), 100, alive(writing=step)) == [None] * 100


def test_a_child_that_stays_at_one_step_hangs():
    found = beats(Watchdog({}), PATIENCE + 1, alive(writing=lambda beat: 7))
    assert found[:-1] == [None] * PATIENCE
    assert found[-1] == "it was 10 s at one step of writing"


def test_each_part_has_its_own_patience():
    parts = alive(writing=lambda beat: beat, preparing=lambda beat: 3)
    found = beats(Watchdog({PREPARING: PREPARING_PATIENCE}), PREPARING_PATIENCE + 1, parts)
    assert found[:-1] == [None] * PREPARING_PATIENCE
    assert "preparing" in found[-1]
    # the same words of another part do not help
    assert beats(Watchdog({WRITING: 50}), 40, parts)[-1] is not None


def test_work_between_the_beats_counts_as_a_sign_of_life():
    watchdog = Watchdog({})
    for _ in range(5 * PATIENCE):
        watchdog.heard({"job": 1, "delta": {}})
        assert watchdog.tick() is None


def test_beats_that_piled_up_unread_are_no_hang():
    watchdog = Watchdog({})
    for _ in range(10 * PATIENCE):  # nobody listened while there was nothing to write
        watchdog.heard({"alive": {WRITING: 7}})
    assert watchdog.tick() is None


def test_another_child_begins_anew():
    watchdog = Watchdog({})
    beats(watchdog, PATIENCE, alive(writing=lambda beat: 7))
    watchdog.begin()
    assert beats(watchdog, PATIENCE, alive(writing=lambda beat: 7)) == [None] * PATIENCE


@pytest.mark.parametrize(("seconds", "patience"), [(0.001, PATIENCE), (0.4, PATIENCE), (6.0, 120)])
def test_a_slow_model_is_given_time_for_its_steps(seconds, patience):
    assert patience_for(seconds) == patience


def test_a_child_that_ends_now_and_then_is_replaced_at_once():
    restarts = Restarts()
    assert [restarts.ended(3600.0) for _ in range(10)] == [0] * 10


def test_one_that_keeps_ending_soon_is_waited_for_longer_and_longer():
    restarts = Restarts()
    pauses = [restarts.ended(1.0) for _ in range(10)]
    assert pauses[:5] == [0, 0, FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert not restarts.given_up  # it may recover
    assert restarts.ended(3600.0) == restarts.ended(1.0) == 0  # and did


def test_starts_that_fail_one_after_the_other_are_the_end_of_it():
    restarts = Restarts()
    restarts.ended(1.0)
    for _ in range(MOST_FAILURES - 1):
        assert restarts.failed() >= FIRST_PAUSE
        assert not restarts.given_up
    restarts.failed()
    assert restarts.given_up
