"""LightGBM: boosters and their scikit-learn wrappers, packaged as LightGBM's own text. Needs ``raymlops[lightgbm]``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from raymlops.errors import ConfigError, DataError, SchemaMismatch
from raymlops.flavors.building import categorical, check_names, weights_arguments
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

__all__ = ["FLAVOR", "LightgbmFlavor"]

_REGRESSIONS = (
    *("regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie"),
    *("cross_entropy",),
)
_METRICS = {"log_loss": "binary_logloss", "brier": "l2", "rmse": "rmse", "mae": "l1"}
_EARLY = "early_stopping_rounds"


class _Predictor:
    dtype = np.float64
    framed = False
    takes_missing = True

    def __init__(self, booster: Any, inputs: Sequence[str], texts: Collection[str]) -> None:
        self._booster, self._predict = booster, booster.predict
        self.encoders = _encoders(booster, inputs, texts)

    def score(self, inputs: Array) -> Array:
        return np.asarray(self._predict(inputs, num_threads=1))

    def importances(self) -> list[float]:
        return [float(gain) for gain in self._booster.feature_importance("gain")]


class _Family:
    def build(self, params: Mapping[str, object], *, seed: int, task: LearningTask) -> Any:
        try:
            import lightgbm
        except ImportError as error:
            raise ConfigError("family 'lightgbm' needs LightGBM: pip install 'raymlops[lightgbm]'") from error

        cls: Any = lightgbm.LGBMClassifier if task.kind == "classifier" else lightgbm.LGBMRegressor
        metric = "multi_logloss" if task.kind == "classifier" and task.classes > 2 else _METRICS[task.metric]
        check_names("lightgbm", {*cls().get_params(), _EARLY}, params)
        # without these, sums depend on how rows are shared among threads
        own = {"n_jobs": 1, "random_state": seed, "deterministic": True, "force_row_wise": True, "verbosity": -1}
        return cls(**params, **own, metric=metric)

    def fit(self, estimator: Any, rows: FitRows, report: RoundReport | None, task: LearningTask) -> Outcome:
        del task  # its metric was set when it was built
        given = weights_arguments(estimator, rows.weights)
        stops_early = estimator.get_params().get(_EARLY) is not None
        if stops_early and rows.watched is None:
            raise ConfigError(f"{_EARLY} needs validation rows, got none")
        watcher = None if report is None or rows.watched is None else _Watcher(report)
        if rows.watched is not None and (stops_early or watcher is not None):
            given |= {"eval_X": rows.watched[0], "eval_y": rows.watched[1]}
        if watcher is not None:
            given |= {"callbacks": [watcher]}
        estimator.fit(rows.inputs, rows.labels, **given)
        best = int(estimator.best_iteration_) or None if stops_early else None
        return Outcome(best, None if watcher is None else watcher.stopped_at)


class LightgbmFlavor:
    """``lightgbm.Booster``, ``LGBMClassifier`` and ``LGBMRegressor``."""

    name = "lightgbm"
    file = "model.txt"
    libraries = ("lightgbm",)
    families: Mapping[str, Family] = MappingProxyType({"lightgbm": _Family()})

    def owns(self, estimator: Any) -> bool:
        return any(kind.__module__.startswith("lightgbm.") for kind in type(estimator).__mro__)

    def read(self, estimator: Any) -> Any:
        return estimator

    def describe(self, estimator: Any, columns: Sequence[str]) -> Description:
        booster = _booster(estimator)
        # "binary sigmoid:1", "multiclass num_class:3"; of a function of the user's own there is nothing
        objective, *options = booster.dump_model(num_iteration=1).get("objective", "none").split()
        classes: tuple[Any, ...] = ()
        if objective == "binary" or (objective == "cross_entropy" and hasattr(estimator, "predict_proba")):
            classes = (0, 1)
        elif objective == "multiclass":
            classes = tuple(range(next(int(o.partition(":")[2]) for o in options if o.startswith("num_class"))))
        elif objective not in _REGRESSIONS:
            known = ["binary", "multiclass", *_REGRESSIONS]
            raise DataError(f"objective must be one of {known}, got {objective!r}", objective=objective)
        if not classes and booster.num_model_per_iteration() > 1:
            refuse_outputs(booster.num_model_per_iteration())
        named = getattr(estimator, "classes_", None) if classes else None
        if named is not None:
            classes = tuple(value.item() if hasattr(value, "item") else value for value in named)
        task: Task = "classifier" if classes else "regressor"
        return Description(task, _inputs(booster, columns), classes, self.libraries)

    def dump(self, estimator: Any) -> bytes:
        booster = _booster(estimator)
        best = booster.best_iteration  # 0 or less where it did not stop early
        text: str = booster.model_to_string(num_iteration=best if best > 0 else -1)
        return text.encode()

    def parse(self, content: bytes) -> Any:
        import lightgbm

        return lightgbm.Booster(model_str=content.decode())

    def predictor(self, loaded: Any, signature: Signature) -> _Predictor:
        return _Predictor(loaded, signature.names, signature.texts)

    def answers(self, estimator: Any, task: Task, columns: Columns) -> Array:
        import pandas as pd

        booster = _booster(estimator)
        texts = [name for name, values in columns.items() if values.dtype.kind == "O"]
        codes = _encoders(booster, tuple(columns), texts)
        held = {name: categorical(columns[name], [*codes[at]]) for at, name in enumerate(columns) if at in codes}
        framed = bool(held) or not _is_bare(booster)
        inputs: Any = pd.DataFrame({**columns, **held}) if framed else np.column_stack(list(columns.values()))
        if not hasattr(estimator, "booster_") or task == "regressor":
            return np.asarray(estimator.predict(inputs, num_threads=1))
        return np.asarray(estimator.predict_proba(inputs, num_threads=1))

    def staged(
        self, estimator: Any, inputs: Array, task: Task, points: Callable[[int], Sequence[int]]
    ) -> list[tuple[int, Array]]:
        predict = estimator.predict_proba if task == "classifier" else estimator.predict
        total = _booster(estimator).current_iteration()
        return [(rounds, predict(inputs, num_iteration=rounds)) for rounds in points(total)]

    def save_for_mlflow(self, loaded: Any, options: Mapping[str, Any]) -> None:
        import mlflow.lightgbm

        mlflow.lightgbm.save_model(loaded, **options)


FLAVOR = LightgbmFlavor()


class _Watcher:
    """A callback of LightGBM that reports the loss of each round."""

    def __init__(self, report: RoundReport) -> None:
        self._report = report
        self.stopped_at: int | None = None

    def __call__(self, env: Any) -> None:
        from lightgbm.callback import EarlyStopException

        if not self._report(env.iteration + 1, float(env.evaluation_result_list[-1][2])):
            self.stopped_at = env.iteration + 1
            raise EarlyStopException(env.iteration, env.evaluation_result_list)


def _booster(estimator: Any) -> Any:
    """The booster within.

    Raises:
        DataError: The estimator is not fitted.
    """
    if not hasattr(type(estimator), "booster_"):
        return estimator
    if not estimator.__sklearn_is_fitted__():
        raise DataError("the estimator must be fitted")
    return estimator.booster_


def _is_bare(booster: Any) -> bool:
    """Whether it was fitted on a matrix, whose columns have no names."""
    names = booster.feature_name()
    return bool(names == [f"Column_{place}" for place in range(len(names))])


def _inputs(booster: Any, columns: Sequence[str]) -> tuple[str, ...]:
    names = list(booster.feature_name())
    if _is_bare(booster):
        return inputs_of(None, len(names), columns)
    written = {column.replace(" ", "_"): column for column in columns}  # as LightGBM keeps names
    return inputs_of([written.get(name, name) for name in names], None, columns)


def _encoders(booster: Any, inputs: Sequence[str], texts: Collection[str]) -> dict[int, dict[Any, float]]:
    """The codes of categories, which LightGBM keeps in the order of the columns that were categorical."""
    categories = booster.pandas_categorical or []
    if not categories and not texts:
        return {}
    told = booster.dump_model(num_iteration=1)["feature_infos"]
    names = booster.feature_name()
    places = [place for place in range(len(inputs)) if told.get(names[place], {}).get("values")]
    if len(places) != len(categories):  # a categorical column that tells nothing has no values in the model
        places = [place for place, name in enumerate(inputs) if name in texts]
    kinds = [{isinstance(value, str) for value in known} for known in categories]
    if len(places) != len(categories) or kinds != [{inputs[place] in texts} for place in places]:
        rule = "an input must be text where the model's categories are, and a number where they are numbers"
        raise SchemaMismatch(f"{rule}: the model has {len(categories)} categorical inputs, {len(texts)} are text")
    if not set(texts) <= {inputs[place] for place in places}:
        raise SchemaMismatch(f"inputs {sorted(texts)} are text, but the model does not hold categories for all of them")
    return {
        place: {value: float(code) for code, value in enumerate(known)}
        for place, known in zip(places, categories, strict=True)
    }
