"""Loaded models: columns in, named outputs out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymlops.errors import DataError, DeploymentError, ModelLoadFailed, NotFinite, SchemaMismatch
from raymlops.records.models import Signature
from raymlops.serving.models.calibrated import calibrated_scorer
from raymlops.serving.models.dense_booster import DenseBooster
from raymlops.serving.models.estimators import inner_estimator
from raymlops.serving.protocol.datatypes import TEXT
from raymlops.serving.protocol.matrix_columns import MatrixColumns
from raymlops.serving.protocol.protocols import Columns, Outputs
from raymlops.serving.protocol.schema import InputSchema, labels_array

__all__ = ["BrokenModel", "Model", "SklearnModel", "XgboostModel", "check_outputs", "columns_of"]

Array = npt.NDArray[Any]

_LARGEST = float(np.finfo(np.float32).max)


class Model(Protocol):
    """A loaded model. Immutable: many threads may predict at once."""

    @property
    def schema(self) -> InputSchema:
        """What it takes and gives, compiled."""
        ...

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
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


class _Scored:
    """What all flavors share: from columns to a matrix, and from scores to outputs."""

    def __init__(self, signature: Signature) -> None:
        self._schema = InputSchema(signature)
        self._labels = labels_array(signature)
        self._binary = len(signature.classes) == 2

    @property
    def schema(self) -> InputSchema:
        return self._schema

    @property
    def signature(self) -> Signature:
        return self._schema.signature

    def predict(self, columns: Columns) -> Outputs:
        return self.score(self.encode(columns))

    def encode(self, columns: Columns) -> Any:
        raise NotImplementedError

    def stack(self, encoded: Sequence[Any]) -> Any:
        return np.concatenate(encoded)

    def score(self, encoded: Any) -> Outputs:
        raise NotImplementedError

    def _outputs(self, scores: Array) -> Outputs:
        """Outputs from what the estimator answers: [N, classes], P(class 1) [N], or values [N]."""
        if self.signature.task == "regressor":
            values = scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores  # fitted on a column
            return {"value": values.astype(np.float64, copy=False)}
        if scores.ndim == 1:
            probability = np.empty((len(scores), 2))
            probability[:, 1] = scores
            np.subtract(1.0, probability[:, 1], out=probability[:, 0])
        else:
            probability = scores.astype(np.float64, copy=False)
        return {"label": self._labels[probability.argmax(axis=1)], "probability": probability}

    def _fill(self, matrix: Array, columns: Columns, encoders: Mapping[int, Mapping[str | None, float]]) -> None:
        """Write the inputs into ``matrix``, text by its encoder, and check that they are in range."""
        names = self._schema.names
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                if type(columns) is MatrixColumns and columns.names[: len(names)] == names:
                    matrix[:] = columns.matrix[:, : len(names)]
                else:
                    for position, name in enumerate(names):
                        values = columns[name]
                        encoder = encoders.get(position) if encoders else None
                        matrix[:, position] = (
                            values if encoder is None else [encoder.get(value, np.nan) for value in values]
                        )
                _check_range(matrix, names)
        except KeyError as error:
            raise SchemaMismatch(f"input {error} is missing", column=str(error)) from error


class XgboostModel(_Scored):
    """A booster, predicted in place on one thread.

    Args:
        booster: Takes the inputs in signature order.
        signature: Text inputs are the booster's categories; a category it never saw is missing.
    """

    def __init__(self, booster: Any, signature: Signature) -> None:
        super().__init__(signature)
        booster.set_param({"nthread": 1})
        self._booster = booster
        self._dense = DenseBooster(booster)
        self._encoders = _encoders(booster, self._schema)
        self._width = len(self._schema.names)

    def encode(self, columns: Columns) -> Array:
        first = columns.get(self._schema.names[0])
        matrix = np.empty((0 if first is None else len(first), self._width), dtype=np.float32)
        self._fill(matrix, columns, self._encoders)
        return matrix

    def score(self, encoded: Array) -> Outputs:
        return self._outputs(self._dense.predict(encoded))

    def importances(self) -> dict[str, float]:
        gains = self._booster.get_score(importance_type="total_gain")
        keys = self._booster.feature_names or [f"f{index}" for index in range(self._width)]
        return _shares(self._schema.names, [float(gains.get(key, 0.0)) for key in keys])


class SklearnModel(_Scored):
    """A scikit-learn estimator or pipeline.

    Args:
        estimator: Fitted; takes a matrix, or a frame where it was fitted on one.
        signature: What it takes and gives.
        example: At least one row that it answers: tried with missing values, to know which inputs are required.
    """

    def __init__(self, estimator: Any, signature: Signature, example: Columns | None = None) -> None:
        from threadpoolctl import ThreadpoolController

        super().__init__(signature)
        self._estimator = estimator
        self._score = _scorer(estimator, signature)
        self._framed = hasattr(estimator, "feature_names_in_") or bool(self._schema.texts)
        # OpenMP would wake a team of threads for every row
        self._threads = ThreadpoolController().select(user_api="openmp")
        if example is not None:
            self._schema = InputSchema(signature, self._required(example))

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
                self.predict(row)
            except (ValueError, TypeError):
                return False
        return True

    def encode(self, columns: Columns) -> Any:
        return self._checked(columns) if self._framed else self._matrix(columns)

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
        import pandas as pd

        inputs = pd.DataFrame(encoded) if self._framed else encoded
        with self._threads.limit(limits=1):
            return self._outputs(self._score(inputs))

    def importances(self) -> dict[str, float]:
        inner = inner_estimator(self._estimator)
        last = inner[-1] if hasattr(inner, "steps") else inner
        values = getattr(last, "feature_importances_", None)
        if values is None and hasattr(last, "coef_"):
            values = np.abs(np.atleast_2d(last.coef_)).mean(axis=0)
        if values is None or len(values) != len(self._schema.names):
            return {}
        return _shares(self._schema.names, [float(value) for value in values])

    def _matrix(self, columns: Columns) -> Array:
        first = columns.get(self._schema.names[0])
        matrix = np.empty((0 if first is None else len(first), len(self._schema.names)))
        self._fill(matrix, columns, {})
        return matrix

    def _checked(self, columns: Columns) -> Columns:
        missing = [name for name in self._schema.names if name not in columns]
        if missing:
            raise SchemaMismatch(f"inputs {missing} are missing", columns=missing)
        numbers = [name for name in self._schema.names if name not in self._schema.texts]
        if numbers:
            _check_range(np.column_stack([columns[name] for name in numbers]), numbers)
        return {name: columns[name] for name in self._schema.names}


class BrokenModel(_Scored):
    """Stands for a version whose files cannot be loaded, so that its backup answers.

    Args:
        signature: What the version would take and give.
        error: Why it is broken; raised by each prediction, of anything.
    """

    def __init__(self, signature: Signature, error: ModelLoadFailed) -> None:
        super().__init__(signature)
        self.error = error

    def encode(self, columns: Columns) -> Any:  # noqa: ARG002 (the Protocol's)
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
                column = column.cast(pa.uint8()) if pa.types.is_boolean(column.type) else column
                values = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
        except pa.ArrowException as error:
            message = f"input {spec.name!r} must be {spec.dtype}, got {column.type}"
            raise SchemaMismatch(message, column=spec.name) from error
        columns[spec.name] = values
    return columns


def _check_range(matrix: Array, names: Sequence[str]) -> None:
    """Refuse infinities and what is one as a 32-bit float, which is what trees hold."""
    if matrix.dtype == np.float32 and math.isfinite(np.add.reduce(matrix, axis=None)):
        return  # a sum is not finite where a part of it is not
    too_large = np.abs(matrix) > _LARGEST
    if too_large.any():
        bad = [names[position] for position in np.flatnonzero(too_large.any(axis=0)).tolist()]
        raise DataError(f"inputs {bad} must be finite 32-bit floats, or missing", columns=bad)


def _encoders(booster: Any, schema: InputSchema) -> dict[int, dict[str | None, float]]:
    """Place of a text input -> its category's code."""
    if not schema.texts:
        return {}
    categories = [values for _, values in booster.get_categories(export_to_arrow=True).to_arrow()]
    encoders = {}
    for name in sorted(schema.texts):
        position = schema.position[name]
        if position >= len(categories) or categories[position] is None:
            raise SchemaMismatch(f"input {name!r} is text, but the model holds no categories for it", column=name)
        known = categories[position].to_pylist()
        encoders[position] = {value: float(code) for code, value in enumerate(known)}
    return encoders


