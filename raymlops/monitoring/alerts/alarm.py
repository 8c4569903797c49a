"""From windows to alarms: one drifted window is news, an alarm is drift that lasts, until it is clearly over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from raymlops.errors import ConfigError
from raymlops.records.windows import ColumnDrift, DriftAlarm, WindowRecord

__all__ = ["AlarmRule", "AlarmState", "several_columns"]


@dataclass(frozen=True)
class AlarmRule:
    """When drift raises an alarm, and when the alarm is cleared.

    Attributes:
        n: So many of the last ``of`` windows must have drifted, the newest among them.
        of: So many windows are looked at.
        clear_level: An alarm stays while the window has drifted, or any of the alarm's columns lies above this share of
            its threshold: below 1, so that a column at its threshold does not raise and clear in turn.
        clear_windows: So many windows in a row must be calm to clear it.

    Raises:
        ConfigError: An argument is out of range.
    """

    n: int = 2
    of: int = 3
    clear_level: float = 0.8
    clear_windows: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.n <= self.of:
            raise ConfigError(f"n must be from 1 to of ({self.of}), got {self.n}")
        if not 0 < self.clear_level <= 1:
            raise ConfigError(f"clear_level must be above 0 and at most 1, got {self.clear_level}")
        if self.clear_windows < 1:
            raise ConfigError(f"clear_windows must be at least 1, got {self.clear_windows}")


@dataclass(frozen=True)
class AlarmState:
    """State of an alarm: a fold over the windows so far, oldest first. Immutable.

    Attributes:
        champion: Whose reference the windows were compared with; another one starts afresh.
        recent: The last windows that say anything, at most ``of``, oldest first: whether each drifted.
        alarm: The alarm that stands, if any.
        calm: Calm windows in a row since it was raised or kept up.
    """

    champion: int | None = None
    recent: tuple[bool, ...] = ()
    alarm: DriftAlarm | None = None
    calm: int = field(default=0)

    def after(self, window: WindowRecord, rule: AlarmRule) -> Self:
        """The state once one more window has closed.

        A window of broken data or without rows says nothing: it neither raises nor clears.
        """
        state = self if window.champion == self.champion else type(self)(champion=window.champion)
        if window.quality == "block" or not window.rows:
            return state
        recent = (*state.recent, window.drifted)[-rule.of :]
        if state.alarm is None:
            raised = window.drifted and sum(recent) >= rule.n
            alarm = _raise(window) if raised else None
            return type(self)(window.champion, recent, alarm)
        names = sorted({*state.alarm.columns, *_drifted(window)})
        if window.drifted or _level(window, state.alarm.columns) > rule.clear_level:
            alarm = state.alarm.model_copy(update={"columns": tuple(names), "windows": state.alarm.windows + 1})
            return type(self)(window.champion, recent, alarm)
        if state.calm + 1 < rule.clear_windows:
            return type(self)(window.champion, recent, state.alarm, state.calm + 1)
        return type(self)(window.champion, recent)


def _raise(window: WindowRecord) -> DriftAlarm:
    return DriftAlarm.model_construct(  # of a valid record's values, at every turn of every model
        model=window.model, champion=window.champion, raised_at=window.end, columns=tuple(sorted(_drifted(window)))
    )


def _measured(window: WindowRecord) -> dict[str, ColumnDrift]:
    prediction = {} if window.prediction_drift is None else {"score": window.prediction_drift}
    return prediction | window.columns


def _drifted(window: WindowRecord) -> list[str]:
    return [name for name, column in _measured(window).items() if column.drifted]


def _level(window: WindowRecord, names: Iterable[str]) -> float:
    """How near the alarm's columns are to their thresholds, the nearest one; 1 is at it."""
    found = _measured(window)
    columns = [found[name] for name in names if name in found]
    return max((column.score / column.threshold for column in columns if column.threshold > 0), default=0.0)


def several_columns(window: WindowRecord, shown: int = 3) -> str:
    """The drift of a window's columns together, in words, with the columns that weigh most; empty without drift."""
    if window.multivariate is None or not window.multivariate.drifted:
        return ""
    names = ", ".join(list(window.multivariate.importances)[:shown])
    return f"several columns together{f', most of all {names}' if names else ''}"
