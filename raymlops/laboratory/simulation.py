"""The simulation of a policy: a fold over the windows of a loss matrix. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from raymlops.errors import ConfigError
from raymlops.laboratory.loss_matrix import Losses, LossMatrix, Paired
from raymlops.laboratory.staleness import FloatArray, Staleness
from raymlops.records.shown import shown

__all__ = ["Firing", "History", "Outcome", "Policy", "best_schedules", "oracle", "replay", "simulate"]


@runtime_checkable
class Policy(Protocol):
    """Says, at the start of each window, whether a new model is to serve it.

    Holds no state: equal histories get equal answers.
    """

    @property
    def name(self) -> str:
        """For tables and pages."""
        ...

    def decide(self, history: History) -> bool:
        """Whether to retrain now. It is asked at the start of each window after the first."""
        ...


class History:
    """The knowledge at the start of a window; nothing later can be read from it.

    Attributes:
        window: The window that starts now.
        serving: The model that has served until now, by the window at whose start it was fitted.
        first: The first window that was served.
        oldest: The oldest model that is known, by its window: at most ``first``.
    """

    __slots__ = ("_matrix", "first", "oldest", "serving", "window")

    def __init__(self, matrix: LossMatrix, window: int, serving: int) -> None:
        self._matrix = matrix
        self.window = window
        self.serving = serving
        self.first = matrix.first
        self.oldest = matrix.oldest

    @property
    def age(self) -> int:
        """Windows the serving model has served."""
        return self.window - self.serving

    @property
    def means(self) -> FloatArray:
        """Mean losses ``[model, window]``, both from ``oldest`` on, over the rows whose labels have come."""
        return self._matrix.means_known(self.window)

    def known_rows(self, window: int) -> int:
        """Rows of a window whose labels have come."""
        self._check(window, window)
        return self._matrix.known_rows(window, self.window)

    def losses(self, model: int, window: int) -> Losses:
        """One loss per row whose label has come."""
        self._check(model, window)
        return self._matrix.losses(model, window)[: self.known_rows(window)]

    def regret(self, window: int, model: int | None = None, probe: int | None = None) -> Paired:
        """How much more a model lost on a window than a probe did, per row.

        Args:
            window: The window.
            model: The model; the serving one by default.
            probe: The model beside it; by default the one fitted at the window's start.
        """
        one, other = self.serving if model is None else model, window if probe is None else probe
        self._check(one, window)
        self._check(other, window)
        return self._matrix.paired(one, other, window, self.known_rows(window))

    def staleness(self) -> Staleness:
        """Losses of every model fitted so far beyond those of the model fitted at each window's start."""
        return self._matrix.staleness_known(self.window)

    def drifted(self, window: int) -> bool:
        """Whether the inputs of a window had drifted from what the serving model was fitted on.

        Raises:
            ConfigError: The matrix does not know.
        """
        self._check(self.serving, window)
        drifted = self._matrix.facts.drifted
        if drifted is None:
            raise ConfigError("this matrix was made without looking for drift of its inputs")
        return (self.serving, window) in drifted

    def _check(self, model: int, window: int) -> None:
        if not self.oldest <= model <= window < self.window:
            raise ConfigError(
                f"at the start of window {self.window} a policy may ask about models and windows from {self.oldest} to "
                f"{self.window - 1}, a model no younger than its window; got model {model} on window {window}"
            )


@dataclass(frozen=True)
class Firing:
    """One retraining.

    Attributes:
        window: The window at whose start the new model serves.
        replaced: The model that it replaced.
        until: The window at whose start it was replaced in turn, or one past the last.
        worth: Loss that it saved while it served, beside the model that it replaced, in losses of one window.
    """

    window: int
    replaced: int
    until: int
    worth: float


@shown()
@dataclass(frozen=True)
class Outcome:
    """The outcome of a policy on a matrix.

    Attributes:
        name: The policy's.
        retrainings: Windows at whose start a new model served; the first model is none of them.
        loss: Mean loss over all rows.
        gain_share: Share of the gain that is possible: 0 is the loss of never retraining, 1 that of retraining in every
            window; 0 where the two are equal.
        by_window: Mean loss in each window, NaN in one without rows.
        firings: The retrainings, and what each was worth.
        total_loss: Sum of the losses, in losses of one window.
    """

    name: str
    retrainings: tuple[int, ...]
    loss: float
    gain_share: float
    by_window: tuple[float, ...]
    firings: tuple[Firing, ...]
    total_loss: float

    def cost(self, price: float) -> float:
        """Loss and retrainings together, in losses of one window.

        Args:
            price: Of one retraining, in losses of one window.
        """
        return self.total_loss + price * len(self.retrainings)


