"""XGBoost: boosters and their scikit-learn wrappers, packaged in XGBoost's own binary JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raymlops.errors import ConfigError, DataError, SchemaMismatch
from raymlops.flavors.building import check_names, vocabularies, weights_arguments
from raymlops.flavors.dense_booster import DenseBooster
from raymlops.flavors.frames import codes_of, is_frame, numbers_of, vocabulary, with_categories
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

__all__ = ["FLAVOR", "XgboostFlavor", "asked_of", "escaped", "mark_escaped"]

_CLASSIFIERS = ("binary:logistic", "multi:softprob")
"""Objectives that answer probabilities."""
_ESCAPED = "raymlops_escaped"
"""Attribute of a booster whose categories are texts in escaped ASCII."""
_METRICS = {"log_loss": "logloss", "brier": "rmse", "rmse": "rmse", "mae": "mae"}


class _Predictor:
    dtype = np.float32
    framed = False
    takes_missing = True

    def __init__(self, booster: Any, signature: Signature, example: pa.Table) -> None:
        booster.set_param({"nthread": 1})
        self._booster, self._width = booster, len(signature.inputs)
        self.encoders = _encoders(booster, signature, example)
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
        inputs, watched = rows.inputs, rows.watched
        framed = is_frame(inputs)
        if framed:
            known = vocabularies(inputs, task.categories)
            inputs = escaped(inputs, known)
            watched = None if watched is None else (escaped(watched[0], known), watched[1])
            estimator.set_params(enable_categorical=True)
        stops_early = estimator.early_stopping_rounds is not None
        if stops_early and watched is None:
            raise ConfigError("early_stopping_rounds needs validation rows, got none")
        watcher = None if report is None or watched is None else _watcher(report, task)
        if stops_early or watcher is not None:
            given |= {"eval_set": [watched], "verbose": False}
        estimator.set_params(callbacks=None if watcher is None else [watcher])
        estimator.fit(inputs, rows.labels, **given)
        estimator.set_params(callbacks=None)
        if framed:
            mark_escaped(estimator.get_booster())
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

    def predictor(self, loaded: Any, signature: Signature, example: pa.Table) -> _Predictor:
        return _Predictor(loaded, signature, example)

    def answers(self, estimator: Any, task: Task, frame: Any) -> Array:
        import xgboost
        from threadpoolctl import threadpool_limits

        booster = estimator if isinstance(estimator, xgboost.Booster) else estimator.get_booster()
        inputs, named = asked_of(booster, frame), booster.attr(_ESCAPED) is None
        with threadpool_limits(limits=1):
            if isinstance(estimator, xgboost.Booster):
                matrix = xgboost.DMatrix(inputs, enable_categorical=True)
                return np.asarray(estimator.predict(matrix, validate_features=named))
            predict = estimator.predict_proba if task == "classifier" else estimator.predict
            return np.asarray(predict(inputs, validate_features=named))

    def inputs(self, estimator: Any, frame: Any) -> Any:
        known = _categories(estimator.get_booster(), dict.fromkeys(range(len(frame.columns))), frame.columns)
        return codes_of(frame, known)

    def staged(
        self, estimator: Any, inputs: Any, task: Task, points: Callable[[int], Sequence[int]]
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
    if best is None:
        return booster
    cut = booster[: int(best) + 1]
    return cut if booster.get_categories(export_to_arrow=True).empty() else _with_categories_of(booster, cut)


def _with_categories_of(whole: Any, cut: Any) -> Any:
    """A booster of some of the rounds of another, with its categories, which a slice of XGBoost's own loses."""
    import xgboost

    kept, document = (json.loads(bytes(each.save_raw("json"))) for each in (whole, cut))
    trees, taken = (each["learner"]["gradient_booster"] for each in (document, kept))
    trees, taken = (each.get("gbtree", each)["model"] for each in (trees, taken))  # dart holds a booster of trees
    trees["cats"] = taken["cats"]
    restored = xgboost.Booster()
    restored.load_model(bytearray(json.dumps(document).encode()))
    return restored


def mark_escaped(booster: Any) -> None:
    """Note in a booster that its texts are escaped; its inputs have no names, as of one that was fitted on a matrix."""
    booster.set_attr(**{_ESCAPED: "1"})
    booster.feature_names = None


