"""The trigger that weighs what staleness costs, and what it makes of the other triggers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from raymlops.config.control import TriggersConfig
from raymlops.config.probes import RegretConfig
from raymlops.laboratory.probed import Probed, ProbedWindow, RegretStanding, weigh_probed
from raymlops.records.windows import WindowRecord

__all__ = ["REGRET", "is_in_force", "regret_standing", "regret_text", "without_overruled"]

REGRET = "regret"
"""Name of the trigger."""
_WORSE_THAN_PROBE = 0.1
"""A champion that loses so much more than a plain probe, as a share, is not what the probes' account is about."""


def regret_standing(probed: Probed | None, config: RegretConfig | None, now: datetime) -> RegretStanding | None:
    """The probes' account as it stood at an instant.

    Args:
        probed: What probes have shown.
        config: The trigger's; ``None``: it is off.
        now: What was shown later does not count.

    Returns:
        ``None`` where there is no account.
    """
    if probed is None or config is None:
        return None
    shown = [window for window in probed.windows if window.at <= now]
    if not probed.digest or probed.trained_at is None:
        return weigh_probed(shown, trained_at=probed.trained_at, price=config.price)
    return _weighed(_Shown(shown, probed.digest), probed.trained_at, config.price)


class _Shown:
    """Windows as a key: a digest and their number name those that had been shown by an instant."""

    def __init__(self, windows: Sequence[ProbedWindow], digest: str) -> None:
        self.windows = windows
        self._name = digest, len(windows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shown) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)


@lru_cache(maxsize=512)
def _weighed(shown: _Shown, trained_at: datetime, price: float) -> RegretStanding | None:
    """Asked several times at every turn of every model, while the answer changes once a window."""
    return weigh_probed(shown.windows, trained_at=trained_at, price=price)


def is_in_force(standing: RegretStanding | None, windows: Sequence[WindowRecord]) -> bool:
    """Whether the account speaks about the present: its newest window is the newest one that closed, or the one before.

    The window before will do while the newest is being probed.

    Args:
        standing: The account.
        windows: The champion's closed windows, oldest first.
    """
    if standing is None:
        return False
    return not windows or standing.end >= windows[-1].start


def without_overruled(
    config: TriggersConfig, standing: RegretStanding | None, windows: Sequence[WindowRecord]
) -> TriggersConfig:
    """The triggers without those that ask for a retraining which, by the account, would not pay.

    Drift is no reason where the account is against it. A degraded champion is one as soon as what staleness has cost
    and is expected to cost exceeds the price, whatever the best rhythm is; and always where the champion itself loses
    clearly more than a plain probe does, for then age is not what is wrong with it.

    Args:
        config: All that are configured.
        standing: The account; where it is not in force, all stay.
        windows: The champion's closed windows of sound data, oldest first.
    """
    if standing is None or standing.pays or not is_in_force(standing, windows):
        return config
    own = _loss_of_champion(windows[-1]) if windows and standing.end == windows[-1].end else None
    worse = own is not None and own > standing.loss * (1 + _WORSE_THAN_PROBE)
    backstop = worse or standing.accrued + standing.expected > standing.price
    return config.model_copy(update={"drift": None, "performance": config.performance if backstop else None})


def regret_text(standing: RegretStanding | None, problem: str) -> str:
    """How near the trigger is, for people."""
    if standing is None:
        return f"probes tell nothing yet{f': {problem}' if problem else ''}"
    shown = f"by the probes up to {standing.end.isoformat()} {standing.reason}"
    return f"{shown}; the newest window was not probed: {problem}" if problem else shown


def _loss_of_champion(window: WindowRecord) -> float | None:
    """The champion's loss as probes count theirs, where the window says it."""
    realised = window.performance.get(window.champion)
    if realised is None:
        return None
    if "log_loss" in realised.metrics:
        return realised.metrics["log_loss"]
    return realised.metrics["rmse"] ** 2 if "rmse" in realised.metrics else None
