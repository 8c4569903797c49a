"""When to retrain: small pure classes, each asked at the start of every window."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from raymlops.errors import ConfigError
from raymlops.laboratory import DEFAULT_PRICE
from raymlops.laboratory.simulation import History

__all__ = [
    "CheapestCalendar",
    "Drift",
    "Never",
    "Performance",
    "Periodic",
    "Regret",
    "Schedule",
    "accrued_regret",
    "loss_of_a_window",
]


@dataclass(frozen=True)
class Never:
    """Keeps the first model."""

    name: str = "never"

    def decide(self, history: History) -> bool:
        del history
        return False


@dataclass(frozen=True)
class Periodic:
    """Retrains every ``every`` windows."""

    every: int

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"every must be at least 1, got {self.every}")

    @property
    def name(self) -> str:
        """For tables and pages."""
        return "every window" if self.every == 1 else f"every {self.every} windows"

    def decide(self, history: History) -> bool:
        return history.age >= self.every


@dataclass(frozen=True)
class Schedule:
    """Retrains at the start of given windows: a plan, or what really happened."""

    windows: tuple[int, ...]
    name: str = "schedule"

    def decide(self, history: History) -> bool:
        return history.window in self.windows


@dataclass(frozen=True)
class Drift:
    """Retrains where the inputs drifted in ``n`` of the last ``of`` windows, the newest among them."""

    n: int = 2
    of: int = 3
    name: str = "drift"

    def decide(self, history: History) -> bool:
        recent = range(max(history.serving, history.window - self.of), history.window)
        flagged = [history.drifted(window) for window in recent]
        return bool(flagged) and flagged[-1] and sum(flagged) >= self.n


@dataclass(frozen=True)
class Performance:
    """Retrains where the serving model lost clearly more than in its own first window, in ``n`` of the last ``of``.

    Attributes:
        n: So many windows, the newest among them.
        of: Of so many.
        margin: Share of the first window's loss that is accepted.
    """

    n: int = 2
    of: int = 3
    margin: float = 0.1
    name: str = "performance"

    def decide(self, history: History) -> bool:
        serving = history.serving - history.oldest
        own = history.means[serving, serving:]
        worse = own > own[0] * (1 + self.margin)
        return bool(len(own) > 1 and worse[-1] and worse[1:][-self.of :].sum() >= self.n)


@dataclass(frozen=True)
class Regret:
    """Retrains once what staleness has cost since the last retraining passes the price of one.

    Attributes:
        price: Of a retraining, in losses of one window.
        z: So many standard errors are taken off each window's regret: noise must not add up.
        share: The regret that is enough, as a share of the price.
    """

    price: float = DEFAULT_PRICE
    z: float = 0.25
    share: float = 0.7
    name: str = "regret"

    def decide(self, history: History) -> bool:
        return accrued_regret(history, self.z) > self.share * self.price * loss_of_a_window(history)


@dataclass(frozen=True)
class CheapestCalendar:
    """Retrains every so many windows: as many as would have cost least until now.

    Attributes:
        price: Of a retraining, in losses of one window.
    """

    price: float = DEFAULT_PRICE
    name: str = "cheapest calendar so far"

    def decide(self, history: History) -> bool:
        means = np.nan_to_num(history.means)
        size, paid = len(means), self.price * loss_of_a_window(history)
        run = np.concatenate([np.zeros((size, 1)), np.cumsum(means, axis=1)], axis=1)
        costs = []
        for every in range(1, size + 2):  # the last is never
            bounds = [*range(0, size, every), size]
            lost = sum(run[i, j] - run[i, i] for i, j in pairwise(bounds))
            costs.append(lost + paid * (len(bounds) - 2))
        return history.age >= size + 1 - int(np.argmin(costs[::-1]))  # of equal ones, the longest


def accrued_regret(history: History, z: float) -> float:
    """Cost of the serving model's staleness since it took over, in mean losses of a window.

    Regret that was made up for by a lucky window counts no more: it never falls below 0.
    """
    accrued = 0.0
    for window in range(history.serving, history.window):
        found = history.regret(window)
        accrued = max(0.0, accrued + found.mean - z * found.standard_error)
    return accrued


def loss_of_a_window(history: History) -> float:
    """Mean loss of a window so far, each by the model fitted at its start: what prices are counted in."""
    fresh = np.diag(history.means)
    known = fresh[np.isfinite(fresh)]
    return float(known.mean()) if len(known) else 0.0