def simulate(matrix: LossMatrix, policy: Policy) -> Outcome:
    """The outcome of ``policy``. The first model serves the first window, whatever the policy."""
    serving, retrained = matrix.first, []
    for window in matrix.windows[1:]:
        if policy.decide(History(matrix, window, serving)):
            serving = window
            retrained.append(window)
    return replay(matrix, retrained, name=policy.name)


def replay(matrix: LossMatrix, retrainings: list[int] | tuple[int, ...], *, name: str = "schedule") -> Outcome:
    """The outcome of retraining at the start of these windows."""
    sums, first, size = matrix.sums, matrix.first, len(matrix.windows)
    bounds = [first, *retrainings, matrix.end]
    serving = np.repeat(np.array(bounds[:-1]), np.diff(bounds)) - first
    paid = sums[serving, np.arange(size)]
    never, every, total = float(sums[0].sum()), float(np.trace(sums)), float(paid.sum())
    unit = matrix.unit or 1.0
    firings = []
    for before, at, until in zip(bounds[:-2], bounds[1:-1], bounds[2:], strict=True):
        span = slice(at - first, until - first)
        worth = float((sums[before - first, span] - sums[at - first, span]).sum()) / unit
        firings.append(Firing(at, before, until, worth))
    rows = np.array([matrix.rows(window) for window in matrix.windows], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        by_window = paid / np.where(rows > 0, rows, np.nan)
    return Outcome(
        name=name,
        retrainings=tuple(retrainings),
        loss=total / matrix.total_rows,
        gain_share=(never - total) / (never - every) if never != every else 0.0,
        by_window=tuple(by_window.tolist()),
        firings=tuple(firings),
        total_loss=total / unit,
    )


def oracle(matrix: LossMatrix, price: float) -> Outcome:
    """The schedule of the least total cost, in hindsight: no policy can do better at this price."""
    sums, size = matrix.sums, len(matrix.windows)
    stretches = _stretches(sums)
    paid = price * (matrix.unit or 1.0)  # where nothing is ever lost, as in ``replay``
    best = np.concatenate([np.full(size, np.inf), [0.0]])
    taken = np.zeros(size, dtype=np.int64)
    for start in range(size - 1, -1, -1):
        costs = (
            stretches[start, start + 1 :] + best[start + 1 :] + np.where(np.arange(start + 1, size + 1) < size, paid, 0)
        )
        choice = int(costs.argmin())
        best[start], taken[start] = costs[choice], start + 1 + choice
    return replay(matrix, _walk(taken, size, matrix.first), name="oracle")


def best_schedules(matrix: LossMatrix, most: int | None = None) -> list[Outcome]:
    """The schedule of least loss for each number of retrainings, from none on: the frontier that no policy passes."""
    sums, size = matrix.sums, len(matrix.windows)
    stretches = _stretches(sums)
    left = np.append(np.nansum(sums, axis=1), 0.0)  # from each window on, with no further retraining
    choices: list[FloatArray] = []
    found = [replay(matrix, (), name="0 retrainings")]
    for count in range(1, min(size - 1, size if most is None else most) + 1):
        following = np.full(size + 1, np.inf)
        choice = np.full(size, -1)
        for start in range(size - count):
            costs = stretches[start, start + 1 : size] + left[start + 1 : size]
            choice[start] = start + 1 + int(costs.argmin())
            following[start] = costs.min()
        choices.append(choice)
        left = following
        at, schedule = 0, []
        for each in reversed(choices):
            at = int(each[at])
            schedule.append(at + matrix.first)
        found.append(replay(matrix, schedule, name=f"{count} retrainings"))
    return found


def _stretches(sums: FloatArray) -> FloatArray:
    """``[i, j]``: loss of model ``i`` on the windows from ``i`` to before ``j``."""
    return np.concatenate([np.zeros((len(sums), 1)), np.cumsum(np.nan_to_num(sums), axis=1)], axis=1)


def _walk(taken: FloatArray | np.ndarray[tuple[int], np.dtype[np.int64]], size: int, first: int) -> list[int]:
    at, schedule = int(taken[0]), []
    while at < size:
        schedule.append(at + first)
        at = int(taken[at])
    return schedule
