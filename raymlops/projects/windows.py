"""Windows that are proposed over the past of each entity, and parts of the time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from raymlops.config.section import parse_duration
from raymlops.projects.columns import Column, Labels
from raymlops.projects.naming import slug

__all__ = ["aggregates", "calendar_parts", "event_fields", "fitting_windows"]

_MOST_MEANS = 4
"""Columns per entity of which means over windows are proposed: those that tell most of the label."""
_WINDOWS = (("1h", "6h"), ("1d", "7d"), ("7d", "30d"))


def fitting_windows(at_us: npt.NDArray[np.int64]) -> tuple[str, str]:
    """A short and a long window: a week and a month, or less where the table is short."""
    span = timedelta(microseconds=int(at_us.max() - at_us.min()))
    fitting = [pair for pair in _WINDOWS if parse_duration(pair[1]) * 2 <= span]
    return fitting[-1] if fitting else _WINDOWS[0]


def aggregates(
    entity: dict[str, Any], inputs: Sequence[Column], labels: Labels, windows: tuple[str, str]
) -> dict[str, Any]:
    """Windows over an entity's past: how often it came, means of what tells most, and of the label itself."""
    taken: set[str] = set()

    def named(base: str) -> str:
        name, number = base, 2
        while name in taken:
            name, number = f"{base}{number}", number + 1
        taken.add(name)
        return name

    numbers = sorted((column for column in inputs if column.number), key=lambda column: -column.told)[:_MOST_MEANS]
    recent = [
        {"name": named(f"rows_{window}"), "function": "count", "field": entity["column"], "window": window}
        for window in windows
    ]
    recent += [
        {"name": named(f"{slug(c.name)}_mean_{window}"), "function": "mean", "field": c.name, "window": window}
        for c in numbers
        for window in windows
    ]
    outcomes = [
        {"name": named(f"label_mean_{window}"), "function": "mean", "field": "label", "window": window}
        for window in windows
    ]
    return {**entity, "recent_aggregates": recent, "outcome_aggregates": outcomes if len(labels.classes) <= 2 else []}


def event_fields(
    proposed: Sequence[dict[str, Any]], keys: Sequence[dict[str, Any]], inputs: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The columns that windows look at: every key, and what has a mean."""
    used = {each["field"] for aggregate in proposed for each in aggregate["recent_aggregates"]}
    return [*keys, *(column for column in inputs if column["name"] in used)] if proposed else []


def calendar_parts(at_us: npt.NDArray[np.int64], holdout_days: float) -> list[str]:
    """Parts of the row's time that vary in every week of data."""
    found = []
    hours, days = at_us // 3_600_000_000, at_us // 86_400_000_000
    if len(np.unique(hours % 24)) > 1 and holdout_days >= 1:
        found.append("hour")
    if len(np.unique(days % 7)) > 1 and holdout_days >= 7:
        found.append("weekday")
    return found
