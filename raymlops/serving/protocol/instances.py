"""Predict requests: entity keys and request-time fields in, model inputs with the features joined out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import orjson

from raymlops.clock import to_us
from raymlops.config.section import render_duration
from raymlops.config.serving import RequestLimits
from raymlops.errors import DataError, DeploymentError
from raymlops.flavors.protocol import Columns
from raymlops.records.learning.datatypes import TEXT, is_float
from raymlops.records.learning.signatures import Signature
from raymlops.serving.protocol.matrix_columns import MatrixColumns
from raymlops.serving.protocol.open_inference import check_id
from raymlops.serving.protocol.prediction_request import PredictionRequest
from raymlops.serving.protocol.protocols import OnlineFeatures
from raymlops.serving.protocol.schema import InputSchema, check_texts
from raymlops.serving.protocol.tensors import parse_json, texts_array

__all__ = ["InstanceSchema", "Instances", "RequestSchema", "instant_within", "parse_instant"]

_LIMITS = RequestLimits()

_SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})
"""What an entity key or an input of an on-demand view may be here; the join knows their types, and refuses the rest."""

_MICROSECOND = timedelta(microseconds=1)

_TOP = frozenset({"instances", "parameters", "id"})
_ACCEPTED: dict[str, tuple[str, frozenset[type]]] = {
    "float": ("a number or null", frozenset({int, float, type(None)})),
    "integer": ("an integer or null", frozenset({int, type(None)})),
    "BOOL": ("a bool or null", frozenset({bool, type(None)})),
    TEXT: ("a string or null", frozenset({str, type(None)})),
}


class Instances(NamedTuple):
    """A request as it was sent, checked, its features not joined yet.

    Attributes:
        id: As sent; ``None`` where none was.
        rows: N instances.
        columns: The request-time fields, each of length N.
        at_us: N instants the prediction is made for.
    """

    id: str | None
    rows: list[dict[str, Any]]
    columns: dict[str, npt.NDArray[Any]]
    at_us: list[int]


class RequestSchema:
    """The fields that an instance must hold. Immutable and picklable.

    Args:
        schema: Of the champion; its inputs that are no features are request-time fields.
        keys: What the join needs.
        features: What it gives.
    """

    def __init__(self, schema: InputSchema, keys: Sequence[str], features: Sequence[str]) -> None:
        self.keys = tuple(keys)
        self.fields = tuple(name for name in schema.names if name not in set(features))
        self._fields = [(name, *_accepted(schema.datatypes[name])) for name in self.fields]
        self._required = frozenset((*self.keys, *self.fields))
        self._schema = schema

    def decode(self, body: bytes, now_us: int, limits: RequestLimits = _LIMITS) -> Instances:
        """Read a predict request.

        Args:
            body: As sent.
            now_us: The clock; the default of ``at``, and the latest it may be.
            limits: What the request may hold.

        Raises:
            DataError: Anything is wrong with it; the message names what.
        """
        document = parse_json(body)
        if not document.keys() <= _TOP:
            raise DataError(f"unknown fields {sorted(document.keys() - _TOP)}, a request has {sorted(_TOP)}")
        instances = document.get("instances")
        if type(instances) is not list or not instances:
            raise DataError("'instances' must be a list of at least one object")
        if len(instances) > limits.predict_rows:
            raise DataError(f"'instances' must hold at most {limits.predict_rows}, got {len(instances)}")
        for index, instance in enumerate(instances):
            if type(instance) is not dict or instance.keys() != self._required:
                self._refuse_instance(index, instance)
        at_us = _instants(document.get("parameters"), len(instances), now_us, limits)
        columns = self._request_columns(instances, limits)
        return Instances(check_id(document.get("id")), instances, columns, at_us)

    def _refuse_instance(self, index: int, instance: object) -> None:
        if type(instance) is not dict:
            raise DataError(f"instance {index} must be an object")
        missing = sorted(self._required - instance.keys())
        unknown = sorted(instance.keys() - self._required)
        wrong = [f"{what} {names}" for what, names in (("misses", missing), ("has unknown", unknown)) if names]
        raise DataError(f"instance {index} {' and '.join(wrong)}", missing=missing, unknown=unknown)

    def _request_columns(self, instances: list[dict[str, Any]], limits: RequestLimits) -> dict[str, npt.NDArray[Any]]:
        for name in self.keys:
            values = [instance[name] for instance in instances]
            _check_types(name, values, "a string, a number, a bool or null", _SCALARS)
            check_texts(name, values, limits.key_chars)
        columns: dict[str, npt.NDArray[Any]] = {}
        for name, rule, accepted in self._fields:
            values = [instance[name] for instance in instances]
            _check_types(name, values, rule, accepted)
            if name in self._schema.texts:
                check_texts(name, values, limits.text_chars)
                columns[name] = texts_array(values)
            else:
                columns[name] = np.array(values, dtype=np.float64)
        # these are from the caller, so a missing one is refused; a missing feature is not the caller's fault
        self._schema.check_present(columns)
        return columns


class InstanceSchema:
    """Decodes predict requests into model inputs; compiled once per plan. Immutable.

    Args:
        schema: Of the champion; its inputs that are no features are request-time fields.
        online: Joins the features; ``None`` where the plan has no feature service: then every input is a field.
        others: Signatures of the backup and the version on trial: features that only they take are joined, too.

    Attributes:
        request: Reads a request.
    """

    def __init__(self, schema: InputSchema, online: OnlineFeatures | None, others: Sequence[Signature] = ()) -> None:
        self._online = online
        features = tuple(online.feature_columns) if online is not None else ()
        self.request = RequestSchema(schema, online.request_columns if online is not None else (), features)
        wanted = {column.name: column.dtype for other in others for column in other.inputs} | schema.datatypes
        numbers = {name for name in features if wanted.get(name, TEXT) != TEXT}
        first = tuple(name for name in schema.names if name in numbers)
        self._numbers = (*first, *(name for name in features if name in numbers.difference(first)))
        self._position = {name: place for place, name in enumerate(self._numbers)}
        self._text_features = tuple(name for name in features if wanted.get(name) == TEXT)

    @property
    def blocks(self) -> bool:
        """Whether ``join`` may wait for a server, and belongs in a thread."""
        return self._online is not None and self._online.blocks

    @property
    def keys(self) -> tuple[str, ...]:
        """What the join needs: entity keys, and request-time inputs of on-demand views."""
        return self.request.keys

    @property
    def fields(self) -> tuple[str, ...]:
        """Request-time fields: inputs of the model that are no features."""
        return self.request.fields

    def decode(self, body: bytes, now_us: int, limits: RequestLimits = _LIMITS) -> PredictionRequest:
        """Read a predict request and join its features, as ``RequestSchema.decode`` and ``join``."""
        return self.join(self.request.decode(body, now_us, limits))

    def join(self, asked: Instances) -> PredictionRequest:
        """Join the features of a request.

        Raises:
            DataError: A key has the wrong type.
            DeploymentError: A feature is not of the type the model takes.
            StorageError: The features cannot be read.
        """
        request_id = asked.id or uuid4().hex
        if self._online is None:
            return PredictionRequest(request_id, asked.columns, asked.at_us)
        rows = self._online.read(asked.rows, asked.at_us)
        keys = self.request.keys
        entities = [orjson.dumps({key: row[key] for key in keys}).decode() for row in asked.rows]
        joined = self._feature_columns(rows.columns)
        columns = {**asked.columns, **joined} if asked.columns else joined
        return PredictionRequest(request_id, columns, asked.at_us, rows.missing, entities, rows.event_times_us)

    def _feature_columns(self, values: Any) -> Columns:
        texts = {name: texts_array(values[name]) for name in self._text_features}
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


def instant_within(at_us: int, name: str, now_us: int, limits: RequestLimits) -> int:
    """An instant that lies neither after the clock nor longer before it than the limit says.

    Raises:
        DataError: It does.
    """
    if at_us > now_us:
        raise DataError(f"{name} must not be later than the platform's clock")
    if now_us - at_us > limits.oldest // _MICROSECOND:
        raise DataError(f"{name} must be at most {render_duration(limits.oldest)} before the platform's clock")
    return at_us


def _accepted(datatype: str) -> tuple[str, frozenset[type]]:
    if datatype in _ACCEPTED:
        return _ACCEPTED[datatype]
    return _ACCEPTED["float" if is_float(datatype) else "integer"]


def _check_types(name: str, values: list[Any], rule: str, accepted: frozenset[type]) -> None:
    if set(map(type, values)) <= accepted:
        return
    index, value = next((i, value) for i, value in enumerate(values) if type(value) not in accepted)
    raise DataError(f"instance {index}: {name!r} must be {rule}, got {str(value)[:50]!r}", column=name)


def _instants(parameters: object, rows: int, now_us: int, limits: RequestLimits) -> list[int]:
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
    instant_within(max(instants), "'at'", now_us, limits)
    instant_within(min(instants), "'at'", now_us, limits)
    return instants
