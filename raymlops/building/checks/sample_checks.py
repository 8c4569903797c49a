"""Checks of a project's features on a sample of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.building.checks.finding import Finding, does_not_apply, failed, passed
from raymlops.building.checks.sample import Sample
from raymlops.steps.project.context import EVENT_TIME

__all__ = ["online_equals_offline", "rows_alone_equal_rows_together"]

_ALONE_ROWS, _ONLINE_ROWS = 12, 40


def rows_alone_equal_rows_together(sample: Sample, frame: pa.Table) -> Finding:
    """The training rows of a sample, joined all at once and one by one."""
    features, rows = _features(sample, frame), _spread(frame, _ALONE_ROWS)
    if not features:
        return does_not_apply("the service has no feature")
    asked = rows.drop_columns(features)
    for place in range(rows.num_rows):
        alone = sample.reader.features_at(sample.spec.service, asked.slice(place, 1))
        for name in features:
            if _differ(alone[name][0].as_py(), rows[name][place].as_py()):
                values = rows[name][place].as_py(), alone[name][0].as_py()
                told = f"{name} of row {place} is {values[0]!r} among all rows and {values[1]!r} alone"
                return failed(told, "compute each row from that row alone")
    return passed(f"{rows.num_rows} rows, {len(features)} features: the same alone and in {frame.num_rows} rows")


def online_equals_offline(sample: Sample, frame: pa.Table) -> Finding:
    """The newest training rows against what the online store answers for their keys and their time."""
    features = _features(sample, frame)
    if not features:
        return does_not_apply("the service has no feature")
    rows = frame.slice(max(0, frame.num_rows - _ONLINE_ROWS))
    plan = sample.reader.plan(sample.spec.service)
    asked = rows.select(list(plan.request_columns))
    for place in range(rows.num_rows):
        at = rows[EVENT_TIME][place].as_py()
        served = sample.reader.online(sample.spec.service, asked.slice(place, 1), at=at)
        for name in features:
            online, offline = served[name][0].as_py(), rows[name][place].as_py()
            if _differ(online, offline):
                told = f"{name} at {at.isoformat()} is {offline!r} in the training row and {online!r} online"
                remedy = "let the spine give event_time, keys and request columns as a request has them"
                return failed(told, remedy)
    return passed(f"{rows.num_rows} rows, {len(features)} features: the same online and in the training set")


def _features(sample: Sample, frame: pa.Table) -> list[str]:
    plan = sample.reader.plan(sample.spec.service)
    return [name for name in plan.feature_columns if name in frame.column_names]


def _spread(table: pa.Table, rows: int) -> pa.Table:
    places = np.unique(np.linspace(0, table.num_rows - 1, min(rows, table.num_rows)).astype(np.int64))
    return table.take(pa.array(places))


def _differ(one: Any, other: Any) -> bool:
    """Whether two values differ; what is missing equals what is missing."""
    if isinstance(one, float) and isinstance(other, float) and np.isnan(one) and np.isnan(other):
        return False
    return bool(one != other)
