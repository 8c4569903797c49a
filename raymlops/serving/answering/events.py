"""Prediction events: what is known about one answered request, and its Arrow form."""

from __future__ import annotations

from collections.abc import Sequence
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
from raymlops.serving.protocol.prediction_request import PredictionRequest
from raymlops.serving.protocol.schema import InputSchema

__all__ = ["PredictionEvent", "scores_of", "to_tables"]

_INSTANT = pa.timestamp("us", tz="UTC")

_EVENT_BYTES = 2_000
"""Estimated memory of one event beside its rows: objects, an id, reasons."""
_ROW_BYTES = 100
"""Estimated memory of a row beside its inputs and outputs, and of each time of a feature view."""
_MISSING_BYTES = 64
"""Memory of a row's list of missing feature columns, without its entries."""
_NAME_BYTES = 12
"""Memory of an entry of that list, which refers to a name that all rows share; lists keep room to grow."""


class PredictionEvent(NamedTuple):
    """One request of N rows and its answer. It keeps references only: nothing is converted while the caller waits.

    Attributes:
        request: The rows.
        schema: The inputs that are logged: those of the version that the caller named, or of the champion.
        served_at_us: Instant of the answer by the platform's clock, microseconds since 1970.
        version: The version that answered, or failed to.
        role: ``champion``, ``canary``, ``shadow``, ``backup`` or ``baseline``.
        latency_us: Real time from arrival to answer.
        outputs: Of the model; ``None`` where no version could answer.
        fallback: Why another than the chosen version answered: ``canary 7: timeout ...``.
        error: Why no version could answer.
    """

    request: PredictionRequest
    schema: InputSchema
    served_at_us: int
    version: int
    role: str
    latency_us: int
    outputs: Outputs | None
    fallback: str | None = None
    error: str | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.request.at_us)

    @property
    def nbytes(self) -> int:
        """Memory that it takes, estimated."""
        request, schema = self.request, self.schema
        rows = len(request.at_us)
        found = _EVENT_BYTES + rows * (schema.row_bytes + _ROW_BYTES)
        if request.entities:
            views = 0 if request.feature_times_us is None else len(request.feature_times_us)
            found += rows * views * _ROW_BYTES + sum(map(len, request.entities))
            found += rows * _MISSING_BYTES + _NAME_BYTES * sum(map(len, request.missing))
        return found + schema.chars_of(request.columns) if schema.texts else found


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

    requests = [event.request for event in events]
    entities = feature_times = pa.nulls(rows, pa.string())
    if any(request.entities for request in requests):
        entities = pa.array([entity for request in requests for entity in _entities(request)], type=pa.string())
    if any(request.feature_times_us is not None for request in requests):
        feature_times = pa.array([times for request in requests for times in _feature_times(request)], type=pa.string())
    arrays = [
        repeated([request.request_id for request in requests], pa.string()),
        pa.array(np.arange(rows, dtype=np.int32) - np.repeat(counts.cumsum() - counts, counts).astype(np.int32)),
        pa.array([at for request in requests for at in request.at_us], type=pa.int64()).cast(_INSTANT),
        repeated([event.served_at_us for event in events], pa.int64()).cast(_INSTANT),
        repeated([event.version for event in events], pa.int32()),
        repeated([event.role for event in events], pa.string()),
        repeated([event.latency_us for event in events], pa.int64()),
        repeated([event.fallback for event in events], pa.string()),
        repeated([event.error for event in events], pa.string()),
        pa.array([count for request in requests for count in _missing_counts(request)], type=pa.int32()),
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


def _missing_counts(request: PredictionRequest) -> Sequence[int]:
    return [len(names) for names in request.missing] or [0] * request.rows


def _entities(request: PredictionRequest) -> Sequence[str | None]:
    return request.entities or [None] * request.rows


def _feature_times(request: PredictionRequest) -> Sequence[str | None]:
    """JSON objects: feature view -> microseconds since 1970, null where it had no valid row."""
    if request.feature_times_us is None:
        return [None] * request.rows
    views = request.feature_times_us.keys()
    rows = zip(*request.feature_times_us.values(), strict=True) if views else repeat((), request.rows)
    return [orjson.dumps(dict(zip(views, row, strict=True))).decode() for row in rows]


def _inputs(events: list[PredictionEvent]) -> list[pa.Array]:
    names, texts = events[0].schema.names, events[0].schema.texts
    asked = [event.request.columns for event in events]
    matrices = [columns.matrix[:, : len(names)] for columns in asked if _is_whole(columns, names)]
    if len(matrices) == len(asked):
        numbers = np.concatenate(matrices).T.astype(np.float64, order="C", copy=False)
        return [pa.array(column, from_pandas=True) for column in numbers]
    return [_input([columns[name] for columns in asked], name in texts) for name in names]


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
