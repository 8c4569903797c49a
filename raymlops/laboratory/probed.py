"""What probes of a served model have shown, window by window, and what the default policy makes of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from raymlops.laboratory.foresight import ForesightPolicy
from raymlops.laboratory.loss_matrix import Staleness
from raymlops.records.record import Instant, Record

__all__ = ["Probed", "ProbedWindow", "RegretStanding", "weigh_probed"]


class ProbedWindow(Record):
    """One closed window: how much more older probes lost on it than the probe that was fitted at its start."""

    start: Instant
    end: Instant
    """Exclusive."""
    at: Instant
    """When the probes were scored."""
    rows: int
    """Labelled rows that they were scored on."""
    loss: float
    """Mean loss of the window's own probe."""
    probes: tuple[Instant, ...]
    """Starts of the windows that the probes were fitted at, oldest first; the window's own is the last."""
    regrets: tuple[float, ...]
    """Mean loss of each probe beyond the window's own."""
    errors: tuple[float, ...]
    """Their standard errors."""


class Probed(Record):
    """All that probes of one model have shown."""

    windows: tuple[ProbedWindow, ...] = ()
    """Oldest first."""
    trained_at: Instant | None = None
    """The instant whose knowledge the champion was trained with; ``None`` where nobody knows."""
    problem: str = ""
    """Why the newest window was not probed; empty where nothing went wrong."""
    digest: str = ""
    """Names the windows; empty where nobody counted it."""


class RegretStanding(Record):
    """What stands for and against a retraining by the probes' account, in losses of one window."""

    pays: bool
    """Whether a retraining pays now."""
    expected: float
    """What the champion is expected to lose in the next window beyond a new model."""
    bar: float
    """The least mean cost of a window that any interval of retrainings reaches, which that must exceed."""
    accrued: float
    """What the champion has lost so far beyond newer models."""
    price: float
    """Of a retraining, which accrued and expected regret together must exceed."""
    age_windows: int
    """Windows since the champion was trained."""
    probed_windows: int
    """Windows that the account rests on."""
    loss: float
    """Mean loss of the newest probe on the newest window."""
    start: Instant
    """Of the newest window that was probed."""
    end: Instant
    reason: str
    """For people."""


def weigh_probed(
    windows: Sequence[ProbedWindow], *, trained_at: datetime | None, price: float
) -> RegretStanding | None:
    """The default policy's account. The probe of the champion's age stands for the champion.

    Args:
        windows: Windows of one length that were probed, oldest first.
        trained_at: The instant whose knowledge the champion was trained with.
        price: Of a retraining, in losses of one window.

    Returns:
        ``None`` where nothing was probed, or the champion is newer than all that was.
    """
    if not windows or trained_at is None:
        return None
    newest = windows[-1]
    length, oldest = newest.end - newest.start, min(window.probes[0] for window in windows)
    size = round((newest.end - oldest) / length)
    serving = max(0, round((trained_at - oldest) / length))
    if serving >= size:
        return None
    regrets, errors = np.full((size, size), np.nan), np.zeros((size, size))
    for window in windows:
        column = round((window.start - oldest) / length)
        rows = [round((probe - oldest) / length) for probe in window.probes]
        regrets[rows, column], errors[rows, column] = window.regrets, window.errors
    unit = float(np.mean([window.loss for window in windows]))
    weighed = ForesightPolicy(price).judge(Staleness(regrets, errors, unit), serving)
    return RegretStanding(
        pays=weighed.retrain,
        expected=weighed.expected,
        bar=weighed.bar,
        accrued=weighed.accrued,
        price=price,
        age_windows=size - serving,
        probed_windows=len(windows),
        loss=newest.loss,
        start=newest.start,
        end=newest.end,
        reason=weighed.reason,
    )
