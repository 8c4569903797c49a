"""The probes' account of what staleness costs, as it stood at an instant. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from raymlops.config.probes import RegretConfig
from raymlops.laboratory.probed import Probed, ProbedWindow, RegretStanding
from raymlops.laboratory.weighing import weigh_probed

__all__ = ["regret_standing", "regret_text"]


def regret_standing(probed: Probed | None, config: RegretConfig | None, now: datetime) -> RegretStanding | None:
    """The probes' account as it stood at an instant.

    Args:
        probed: Results of probes.
        config: The trigger's; ``None``: it is off.
        now: Later results do not count.

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


def regret_text(standing: RegretStanding | None, problem: str) -> str:
    """How near the trigger is, for people."""
    if standing is None:
        return f"probes tell nothing yet{f': {problem}' if problem else ''}"
    shown = f"by the probes up to {standing.end.isoformat()} {standing.reason}"
    return f"{shown}; the newest window was not probed: {problem}" if problem else shown
