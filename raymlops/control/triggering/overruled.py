"""Triggers that the probes' account overrules: a retraining would not pay. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from raymlops.config.control import TriggersConfig
from raymlops.laboratory.probed import RegretStanding
from raymlops.records.windows import WindowRecord

__all__ = ["REGRET", "is_in_force", "without_overruled"]

REGRET = "regret"
"""Name of the trigger."""
_WORSE_THAN_PROBE = 0.1
"""A champion that loses so much more than a plain probe, as a share, is not what the probes' account is about."""


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


def _loss_of_champion(window: WindowRecord) -> float | None:
    """The champion's loss as probes count theirs, where the window says it."""
    realised = window.performance.get(window.champion)
    if realised is None:
        return None
    if "log_loss" in realised.metrics:
        return realised.metrics["log_loss"]
    return realised.metrics["rmse"] ** 2 if "rmse" in realised.metrics else None
