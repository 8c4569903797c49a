"""LightGBM: boosters and their scikit-learn wrappers, packaged as LightGBM's own text. Needs ``raymlops[lightgbm]``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raymlops.errors import ConfigError, DataError, SchemaMismatch
from raymlops.flavors.building import check_names, vocabularies, weights_arguments
from raymlops.flavors.frames import (
    codes_of,
    is_frame,
    numbers_of,
    text_columns,
    vocabulary,
    with_categories,
)
from raymlops.flavors.protocol import (
    Description,
    Outcome,
    inputs_of,
    refuse_outputs,
)

if TYPE_CHECKING:
    from raymlops.flavors.protocol import (
        Array,
        Family,
        FitRows,
        RoundReport,
        Task,
    )
    from raymlops.records.learning.signatures import Signature
    from raymlops.records.learning.tasks import LearningTask

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

    def __init__(self, booster: Any, encoders: Mapping[int, Mapping[Any, float]]) -> None:
        self._booster, self._predict = booster, booster.predict
        self.encoders = encoders

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
        given_inputs, watched = rows.inputs, rows.watched
        if is_frame(rows.inputs):
            known = vocabularies(rows.inputs, task.categories)
            given_inputs = _unnamed(with_categories(rows.inputs, known))
            watched = None if watched is None else (_unnamed(with_categories(watched[0], known)), watched[1])
        given = weights_arguments(estimator, rows.weights)
        stops_early = estimator.get_params().get(_EARLY) is not None
        if stops_early and watched is None:
            raise ConfigError(f"{_EARLY} needs validation rows, got none")
        watcher = None if report is None or watched is None else _Watcher(report)
        if watched is not None and (stops_early or watcher is not None):
            given |= {"eval_X": watched[0], "eval_y": watched[1]}
        if watcher is not None:
            given |= {"callbacks": [watcher]}
        estimator.fit(given_inputs, rows.labels, **given)
        estimator._fitted_with_feature_names = False  # these are none: a calibration asks for a matrix
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

    def predictor(self, loaded: Any, signature: Signature, example: pa.Table) -> _Predictor:
        told = [place for place, name in enumerate(signature.names) if vocabulary(example[name]) is not None]
        return _Predictor(loaded, _encoders(loaded, signature.names, signature.texts, told))

    def answers(self, estimator: Any, task: Task, frame: Any) -> Array:
        inputs = _asked(_booster(estimator), frame)
        if not hasattr(estimator, "booster_") or task == "regressor":
            return np.asarray(estimator.predict(inputs, num_threads=1))
        return np.asarray(estimator.predict_proba(inputs, num_threads=1))

    def inputs(self, estimator: Any, frame: Any) -> Any:
        return codes_of(frame, _known(_booster(estimator), frame))

    def staged(
        self, estimator: Any, inputs: Any, task: Task, points: Callable[[int], Sequence[int]]
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


def _unnamed(frame: Any) -> Any:
    """A frame whose columns are named as those of a matrix are: LightGBM does not take every name."""
    return frame.set_axis([f"Column_{place}" for place in range(len(frame.columns))], axis=1)


def _is_bare(booster: Any) -> bool:
    """Whether it was fitted on a matrix, whose columns have no names."""
    names = booster.feature_name()
    return bool(names == [f"Column_{place}" for place in range(len(names))])


def _known(booster: Any, frame: Any) -> dict[int, list[Any]]:
    """Place of a column of a frame -> the categories that a booster has for it, in their order."""
    told = [place for place, name in enumerate(frame.columns) if frame[name].dtype == "category"]
    codes = _encoders(booster, list(frame.columns), text_columns(frame), told)
    return {place: list(known) for place, known in codes.items()}


def _asked(booster: Any, frame: Any) -> Any:
    """Rows as a booster takes them: a frame where it was fitted on one, texts and numbers as its categories."""
    known = _known(booster, frame)
    if not known and _is_bare(booster):
        return numbers_of(frame)
    held = with_categories(frame, {frame.columns[place]: listed for place, listed in known.items()})
    return _unnamed(held) if _is_bare(booster) else held


def _inputs(booster: Any, columns: Sequence[str]) -> tuple[str, ...]:
    names = list(booster.feature_name())
    if _is_bare(booster):
        return inputs_of(None, len(names), columns)
    written = {column.replace(" ", "_"): column for column in columns}  # as LightGBM keeps names
    return inputs_of([written.get(name, name) for name in names], None, columns)


def _encoders(
    booster: Any, inputs: Sequence[str], texts: Collection[str], told: Sequence[int]
) -> dict[int, dict[Any, float]]:
    """The codes of categories, which LightGBM keeps in the order of the columns that were categorical.

    Args:
        booster: Fitted.
        inputs: In its order.
        texts: Those of them that are text.
        told: The places that a frame says are categories. LightGBM itself knows no places of ordered ones.
    """
    categories = booster.pandas_categorical or []
    if not categories and not texts:
        return {}
    known = (booster.params.get(name) for name in ("categorical_column", "categorical_feature"))
    noted = next((list(places) for places in known if isinstance(places, list)), [])
    places = list(told) if len(told) == len(categories) else noted
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
