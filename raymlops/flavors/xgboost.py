"""XGBoost: boosters and their scikit-learn wrappers, packaged in XGBoost's own binary JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from raymlops.errors import ConfigError, DataError, SchemaMismatch
from raymlops.flavors.building import categorical, check_names, weights_arguments
from raymlops.flavors.dense_booster import DenseBooster
from raymlops.flavors.protocol import (
    Array,
    Columns,
    Description,
    Family,
    FitRows,
    Outcome,
    RoundReport,
    Task,
    inputs_of,
    refuse_outputs,
)
from raymlops.records.models import Signature
from raymlops.records.tasks import LearningTask

__all__ = ["FLAVOR", "XgboostFlavor"]

_CLASSIFIERS = ("binary:logistic", "multi:softprob")
"""Objectives that answer probabilities."""
_METRICS = {"log_loss": "logloss", "brier": "rmse", "rmse": "rmse", "mae": "mae"}


class _Predictor:
    dtype = np.float32
    framed = False
    takes_missing = True

    def __init__(self, booster: Any, inputs: Sequence[str], texts: Collection[str]) -> None:
        booster.set_param({"nthread": 1})
        self._booster, self._width = booster, len(inputs)
        self.encoders = _encoders(booster, inputs, texts)
        self.score = DenseBooster(booster).predict

    def importances(self) -> list[float]:
        gains = self._booster.get_score(importance_type="total_gain")
        keys = self._booster.feature_names or [f"f{index}" for index in range(self._width)]
        return [float(gains.get(key, 0.0)) for key in keys]


class _Family:
    def build(self, params: Mapping[str, object], *, seed: int, task: LearningTask) -> Any:
        import xgboost

        cls = xgboost.XGBClassifier if task.kind == "classifier" else xgboost.XGBRegressor
        metric = "mlogloss" if task.kind == "classifier" and task.classes > 2 else _METRICS[task.metric]
        check_names("xgboost", cls().get_params(), params)
        return cls(**params, n_jobs=1, random_state=seed, tree_method="hist", eval_metric=metric, verbosity=0)

    def fit(self, estimator: Any, rows: FitRows, report: RoundReport | None, task: LearningTask) -> Outcome:
        given = weights_arguments(estimator, rows.weights)
        stops_early = estimator.early_stopping_rounds is not None
        if stops_early and rows.watched is None:
            raise ConfigError("early_stopping_rounds needs validation rows, got none")
        watcher = None if report is None or rows.watched is None else _watcher(report, task)
        if stops_early or watcher is not None:
            given |= {"eval_set": [rows.watched], "verbose": False}
        estimator.set_params(callbacks=None if watcher is None else [watcher])
        estimator.fit(rows.inputs, rows.labels, **given)
        estimator.set_params(callbacks=None)
        best = int(estimator.best_iteration) + 1 if stops_early else None
        return Outcome(best, None if watcher is None else watcher.stopped_at)


class XgboostFlavor:
    """``xgboost.Booster``, ``XGBClassifier`` and ``XGBRegressor``."""

    name = "xgboost"
    file = "model.ubj"
    libraries = ("xgboost",)
    families: Mapping[str, Family] = MappingProxyType({"xgboost": _Family()})

    def owns(self, estimator: Any) -> bool:
        return any(
            kind.__module__.startswith("xgboost.") and kind.__name__ in {"Booster", "XGBClassifier", "XGBRegressor"}
            for kind in type(estimator).__mro__
        )

    def read(self, estimator: Any) -> Any:
        return estimator

    def describe(self, estimator: Any, columns: Sequence[str]) -> Description:
        wrapped = hasattr(estimator, "get_booster")
        if wrapped and not estimator.__sklearn_is_fitted__():
            raise DataError("the estimator must be fitted")
        if wrapped and not math.isnan(estimator.missing):
            raise DataError(f"missing must be NaN, got {estimator.missing!r}")
        booster = estimator.get_booster() if wrapped else estimator
        learner = _learner(booster)
        objective = _objective(learner)
        if learner["gradient_booster"]["name"] == "gblinear":
            raise DataError("booster must be gbtree or dart, got gblinear: register a linear model of scikit-learn")
        task: Task = "classifier" if objective in _CLASSIFIERS else "regressor"
        if objective not in _CLASSIFIERS and not objective.startswith(("reg:", "count:")):
            raise DataError(f"objective must be reg:*, count:* or one of {sorted(_CLASSIFIERS)}, got {objective!r}")
        targets = int(learner["learner_model_param"].get("num_target", 1))
        if targets > 1:
            refuse_outputs(targets)
        classes: tuple[int, ...] = ()
        if task == "classifier":
            classes = tuple(range(max(2, int(learner["learner_model_param"]["num_class"]))))
        inputs = inputs_of(booster.feature_names, booster.num_features(), columns)
        return Description(task, inputs, classes, self.libraries)

    def dump(self, estimator: Any) -> bytes:
        return bytes(_booster(estimator).save_raw("ubj"))

    def parse(self, content: bytes) -> Any:
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(bytearray(content))
        return booster

    def predictor(self, loaded: Any, signature: Signature) -> _Predictor:
        return _Predictor(loaded, signature.names, signature.texts)

    def answers(self, estimator: Any, task: Task, columns: Columns) -> Array:
        import pandas as pd
        import xgboost
        from threadpoolctl import threadpool_limits

        known = _categories(estimator if isinstance(estimator, xgboost.Booster) else estimator.get_booster())
        texts = any(values.dtype.kind == "O" for values in columns.values())
        framed = texts or bool(known) or hasattr(estimator, "feature_names_in_")
        inputs: Any = pd.DataFrame(dict(columns)) if framed else np.column_stack(list(columns.values()))
        if known:
            held = {name: categorical(columns[name], known[at]) for at, name in enumerate(columns) if at in known}
            inputs = inputs.assign(**held)
        with threadpool_limits(limits=1):
            if isinstance(estimator, xgboost.Booster):
                names = None if framed else estimator.feature_names
                matrix = xgboost.DMatrix(inputs, feature_names=names, enable_categorical=bool(known))
                return np.asarray(estimator.predict(matrix))
            return np.asarray(estimator.predict_proba(inputs) if task == "classifier" else estimator.predict(inputs))

    def staged(
        self, estimator: Any, inputs: Array, task: Task, points: Callable[[int], Sequence[int]]
    ) -> list[tuple[int, Array]]:
        predict = estimator.predict_proba if task == "classifier" else estimator.predict
        total = estimator.get_booster().num_boosted_rounds()
        return [(rounds, predict(inputs, iteration_range=(0, rounds))) for rounds in points(total)]

    def save_for_mlflow(self, loaded: Any, options: Mapping[str, Any]) -> None:
        import mlflow.xgboost
        import xgboost

        classifies = _objective(_learner(loaded)) in _CLASSIFIERS
        estimator = xgboost.XGBClassifier() if classifies else xgboost.XGBRegressor()
        estimator.load_model(bytearray(loaded.save_raw("ubj")))
        mlflow.xgboost.save_model(estimator, model_format="ubj", **options)


FLAVOR = XgboostFlavor()


def _learner(booster: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(booster.save_config())["learner"]
    return found


def _objective(learner: Mapping[str, Any]) -> str:
    return str(learner["objective"]["name"])


def _booster(estimator: Any) -> Any:
    """The booster as its wrapper uses it: up to the best iteration, where it stopped early."""
    if not hasattr(estimator, "get_booster"):
        return estimator
    booster = estimator.get_booster()
    best = booster.attr("best_iteration")
    return booster if best is None else booster[: int(best) + 1]


def _encoders(booster: Any, inputs: Sequence[str], texts: Collection[str]) -> dict[int, dict[Any, float]]:
    """The codes of categories, of numbers as well: a booster that was fitted on the category 35 was given its code."""
    categories = _categories(booster)
    for position, name in enumerate(inputs):
        known = categories.get(position)
        if name in texts and known is None:
            raise SchemaMismatch(f"input {name!r} is text, but the model holds no categories for it", column=name)
        if known is not None and isinstance(known[0], str) is not (name in texts):
            kind = "text" if isinstance(known[0], str) else "numbers"
            raise SchemaMismatch(f"input {name!r} must be {kind}, as the model's categories are", column=name)
    return {
        position: {value: float(code) for code, value in enumerate(known)} for position, known in categories.items()
    }


def _categories(booster: Any) -> dict[int, list[Any]]:
    """Place of an input -> its categories, of those that have some."""
    found = booster.get_categories(export_to_arrow=True)
    if found.empty():
        return {}
    listed = [None if values is None else values.to_pylist() for _, values in found.to_arrow()]
    return {position: known for position, known in enumerate(listed) if known}


def _watcher(report: RoundReport, task: LearningTask) -> Any:
    from xgboost.callback import TrainingCallback

    class Watcher(TrainingCallback):
        stopped_at: int | None = None

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            del model
            (by_metric,) = evals_log.values()
            (values,) = by_metric.values()
            value = float(values[-1])
            if not report(epoch + 1, value * value if task.metric == "brier" and task.binary else value):
                self.stopped_at = epoch + 1
                return True
            return False

    return Watcher()
