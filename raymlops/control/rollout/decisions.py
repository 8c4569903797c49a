"""Decisions of the controller: values, named in the imperative, that the ledger keeps and the actuator carries out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from raymlops.errors import LedgerBroken
from raymlops.records.ledger import LedgerEntry
from raymlops.records.plans import Trial
from raymlops.records.record import Instant, Record

__all__ = [
    "Abandon",
    "Ask",
    "Block",
    "Decision",
    "FailRun",
    "FallBack",
    "Pause",
    "PlanDecision",
    "Promote",
    "Ramp",
    "Refuse",
    "Resume",
    "RollBack",
    "Skip",
    "StartRetraining",
    "StartTrial",
    "decision_of",
]

KEY_PREFIX = "control/"
"""How the key of every entry begins that the controller wrote."""


class Decision(Record):
    """One decision about one model. Its ledger entry holds all of it, so that a restarted controller can go on."""

    action: ClassVar[str] = ""
    model: str
    at: Instant
    """When it was decided; what follows from it carries this instant, also when it is carried out again."""
    reason: str
    facts: dict[str, Any] = Field(default_factory=dict)
    """JSON values it rested on."""

    @property
    def key(self) -> str:
        """Idempotency key: the same decision on the same occasion has the same key."""
        return f"{KEY_PREFIX}{self.model}/{self.action}/{self.occasion_key()}"

    def occasion_key(self) -> str:
        """The part of the decision's key that differs among decisions of its kind."""
        raise NotImplementedError

    def evidence(self) -> dict[str, Any]:
        """The evidence of the ledger entry, besides subject, action and reason."""
        return self.model_dump(mode="json", exclude={"model", "reason"})


class StartRetraining(Decision):
    """Start a run that trains a candidate."""

    action: ClassVar[str] = "retrain"
    run_id: str
    """Derived from model, occasion and attempt: starting it twice starts one run."""
    occasion: str
    """The occasion: the end of the newest closed window, or a date of the schedule."""
    champion: int
    """Version that serves, against which the candidate is to be evaluated."""
    triggers: tuple[str, ...]
    """Names of the triggers that fired."""
    attempt: int = 1
    orders: tuple[int, ...] = ()
    """Ledger entries of the orders that it answers."""
    replaces: str | None = None
    """A run under way that is canceled first."""

    def occasion_key(self) -> str:
        return f"{self.occasion}/{self.attempt}"


class PlanDecision(Decision):
    """A decision that replaces the serving plan."""

    plan: int
    """Number of the plan it was decided on. It takes effect as the next number, or not at all."""
    version: int
    """The version it is about."""

    def occasion_key(self) -> str:
        return f"{self.version}@{self.plan}"


class StartTrial(PlanDecision):
    """Try ``version`` beside the champion."""

    action: ClassVar[str] = "start_trial"
    trial: Trial
    run_id: str
    """Run that produced the version."""


class Ramp(PlanDecision):
    """Give the version on trial its next share of the traffic."""

    action: ClassVar[str] = "ramp"
    trial: Trial


class Promote(PlanDecision):
    """Make ``version`` the champion, and the champion the backup."""

    action: ClassVar[str] = "promote"
    previous: int


class RollBack(PlanDecision):
    """Take ``version`` out of service: end its trial, or let the former champion take its place."""

    action: ClassVar[str] = "roll_back"
    to: int
    """The champion afterwards."""
    cause: Literal["trial", "health", "probation"]
    rejections: int = 0
    """Candidates in a row that did not help before, since the champion took over: people heard of the first."""


class FallBack(PlanDecision):
    """Have a former version, or only the declared baseline, answer in the champion's place."""

    action: ClassVar[str] = "fall_back"
    to: int | None
    """The champion afterwards; ``None``: the champion is blocked, and the baseline answers."""
    cause: Literal["floor", "health"]

    def occasion_key(self) -> str:
        return f"{self.version}-{self.to or 'baseline'}@{self.plan}"


class Ask(Decision):
    """Leave the end of a trial that has shown nothing to a person, for as long as is configured."""

    action: ClassVar[str] = "ask"
    plan: int
    """Number of the plan that the trial began with."""
    version: int

    def occasion_key(self) -> str:
        return f"{self.version}@{self.plan}"


class Refuse(Decision):
    """Leave what a run produced aside."""

    action: ClassVar[str] = "refuse"
    run_id: str
    version: int | None = None
    rejection: bool = True
    """Whether it counts as a retraining that did not help, which makes the next one wait longer."""

    def occasion_key(self) -> str:
        return self.run_id


class FailRun(Decision):
    """Note that a retraining's run failed or was canceled."""

    action: ClassVar[str] = "run_failed"
    run_id: str
    final: bool
    """Whether no further attempt follows."""
    rejections: int = 0
    """Candidates in a row that did not help before, since the champion took over: people heard of the first."""

    def occasion_key(self) -> str:
        return self.run_id


class Block(Decision):
    """Start no retraining though a trigger fired, for the data is broken."""

    action: ClassVar[str] = "block"
    occasion: str

    def occasion_key(self) -> str:
        return self.occasion


class Skip(Decision):
    """Start no retraining though a trigger fired: a run is under way, and what fires meanwhile is dropped."""

    action: ClassVar[str] = "skip"
    occasion: str
    orders: tuple[int, ...] = ()
    """Ledger entries of the orders that are dropped."""

    def occasion_key(self) -> str:
        return self.occasion


class Abandon(Decision):
    """Give up a decision that was recorded and could not be carried out."""

    action: ClassVar[str] = "abandon"
    decision: str
    """Key of the decision given up."""
    superseded: bool
    """Whether another writer changed the plan first; then the controller decides again."""
    final: bool = True
    """Whether no further attempt of a retraining follows."""
    rejections: int = 0
    """Candidates in a row that did not help before, since the champion took over: people heard of the first."""

    def occasion_key(self) -> str:
        return self.decision.removeprefix(KEY_PREFIX)


class Pause(Decision):
    """Decide nothing about the model from here on."""

    action: ClassVar[str] = "pause"
    count: int
    """How often the model was paused or resumed before."""
    by: str = ""
    """The person or program that asked."""

    def occasion_key(self) -> str:
        return str(self.count)


class Resume(Pause):
    """Decide again."""

    action: ClassVar[str] = "resume"


_KINDS: dict[str, type[Decision]] = {
    kind.action: kind
    for kind in (
        StartRetraining,
        StartTrial,
        Ramp,
        Promote,
        RollBack,
        FallBack,
        Ask,
        Refuse,
        FailRun,
        Block,
        Skip,
        Abandon,
        Pause,
        Resume,
    )
}


def decision_of(entry: LedgerEntry) -> Decision | None:
    """The decision that ``entry`` records; ``None`` where the controller did not write the entry.

    Raises:
        LedgerBroken: The controller wrote it, and its action is unknown.
    """
    if not entry.key.startswith(KEY_PREFIX):
        return None
    kind = _KINDS.get(entry.action)
    if kind is None:
        raise LedgerBroken(f"entry {entry.sequence} is the controller's, and its action is unknown: {entry.action!r}")
    return kind.model_validate({**entry.evidence, "model": entry.subject, "reason": entry.reason})
