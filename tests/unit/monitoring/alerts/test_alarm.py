from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raymlops.errors import ConfigError
from raymlops.monitoring.alerts.alarm import AlarmRule, AlarmState
from raymlops.records.windows import ColumnDrift, WindowRecord

START = datetime(2020, 1, 6, tzinfo=UTC)
DAY = timedelta(days=1)


def window(
    day: int, level: float, *, drifted: bool | None = None, champion: int = 1, quality: str = "ok", rows: int = 1000
) -> WindowRecord:
    """A window whose one column lies at ``level`` times its threshold."""
    flag = level > 1 if drifted is None else drifted
    return WindowRecord(
        model="m",
        start=START + day * DAY,
        end=START + (day + 1) * DAY,
        champion=champion,
        rows=rows,
        quality=quality,
        drifted=flag,
        columns={"x": ColumnDrift(score=level * 0.1, threshold=0.1, p_value=0.5, drifted=level > 1)},
    )


def states(windows: list[WindowRecord], rule: AlarmRule) -> list[AlarmState]:
    found = [AlarmState()]
    for each in windows:
        found.append(found[-1].after(each, rule))
    return found[1:]


def story(levels: list[float], rule: AlarmRule) -> str:
    """``!`` where an alarm stands after the window, ``.`` where none does."""
    state, told = AlarmState(), ""
    for day, level in enumerate(levels):
        state = state.after(window(day, level), rule)
        told += "." if state.alarm is None else "!"
    return told


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ([2, 0, 0, 2], "...."),
        ([2, 2], ".!"),
        ([2, 0, 2], "..!"),
        ([2, 2, 0.9, 0.95, 0.9], ".!!!!"),
        ([2, 2, 0.7, 0.9, 0.7, 0.7], ".!!!!."),
        ([2, 2, 0.5, 0.5, 2, 0, 2], ".!!...!"),
        ([0.9, 0.99, 0.9], "..."),
    ],
)
def test_alarms_are_raised_by_two_of_three_and_cleared_by_two_calm_windows(levels: list[float], told: str) -> None:
    assert story(levels, AlarmRule(n=2, of=3, clear_level=0.8, clear_windows=2)) == told


def test_a_level_at_the_threshold_does_not_flap() -> None:
    levels = [1.05, 1.05, 0.95, 1.05, 0.95, 1.05, 0.95]
    assert story(levels, AlarmRule(n=1, of=1)) == "!!!!!!!"
    assert story(levels, AlarmRule(n=1, of=1, clear_level=1.0)) == "!!.!.!."


def test_broken_and_empty_windows_say_nothing() -> None:
    rule = AlarmRule(n=2, of=2)
    state = AlarmState()
    for each in (window(0, 2), window(1, 2, quality="block"), window(2, 0, rows=0), window(3, 2)):
        state = state.after(each, rule)
    assert state.alarm is not None
    assert state.after(window(4, 0, quality="block"), rule) == state
    assert state.after(window(4, 0, rows=0), rule) == state


def test_another_champion_starts_afresh() -> None:
    rule = AlarmRule(n=1, of=1)
    windows = [window(0, 2), window(1, 2, champion=2), window(2, 0, champion=2)]
    first, second, third = states(windows, rule)
    assert first.alarm is not None
    assert second.alarm is not None
    assert (first.alarm.champion, first.alarm.raised_at) == (1, START + DAY)
    assert (second.alarm.champion, second.alarm.raised_at) == (2, START + 2 * DAY)
    assert third.alarm is None


def test_an_alarm_gathers_the_columns_and_ends_when_all_of_them_are_calm() -> None:
    rule = AlarmRule(n=1, of=1)
    other = window(1, 0.9).model_copy(
        update={
            "drifted": True,
            "prediction_drift": ColumnDrift(score=0.3, threshold=0.1, p_value=0.0, drifted=True),
        }
    )
    *_, standing, ended = states([window(0, 2), other, window(2, 0.5)], rule)
    assert standing.alarm is not None
    assert standing.alarm.columns == ("score", "x")
    assert standing.alarm.windows == 2
    assert ended.alarm is None


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"n": 4, "of": 3}, {"clear_level": 0.0}, {"clear_level": 1.1}, {"clear_windows": 0}]
)
def test_rules_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="got"):
        AlarmRule(**wrong)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.booleans(), max_size=12), st.integers(1, 3), st.integers(0, 2))
def test_without_hysteresis_an_alarm_stands_where_n_of_m_have_drifted_with_the_newest(
    flags: list[bool], n: int, more: int
) -> None:
    told = story([2.0 if flag else 0.0 for flag in flags], AlarmRule(n=n, of=n + more, clear_level=1.0))
    for index, mark in enumerate(told):
        recent = flags[max(0, index + 1 - n - more) : index + 1]
        assert (mark == "!") == (flags[index] and (sum(recent) >= n or told[index - 1 : index] == "!"))


class Alarms(RuleBasedStateMachine):
    """An alarm among arbitrary windows, against what was seen in plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.rule = AlarmRule(n=2, of=3, clear_level=0.8, clear_windows=2)
        self.state = AlarmState()
        self.windows: list[WindowRecord] = []
        self.sound: list[float] = []
        self.champion = 1

    def close(self, level: float, *, quality: str = "ok") -> None:
        before = self.state
        self.windows.append(window(len(self.windows), level, champion=self.champion, quality=quality))
        self.state = before.after(self.windows[-1], self.rule)
        if quality == "ok":
            self.sound.append(level)
        stood = before.alarm is not None and before.champion == self.champion
        if self.state.alarm is not None and not stood:
            assert quality == "ok"
            assert level > 1
            assert sum(each > 1 for each in self.sound[-3:]) >= 2
            assert self.state.alarm.raised_at == self.windows[-1].end
        if self.state.alarm is None and stood:
            assert all(each <= 0.8 for each in self.sound[-2:])
            assert len(self.sound) >= 2

    @rule(level=st.floats(0, 3))
    def window_closes(self, level: float) -> None:
        self.close(level)

    @rule(level=st.floats(0, 3))
    def broken_window_closes(self, level: float) -> None:
        self.close(level, quality="block")

    @precondition(lambda self: self.windows)
    @rule()
    def champion_changes(self) -> None:
        self.champion += 1
        self.sound = []

    @invariant()
    def an_alarm_that_stands_has_windows_and_columns(self) -> None:
        if self.state.alarm is not None:
            assert self.state.alarm.windows >= 1
            assert self.state.alarm.columns


TestAlarms = Alarms.TestCase
TestAlarms.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
