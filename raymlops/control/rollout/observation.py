"""The platform as the rollout of one model sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal

from raymlops.control.rollout import plan_history
from raymlops.control.rollout.measuring.evidence import Health, TrialEvidence
from raymlops.control.triggering.news import NewCode, NewData
from raymlops.laboratory.probed import Probed
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run
from raymlops.records.windows import WindowRecord

__all__ = ["Look", "Observation"]


@dataclass(frozen=True)
class Look:
    """One look at live traffic, and what it showed."""

    kind: Literal["trial", "health", "probation", "floor"]
    since: datetime
    """Start of the trial, or of the champion's time."""
    at: datetime
    """When the look was due."""
    trial: TrialEvidence | None = None
    """Of a trial, or of a probation."""
    health: Health | None = None
    former: tuple[tuple[int, TrialEvidence], ...] = ()
    """Former champions, and how the champion compares with each on the newest labelled windows."""
    problem: str = ""
    """Why a trial that is over shows nothing."""


@dataclass(frozen=True)
class Observation:
    """The platform, as far as one model is concerned."""

    model: str
    now: datetime
    plans: Sequence[ServingPlan]
    """Oldest first, at least one."""
    runs: Sequence[Run]
    windows: Sequence[WindowRecord]
    """Oldest first."""
    trainable: bool = True
    """Whether a deployed bundle trains the model."""
    probed: Probed = field(default_factory=Probed)
    """The probes' results about the champion's age."""
    data: NewData | None = None
    """New rows in the tables that the champion was trained on, where a trigger uses them and they are known."""
    code: NewCode | None = None
    """How the deployed bundle differs from the champion's, where a trigger asks for it."""
    trial_look: Look | None = None
    """``None`` between two looks."""
    health_look: Look | None = None
    probation_look: Look | None = None
    floor_look: Look | None = None

    @property
    def plan(self) -> ServingPlan:
        """The serving plan."""
        return self.plans[-1]

    @cached_property
    def champion_since(self) -> datetime:
        """When the champion took over."""
        return plan_history.champion_since(self.plans)

    @cached_property
    def own_windows(self) -> list[WindowRecord]:
        """The champion's closed windows, oldest first, without those that are dated after now."""
        since, champion = self.champion_since, self.plan.champion
        return [
            window
            for window in self.windows
            if window.champion == champion
            and window.end <= self.now
            # A window in which the champion changed belongs to the one that served for most of it.
            and (since > self.now or window.start >= since or window.start + (window.end - window.start) / 2 >= since)
        ]
