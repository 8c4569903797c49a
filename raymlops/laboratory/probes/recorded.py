"""The record of a served model, its inputs joined with their labels, as a table for the laboratory. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import DataError, NotEnoughRows

__all__ = ["EVENT_TIME", "KNOWN", "LABEL", "recorded_table"]

LABEL, EVENT_TIME, KNOWN = "__label", "__event_time", "__known"
"""Names that no model input has: they are the laboratory's own."""
_KEYS = ["request_id", "row"]


def recorded_table(events: pa.Table, labels: pa.Table, inputs: Sequence[str], *, regression: bool) -> pa.Table:
    """One row for each labelled row that was asked about, by time: ``inputs``, ``LABEL``, ``EVENT_TIME`` and ``KNOWN``.

    Of a row that was answered twice, by a champion and in a shadow, the inputs count once; of labels that contradict
    each other, the first that came.

    Args:
        events: Prediction events with the inputs beside them.
        labels: ``request_id``, ``row``, ``label`` as text, ``event_time``.
        inputs: The model's.
        regression: Whether labels are values.

    Raises:
        NotEnoughRows: No row has a label.
        DataError: An input was not recorded, or a label of a regression is no number.
    """
    missing = sorted(set(inputs) - set(events.column_names))
    if missing:
        raise DataError(f"inputs {missing[:5]} were not recorded with the predictions", columns=missing)
    asked = _first(events.select([*_KEYS, "event_time", *inputs]), "event_time")
    told = _first(labels.select([*_KEYS, "label", "event_time"]), "event_time").rename_columns([*_KEYS, LABEL, KNOWN])
    joined = asked.rename_columns([*_KEYS, EVENT_TIME, *inputs]).join(told, keys=_KEYS, join_type="inner")
    if not joined.num_rows:
        raise NotEnoughRows("no prediction that was recorded has a label")
    if regression:
        try:
            values = pc.cast(joined[LABEL], pa.float64())
        except pa.ArrowInvalid as error:
            raise DataError(f"labels of a regression must be numbers: {error}") from error
        joined = joined.set_column(joined.column_names.index(LABEL), LABEL, values)
    # a draw from the rows must not depend on the order in which requests were answered
    ordered = joined.sort_by([(name, "ascending") for name in (EVENT_TIME, *_KEYS)])
    return ordered.drop_columns(_KEYS)


def _first(table: pa.Table, by: str) -> pa.Table:
    """The oldest row of each key."""
    numbered = table.append_column("__number", pa.array(range(table.num_rows), pa.int64()))
    ordered = numbered.sort_by([(by, "ascending"), ("__number", "ascending")])
    position = pa.array(range(ordered.num_rows), pa.int64())
    kept = ordered.set_column(ordered.column_names.index("__number"), "__number", position).group_by(_KEYS)
    return ordered.take(kept.aggregate([("__number", "min")])["__number_min"]).drop_columns(["__number"])
