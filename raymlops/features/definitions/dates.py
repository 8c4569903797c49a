"""Ready-made on-demand views that derive numbers from instants.

The code of an applied view never changes: a function that is to say something else gets a new name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from raymlops.features.definitions.fields import Field
from raymlops.features.definitions.services import OnDemandView

__all__ = ["calendar", "calendar_parts", "elapsed", "elapsed_days"]

_HOUR_US = 3_600_000_000
_PARTS = ("hour", "weekday", "day", "month", "year")


def calendar(name: str, of: str, *, version: int = 1) -> OnDemandView:
    """A view of an instant's ``hour``, ``weekday`` (0 is Monday), ``day`` of the month, ``month`` and ``year``, in UTC.

    Args:
        name: Of the view; a service picks what it needs, such as ``NAME:weekday``.
        of: ``VIEW:FIELD`` of a timestamp, or a request column: ISO 8601 with its offset in a request.
        version: Of the view.
    """
    fields = [Field(part, "int64") for part in _PARTS]
    return OnDemandView(name, [of], fields, f"{__name__}:calendar_parts", version, _types(of))


def elapsed(name: str, since: str, until: str, *, version: int = 1) -> OnDemandView:
    """A view of the ``days``, whole and in part, from one instant to another: an age.

    Args:
        name: Of the view.
        since: ``VIEW:FIELD`` of a timestamp, or a request column.
        until: Likewise.
        version: Of the view.
    """
    function = f"{__name__}:elapsed_days"
    return OnDemandView(name, [since, until], [Field("days", "float64")], function, version, _types(since, until))


def calendar_parts(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The function of ``calendar``."""
    (instants,) = columns.values()
    days, months = instants.astype("datetime64[D]"), instants.astype("datetime64[M]")
    found = {
        "hour": (instants - days).astype(np.int64) // _HOUR_US,
        "weekday": (days.astype(np.int64) + 3) % 7,  # the first of January 1970 was a Thursday
        "day": (days - months.astype("datetime64[D]")).astype(np.int64) + 1,
        "month": months.astype(np.int64) % 12 + 1,
        "year": instants.astype("datetime64[Y]").astype(np.int64) + 1970,
    }
    return {name: np.where(np.isnat(instants), np.nan, values) for name, values in found.items()}


def elapsed_days(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The function of ``elapsed``."""
    since, until = columns.values()
    return {"days": (until - since) / np.timedelta64(1, "D")}


def _types(*inputs: str) -> dict[str, Any]:
    return {name: "timestamp" for name in inputs if ":" not in name}
