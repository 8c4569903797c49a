from __future__ import annotations

from datetime import timedelta

import pytest

from raymlops.config import DriftCount, TriggersConfig, WindowCount
from raymlops.control.triggering.triggers import alarm_rule, find_distrusted, find_fired
from raymlops.monitoring import AlarmRule
from raymlops.records.windows import ColumnDrift, MultivariateDrift
from raymlops.testing.control_examples import DAY, START, example_window

OFF = TriggersConfig(performance=None, drift=None)
TWO_OF_THREE = DriftCount(n=2, of=3)


@pytest.mark.parametrize(
    ("flags", "fires"),
    [
        ("", False),
        ("x", False),
        ("xx", True),
        ("x.x", True),
        ("x..x", False),
        ("xx.", False),
        ("xxx", True),
        (".xx", True),
        ("xx..x", False),
        ("x.xb", True),
        ("xb", False),
        ("xbbbx", True),
        ("xxb", True),
    ],
)
@pytest.mark.parametrize("trigger", ["performance", "drift"])
def test_n_of_m_windows_with_the_newest_sound_one_flagged(trigger: str, flags: str, fires: bool) -> None:
    field = {"performance": "degraded", "drift": "drifted"}[trigger]
    windows = [
        example_window(day, **{field: flag != "."}, quality="block" if flag == "b" else "ok")
        for day, flag in enumerate(flags)
    ]
    config = OFF.model_copy(update={trigger: TWO_OF_THREE})
    fired = find_fired(windows, champion_since=START, now=START + 9 * DAY, config=config)
    assert [each.trigger for each in fired] == ([trigger] if fires else [])


@pytest.mark.parametrize(
    ("flags", "fires"),
    [
        ("", False),
        ("x", False),
        ("b", False),
        ("xb", True),
        ("x.b", True),
        ("x..b", False),
        ("bb", False),
        ("xbx", False),
    ],
)
@pytest.mark.parametrize("trigger", ["performance", "drift"])
def test_what_the_newest_window_would_fire_were_it_sound(trigger: str, flags: str, fires: bool) -> None:
    """``b`` is flagged and broken: of broken windows only the newest is counted."""
    field = {"performance": "degraded", "drift": "drifted"}[trigger]
    windows = [
        example_window(day, **{field: flag != "."}, quality="block" if flag == "b" else "ok")
        for day, flag in enumerate(flags)
    ]
    found = find_distrusted(windows, config=OFF.model_copy(update={trigger: TWO_OF_THREE}))
    assert [each.trigger for each in found] == ([trigger] if fires else [])


def test_reasons_name_what_was_seen() -> None:
    windows = [
        example_window(0, drifted=True),
        example_window(1, drifted=True, degraded=True, degraded_reason="log_loss 0.6"),
    ]
    config = TriggersConfig(performance=WindowCount(n=1, of=1), drift=TWO_OF_THREE)
    performance, drift = find_fired(windows, champion_since=START, now=START, config=config)
    assert performance.reason == "champion degraded in 1 of the last 1 windows: log_loss 0.6"
    assert performance.facts["metrics"] == {"log_loss": 0.5}
    assert drift.reason == "drift in 2 of the last 3 windows, most of all in wind"
    assert drift.facts == {
        "windows": [window.end.isoformat() for window in windows],
        "scores": {"wind": 0.4},
    }


@pytest.mark.parametrize(("level", "fires"), [(0.99, True), (0.81, True), (0.79, False)])
def test_drift_counts_until_it_is_clearly_over(level: float, fires: bool) -> None:
    after = {"wind": ColumnDrift(score=0.1 * level, threshold=0.1, p_value=0.1, drifted=False)}
    windows = [*(example_window(day, drifted=True) for day in range(2)), example_window(2, columns=after)]
    config = OFF.model_copy(update={"drift": TWO_OF_THREE})
    fired = find_fired(windows, champion_since=START, now=START, config=config)
    assert bool(fired) is fires
    if fires:
        assert fired[0].reason == "drift in 2 of the last 3 windows, most of all in wind"
        assert fired[0].facts["scores"] == {"wind": 0.1 * level}


@pytest.mark.parametrize(
    ("count", "levels", "fires"),
    [
        ({}, [0.7], False),
        ({"clear_level": 0.6}, [0.7], True),
        ({"clear_level": 1.0}, [0.99], False),
        ({"clear_windows": 2}, [0.1], True),
        ({"clear_windows": 2}, [0.1, 0.1], False),
        ({"clear_windows": 2}, [0.1, 0.9, 0.1], True),
    ],
)
def test_when_an_alarm_is_over_can_be_set(count: dict[str, float], levels: list[float], fires: bool) -> None:
    calm = [
        example_window(2 + day, columns={"wind": ColumnDrift(score=level, threshold=1.0, p_value=0.1, drifted=False)})
        for day, level in enumerate(levels)
    ]
    windows = [*(example_window(day, drifted=True) for day in range(2)), *calm]
    config = TriggersConfig(performance=None, drift=DriftCount(n=2, of=3, **count))
    assert bool(find_fired(windows, champion_since=START, now=START, config=config)) is fires


def test_the_alarm_s_defaults_are_the_library_s() -> None:
    assert alarm_rule(TriggersConfig().drift) == alarm_rule(None) == AlarmRule()
    assert TriggersConfig(drift=WindowCount(n=1, of=4)).drift == DriftCount(n=1, of=4)


def test_drift_of_several_columns_together_is_named() -> None:
    moved = MultivariateDrift(
        score=0.7, threshold=0.6, p_value=0.0, drifted=True, importances={"wind": 0.6, "sun": 0.4}
    )
    windows = [example_window(day, drifted=True, columns={}, multivariate=moved) for day in range(2)]
    (drift,) = find_fired(
        windows, champion_since=START, now=START, config=OFF.model_copy(update={"drift": TWO_OF_THREE})
    )
    assert drift.reason == ("drift in 2 of the last 3 windows, of several columns together, most of all wind, sun")
    assert drift.facts["scores"] == {}


@pytest.mark.parametrize(("age", "fires"), [(6 * DAY, False), (7 * DAY, True), (8 * DAY, True)])
def test_age(age: timedelta, fires: bool) -> None:
    config = OFF.model_copy(update={"max_age": 7 * DAY})
    assert bool(find_fired([], champion_since=START, now=START + age, config=config)) is fires


@pytest.mark.parametrize(("rows", "fires"), [(999, False), (1000, True)])
def test_new_labelled_rows_count_sound_windows(rows: int, fires: bool) -> None:
    windows = [example_window(0, labelled=rows - 1), example_window(1, quality="block"), example_window(2, labelled=1)]
    config = OFF.model_copy(update={"new_labelled_rows": 1000})
    assert bool(find_fired(windows, champion_since=START, now=START, config=config)) is fires
