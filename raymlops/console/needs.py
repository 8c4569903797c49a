"""Matters that need a person, found in the statuses of the platform's parts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from raymlops.control.loop.explaining.status import ControlStatus, Phase
from raymlops.records.ledger import LedgerEntry
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run
from raymlops.records.serving.endpoints import EndpointStatus

__all__ = ["Need", "find_needs"]

_STANDS = frozenset(
    {"held_up", "disabled", "clock_set_back", "broken_data", "features_differ", "budget", "probes", "no_pipeline"}
)
"""Kinds of reasons against a retraining that do not pass by themselves."""
_ENDS_ASKING = frozenset({"promote", "roll_back", "start_trial", "fall_back", "deploy"})


@dataclass(frozen=True)
class Need:
    """One thing that a person should look at.

    Attributes:
        model: Which model it is about.
        tone: ``bad`` where callers or the loop suffer now, ``warn`` otherwise.
        what: In a few words.
        text: The matter, in words.
        remedy: An action that would end it; empty where the text says so.
        run: The run it is about, if it is about one.
        until: When it ends by itself, if it does.
    """

    model: str
    tone: Literal["bad", "warn"]
    what: str
    text: str
    remedy: str = ""
    run: str | None = None
    until: datetime | None = None


def find_needs(
    plans: Mapping[str, ServingPlan],
    statuses: Sequence[ControlStatus],
    endpoints: Sequence[EndpointStatus],
    entries: Iterable[LedgerEntry] = (),
    failed: Iterable[tuple[str, Run]] = (),
) -> list[Need]:
    """Matters that need a person, the worst first, then by model.

    Args:
        plans: Model -> its plan, of the models that are served.
        statuses: The controller's statuses.
        endpoints: The reconciler's statuses.
        entries: Newest ledger entries about models, each model's newest first.
        failed: Models, each with a run that failed lately.
    """
    found = [need for endpoint in endpoints if endpoint.model in plans for need in _of_endpoint(endpoint)]
    for status in statuses:
        if status.model in plans:
            found += _of_status(status)
    found += _asked(plans, entries)
    found += [
        Need(model, "warn", "run failed", run.error or run.reason, f"`raymlops runs resume {run.id}`", run.id)
        for model, run in failed
    ]
    return sorted(found, key=lambda need: (need.tone != "bad", need.model, need.what))


def _of_endpoint(endpoint: EndpointStatus) -> list[Need]:
    if not endpoint.answers:
        return [Need(endpoint.model, "bad", "does not answer", endpoint.reason or "it is starting")]
    if endpoint.reason is not None:
        return [Need(endpoint.model, "warn", "not as planned", endpoint.reason)]
    return []


def _of_status(status: ControlStatus) -> list[Need]:
    name = status.model
    found: list[Need] = []
    if status.problem is not None:
        again = "the turn is taken again by itself; the log of the controller tells more"
        found.append(Need(name, "bad", "turn fails", status.problem, again))
    if status.phase is Phase.PAUSED:
        found.append(Need(name, "warn", "paused", "nothing is decided", f"`raymlops control resume {name}`"))
    if status.below_floor:
        found.append(Need(name, "bad", "below its floor", status.below_floor))
    if status.blocked:
        versions = ", ".join(f"version {version}" for version in status.blocked)
        found.append(Need(name, "warn", "blocked", f"{versions} answers nobody", "unblock it, or serve another"))
    if status.dropped_events:
        found.append(Need(name, "warn", "events lost", f"{status.dropped_events:,} prediction events were lost"))
    for reason in status.reasons:
        if reason.kind in _STANDS and not (reason.kind == "held_up" and status.problem is not None):
            found.append(
                Need(name, "warn", reason.kind.replace("_", " "), reason.text, reason.remedy, until=reason.until)
            )
    return found


def _asked(plans: Mapping[str, ServingPlan], entries: Iterable[LedgerEntry]) -> list[Need]:
    """The trials whose end the controller left to a person."""
    found: list[Need] = []
    settled: set[str] = set()
    for entry in entries:
        if entry.subject in settled or entry.subject not in plans:
            continue
        if entry.action in _ENDS_ASKING:
            settled.add(entry.subject)
        elif entry.action == "ask" and plans[entry.subject].trial is not None:
            settled.add(entry.subject)
            found.append(
                Need(entry.subject, "bad", "decide about the trial", entry.reason, "promote the version, or abort")
            )
    return found
