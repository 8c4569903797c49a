"""Who is slow or busy for long enough leaves the pool; neither one busy second nor one quiet second decides."""

from __future__ import annotations

from datetime import timedelta

import pytest

from raymlops.config.serving import PoolConfig
from raymlops.serving.pool.moving import MovingRule
from raymlops.serving.pool.watched import Worked

CONFIG = PoolConfig(moves_after=timedelta(seconds=10), memory_bytes=100 << 20)


def first_second(rule: MovingRule, per_second: list[tuple[int, float]]) -> int | None:
    """The second at which ``a`` should leave, whose calls and their time are given for each second."""
    calls, seconds = 0, 0.0
    rule.look(0.0, {"a": Worked(), "quiet": Worked()})
    for second, (more, time_s) in enumerate(per_second, 1):
        calls, seconds = calls + more, seconds + time_s
        if "a" in rule.look(float(second), {"a": Worked(calls, seconds), "quiet": Worked(1, 0.001)}):
            return second
    return None


@pytest.mark.parametrize(
    ("per_second", "leaves"),
    [
        ([(1000, 0.6)] * 30, 11),
        ([(1000, 0.4)] * 30, None),
        ([(1000, 0.6)] * 9 + [(1000, 0.1)] * 30, None),
        ([(1000, 0.6)] * 6 + [(1000, 0.1)] * 4 + [(1000, 0.6)] * 30, 11),
        ([(1000, 0.6)] * 6 + [(1000, 0.1)] * 5 + [(1000, 0.6)] * 30, 22),
        ([(2, 0.25)] * 30, 11),
        ([(2, 0.19)] * 30, None),
        ([(1, 0.25)] + [(0, 0.0)] * 30, None),
    ],
    ids=["busy", "not busy", "busy for a while", "a short rest", "a long rest", "slow", "not slow", "slow once"],
)
def test_a_burden_must_last(per_second: list[tuple[int, float]], leaves: int | None) -> None:
    assert first_second(MovingRule(CONFIG), per_second) == leaves


def test_who_is_alone_burdens_nobody() -> None:
    rule = MovingRule(CONFIG)
    found = [rule.look(float(second), {"a": Worked(second * 1000, float(second))}) for second in range(30)]
    assert not any(found)


def test_the_reason_says_what_was_measured() -> None:
    rule = MovingRule(PoolConfig(moves_after=timedelta(seconds=1)))
    for second in range(4):
        work = {"slow": Worked(second, 0.3 * second), "busy": Worked(second * 1000, 0.75 * second)}
        found = rule.look(float(second), work)
    assert found == {
        "slow": "its calls take 300 ms on average, more than 100 ms",
        "busy": "its calls take 75% of a replica's time, more than 50%",
    }


@pytest.mark.parametrize(
    ("beyond_mib", "grown_mib", "leaks"),
    [(101, 60, True), (99, 99, False), (300, 100, False)],
    ids=["explains most", "within the limit", "does not explain it"],
)
def test_a_leaker_is_who_explains_what_the_process_holds_too_much(beyond_mib: int, grown_mib: int, leaks: bool) -> None:
    work = {"a": Worked(10, 0.1, grown_mib << 20), "b": Worked(10, 0.1, 1 << 20)}
    assert ("a" in MovingRule(CONFIG).leaker(work, beyond_mib << 20)) is leaks
    assert "b" not in MovingRule(CONFIG).leaker(work, beyond_mib << 20)
