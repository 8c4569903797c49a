"""Optuna's tree-structured Parzen estimator: trials where those before them did well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from raymlops.errors import ConfigError
from raymlops.experiments.searching.search_space import warm_starts
from raymlops.experiments.trial import TrialSpec

if TYPE_CHECKING:
    from raymlops.experiments.searching.search_space import SearchSpace
    from raymlops.experiments.trial import ParameterValue, TrialResult
    from raymlops.records.learning.tasks import Metric

__all__ = ["TpeSearch"]


class TpeSearch:
    """A search that learns from its own results. Told in the same order, it asks for the same trials.

    Args:
        space: The search space; the family is one of the parameters.
        metric: The metric that is minimised.
        seed: Seeds the sampler, and each trial's estimator.
        n: Number of trials besides the warm starts.
        draw: Another draw gives other trials by the same seed.
        warm: (family, parameters) to try first; learned from as far as they lie within the space.

    Raises:
        ConfigError: ``n`` is negative, or there is nothing to try.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        metric: Metric,
        seed: int,
        n: int,
        draw: int = 0,
        warm: Sequence[tuple[str, Mapping[str, ParameterValue]]] = (),
    ) -> None:
        import optuna

        if n < 0 or n + len(warm) == 0:
            raise ConfigError(f"a search needs at least one trial, got n = {n} and {len(warm)} warm starts")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._metric, self._seed, self._left = space.families, metric, seed, n
        self._warm = warm_starts(warm, seed)[::-1]
        self._number = 0
        sampler = optuna.samplers.TPESampler(seed=(seed * 1_000_003 + draw) % 2**32, n_startup_trials=max(4, n // 3))
        self._study: Any = optuna.create_study(direction="minimize", sampler=sampler)
        self._asked: dict[int, Any] = {}

    @property
    def left(self) -> int:
        return len(self._warm) + self._left

    def ask(self) -> TrialSpec | None:
        self._number += 1
        if self._warm:
            return self._warm.pop()
        if self._left == 0:
            return None
        self._left -= 1
        trial = self._study.ask()
        family = trial.suggest_categorical("family", list(self._space))
        params = {name: _suggest(trial, f"{family}.{name}", declared) for name, declared in self._space[family].items()}
        spec = TrialSpec(number=self._number - 1, family=family, params=params, seed=self._seed)
        self._asked[spec.number] = trial
        return spec

    def tell(self, result: TrialResult) -> None:
        import optuna

        value = result.metrics.get(self._metric)
        trial = self._asked.pop(result.spec.number, None)
        if trial is None:
            known = self._distributions(result.spec)
            if value is not None and known is not None:
                self._study.add_trial(optuna.trial.create_trial(params=known[0], distributions=known[1], value=value))
        elif value is None or result.stopped_at is not None:
            # the loss of a trial that was given up is not comparable with that of one that was not
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, value)

    def _distributions(self, spec: TrialSpec) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """A warm start as Optuna holds it; ``None`` where it lies outside the space."""
        from optuna.distributions import CategoricalDistribution

        ranges = self._space.get(spec.family)
        if ranges is None:
            return None
        params: dict[str, Any] = {"family": spec.family}
        distributions: dict[str, Any] = {"family": CategoricalDistribution(list(self._space))}
        for name, declared in ranges.items():
            if not isinstance(declared, Mapping):
                continue
            distribution, value = _distribution(declared), spec.params.get(name)
            if not _holds(declared, value):
                return None
            params[f"{spec.family}.{name}"], distributions[f"{spec.family}.{name}"] = value, distribution
        return params, distributions


def _suggest(trial: Any, name: str, declared: object) -> ParameterValue:
    if not isinstance(declared, Mapping):
        return cast("ParameterValue", declared)
    ((kind, bounds),) = declared.items()
    if kind == "choice":
        return cast("ParameterValue", trial.suggest_categorical(name, list(bounds)))
    low, high = bounds
    if kind.endswith("int"):
        return int(trial.suggest_int(name, int(low), int(high), log=kind == "log_int"))
    return float(trial.suggest_float(name, float(low), float(high), log=kind == "log_uniform"))


def _distribution(declared: Mapping[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    ((kind, bounds),) = declared.items()
    if kind == "choice":
        return CategoricalDistribution(list(bounds))
    low, high = bounds
    if kind.endswith("int"):
        return IntDistribution(int(low), int(high), log=kind == "log_int")
    return FloatDistribution(float(low), float(high), log=kind == "log_uniform")


def _holds(declared: Mapping[str, Any], value: object) -> bool:
    ((kind, bounds),) = declared.items()
    if kind == "choice":
        return value in bounds
    return isinstance(value, int | float) and bool(bounds[0] <= value <= bounds[1])