def asked_of(booster: Any, frame: Any) -> Any:
    """Rows as a booster takes them: texts and numbers as its categories, where it has some.

    Raises:
        SchemaMismatch: The booster does not tell its categories.
    """
    # what is a category in the frame stays as it is: that is the caller's own way
    plain = {place: name for place, name in enumerate(frame.columns) if frame[name].dtype != "category"}
    known = _categories(booster, dict.fromkeys(plain), frame.columns)
    if booster.attr(_ESCAPED) is not None:
        return escaped(frame, {plain[place]: listed for place, listed in known.items()})
    if booster.feature_names is None and not known:
        return numbers_of(frame)
    return with_categories(frame, {plain[place]: listed for place, listed in known.items()})


def escaped(frame: Any, known: Mapping[str, Sequence[Any]]) -> Any:
    """A frame whose texts are categories in ASCII, of which XGBoost keeps names whole; any other value is missing."""
    held = with_categories(frame, known)
    texts = {name: held[name].cat.categories for name in known if isinstance(known[name][0], str)}
    renamed = {name: held[name].cat.rename_categories(list(map(_escape, listed))) for name, listed in texts.items()}
    return held.assign(**renamed)


def _escape(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def _encoders(booster: Any, signature: Signature, example: pa.Table) -> dict[int, dict[Any, float]]:
    """The codes of categories, of numbers as well: a booster that was fitted on the category 35 was given its code."""
    told = {place: vocabulary(example[name]) for place, name in enumerate(signature.names)}
    categories = _categories(booster, told, signature.names)
    for place, name in enumerate(signature.names):
        known = categories.get(place)
        if name in signature.texts and known is None:
            raise SchemaMismatch(f"input {name!r} is text, but the model holds no categories for it", column=name)
        if known is not None and isinstance(known[0], str) is not (name in signature.texts):
            kind = "text" if isinstance(known[0], str) else "numbers"
            raise SchemaMismatch(f"input {name!r} must be {kind}, as the model's categories are", column=name)
    return {place: {value: float(code) for code, value in enumerate(known)} for place, known in categories.items()}


def _categories(
    booster: Any, told: Mapping[int, Sequence[Any] | None], names: Sequence[str]
) -> dict[int, Sequence[Any]]:
    """Place of an input -> its categories, of those places that are asked about and have some.

    Args:
        booster: Fitted.
        told: Place -> the categories that a frame tells, ``None`` where it tells none.
        names: Of the inputs.

    Raises:
        SchemaMismatch: The booster does not keep them whole, and the frame does not tell them.
    """
    found = booster.get_categories(export_to_arrow=True)
    if found.empty():
        return {}
    kept: dict[int, Sequence[Any]] = {}
    for place, (_, values) in enumerate(found.to_arrow()):
        if place not in told or values is None or not len(values):
            continue
        if not pa.types.is_string(values.type):
            kept[place] = values.to_pylist()
            continue
        stored = values.cast(pa.binary()).to_pylist()
        if booster.attr(_ESCAPED) is not None:
            kept[place] = [text.decode("unicode_escape") for text in stored]
            continue
        known = _whole_texts(stored, told[place])
        if known is None:
            rule = "must be given as a category, with the categories of the fit in their order"
            reason = "XGBoost cuts texts that are not ASCII, so that it cannot tell some apart"
            raise SchemaMismatch(f"input {names[place]!r} {rule}, in the example: {reason}", column=names[place])
        kept[place] = known
    return kept


def _whole_texts(stored: Sequence[bytes], told: Sequence[Any] | None) -> Sequence[str] | None:
    """The texts that a booster stores; of a frame of pandas it cuts their UTF-8 at counts of characters, not of bytes.

    Args:
        stored: What it stores of each category.
        told: The categories that a frame tells.
    """
    if told is not None and all(isinstance(text, str) for text in told):
        ends = np.cumsum([0, *(len(text) for text in told)])
        joined = "".join(told).encode()
        cut = [joined[start:end] for start, end in pairwise(ends)]
        if list(stored) == [text.encode() for text in told] or (list(stored) == cut and len(set(cut)) == len(cut)):
            return told
    return [text.decode() for text in stored] if all(text.isascii() for text in stored) else None


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
