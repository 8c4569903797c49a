"""The families of estimators that a search may draw from.

A family is one of ``families()``, or ``module:function``: a function of the project that gives an unfitted scikit-learn
estimator or pipeline. Everything runs on one thread: trials are what runs in parallel, and a sum over threads is not
the same sum twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raymlops.errors import ConfigError
from raymlops.experiments.options import split_options
from raymlops.flavors import families, flavor_of
from raymlops.flavors.building import FIXED
from raymlops.flavors.frames import is_frame
from raymlops.flavors.sklearn import ProjectFamily

if TYPE_CHECKING:
    from raymlops.experiments.task import FloatArray
    from raymlops.flavors.protocol import Family
    from raymlops.records.learning.tasks import LearningTask, TaskKind

__all__ = ["asked", "build", "check_family", "family_named", "predict"]


def check_family(family: str) -> None:
    """Refuse what is neither one of ``families()`` nor has the form of an import path.

    Raises:
        ConfigError: It is not.
    """
    module, separator, name = family.partition(":")
    if family not in families() and not (separator and module and name):
        raise ConfigError(
            f"family must be one of {sorted(families())} or 'module:function', got {family!r}", family=family
        )


def family_named(family: str) -> Family:
    """How the estimators of a family are built and fitted.

    Raises:
        ConfigError: There is no such family.
    """
    check_family(family)
    return families().get(family) or ProjectFamily(family)


def build(family: str, params: Mapping[str, object], *, seed: int, task: LearningTask) -> Any:
    """An unfitted estimator.

    Args:
        family: One of ``families()``, or ``module:function``.
        params: Constructor arguments; what is left out has the library's default. Options of the fit may stand among
            them, see ``experiments.options``.
        seed: Seeds whatever the estimator draws.
        task: Says whether it is a classifier or a regressor, of how many classes, and by which metric it stops early.

    Raises:
        ConfigError: No such family or parameter, or the parameter is the platform's.
    """
    found = family_named(family)
    own, options = split_options(params)
    options.check(task)
    fixed = sorted(FIXED.intersection(name.rpartition("__")[2] for name in own))
    if fixed:
        raise ConfigError(f"parameters {fixed} of family {family!r} are set by the platform", family=family)
    return found.build(own, seed=seed, task=task)


def asked(estimator: Any, inputs: Any) -> Any:
    """Inputs of ``task.model_inputs`` as the ``predict`` of a fitted estimator takes them."""
    return flavor_of(estimator).inputs(estimator, inputs) if is_frame(inputs) else inputs


def predict(estimator: Any, inputs: Any, kind: TaskKind) -> FloatArray:
    """Predictions as float64: probabilities [rows, classes] of a classifier, values [rows] of a regressor.

    Args:
        estimator: Fitted.
        inputs: Of ``task.model_inputs``.
        kind: Of the task.
    """
    from threadpoolctl import threadpool_limits

    inputs = asked(estimator, inputs)
    with threadpool_limits(limits=1):
        raw = estimator.predict_proba(inputs) if kind == "classifier" else estimator.predict(inputs)
    predictions: FloatArray = raw.astype("float64", copy=False)
    # fitted on a column, some answer one
    return predictions[:, 0] if kind == "regressor" and predictions.shape[1:] == (1,) else predictions
