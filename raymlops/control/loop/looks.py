"""When live traffic is looked at: at whole multiples of a pause, each once; and which of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from raymlops.config.control import ControlConfig, TrialConfig
from raymlops.control.loop.ports import Observer
from raymlops.control.rollout import plans as plan_history
from raymlops.control.rollout.evidence import ShareSince, TrialScope
from raymlops.control.rollout.observation import Look, Observation
from raymlops.control.rollout.trial_decisions import backup_may_return
from raymlops.records.plans import ServingPlan

__all__ = ["Looks"]


class Looks:
    """Takes the looks that are due. One caller at a time per model.

    Args:
        observer: Shows the traffic.
        label_delay: How old a row must be to be compared, where the trial's configuration says nothing.
    """

    def __init__(self, observer: Observer, label_delay: timedelta = timedelta()) -> None:
        self._observer = observer
        self._label_delay = label_delay
        self._taken: dict[tuple[str, str], tuple[datetime, datetime]] = {}

    def due(self, seen: Observation, config: ControlConfig) -> tuple[Look | None, Look | None, Look | None]:
        """The looks that are due: at the trial, at the champion's health, at its probation.

        Args:
            seen: The platform.
            config: How often, and how far back.
        """
        return self.at_trial(seen, config), self.at_health(seen, config), self.at_probation(seen, config)

    def at_trial(self, seen: Observation, config: ControlConfig) -> Look | None:
        """The trial, where there is one and a look at it is due."""
        if seen.plan.trial is None:
            return None
        since = plan_history.trial_since(seen.plans)
        at = self._due(seen, "trial", since, config.trial.look_every)
        return None if at is None else self.trial_at(seen, at, config.trial)

    def trial_at(self, seen: Observation, at: datetime, config: TrialConfig) -> Look | None:
        """The trial as it stands at an instant, where there is one."""
        trial = seen.plan.trial
        if trial is None:
            return None
        plans = plan_history.trial_plans(seen.plans)
        shares = [(plan.created_at, plan.trial.share) for plan in plans if plan.trial is not None]
        kept = [each for i, each in enumerate(shares) if i == 0 or each[1] != shares[i - 1][1]]
        since = plans[0].created_at
        scope = self._scope(since, at, trial.version, seen.plan.champion, config).model_copy(
            update={
                "shares": tuple(ShareSince(since=start, share=share) for start, share in kept),
                "deadline_ms": trial.deadline_ms,
                "max_labelled_rows": max(config.max_labelled_rows, trial.min_labelled_rows or 0),
            }
        )
        return Look(kind="trial", since=since, at=at, trial=self._observer.trial_evidence(seen.model, scope))

    def at_probation(self, seen: Observation, config: ControlConfig) -> Look | None:
        """The champion beside the one before it, where it is on probation and a look at it is due."""
        since = plan_history.champion_since(seen.plans)
        at = self._due(seen, "probation", since, config.trial.look_every)
        return None if at is None else self.probation_at(seen, at, config.trial)

    def probation_at(self, seen: Observation, at: datetime, config: TrialConfig) -> Look | None:
        """The champion's probation as it stands at an instant, where it is on probation then."""
        probation, since = config.probation, plan_history.champion_since(seen.plans)
        former = seen.plan.backup
        if probation is None or former is None or not backup_may_return(seen.plan):
            return None
        delay = self._delay(config)
        if at > since + probation.max_duration + delay:
            return None
        until = min(at, since + probation.max_duration)
        scope = self._scope(since, until, seen.plan.champion, former, config).model_copy(
            update={
                "probation": True,
                "labelled_until": max(since, at - delay),
                "max_labelled_rows": probation.max_labelled_rows,
            }
        )
        return Look(kind="probation", since=since, at=at, trial=self._observer.trial_evidence(seen.model, scope))

    def as_of(self, model: str, plans: Sequence[ServingPlan], at: datetime, config: ControlConfig) -> list[Look]:
        """The trial and the probation of a model as they stood at an instant, where they were under way.

        Args:
            model: Name of the model.
            plans: Those that there were then, oldest first.
            at: The instant.
            config: How far back.
        """
        if not plans:
            return []
        seen = Observation(model=model, now=at, plans=plans, runs=(), windows=())
        looks = self.trial_at(seen, at, config.trial), self.probation_at(seen, at, config.trial)
        return [look for look in looks if look is not None]

    def at_health(self, seen: Observation, config: ControlConfig) -> Look | None:
        """The champion's health, where it has a backup and a look at it is due."""
        if seen.plan.backup is None:
            return None
        since = plan_history.champion_since(seen.plans)
        at = self._due(seen, "health", since, config.health.look_every)
        if at is None:
            return None
        health = self._observer.health(seen.plan, since=max(since, at - config.health.window), until=at)
        return Look(kind="health", since=since, at=at, health=health)

    def taken(self, model: str, look: Look | None) -> None:
        """A look led to no decision, and is not taken again."""
        if look is not None:
            self._taken[model, look.kind] = look.since, look.at

    def _delay(self, config: TrialConfig) -> timedelta:
        return self._label_delay if config.label_delay is None else config.label_delay

    def _scope(
        self, since: datetime, until: datetime, candidate: int, champion: int, config: TrialConfig
    ) -> TrialScope:
        return TrialScope(
            candidate=candidate,
            champion=champion,
            since=since,
            until=until,
            labelled_until=max(since, until - self._delay(config)),
            answers_between=config.answers_between,
            correlated_within=config.correlated_within,
        )

    def _due(self, seen: Observation, kind: str, since: datetime, every: timedelta) -> datetime | None:
        """The newest instant of the grid ``since + n * every`` that nobody looked at yet."""
        at = since + (seen.now - since) // every * every
        return at if at > since and self._taken.get((seen.model, kind)) != (since, at) else None
