"""Prediction events: what is known about one answered request, and its Arrow form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, repeat
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from raymlops.flavors.protocol import Columns, Outputs
from raymlops.records.learning.labels import label_text
from raymlops.serving.models.input_names import EVENT_SCHEMA
from raymlops.serving.protocol.matrix_columns import MatrixColumns
from raymlops.serving.protocol.schema import InputSchema

__all__ = ["PredictionEvent", "scores_of", "to_tables"]

_INSTANT = pa.timestamp("us", tz="UTC")

_EVENT_BYTES = 2_000
"""Estimated memory of one event beside its rows: objects, an id, reasons."""
_ROW_BYTES = 100
"""Estimated memory of a row beside its inputs and outputs, and of each time of a feature view."""


class PredictionEvent(NamedTuple):
    """One request of N rows. It keeps references only: nothing is converted while somebody waits.

    Attributes:
        request_id: What labels refer to.
        schema: Whose inputs are logged.
        columns: The inputs, each of length N.
        event_times_us: N instants the prediction is made for.
        served_at_us: When it was answered, by the platform's clock.
        version: That answered, or failed to.
        role: ``champion``, ``canary``, ``shadow`` or ``backup``.
        latency_us: Real time from arrival to answer.
        outputs: ``None`` where nobody could answer.
        fallback: Why another than the chosen version answered: ``canary 7: timeout ...``.
        error: Why nobody could.
        missing: N numbers of missing feature columns; ``None`` where no features were joined.
        entities: N JSON objects, the keys the features were joined by; none where no features were joined.
        feature_times_us: Feature view -> N event times of the rows that were joined, in microseconds; ``None`` where no
            features were joined.
    """

    request_id: str
    schema: InputSchema
    columns: Columns
    event_times_us: Sequence[int]
    served_at_us: int
    version: int
    role: str
    latency_us: int
    outputs: Outputs | None
    fallback: str | None = None
    error: str | None = None
    missing: Sequence[int] | None = None
    entities: Sequence[str] = ()
    feature_times_us: Mapping[str, Sequence[int | None]] | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.event_times_us)

    @property
    def nbytes(self) -> int:
        """Memory that it takes, estimated."""
        rows, schema = len(self.event_times_us), self.schema
        found = _EVENT_BYTES + rows * (schema.row_bytes + _ROW_BYTES)
        if self.entities:
            views = 0 if self.feature_times_us is None else len(self.feature_times_us)
            found += rows * views * _ROW_BYTES + sum(map(len, self.entities))
        return found + schema.chars_of(self.columns) if schema.texts else found


def to_tables(events: Sequence[PredictionEvent]) -> list[pa.Table]:
    """The events as tables, in order: one, or as many as the models' inputs changed on the way."""
    return [_to_table(list(group)) for _, group in groupby(events, key=_inputs_of)]


def _inputs_of(event: PredictionEvent) -> tuple[tuple[str, ...], frozenset[str]]:
    return event.schema.names, event.schema.texts


def _to_table(events: list[PredictionEvent]) -> pa.Table:
    counts = np.array([event.rows for event in events])
    rows = int(counts.sum())
    places = None if rows == len(events) else pa.array(np.repeat(np.arange(len(counts)), counts))

    def repeated(values: list[Any], dtype: pa.DataType) -> pa.Array:
        array = pa.array(values, type=dtype)
        return array if places is None else array.take(places)

    entities = feature_times = pa.nulls(rows, pa.string())
    if any(event.entities for event in events):
        entities = pa.array([entity for event in events for entity in _entities(event)], type=pa.string())
    if any(event.feature_times_us is not None for event in events):
        feature_times = pa.array([times for event in events for times in _feature_times(event)], type=pa.string())
    arrays = [
        repeated([event.request_id for event in events], pa.string()),
        pa.array(np.arange(rows, dtype=np.int32) - np.repeat(counts.cumsum() - counts, counts).astype(np.int32)),
        pa.array([at for event in events for at in event.event_times_us], type=pa.int64()).cast(_INSTANT),
        repeated([event.served_at_us for event in events], pa.int64()).cast(_INSTANT),
        repeated([event.version for event in events], pa.int32()),
        repeated([event.role for event in events], pa.string()),
        repeated([event.latency_us for event in events], pa.int64()),
        repeated([event.fallback for event in events], pa.string()),
        repeated([event.error for event in events], pa.string()),
        pa.array([count for event in events for count in event.missing or [0] * event.rows], type=pa.int32()),
        pa.array(np.concatenate([_scores(event) for event in events]), from_pandas=True),
        _label_column(events),
        entities,
        feature_times,
    ]
    inputs = _inputs(events)
    schema = EVENT_SCHEMA
    for name, array in zip(events[0].schema.names, inputs, strict=True):
        schema = schema.append(pa.field(name, array.type))
    return pa.Table.from_arrays([*arrays, *inputs], schema=schema)


