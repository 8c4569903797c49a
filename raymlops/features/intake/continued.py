"""The rows of a view, in the columns of the view that continues it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from raymlops.features.definitions.schema import arrow_type
from raymlops.features.definitions.views import FeatureView

__all__ = ["continued_rows"]


def continued_rows(view: FeatureView, former: FeatureView, rows: Any) -> Any:
    """The columns of a view, from rows of the one it continues; types are not changed yet.

    Args:
        view: The view. Its keys and times are those of the former view, whose time columns may have other names.
        former: The view it continues.
        rows: The columns that the former view reads.
    """
    columns = {key: rows[key] for key in view.keys}
    known = {field.name for field in former.fields}
    columns[view.event_time] = rows[former.event_time]
    if view.created_at is not None:
        columns[view.created_at] = rows[former.created_at]
    for field in view.fields:
        name = field.formerly or field.name
        if name in known:
            columns[field.name] = rows[name]
        elif field.name not in view.keys:
            value = pa.scalar(field.backfill, arrow_type(field.dtype))
            columns[field.name] = pa.repeat(value, rows.num_rows)
    return pa.table(columns)
