"""A loop compared with other policies on the same windows, by the probes' account. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from raymlops.laboratory.loss_matrix import LossMatrix
from raymlops.laboratory.probed import ProbedWindow
from raymlops.laboratory.simulation import Outcome, best_schedules, oracle, replay
from raymlops.laboratory.staleness import FloatArray
from raymlops.records.record import Instant, Record

__all__ = ["ComparedPolicy", "LoopComparison", "ServedModel", "compare_loop"]


class ServedModel(Record):
    """A model that served."""

    since: Instant
    """When it became champion."""
    trained_at: Instant
    """The instant whose knowledge it was trained with."""


class ComparedPolicy(Record):
    """A policy on the windows of a comparison."""

    name: str
    retrainings: int
    loss: float
    """Mean over the windows, each counted alike."""
    below_never: float
    """By which share that lies below the loss of the first model, never retrained."""
    by_window: tuple[float, ...]
    """Mean loss in each window."""


class LoopComparison(Record):
    """A loop beside never retraining, a calendar of as many retrainings, and the best schedules in hindsight."""

    starts: tuple[Instant, ...]
    """Of the windows, which probes were scored on while the loop served."""
    price: float
    """Of a retraining, in losses of one window; what ``oracle`` is the best at."""
    loop: ComparedPolicy
    """The loop's own models, each by the probe of its age."""
    never: ComparedPolicy
    calendar: ComparedPolicy
    """As many retrainings as the loop's, evenly spaced, each serving at once: a calendar that needs no canary."""
    best: ComparedPolicy
    """As many retrainings as the loop's, where they help most."""
    oracle: ComparedPolicy
    """The schedule of least total cost at the price."""

    def figures(self) -> dict[str, str]:
        """By which share each lies below never retraining, in one flat mapping for people."""
        told = {
            "its schedule, by the probes": self.loop,
            "a calendar of as many": self.calendar,
            "the best schedule of as many": self.best,
            f"the oracle at price {self.price:g}": self.oracle,
        }
        return {name: f"{each.below_never:.1%} with {each.retrainings} retrainings" for name, each in told.items()}

    def lines(self, never: Sequence[tuple[datetime, float]]) -> dict[str, tuple[tuple[datetime, float], ...]]:
        """Losses by window of the calendar and the oracle, on the scale of the model that was really never retrained.

        Args:
            never: Start of each window, and that model's mean loss in it.

        Returns:
            Name -> start and loss of the windows that are compared: its loss moved by what the probes say.
        """
        found = {}
        for name, each in ((f"calendar of {self.calendar.retrainings}", self.calendar), ("oracle", self.oracle)):
            moved = dict(zip(self.starts, np.subtract(each.by_window, self.never.by_window).tolist(), strict=True))
            found[f"{name}, by the probes"] = tuple((at, loss + moved[at]) for at, loss in never if at in moved)
        return found


def compare_loop(
    windows: Sequence[ProbedWindow], served: Sequence[ServedModel], *, price: float
) -> LoopComparison | None:
    """Compare the models that served with other schedules on the same windows.

    Every model, the loop's too, counts by the probe that was fitted when it was trained: what differs is when models
    were trained and when they took over, and nothing else.

    Args:
        windows: Windows that were probed, oldest first.
        served: The champions, oldest first.
        price: Of a retraining, in losses of one window.

    Returns:
        ``None`` where fewer than three windows were probed since the first champion.
    """
    known = _complete(windows)
    live = [place for place, window in enumerate(known) if served and _middle(window) >= served[0].since]
    if len(live) < 3 or live[-1] - live[0] + 1 != len(live):
        return None
    first, starts = live[0], [window.start for window in known]
    losses = {
        (i, j): np.array([window.loss + regret])
        for j, window in enumerate(known)
        for i, regret in enumerate(_regrets(window, starts[: j + 1]))
    }
    matrix = LossMatrix.from_losses(losses, first=first)
    never = replay(matrix, (), name="never")
    changes = _changes(known, served, first)
    count = len({model for _, model in changes} - {first})
    evenly = [first + round(len(live) * (n + 1) / (count + 1)) for n in range(count)]
    calendar = replay(matrix, sorted({at for at in evenly if first < at < matrix.end}), name="calendar")
    best = best_schedules(matrix, count)[-1]
    return LoopComparison(
        starts=tuple(starts[first:]),
        price=price,
        loop=_compared("the loop", count, _paid(matrix, changes), never),
        never=_policy(never, never),
        calendar=_policy(calendar, never),
        best=_policy(best, never).model_copy(update={"name": "best schedule of as many"}),
        oracle=_policy(oracle(matrix, price), never),
    )


def _complete(windows: Sequence[ProbedWindow]) -> list[ProbedWindow]:
    """The newest windows such that each was scored by the probes of all before it."""
    kept: list[ProbedWindow] = []
    for window in reversed(windows):
        if any(window.start not in later.probes for later in kept):
            break
        kept.append(window)
    return kept[::-1]


def _middle(window: ProbedWindow) -> datetime:
    return window.start + (window.end - window.start) / 2


def _regrets(window: ProbedWindow, starts: Sequence[datetime]) -> list[float]:
    by_probe = dict(zip(window.probes, window.regrets, strict=True))
    return [by_probe[start] for start in starts]


def _changes(known: Sequence[ProbedWindow], served: Sequence[ServedModel], first: int) -> list[tuple[int, int]]:
    """``(window, model)``: from which window on which model served; a change within a window counts by its middle."""
    ends = np.array([window.start.timestamp() for window in known])
    length_s = (known[0].end - known[0].start).total_seconds()
    changes: list[tuple[int, int]] = []
    for place, each in enumerate(served):
        since = next((j for j, window in enumerate(known) if _middle(window) >= each.since), len(known))
        nearest = int(np.argmin(np.abs(ends - each.trained_at.timestamp())))
        late = each.trained_at.timestamp() > ends[-1] + length_s / 2
        model = first if place == 0 else min(nearest, since)
        if since < len(known) and not late:
            changes.append((max(first, since), model))
    return changes


def _paid(matrix: LossMatrix, changes: Sequence[tuple[int, int]]) -> FloatArray:
    """Mean loss in each window."""
    paid = np.empty(len(matrix.windows))
    bounds = [*(window for window, _ in changes[1:]), matrix.end]
    for (since, model), until in zip(changes, bounds, strict=True):
        for window in range(since, until):
            paid[window - matrix.first] = float(matrix.losses(model, window).mean())
    return paid


def _policy(outcome: Outcome, never: Outcome) -> ComparedPolicy:
    return _compared(outcome.name, len(outcome.retrainings), np.array(outcome.by_window), never)


def _compared(name: str, retrainings: int, by_window: FloatArray, never: Outcome) -> ComparedPolicy:
    loss = float(by_window.mean())
    below = 1.0 - loss / never.loss if never.loss else 0.0
    return ComparedPolicy(
        name=name, retrainings=retrainings, loss=loss, below_never=below, by_window=tuple(by_window.tolist())
    )
