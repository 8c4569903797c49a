"""What an estimator is: flavor, task, inputs, classes, and the bytes that hold it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from raymlops.errors import DataError, ModelLoadFailed, SchemaMismatch
from raymlops.serving.models.canonical_skops import canonical_skops
from raymlops.serving.protocol.protocols import Columns

__all__ = [
    "TRUSTED_TYPES",
    "Description",
    "check_scores",
    "describe",
    "dump",
    "inner_estimator",
    "native_scores",
    "parse",
]

Flavor = Literal["xgboost", "sklearn"]
Task = Literal["classifier", "regressor"]

TRUSTED_TYPES = frozenset(
    {
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
    }
)
"""What a skops file may hold besides what skops trusts by itself; a file with anything else is refused."""

_SUM_TOLERANCE = 1e-3

_CLASSIFIERS = ("binary:logistic", "multi:softprob")
"""Objectives that answer probabilities."""


class Description(NamedTuple):
    """What a fitted estimator is.

    Attributes:
        inputs: In the order it was fitted on.
        libraries: Distributions that read its file.
    """

    flavor: Flavor
    task: Task
    inputs: tuple[str, ...]
    classes: tuple[str | int | float | bool, ...]
    libraries: tuple[str, ...]


def describe(estimator: Any, columns: Sequence[str]) -> Description:
    """Describe a fitted estimator.

    Args:
        estimator: XGBoost or scikit-learn.
        columns: Those of its example; they name the inputs of an estimator fitted on a bare matrix.

    Raises:
        SchemaMismatch: The columns are not the estimator's inputs.
        DataError: It is not fitted, or of a kind that is not served.
    """
    import xgboost

    if isinstance(estimator, xgboost.Booster | xgboost.XGBClassifier | xgboost.XGBRegressor):
        return _describe_xgboost(estimator, columns)
    return _describe_sklearn(estimator, columns)


def dump(estimator: Any, flavor: Flavor) -> tuple[str, bytes]:
    """The file's name and bytes.

    Raises:
        DataError: The estimator holds types that are not trusted.
    """
    if flavor == "xgboost":
        return "model.ubj", bytes(_booster(estimator).save_raw("ubj"))
    import skops.io

    content: bytes = skops.io.dumps(estimator)
    untrusted = sorted(set(skops.io.get_untrusted_types(data=content)) - TRUSTED_TYPES)
    if untrusted:
        raise DataError(f"the estimator must hold trusted types only, got {untrusted}", types=untrusted)
    return "model.skops", canonical_skops(content)


def parse(content: bytes, flavor: Flavor) -> Any:
    """The booster or estimator in bytes whose hash was verified.

    Raises:
        ModelLoadFailed: They cannot be read, or hold types that are not trusted.
    """
    try:
        if flavor == "xgboost":
            import xgboost

            booster = xgboost.Booster()
            booster.load_model(bytearray(content))
            return booster
        import skops.io

        untrusted = sorted(set(skops.io.get_untrusted_types(data=content)) - TRUSTED_TYPES)
        if untrusted:
            raise ModelLoadFailed(f"the file must hold trusted types only, got {untrusted}", types=untrusted)
        return skops.io.loads(content, trusted=sorted(TRUSTED_TYPES))
    except ModelLoadFailed:
        raise
    except Exception as error:
        raise ModelLoadFailed(f"the {flavor} file cannot be read: {type(error).__name__}: {error}") from error


def native_scores(estimator: Any, task: Task, columns: Columns) -> npt.NDArray[Any]:
    """What the estimator itself answers: P(class 1) or [N, classes], or values."""
    import pandas as pd
    import xgboost
    from threadpoolctl import threadpool_limits

    text = any(values.dtype.kind == "O" for values in columns.values())
    framed = text or hasattr(estimator, "feature_names_in_")
    inputs: Any = pd.DataFrame(dict(columns)) if framed else np.column_stack(list(columns.values()))
    if text and type(estimator).__module__.startswith("xgboost"):
        inputs = inputs.astype({name: "category" for name, values in columns.items() if values.dtype.kind == "O"})
    with threadpool_limits(limits=1):
        if isinstance(estimator, xgboost.Booster):
            names = None if framed else estimator.feature_names
            raw = estimator.predict(xgboost.DMatrix(inputs, feature_names=names, enable_categorical=text))
        else:
            raw = estimator.predict_proba(inputs) if task == "classifier" else estimator.predict(inputs)
    return np.asarray(raw)


def refuse_outputs(count: int) -> NoReturn:
    """Say that an estimator of several outputs is none that is served."""
    rule = "an estimator must answer one value or one label for a row"
    raise DataError(f"{rule}, got {count}: register an estimator for each", outputs=count)


def check_scores(scores: npt.NDArray[Any], task: Task, classes: int) -> npt.NDArray[Any]:
    """What an estimator answered, a column as the numbers that it holds.

    Raises:
        DataError: It is several answers for a row.
    """
    if task == "regressor":
        if scores.ndim == 2 and scores.shape[1] == 1:
            return scores[:, 0]
        if scores.ndim > 1:
            refuse_outputs(scores.shape[1])
        return scores
    if scores.ndim > 2:
        refuse_outputs(scores.shape[0])
    if scores.ndim == 2 and not (
        scores.shape[1] == classes and np.allclose(scores.sum(axis=1), 1.0, atol=_SUM_TOLERANCE)
    ):
        rule = f"a classifier must answer probabilities of its {classes} classes, which sum to 1"
        raise DataError(f"{rule}, got sums from {scores.sum(axis=1).min():.3g}: it has several labels, perhaps")
    return scores


def _booster(estimator: Any) -> Any:
    """The booster as its wrapper uses it: up to the best iteration, where it stopped early."""
    import xgboost

    if isinstance(estimator, xgboost.Booster):
        return estimator
    booster = estimator.get_booster()
    best = booster.attr("best_iteration")
    return booster if best is None else booster[: int(best) + 1]


def _describe_xgboost(estimator: Any, columns: Sequence[str]) -> Description:
    import xgboost

    wrapped = not isinstance(estimator, xgboost.Booster)
    if wrapped and not estimator.__sklearn_is_fitted__():
        raise DataError("the estimator must be fitted")
    if wrapped and not math.isnan(estimator.missing):
        raise DataError(f"missing must be NaN, got {estimator.missing!r}")
    booster = estimator.get_booster() if wrapped else estimator
    learner = json.loads(booster.save_config())["learner"]
    objective = learner["objective"]["name"]
    task: Task = "classifier" if objective in _CLASSIFIERS else "regressor"
    if objective not in _CLASSIFIERS and not objective.startswith(("reg:", "count:")):
        raise DataError(f"objective must be reg:*, count:* or one of {sorted(_CLASSIFIERS)}, got {objective!r}")
    targets = int(learner["learner_model_param"].get("num_target", 1))
    if targets > 1:
        refuse_outputs(targets)
    classes: tuple[int, ...] = ()
    if task == "classifier":
        classes = tuple(range(max(2, int(learner["learner_model_param"]["num_class"]))))
    inputs = _inputs(booster.feature_names, booster.num_features(), columns)
    return Description("xgboost", task, inputs, classes, ("xgboost",))


def _describe_sklearn(estimator: Any, columns: Sequence[str]) -> Description:
    from sklearn.base import BaseEstimator, is_classifier, is_regressor
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(estimator, BaseEstimator) or not (is_classifier(estimator) or is_regressor(estimator)):
        kind = type(estimator).__name__
        raise DataError(f"an estimator must be a classifier or regressor of scikit-learn or XGBoost, got {kind}")
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise DataError("the estimator must be fitted") from error
    classes: tuple[Any, ...] = ()
    if is_classifier(estimator):
        if not hasattr(estimator, "predict_proba"):
            raise DataError(f"a classifier must have predict_proba, {type(estimator).__name__} has none")
        if isinstance(estimator.classes_, list):
            refuse_outputs(len(estimator.classes_))
        classes = tuple(value.item() if hasattr(value, "item") else value for value in estimator.classes_)
    names = getattr(estimator, "feature_names_in_", None)
    inputs = _inputs(None if names is None else list(names), getattr(estimator, "n_features_in_", None), columns)
    task: Task = "classifier" if classes else "regressor"
    return Description("sklearn", task, inputs, classes, ("scikit-learn", "skops", *_within(estimator)))


def _within(estimator: Any) -> tuple[str, ...]:
    inner = inner_estimator(estimator)
    steps = [inner, *(step for _, step in getattr(inner, "steps", ()))]
    return ("xgboost",) if any(type(step).__module__.startswith("xgboost") for step in steps) else ()


def inner_estimator(estimator: Any) -> Any:
    """The estimator that a calibration was put around, or the estimator itself."""
    calibrated = getattr(estimator, "calibrated_classifiers_", None)
    if not calibrated:
        return estimator
    inner = calibrated[0].estimator
    return inner.estimator if type(inner).__name__ == "FrozenEstimator" else inner


def _inputs(names: Sequence[str] | None, count: int | None, columns: Sequence[str]) -> tuple[str, ...]:
    if len(set(columns)) != len(columns):
        raise SchemaMismatch(f"example must name each column once, got {list(columns)}")
    if names is not None:
        if set(names) != set(columns):
            raise SchemaMismatch(f"example must have the columns {list(names)}, got {list(columns)}")
        return tuple(names)
    if count is not None and count != len(columns):
        raise SchemaMismatch(f"example must have the estimator's {count} columns, got {len(columns)}")
    return tuple(columns)