def _entities(event: PredictionEvent) -> Sequence[str | None]:
    return event.entities or [None] * event.rows


def _feature_times(event: PredictionEvent) -> Sequence[str | None]:
    """JSON objects: feature view -> microseconds since 1970, null where it had no valid row."""
    if event.feature_times_us is None:
        return [None] * event.rows
    views = event.feature_times_us.keys()
    rows = zip(*event.feature_times_us.values(), strict=True) if views else repeat((), event.rows)
    return [orjson.dumps(dict(zip(views, row, strict=True))).decode() for row in rows]


def _inputs(events: list[PredictionEvent]) -> list[pa.Array]:
    names, texts = events[0].schema.names, events[0].schema.texts
    matrices = [event.columns.matrix[:, : len(names)] for event in events if _is_whole(event.columns, names)]
    if len(matrices) == len(events):
        columns = np.concatenate(matrices).T.astype(np.float64, order="C", copy=False)
        return [pa.array(column, from_pandas=True) for column in columns]
    return [_input([event.columns[name] for event in events], name in texts) for name in names]


def _is_whole(columns: Columns, names: tuple[str, ...]) -> TypeGuard[MatrixColumns]:
    """Whether they are one matrix that begins with these columns."""
    return type(columns) is MatrixColumns and columns.names[: len(names)] == names


def _input(parts: list[npt.NDArray[Any]], text: bool) -> pa.Array:
    if text:
        return pa.array([value for part in parts for value in part], type=pa.string())
    return pa.array(np.concatenate(parts).astype(np.float64), from_pandas=True)


def _scores(event: PredictionEvent) -> npt.NDArray[np.float64]:
    return np.full(event.rows, np.nan) if event.outputs is None else scores_of(event.outputs)


def scores_of(outputs: Outputs) -> npt.NDArray[np.float64]:
    """One number per row: the value, the probability of the second of two classes, or the largest of several."""
    if "value" in outputs:
        return outputs["value"].astype(np.float64)
    probability = outputs["probability"]
    score: npt.NDArray[np.float64] = probability[:, 1] if probability.shape[1] == 2 else probability.max(axis=1)
    return score.astype(np.float64)


def _label_column(events: list[PredictionEvent]) -> pa.Array:
    # few classes, many rows: each class is written as text once
    found = [None if event.outputs is None else event.outputs.get("label") for event in events]
    labels = [some for some in found if some is not None]
    if len(labels) == len(found) and len({some.dtype for some in labels}) == 1 and labels[0].dtype.kind != "O":
        classes, places = np.unique(np.concatenate(labels), return_inverse=True)
        return pa.array([label_text(label) for label in classes.tolist()], type=pa.string()).take(pa.array(places))
    rows: list[str | None] = []
    texts: dict[Any, str] = {}
    for event, some in zip(events, found, strict=True):
        if some is None:
            rows += [None] * event.rows
            continue
        listed = some.tolist()
        texts |= {label: label_text(label) for label in set(listed) - texts.keys()}
        rows += [texts[label] for label in listed]
    return pa.array(rows, type=pa.string())
