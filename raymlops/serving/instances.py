"""Predict requests: entity keys and request-time fields in, model inputs with the features joined out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from raymlops.clock import to_us
from raymlops.errors import DataError, DeploymentError
from raymlops.records.models import Signature
from raymlops.serving.datatypes import TEXT, is_float
from raymlops.serving.matrix_columns import MatrixColumns
from raymlops.serving.open_inference import check_id
from raymlops.serving.protocols import Columns, OnlineFeatures
from raymlops.serving.schema import InputSchema
from raymlops.serving.tensors import parse_json

__all__ = ["InstanceSchema", "PredictRequest", "parse_instant"]

MAX_INSTANCES = 1000
"""Joined on the event loop: more would keep everybody else waiting."""

_SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})
"""What an entity key or an input of an on-demand view may be here; the join knows their types, and refuses the rest."""

_TOP = frozenset({"instances", "parameters", "id"})
_ACCEPTED: dict[str, tuple[str, frozenset[type]]] = {
    "float": ("a number or null", frozenset({int, float, type(None)})),
    "integer": ("an integer or null", frozenset({int, type(None)})),
    "BOOL": ("a bool or null", frozenset({bool, type(None)})),
    TEXT: ("a string or null", frozenset({str, type(None)})),
}


class PredictRequest(NamedTuple):
    """A decoded request.

    Attributes:
        id: As sent; ``None`` where none was.
        columns: Request-time fields and features, each of length N; at least the model's inputs.
        rows: N, at least 1.
        at_us: N instants the prediction is made for.
        missing: Per row, the feature columns that had no valid value.
        entities: Per row, the keys the features were joined by, as a JSON object; none where none were joined.
        feature_times_us: Feature view -> N event times of what was joined; ``None`` where none were joined.
    """

    id: str | None
    columns: Columns
    rows: int
    at_us: list[int]
    missing: Sequence[Sequence[str]]
    entities: Sequence[str] = ()
    feature_times_us: Mapping[str, Sequence[int | None]] | None = None


class InstanceSchema:
    """What an instance must hold, compiled once per plan. Immutable.

    Args:
        schema: Of the champion; its inputs that are no features are request-time fields.
        online: Joins the features; ``None`` where the plan has no feature service: then every input is a field.
        others: Signatures of the backup and the version on trial: features that only they take are joined, too.
    """

    def __init__(self, schema: InputSchema, online: OnlineFeatures | None, others: Sequence[Signature] = ()) -> None:
        self._online = online
        self.keys = tuple(online.request_columns) if online is not None else ()
        """What the join needs: entity keys, and request-time inputs of on-demand views."""
        features = tuple(online.feature_columns) if online is not None else ()
        self.fields = tuple(name for name in schema.names if name not in set(features))
        """Request-time fields: inputs of the model that are no features."""
        self._fields = [(name, *_accepted(schema.datatypes[name])) for name in self.fields]
        self._required = frozenset((*self.keys, *self.fields))
        self._schema = schema
        wanted = {column.name: column.dtype for other in others for column in other.inputs} | schema.datatypes
        numbers = {name for name in features if wanted.get(name, TEXT) != TEXT}
        first = tuple(name for name in schema.names if name in numbers)
        self._numbers = (*first, *(name for name in features if name in numbers.difference(first)))
        self._position = {name: place for place, name in enumerate(self._numbers)}
        self._text_features = tuple(name for name in features if wanted.get(name) == TEXT)

    def decode(self, body: bytes, now_us: int) -> PredictRequest:
        """Read a predict request and join its features.

        Args:
            body: As sent.
            now_us: The clock; the default of ``at``, and the latest it may be.

        Raises:
            DataError: Anything is wrong with it; the message names what.
            DeploymentError: A feature is not of the type the model takes.
        """
        document = parse_json(body)
        if not document.keys() <= _TOP:
            raise DataError(f"unknown fields {sorted(document.keys() - _TOP)}, a request has {sorted(_TOP)}")
        instances = document.get("instances")
        if type(instances) is not list or not instances:
            raise DataError("'instances' must be a list of at least one object")
        if len(instances) > MAX_INSTANCES:
            raise DataError(f"'instances' must hold at most {MAX_INSTANCES}, got {len(instances)}")
        for index, instance in enumerate(instances):
            if type(instance) is not dict or instance.keys() != self._required:
                self._refuse_instance(index, instance)
        at_us = _instants(document.get("parameters"), len(instances), now_us)
        columns: Columns = self._request_columns(instances)
        missing: Sequence[Sequence[str]] = ()
        entities: Sequence[str] = ()
        feature_times: Mapping[str, Sequence[int | None]] | None = None
        if self._online is not None:
            rows = self._online.read(instances, at_us)
            missing, feature_times = rows.missing, rows.event_times_us
            entities = [orjson.dumps({key: row[key] for key in self.keys}).decode() for row in instances]
            joined = self._feature_columns(rows.columns)
            columns = {**columns, **joined} if columns else joined
        request_id = check_id(document.get("id"))
        return PredictRequest(request_id, columns, len(instances), at_us, missing, entities, feature_times)

    def _refuse_instance(self, index: int, instance: object) -> None:
        if type(instance) is not dict:
            raise DataError(f"instance {index} must be an object")
        missing = sorted(self._required - instance.keys())
        unknown = sorted(instance.keys() - self._required)
        wrong = [f"{what} {names}" for what, names in (("misses", missing), ("has unknown", unknown)) if names]
        raise DataError(f"instance {index} {' and '.join(wrong)}", missing=missing, unknown=unknown)

    def _request_columns(self, instances: list[dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
        for name in self.keys:
            values = [instance[name] for instance in instances]
            _check_types(name, values, "a string, a number, a bool or null", _SCALARS)
        columns: dict[str, npt.NDArray[Any]] = {}
        for name, rule, accepted in self._fields:
            values = [instance[name] for instance in instances]
            _check_types(name, values, rule, accepted)
            columns[name] = _objects(values) if name in self._schema.texts else np.array(values, dtype=np.float64)
        # the caller answers for these; a feature that is missing is none of his doing
        self._schema.check_present(columns)
        return columns

    def _feature_columns(self, values: Any) -> Columns:
        texts = {name: _objects(values[name]) for name in self._text_features}
        if not self._numbers:
            return texts
        try:
            # one conversion for all: a None becomes NaN
            matrix = np.array([values[name] for name in self._numbers], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DeploymentError(f"features {list(self._numbers)} must be numbers, as the model takes them") from error
        numbers = MatrixColumns(matrix.T, self._numbers, self._position)
        return {**texts, **numbers} if texts else numbers


def parse_instant(value: object, name: str) -> int:
    """Microseconds since 1970 of an ISO 8601 instant with its offset.

    Raises:
        DataError: It is something else.
    """
    if type(value) is not str:
        raise DataError(f"{name!r} must be an ISO 8601 string")
    try:
        return to_us(datetime.fromisoformat(value))
    except (ValueError, OverflowError) as error:
        raise DataError(f"{name!r} must be an ISO 8601 instant with its offset, got {value[:50]!r}") from error


def _accepted(datatype: str) -> tuple[str, frozenset[type]]:
    if datatype in _ACCEPTED:
        return _ACCEPTED[datatype]
    return _ACCEPTED["float" if is_float(datatype) else "integer"]


def _check_types(name: str, values: list[Any], rule: str, accepted: frozenset[type]) -> None:
    if set(map(type, values)) <= accepted:
        return
    index, value = next((i, value) for i, value in enumerate(values) if type(value) not in accepted)
    raise DataError(f"instance {index}: {name!r} must be {rule}, got {str(value)[:50]!r}", column=name)


def _objects(values: Sequence[Any]) -> npt.NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _instants(parameters: object, rows: int, now_us: int) -> list[int]:
    if parameters is None:
        return [now_us] * rows
    if type(parameters) is not dict or not parameters.keys() <= {"at"}:
        raise DataError("'parameters' must be an object that holds 'at' at most")
    at = parameters.get("at")
    if at is None:
        return [now_us] * rows
    if type(at) is list:
        if len(at) != rows:
            raise DataError(f"'at' must be one instant or one per instance: {rows}, got {len(at)}")
        instants = [parse_instant(value, "at") for value in at]
    else:
        instants = [parse_instant(at, "at")] * rows
    if max(instants) > now_us:
        raise DataError("'at' must not be later than the platform's clock")
    return instants
