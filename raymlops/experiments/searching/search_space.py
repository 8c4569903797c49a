"""Declared search spaces, sampled by a seed.

A space is family -> parameter -> range, as project.yaml holds it; a family is a name, or ``module:function`` of the
project. A range is a constant or one of::

    {uniform: [0.5, 1.0]}   {log_uniform: [0.01, 0.3]}   {int: [3, 9]}   {log_int: [1, 64]}   {choice: [1, null]}

Options of the fit (``experiments.options``: training windows, weights, calibration) are parameters like any other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from raymlops.errors import ConfigError
from raymlops.experiments.estimators import check_family
from raymlops.experiments.options import OPTIONS, split_options
from raymlops.experiments.trial import TrialSpec
from raymlops.flavors.building import FIXED

if TYPE_CHECKING:
    from raymlops.experiments.task import FloatArray
    from raymlops.experiments.trial import ParameterValue

__all__ = ["SearchSpace", "warm_starts"]

_KINDS = ("uniform", "log_uniform", "int", "log_int", "choice")


class SearchSpace:
    """Families with the ranges of their parameters. Immutable.

    Args:
        families: Family -> parameter -> constant or range.

    Raises:
        ConfigError: No family, an unknown one, or a range that is none.
    """

    def __init__(self, families: Mapping[str, Mapping[str, object]]) -> None:
        if not families:
            raise ConfigError("a search space must have at least one family, got none")
        for family, ranges in families.items():
            check_family(family)
            for name, declared in ranges.items():
                _check(family, name, declared)
        self._families = {family: dict(ranges) for family, ranges in families.items()}

    @property
    def families(self) -> dict[str, dict[str, object]]:
        """Family -> parameter -> constant or range."""
        return {family: dict(ranges) for family, ranges in self._families.items()}

    def sample(
        self, seed: int, n: int, *, draw: int = 0, warm: Sequence[tuple[str, Mapping[str, ParameterValue]]] = ()
    ) -> list[TrialSpec]:
        """Draw trials, the families in turn.

        The draws of one family form a Latin hypercube: each range is cut into as many equal parts as there are draws
        and every part is drawn from once, which covers a space better than independent draws do.

        Args:
            seed: Equal seeds give equal trials; it also seeds each trial's estimator.
            n: Number of sampled trials; at least the number of families if each is to be tried.
            draw: Another draw gives other parameters by the same seed, so that a loop does not try the same again.
            warm: (family, parameters) to try besides, first.

        Returns:
            The warm starts and then ``n`` sampled trials, numbered from 0.

        Raises:
            ConfigError: ``n`` is negative, or there is nothing to try.
        """
        if n < 0 or n + len(warm) == 0:
            raise ConfigError(f"a search needs at least one trial, got n = {n} and {len(warm)} warm starts")
        specs = warm_starts(warm, seed)
        names = list(self._families)
        draws = {
            family: iter(
                self._draw(family, np.random.default_rng([seed, draw, place]), len(range(place, n, len(names))))
            )
            for place, family in enumerate(names)
        }
        for turn in range(n):
            family = names[turn % len(names)]
            specs.append(TrialSpec(number=len(specs), family=family, params=next(draws[family]), seed=seed))
        return specs

    def grid(
        self, seed: int, *, levels: int = 3, warm: Sequence[tuple[str, Mapping[str, ParameterValue]]] = ()
    ) -> list[TrialSpec]:
        """Every combination, family by family: all values of a choice, ``levels`` evenly spaced ones of a range.

        Args:
            seed: Seeds each trial's estimator.
            levels: At least 2; a range of fewer whole numbers has no more values than those.
            warm: (family, parameters) to try besides, first.

        Raises:
            ConfigError: There are too few levels.
        """
        if levels < 2:
            raise ConfigError(f"a grid needs at least 2 levels, got {levels}")
        specs = warm_starts(warm, seed)
        for family, ranges in self._families.items():
            names = sorted(ranges)
            for values in itertools.product(*(_levels(ranges[name], levels) for name in names)):
                params = dict(zip(names, values, strict=True))
                specs.append(TrialSpec(number=len(specs), family=family, params=params, seed=seed))
        return specs

    def _draw(self, family: str, rng: np.random.Generator, n: int) -> list[dict[str, ParameterValue]]:
        columns: dict[str, list[ParameterValue]] = {}
        for name in sorted(self._families[family]):
            declared = self._families[family][name]
            if not isinstance(declared, Mapping):
                columns[name] = [cast("ParameterValue", declared)] * n
                continue
            places = (rng.permutation(n) + rng.random(n)) / max(n, 1)
            columns[name] = _at(declared, places)
        return [{name: values[index] for name, values in columns.items()} for index in range(n)]


def warm_starts(warm: Sequence[tuple[str, Mapping[str, ParameterValue]]], seed: int) -> list[TrialSpec]:
    """Trials of parameters that are known to be good, numbered from 0."""
    return [
        TrialSpec(number=number, family=family, params=dict(params), seed=seed, origin="champion")
        for number, (family, params) in enumerate(warm)
    ]


def _levels(declared: object, levels: int) -> list[ParameterValue]:
    if not isinstance(declared, Mapping):
        return [cast("ParameterValue", declared)]
    ((kind, bounds),) = declared.items()
    if kind == "choice":
        return list(bounds)
    return list(dict.fromkeys(_at(declared, np.nextafter(np.linspace(0.0, 1.0, levels), 0.0))))


def _at(declared: Mapping[str, object], places: FloatArray) -> list[ParameterValue]:
    """The values of a range at ``places``, each in [0, 1)."""
    ((kind, raw),) = declared.items()
    bounds = cast("Sequence[ParameterValue]", raw)
    if kind == "choice":
        return [bounds[int(place * len(bounds))] for place in places]
    low, high = float(cast("float", bounds[0])), float(cast("float", bounds[1]))
    if kind == "uniform":
        return [min(high, low + float(place) * (high - low)) for place in places]
    if kind == "log_uniform":
        return [min(high, max(low, low * (high / low) ** float(place))) for place in places]
    if kind == "int":
        return [int(low + math.floor(place * (high - low + 1))) for place in places]
    return [int(min(high, math.floor(low * ((high + 1) / low) ** float(place)))) for place in places]


def _check(family: str, name: str, declared: object) -> None:
    where = f"parameter {name!r} of family {family!r}"
    if name in FIXED:
        raise ConfigError(f"{where} is set by the platform", family=family, parameter=name)
    if declared is None or isinstance(declared, str | int | float | bool):
        _check_options(name, [declared])
        return
    if not isinstance(declared, Mapping) or len(declared) != 1 or next(iter(declared)) not in _KINDS:
        raise ConfigError(f"{where} must be a constant or one of {_KINDS}, got {declared!r}", parameter=name)
    ((kind, bounds),) = declared.items()
    if not isinstance(bounds, list | tuple) or not bounds:
        raise ConfigError(f"{where}: {kind} takes a list, got {bounds!r}", parameter=name)
    if kind == "choice":
        _check_options(name, bounds)
        return
    numbers = [b for b in bounds if isinstance(b, int | float) and not isinstance(b, bool) and math.isfinite(b)]
    whole = all(float(b).is_integer() for b in numbers)
    if len(bounds) != 2 or len(numbers) != 2 or numbers[0] > numbers[1] or (kind.endswith("int") and not whole):
        raise ConfigError(f"{where}: {kind} takes [low, high] with low <= high, got {bounds!r}", parameter=name)
    if kind.startswith("log") and numbers[0] <= 0:
        raise ConfigError(f"{where}: {kind} takes a low above 0, got {numbers[0]}", parameter=name)


def _check_options(name: str, values: Sequence[object]) -> None:
    if name in OPTIONS:
        for value in values:
            split_options({name: value})
