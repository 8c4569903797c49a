"""Loaded models: columns in, named outputs out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from raymlops.errors import DataError, ModelLoadFailed, RaymlopsError, SchemaMismatch
from raymlops.flavors.guard import foreign_errors
from raymlops.flavors.protocol import Array, Columns, Outputs, Predictor
from raymlops.records.learning.datatypes import TEXT
from raymlops.records.learning.signatures import Signature
from raymlops.serving.protocol.matrix_columns import MatrixColumns
from raymlops.serving.protocol.schema import InputSchema, labels_array

__all__ = ["BrokenModel", "Model", "ServedModel", "columns_of"]

_LARGEST = float(np.finfo(np.float32).max)
_LARGEST_WHOLE = 2**53
"""Up to here a float holds every integer."""


class Model(Protocol):
    """A loaded model. Immutable: many threads may predict at once."""

    @property
    def schema(self) -> InputSchema:
        """The signature, compiled for requests."""
        ...

    @property
    def signature(self) -> Signature:
        """The inputs and outputs."""
        ...

    def predict(self, columns: Columns) -> Outputs:
        """Predict N rows.

        Args:
            columns: At least the input columns; numbers (NaN is missing) or ``str | None`` objects, each of length N.

        Returns:
            A classifier's ``label`` [N] and ``probability`` [N, classes], or a regressor's ``value`` [N]; float64.

        Raises:
            SchemaMismatch: An input column is not there.
            DataError: A number is infinite, or so large that it is as a 32-bit float.
        """
        ...

    def encode(self, columns: Columns) -> Any:
        """The first part of ``predict``: N rows as ``score`` takes them, checked. Raises what ``predict`` raises."""
        ...

    def stack(self, encoded: Sequence[Any]) -> Any:
        """Encoded requests as one, in order.

        Raises:
            DataError: They cannot be one without a change of their values.
        """
        ...

    def score(self, encoded: Any) -> Outputs:
        """The second part of ``predict``."""
        ...

    def importances(self) -> dict[str, float]:
        """Input column -> relative importance, summing to 1; empty where the estimator knows none."""
        ...


class ServedModel:
    """A model of any flavor: it encodes requests for the flavor's predictor, and names what that answers.

    Args:
        predictor: Of the model's flavor.
        signature: What it takes and gives. A text that is none of a predictor's categories is missing.
        example: At least one row that it answers: tried with missing values, to know which inputs are required.
    """

    def __init__(self, predictor: Predictor, signature: Signature, example: Columns | None = None) -> None:
        self._predictor, self._ask = predictor, predictor.score
        self._framed, self._dtype, self._encoders = predictor.framed, predictor.dtype, predictor.encoders
        self._labels = labels_array(signature)
        self._schema = InputSchema(signature)
        if example is not None and not predictor.takes_missing:
            self._schema = InputSchema(signature, self._required(example))

    @property
    def schema(self) -> InputSchema:
        return self._schema

    @property
    def signature(self) -> Signature:
        return self._schema.signature

    def predict(self, columns: Columns) -> Outputs:
        return self.score(self.encode(columns))

    def encode(self, columns: Columns) -> Any:
        if self._framed:
            return self._checked(columns)
        names = self._schema.names
        first = columns.get(names[0])
        matrix: Array = np.empty((0 if first is None else len(first), len(names)), dtype=self._dtype)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                if not self._encoders and type(columns) is MatrixColumns and columns.names[: len(names)] == names:
                    matrix[:] = columns.matrix[:, : len(names)]
                else:
                    self._fill(matrix, columns)
                _check_range(matrix, names)
        except KeyError as error:
            raise SchemaMismatch(f"input {error} is missing", column=str(error)) from error
        return matrix

    def stack(self, encoded: Sequence[Any]) -> Any:
        if not self._framed:
            return np.concatenate(encoded)
        stacked = {}
        for name in self._schema.names:
            parts = [columns[name] for columns in encoded]
            if len({part.dtype for part in parts}) > 1:
                raise DataError(f"input {name!r} is of several types", column=name)
            stacked[name] = np.concatenate(parts)
        return stacked

    def score(self, encoded: Any) -> Outputs:
        scores = self._ask(encoded)
        if not len(self._labels):
            values = scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores  # fitted on a column
            return {"value": values.astype(np.float64, copy=False)}
        if scores.ndim == 1:
            probability = np.empty((len(scores), 2))
            probability[:, 1] = scores
            np.subtract(1.0, probability[:, 1], out=probability[:, 0])
        else:
            probability = scores.astype(np.float64, copy=False)
        return {"label": self._labels[probability.argmax(axis=1)], "probability": probability}

    def importances(self) -> dict[str, float]:
        weights = self._predictor.importances()
        if weights is None:
            return {}
        total = sum(weights)
        shares = [weight / total if total > 0 else 0.0 for weight in weights]
        return dict(zip(self._schema.names, shares, strict=True))

    def _fill(self, matrix: Array, columns: Columns) -> None:
        for position, name in enumerate(self._schema.names):
            values = columns[name]
            codes = self._encoders.get(position) if self._encoders else None
            matrix[:, position] = values if codes is None else [codes.get(value, np.nan) for value in values]

    def _checked(self, columns: Columns) -> Columns:
        missing = [name for name in self._schema.names if name not in columns]
        if missing:
            raise SchemaMismatch(f"inputs {missing} are missing", columns=missing)
        numbers = [name for name in self._schema.names if name not in self._schema.texts]
        if numbers:
            _check_range(np.column_stack([columns[name] for name in numbers]), numbers)
        return {name: columns[name] for name in self._schema.names}

    def _required(self, example: Columns) -> list[str]:
        row = {name: example[name][:1] for name in self._schema.names}
        texts = self._schema.texts
        missing = {name: np.array([None]) if name in texts else np.array([np.nan]) for name in row}
        if self._answers(row | missing) or not self._answers(row):
            return []
        return [name for name, value in missing.items() if not self._answers(row | {name: value})]

    def _answers(self, row: Columns) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with foreign_errors("the model cannot answer"):
                    outputs = self.predict(row)
            except RaymlopsError:
                return False
        return bool(np.isfinite(outputs["value"] if "value" in outputs else outputs["probability"]).all())


class BrokenModel:
    """Stands for a version whose files cannot be loaded, so that its backup answers.

    Args:
        signature: What the version would take and give.
        error: Why it is broken; raised by each prediction, of anything.
    """

    def __init__(self, signature: Signature, error: ModelLoadFailed) -> None:
        self.schema, self.signature, self.error = InputSchema(signature), signature, error

    def predict(self, columns: Columns) -> Outputs:
        return self.score(columns)

    def encode(self, columns: Columns) -> Any:
        return self.score(columns)

    def stack(self, encoded: Sequence[Any]) -> Any:
        return self.score(encoded)

    def score(self, encoded: Any) -> Outputs:
        del encoded
        raise ModelLoadFailed(str(self.error), **self.error.context)

    def importances(self) -> dict[str, float]:
        return {}


def columns_of(table: pa.Table, signature: Signature) -> dict[str, Array]:
    """The input columns of a table, as ``Model.predict`` takes them.

    Raises:
        SchemaMismatch: A column is not there, or of another kind.
    """
    columns: dict[str, Array] = {}
    for spec in signature.inputs:
        if spec.name not in table.column_names:
            raise SchemaMismatch(f"input {spec.name!r} is not a column of the table", column=spec.name)
        column = table.column(spec.name)
        try:
            if spec.dtype == TEXT:
                values = np.empty(len(column), dtype=object)
                values[:] = column.cast(pa.string()).to_pylist()
            else:
                values = _numbers(column)
        except pa.ArrowException as error:
            message = f"input {spec.name!r} must be {spec.dtype}, got {column.type}"
            raise SchemaMismatch(message, column=spec.name) from error
        columns[spec.name] = values
    return columns


def _numbers(column: pa.ChunkedArray) -> Array:
    """A column of numbers as floats; as integers where floats would not tell them apart."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if pa.types.is_integer(column.type) and not column.null_count:
        whole = column.to_numpy()
        if len(whole) and (whole.max() > _LARGEST_WHOLE or whole.min() < -_LARGEST_WHOLE):
            return np.asarray(whole)
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _check_range(matrix: Array, names: Sequence[str]) -> None:
    """Refuse numbers that are infinite, or are as 32-bit floats, which trees hold."""
    if matrix.dtype == np.float32 and math.isfinite(np.add.reduce(matrix, axis=None)):
        return  # quick: a sum is finite only if all its parts are
    too_large = np.abs(matrix) > _LARGEST
    if too_large.any():
        bad = [names[position] for position in np.flatnonzero(too_large.any(axis=0)).tolist()]
        raise DataError(f"inputs {bad} must be finite 32-bit floats, or missing", columns=bad)
