from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from raymlops.config import ControlConfig, RetrainConfig, TriggersConfig, WindowCount
from raymlops.control import RetrainPolicy, backtest
from raymlops.testing.control_examples import DAY, START, example_window


def policy(**limits: object) -> RetrainPolicy:
    retrain = RetrainConfig.model_validate({"min_labelled_rows": 0, "cooldown": timedelta(), **limits})
    return RetrainPolicy(ControlConfig(triggers=TriggersConfig(drift=WindowCount(n=2, of=3)), retrain=retrain))


def days(decided: list[object]) -> list[int]:
    return [(each.at - START) // DAY for each in decided]  # type: ignore[attr-defined]


def test_windows_are_counted_anew_after_each_retraining() -> None:
    windows = [example_window(day, drifted=day >= 3) for day in range(10)]
    decided = backtest(windows, policy())
    assert days(decided) == [5, 7, 9]
    assert {each.outcome for each in decided} == {"retrain"}
    assert decided[0].triggers == ("drift",)


def test_a_cooldown_and_a_label_delay() -> None:
    windows = [example_window(day, drifted=True) for day in range(10)]
    decided = backtest(reversed(windows), policy(cooldown="4d"), label_delay=timedelta(hours=3))
    assert [each.at for each in decided] == [START + day * DAY + timedelta(hours=3) for day in (2, 6, 10)]


def test_broken_data_blocks() -> None:
    windows = [example_window(day, drifted=True, quality="block" if day == 4 else "ok") for day in range(7)]
    decided = backtest(windows, policy(cooldown="4d"))
    assert [each.outcome for each in decided] == ["retrain", "block", "retrain"]
    assert days(decided) == [2, 5, 6]


def test_no_windows() -> None:
    assert backtest([], policy()) == []


@given(st.lists(st.booleans(), max_size=30), st.integers(0, 6))
def test_never_more_often_than_the_cooldown(flags: list[bool], cooldown_days: int) -> None:
    windows = [example_window(day, drifted=flag) for day, flag in enumerate(flags)]
    found = days(backtest(windows, policy(cooldown=timedelta(days=cooldown_days))))
    assert all(later - earlier >= max(cooldown_days, 2) for earlier, later in pairwise(found))
    assert all(flags[day - 1] for day in found)
