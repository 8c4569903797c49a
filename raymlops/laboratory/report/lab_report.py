"""The value of retraining on one table, by policy: the same facts as JSON, as a frame, and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from raymlops.errors import ConfigError
from raymlops.laboratory import DEFAULT_PRICE
from raymlops.laboratory.foresight import ForesightPolicy, default_policy
from raymlops.laboratory.loss_matrix import LossMatrix
from raymlops.laboratory.policies import CheapestCalendar, Drift, Never, Performance, Periodic, Regret
from raymlops.laboratory.simulation import Outcome, Policy, best_schedules, oracle, replay, simulate
from raymlops.records.shown import shown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AgePoint", "LabReport", "check_price", "compare_policies", "standard_policies"]

FITS_A_RETRAINING = 4
"""A retraining searches; a probe is one fit. So compute counts a retraining as so many fits."""
_CALENDARS = (1, 2, 3, 4, 6, 8, 12, 16)
_PROBING = (Regret, CheapestCalendar, ForesightPolicy)
"""Policies that fit a model at the start of every window, whether it is to serve or not."""


@dataclass(frozen=True)
class AgePoint:
    """Models of one age, beside the model fitted at each window's start.

    Attributes:
        age: Windows since the model was fitted.
        windows: Windows in which there was a model of that age.
        excess: Mean of (its loss - the fresh model's), as a share of the loss of a window.
        standard_error: Of that mean, over windows.
    """

    age: int
    windows: int
    excess: float
    standard_error: float


@shown()
@dataclass(frozen=True)
class LabReport:
    """Policies compared on one matrix.

    Attributes:
        matrix: The losses.
        price: Of a retraining, in losses of one window.
        outcomes: Name -> the outcome of the policy.
        best: The schedule of least loss for each number of retrainings, in hindsight.
        oracle: The schedule of least cost at this price, in hindsight.
        ages: How a model goes stale.
        recommended: The policy to take.
        reason: Why, for people.
        compute_s: Name -> seconds of fits, probes included; empty where the matrix does not know what a fit takes.
        title: Of the page.
    """

    matrix: LossMatrix
    price: float
    outcomes: Mapping[str, Outcome]
    best: tuple[Outcome, ...]
    oracle: Outcome
    ages: tuple[AgePoint, ...]
    recommended: str
    reason: str
    compute_s: Mapping[str, float] = field(default_factory=dict)
    title: str = "Policy laboratory"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        windows = list(self.matrix.windows)
        never, every = replay(self.matrix, ()), replay(self.matrix, windows[1:])
        starts = self.matrix.facts.starts
        return {
            "windows": len(windows),
            "first": self.matrix.first,
            "rows": self.matrix.total_rows,
            "metric": self.matrix.facts.metric,
            "starts": [at.isoformat() for at in starts[self.matrix.first :]],
            "price": self.price,
            "never": never.loss,
            "every_window": every.loss,
            "oracle": self.oracle.loss,
            "frontier": [{"retrainings": len(one.retrainings), "loss": one.loss} for one in self.best],
            "policies": {one.name: self._described(one) for one in (*self.outcomes.values(), self.oracle)},
            "age": [
                {"age": one.age, "windows": one.windows, "excess": one.excess, "standard_error": one.standard_error}
                for one in self.ages
            ],
            "recommended": self.recommended,
            "reason": self.reason,
            "notes": list(self.matrix.facts.notes),
        }

    def to_pandas(self) -> pd.DataFrame:
        """One row for each policy, the cheapest first."""
        import pandas as pd

        rows = [{"policy": name, **values} for name, values in self.to_dict()["policies"].items()]
        return pd.DataFrame(rows).drop(columns="firings").sort_values("cost", kind="stable", ignore_index=True)

    def to_html(self) -> str:
        """One page that needs nothing else: no script, no file, no network."""
        from raymlops.laboratory.report.page import render

        return render(self)

    def excess(self, outcome: Outcome) -> float:
        """Cost of a policy beyond the oracle's, as a share of the oracle's cost; 0 where that is 0."""
        return _beyond(outcome, self.oracle, self.price)

    def _described(self, one: Outcome) -> dict[str, Any]:
        return {
            "retrainings": len(one.retrainings),
            "at": list(one.retrainings),
            "loss": one.loss,
            "gain_share": one.gain_share,
            "cost": one.cost(self.price),
            "excess": self.excess(one),
            "compute_s": self.compute_s.get(one.name),
            "firings": [{"window": each.window, "until": each.until, "worth": each.worth} for each in one.firings],
        }


def standard_policies(matrix: LossMatrix, price: float) -> list[Policy]:
    """The policies that every page compares: none, calendars, drift, performance, regret, and the default."""
    calendars = [Periodic(every) for every in _CALENDARS if every < len(matrix.windows)]
    found: list[Policy] = [default_policy(price), Never(), *calendars, Performance()]
    if matrix.facts.drifted is not None:
        found.append(Drift())
    return [*found, Regret(price), CheapestCalendar(price)]


def compare_policies(
    matrix: LossMatrix, *, price: float = DEFAULT_PRICE, own: Sequence[Policy] = (), title: str = "Policy laboratory"
) -> LabReport:
    """The outcome of each policy, and the recommended one.

    Args:
        matrix: The losses.
        price: Of a retraining, in losses of one window.
        own: Policies beside the standard ones.
        title: Of the page.

    Raises:
        ConfigError: The price is negative, or two policies share a name.
    """
    check_price(price)
    policies = [*standard_policies(matrix, price), *own]
    names = [policy.name for policy in policies]
    twice = sorted({name for name in names if names.count(name) > 1} | ({"oracle"} & set(names)))
    if twice:
        raise ConfigError(f"policies must have distinct names other than 'oracle', got {twice}")
    outcomes = {policy.name: simulate(matrix, policy) for policy in policies}
    best = oracle(matrix, price)
    recommended, reason = _recommended(outcomes, best, policies[0].name, price)
    return LabReport(
        matrix=matrix,
        price=price,
        outcomes=outcomes,
        best=tuple(best_schedules(matrix)),
        oracle=best,
        ages=ages(matrix),
        recommended=recommended,
        reason=reason,
        compute_s=_compute(matrix, policies, outcomes),
        title=title,
    )


def check_price(price: float) -> None:
    """Refuse a price that is none.

    Raises:
        ConfigError: It is negative, or not finite.
    """
    if not 0 <= price < float("inf"):
        raise ConfigError(f"price must not be negative, got {price}")


def ages(matrix: LossMatrix) -> tuple[AgePoint, ...]:
    """Mean excess loss of models by age; windows weigh the same."""
    rows = np.array([max(1, matrix.rows(window)) for window in matrix.windows], dtype=np.float64)
    means = matrix.sums / rows
    excess = (means - np.diag(means)) / (matrix.unit * len(rows) / rows.sum() or 1.0)
    found = []
    for age in range(len(rows)):
        values = np.diagonal(excess, age)
        spread = float(values.std(ddof=1)) / float(np.sqrt(len(values))) if len(values) > 1 else 0.0
        found.append(AgePoint(age, len(values), float(values.mean()), spread))
    return tuple(found)


def _compute(matrix: LossMatrix, policies: Sequence[Policy], outcomes: Mapping[str, Outcome]) -> dict[str, float]:
    fit_s = matrix.facts.fit_s
    if not fit_s:
        return {}
    probes_s = sum(fit_s.values())
    return {
        policy.name: FITS_A_RETRAINING * sum(fit_s[window] for window in outcomes[policy.name].retrainings)
        + (probes_s if isinstance(policy, _PROBING) else 0.0)
        for policy in policies
    }


def _recommended(outcomes: Mapping[str, Outcome], best: Outcome, default: str, price: float) -> tuple[str, str]:
    """The default, unless keeping the first model, or a policy that looked at nothing, was clearly cheaper."""
    costs = {name: outcome.cost(price) for name, outcome in outcomes.items()}
    never, own = costs["never"], costs[default]
    gain = (never - own) / never if never else 0.0
    counts = len(outcomes[default].retrainings)
    beyond = _beyond(outcomes[default], best, price)
    if never <= own:
        return "never", (
            f"keeping the first model costs {never:.3f} losses of a window, the default policy with its {counts} "
            f"retrainings at {price:g} each {own:.3f}. A model on this data does not go stale enough."
        )
    return default, (
        f"it retrains {counts} times and costs {gain:.1%} less than keeping the first model, retrainings at {price:g} "
        f"losses of a window each included; {beyond:.1%} more than the best schedule in hindsight. Among calendars, "
        f"{_best_calendar(costs)}, which one would have to know beforehand."
    )


def _beyond(outcome: Outcome, best: Outcome, price: float) -> float:
    least = best.cost(price)
    return outcome.cost(price) / least - 1.0 if least else 0.0


def _best_calendar(costs: Mapping[str, float]) -> str:
    calendars = {name: cost for name, cost in costs.items() if name.startswith("every ")}
    name = min(calendars, key=lambda each: calendars[each])
    return f"{name!r} was cheapest with {calendars[name]:.3f}"
