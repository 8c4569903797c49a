"""When live traffic is looked at: at whole multiples of a pause, each once; and which of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from raymlops.config.control import ControlConfig, TrialConfig
from raymlops.control.loop.ports import Observer
from raymlops.control.rollout import plan_history
from raymlops.control.rollout.floor import find_fallen
from raymlops.control.rollout.measuring.evidence import ShareSince, TrialEvidence, TrialScope
from raymlops.control.rollout.observation import Look, Observation
from raymlops.control.rollout.trial_decisions import backup_may_return
from raymlops.errors import RaymlopsError
from raymlops.records.plans import ServingPlan

__all__ = ["Looks"]

_log = logging.getLogger(__name__)


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

    def due(self, seen: Observation, config: ControlConfig) -> tuple[list[Look], Exception | None]:
        """Take all looks that are due; one that cannot be taken keeps none of the others from being taken.

        Args:
            seen: The platform.
            config: How often, and how far back.

        Returns:
            The looks, and what kept the first of the others from being taken.
        """
        found, trouble = list[Look](), None
        for take in (self.at_health, self.at_probation, self.at_trial, self.at_floor):
            try:
                look = take(seen, config)
            except Exception as error:  # whatever it is: a champion that fails must go though a trial cannot be judged
                trouble = trouble or error
                continue
            found += [] if look is None else [look]
        return found, trouble

    def at_trial(self, seen: Observation, config: ControlConfig) -> Look | None:
        """The trial, where there is one and a look at it is due.

        A trial that is over and whose evidence cannot be gathered has shown nothing: it is not waited for any longer,
        where trying again may help for as long again as a trial lasts.
        """
        if seen.plan.trial is None:
            return None
        since = plan_history.trial_since(seen.plans)
        at = self._due(seen, "trial", since, config.trial.look_every)
        if at is None:
            return None
        try:
            return self.trial_at(seen, at, config.trial)
        except Exception as error:  # whatever it is: a trial ends
            patience = 2 if isinstance(error, RaymlopsError) and error.retryable else 1
            if at - since < patience * config.trial.max_duration:
                raise
            _log.warning("the trial of %s is over and cannot be judged: %s", seen.model, error)
            problem = f"what it has shown cannot be read: {type(error).__name__}: {error}"
            return Look(kind="trial", since=since, at=at, trial=TrialEvidence.nothing(), problem=problem)

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
        since = seen.champion_since
        at = self._due(seen, "probation", since, config.trial.look_every)
        return None if at is None else self.probation_at(seen, at, config.trial)

    def probation_at(self, seen: Observation, at: datetime, config: TrialConfig) -> Look | None:
        """The champion's probation as it stands at an instant, where it is on probation then."""
        probation, since = config.probation, seen.champion_since
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

    def as_of(
        self, model: str, plans: Sequence[ServingPlan], at: datetime, config: ControlConfig
    ) -> tuple[list[Look], list[str]]:
        """The trial and the probation of a model as they stood at an instant, where they were under way.

        A part that cannot be read becomes a problem in the answer, and the other parts are still answered.

        Args:
            model: Name of the model.
            plans: Those that there were then, oldest first.
            at: The instant.
            config: How far back.

        Returns:
            The looks, and what could not be read, for people.
        """
        looks, unreadable = list[Look](), list[str]()
        if not plans:
            return looks, unreadable
        seen = Observation(model=model, now=at, plans=plans, runs=(), windows=())
        for kind, take in (("trial", self.trial_at), ("probation", self.probation_at)):
            try:
                look = take(seen, at, config.trial)
            except Exception as error:  # whatever it is: the rest of the answer stands without it
                _log.exception("the evidence of the %s of %s cannot be read", kind, model)
                unreadable.append(f"the evidence of the {kind} cannot be read: {type(error).__name__}: {error}")
                continue
            looks += [] if look is None else [look]
        return looks, unreadable

    def at_floor(self, seen: Observation, config: ControlConfig) -> Look | None:
        """Former champions on the newest labelled windows, where the champion lies below its floor there.

        Not while a candidate is under way.

        A former version that cannot be loaded, or scored, is left out.
        """
        fallen, plan = find_fallen(seen.own_windows, config.fallback), seen.plan
        since = seen.champion_since
        under_way = plan.trial is not None or any(not run.status.final for run in seen.runs)
        if not fallen or under_way or plan.champion in plan.blocked:
            return None
        at = fallen[-1].end
        if self._taken.get((seen.model, "floor")) == (since, at):
            return None
        compared = []
        for version in plan_history.former_champions(seen.plans)[: config.fallback.versions]:
            start = max(since, fallen[0].start)
            scope = self._scope(start, at, plan.champion, version, config.trial).model_copy(
                update={
                    "probation": True,
                    "labelled_until": at,
                    "max_labelled_rows": config.trial.max_labelled_rows,
                }
            )
            try:
                compared.append((version, self._observer.trial_evidence(seen.model, scope)))
            except RaymlopsError as error:
                if error.retryable:
                    raise
                _log.warning("version %d of %s cannot be scored, and is left out: %s", version, seen.model, error)
        return Look(kind="floor", since=since, at=at, former=tuple(compared))

    def at_health(self, seen: Observation, config: ControlConfig) -> Look | None:
        """The champion's health, where another version can take over and a look at it is due."""
        if seen.plan.backup is None and not plan_history.former_champions(seen.plans):
            return None
        since = seen.champion_since
        at = self._due(seen, "health", since, config.health.look_every)
        if at is None:
            return None
        health = self._observer.health(seen.plan, since=max(since, at - config.health.window), until=at)
        return Look(kind="health", since=since, at=at, health=health)

    def taken(self, model: str, look: Look) -> None:
        """A look led to no decision, and is not taken again."""
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
        """The newest instant of the grid ``since + n * every`` without a look."""
        at = since + (seen.now - since) // every * every
        return at if at > since and self._taken.get((seen.model, kind)) != (since, at) else None
