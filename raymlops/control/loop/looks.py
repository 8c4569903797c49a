"""When live traffic is looked at: at whole multiples of a pause, each once."""

from __future__ import annotations

from datetime import datetime, timedelta

from raymlops.config.control import ControlConfig
from raymlops.control.loop.ports import Observer
from raymlops.control.rollout import plans as plan_history
from raymlops.control.rollout.rollout_state import Look, Observation

__all__ = ["Looks"]


class Looks:
    """Takes the looks that are due. One caller at a time per model.

    Args:
        observer: Shows the traffic.
        config: How often, and how far back.
    """

    def __init__(self, observer: Observer, config: ControlConfig) -> None:
        self._observer = observer
        self._config = config
        self._taken: dict[tuple[str, str], tuple[datetime, datetime]] = {}

    def at_trial(self, seen: Observation) -> Look | None:
        """The trial, where there is one and a look at it is due."""
        if seen.plan.trial is None:
            return None
        config = self._config.trial
        since = plan_history.trial_since(seen.plans)
        at = self._due(seen, "trial", since, config.look_every)
        if at is None:
            return None
        evidence = self._observer.trial_evidence(
            seen.plan, since=since, until=at, labelled_until=max(since, at - config.label_delay)
        )
        return Look(kind="trial", since=since, at=at, trial=evidence)

    def at_health(self, seen: Observation) -> Look | None:
        """The champion's health, where it has a backup and a look at it is due."""
        if seen.plan.backup is None:
            return None
        config = self._config.health
        since = plan_history.champion_since(seen.plans)
        at = self._due(seen, "health", since, config.look_every)
        if at is None:
            return None
        health = self._observer.health(seen.plan, since=max(since, at - config.window), until=at)
        return Look(kind="health", since=since, at=at, health=health)

    def taken(self, model: str, look: Look | None) -> None:
        """A look led to no decision, and is not taken again."""
        if look is not None:
            self._taken[model, look.kind] = look.since, look.at

    def _due(self, seen: Observation, kind: str, since: datetime, every: timedelta) -> datetime | None:
        """The newest instant of the grid ``since + n * every`` that nobody looked at yet."""
        at = since + (seen.now - since) // every * every
        return at if at > since and self._taken.get((seen.model, kind)) != (since, at) else None