def _scorer(estimator: Any, signature: Signature) -> Callable[[Any], Array]:
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )

    calibrated = calibrated_scorer(estimator)
    if calibrated is not None:
        return calibrated
    forests = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
    if type(estimator) in forests and estimator.n_outputs_ == 1 and not hasattr(estimator, "feature_names_in_"):
        return _forest_scorer(estimator, signature)
    method = estimator.predict_proba if signature.task == "classifier" else estimator.predict
    scorer: Callable[[Any], Array] = method
    return scorer


def _forest_scorer(estimator: Any, signature: Signature) -> Callable[[Any], Array]:
    """The mean over the trees, without the job scheduler that makes one row cost as much as ten thousand."""
    trees = [member.tree_ for member in estimator.estimators_]

    def score(matrix: Array) -> Array:
        single = matrix.astype(np.float32)
        total: Array = trees[0].predict(single)
        for tree in trees[1:]:
            total = total + tree.predict(single)
        mean: Array = total / len(trees)
        return mean if signature.task == "classifier" else mean.reshape(len(matrix))

    return score


def _shares(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    total = sum(values)
    return {name: value / total if total > 0 else 0.0 for name, value in zip(names, values, strict=True)}


def check_outputs(outputs: Outputs, rows: int) -> None:
    """Check that outputs are an answer for N rows: the right shapes, all numbers finite.

    Raises:
        NotFinite: A number is NaN or infinite.
        DeploymentError: They are something else.
    """
    try:
        if "value" in outputs:
            fits = outputs["value"].shape == (rows,)
            numbers = outputs["value"]
        else:
            numbers = outputs["probability"]
            fits = numbers.ndim == 2 and numbers.shape[0] == rows and outputs["label"].shape == (rows,)
        finite = fits and bool(np.isfinite(numbers).all())
    except (KeyError, TypeError, AttributeError) as error:
        raise DeploymentError(f"answered something else than outputs: {type(error).__name__}") from error
    if not fits:
        raise DeploymentError(f"answered outputs of the wrong shape for {rows} rows")
    if not finite:
        raise NotFinite("answered NaN or infinity")
