"""The state of one model by its ledger: a fold over its decisions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from raymlops.control.rollout import plan_history
from raymlops.control.rollout.decisions import (
    Abandon,
    Ask,
    Block,
    Decision,
    FailRun,
    FallBack,
    Pause,
    PlanDecision,
    Promote,
    Ramp,
    Refuse,
    Resume,
    RollBack,
    Skip,
    StartRetraining,
    StartTrial,
)
from raymlops.control.rollout.grown import GrownSet, GrownTuple
from raymlops.control.triggering.news import RetrainOrder
from raymlops.records.plans import ServingPlan
from raymlops.records.shown import shown

__all__ = ["Rollout"]


@shown()
@dataclass(frozen=True)
class Rollout:
    """The state of one model by its ledger. Former states may be kept: each shares its collections with the next."""

    retrainings: GrownTuple[StartRetraining] = field(default_factory=GrownTuple)
    concluded: GrownSet[str] = field(default_factory=GrownSet)
    """Runs that nothing is left to decide about."""
    rejected: GrownTuple[datetime] = field(default_factory=GrownTuple)
    """When candidates were refused or rolled back, and retrainings given up."""
    blocked: GrownSet[str] = field(default_factory=GrownSet)
    """Occasions on which broken data blocked a retraining, and those that were dropped."""
    retry: StartRetraining | None = None
    """The attempt that failed, where another is to follow."""
    unpromotable: GrownSet[str] = field(default_factory=GrownSet)
    """Keys of promotions, larger shares of traffic and returns to former versions that could not be carried out."""
    asked: Ask | None = None
    """The newest question to a person."""
    pending: PlanDecision | StartRetraining | None = None
    """The newest decision, where it asks for an act: whether it was carried out, the ledger does not say. Who knows
    that it was sets this to ``None``."""
    orders: tuple[RetrainOrder, ...] = ()
    """Orders of people and programs that no retraining answered yet, oldest first."""
    paused: bool = False

    def apply(self, decision: Decision) -> Rollout:
        """The state after ``decision`` was recorded."""
        if isinstance(decision, Pause):
            return replace(self, paused=not isinstance(decision, Resume))
        state = replace(self, pending=None)
        match decision:
            case StartRetraining():
                state = state._started(decision)
            case PlanDecision():
                state = state._replanned(decision)
            case Ask():
                state = replace(state, asked=decision)
            case Refuse():
                rejected = self.rejected.plus(decision.at) if decision.rejection else self.rejected
                state = replace(state, rejected=rejected, concluded=self.concluded.plus(decision.run_id))
            case FailRun():
                state = state._failed(decision.run_id, decision.at, final=decision.final)
            case Block():
                state = replace(state, blocked=self.blocked.plus(decision.occasion))
            case Skip():
                left = tuple(order for order in self.orders if order.sequence not in decision.orders)
                state = replace(state, blocked=self.blocked.plus(decision.occasion), orders=left)
            case Abandon():
                state = state._abandoned(decision, self.pending)
        return state

    def _started(self, decision: StartRetraining) -> Rollout:
        concluded = self.concluded if decision.replaces is None else self.concluded.plus(decision.replaces)
        left = tuple(order for order in self.orders if order.sequence not in decision.orders)
        return replace(
            self,
            retrainings=self.retrainings.plus(decision),
            concluded=concluded,
            retry=None,
            orders=left,
            pending=decision,
        )

    def _replanned(self, decision: PlanDecision) -> Rollout:
        concluded, rejected = self.concluded, self.rejected
        if isinstance(decision, StartTrial):
            concluded = concluded.plus(decision.run_id)
        if isinstance(decision, RollBack) and decision.cause != "health":
            rejected = rejected.plus(decision.at)
        return replace(self, concluded=concluded, rejected=rejected, pending=decision)

    def _failed(self, run_id: str, at: datetime, *, final: bool) -> Rollout:
        attempt = next((each for each in self.retrainings if each.run_id == run_id), None)
        return replace(
            self,
            concluded=self.concluded.plus(run_id),
            retry=None if final else attempt,
            rejected=self.rejected.plus(at) if final else self.rejected,
        )

    def _abandoned(self, decision: Abandon, given_up: PlanDecision | StartRetraining | None) -> Rollout:
        match given_up:
            case StartRetraining():
                return self._failed(given_up.run_id, decision.at, final=decision.final)
            case StartTrial() if decision.superseded:
                return replace(self, concluded=GrownSet(self.concluded - {given_up.run_id}))
            case StartTrial():
                return replace(self, rejected=self.rejected.plus(decision.at))
            case Promote() | Ramp() | FallBack() if not decision.superseded:
                return replace(self, unpromotable=self.unpromotable.plus(given_up.key))
        return self

    @property
    def open_retraining(self) -> StartRetraining | None:
        """The newest retraining, where its run is not concluded."""
        newest = self.retrainings[-1] if self.retrainings else None
        return newest if newest is not None and newest.run_id not in self.concluded else None

    @property
    def used_occasions(self) -> frozenset[str]:
        """Occasions that were decided on."""
        return frozenset(self.blocked).union(each.occasion for each in self.retrainings)

    def rejections_under(self, plans: Sequence[ServingPlan]) -> int:
        """Rejections since the present champion took over. ``plans``: oldest first, at least one."""
        since = plan_history.champion_since(plans)
        return sum(1 for at in self.rejected if at >= since)
