"""Records of what probes of a served model have shown, window by window, and of what that says about retraining."""

from __future__ import annotations

from raymlops.records.record import Instant, Record

__all__ = ["Probed", "ProbedWindow", "RegretStanding"]


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
    """The instant whose knowledge the champion was trained with; ``None`` where it is not known."""
    problem: str = ""
    """Why the newest window was not probed; empty where nothing went wrong."""
    digest: str = ""
    """Identifies the windows; empty where they were not digested."""


class RegretStanding(Record):
    """The probes' account of a retraining: regret against price, in losses of one window."""

    pays: bool
    """Whether a retraining pays now."""
    expected: float
    """Expected regret: the champion's loss in the next window beyond a new model's."""
    bar: float
    """The least mean cost of a window that any interval of retrainings reaches, which that must exceed."""
    accrued: float
    """Accrued regret: the champion's loss so far beyond newer models'."""
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
