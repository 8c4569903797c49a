"""Models: the list of them, and everything about one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from raymlops.console.drawing.confidence import Interval, draw_evidence_bar, draw_intervals
from raymlops.console.request import Page, PageRequest, url
from raymlops.console.sight import seen_status
from raymlops.console.sources import Sources
from raymlops.control.loop.explaining.status import ControlStatus
from raymlops.control.loop.explaining.why import Why
from raymlops.control.rollout.guards import Standing
from raymlops.errors import ModelVersionNotFound
from raymlops.records.plans import ServingPlan

__all__ = ["card_page", "model_page", "models_page"]

_ROWS = 20
_LOOKS = 6
"""Number of earlier looks at a trial that are shown as its history."""
_SHOWN_MODELS = 100
_DECISIONS = 10


def models_page(sources: Sources, request: PageRequest) -> Page:
    """Models, by name: what they serve, and how they are."""
    ask, metadata = request.ask, sources.metadata
    models = ask("the metadata actor", metadata.models.list_models)
    plans = ask("the metadata actor", metadata.plans.served_plans)
    statuses = ask("the controller", sources.control.status)
    endpoints = ask("the reconciler", sources.endpoints.statuses)
    sight, text = request.sight, request.text("text")
    served = {name: plan for name, plan in (plans.get() or {}).items() if sight.model(name)}
    names = sorted({*filter(sight.model, models.get() or ()), *served})
    found = [name for name in names if text.casefold() in name.casefold()]
    first = (request.number("page") or 0) * _SHOWN_MODELS
    more = first + _SHOWN_MODELS < len(found)
    values = {
        "names": found[first : first + _SHOWN_MODELS],
        "total": len(found),
        "plans": served,
        "text": text,
        "statuses": {status.model: status for status in statuses.get() or () if sight.model(status.model)},
        "endpoints": {status.model: status for status in endpoints.get() or () if sight.model(status.model)},
        "next": url("models", text=text, page=first // _SHOWN_MODELS + 1) if more else None,
    }
    return Page("models/index", "Models", values, live=True)


def model_page(sources: Sources, request: PageRequest) -> Page:
    """One model: its plan, its rollout, reasons against a retraining, versions, and former champions."""
    (name,) = request.parts
    ask, browser, metadata = request.ask, sources.metadata.browser, sources.metadata
    at, looks = request.instant("at"), request.text("looks") != ""
    newest = ask("the metadata actor", metadata.plans.find_plan, name)
    plans = ask("the metadata actor", browser.plan_page, name, request.number("plans"), _ROWS)
    versions = ask("the metadata actor", browser.version_page, name, request.number("versions"), _ROWS)
    endpoints = ask("the reconciler", sources.endpoints.statuses)
    statuses = ask("the controller", sources.control.status)
    entries = ask("the metadata actor", browser.newest_entries, [name], _DECISIONS)
    served = None if at is None else ask("the metadata actor", metadata.models.serving_at, name, at)
    then = None if at is None else ask("the controller", sources.control.why, name, at)
    shown_plans, shown_versions = plans.get() or [], versions.get() or []
    plan = newest.get()
    if plan is None and not shown_versions and not ask.problems and request.number("versions") is None:
        raise ModelVersionNotFound.of(name)
    status = next((seen_status(request.sight, each) for each in statuses.get() or () if each.model == name), None)
    told = ask("the controller", sources.control.why, name).find() if _may_be_judged(sources, plan, status) else None
    values = {
        "name": name,
        "plan": plan,
        "endpoint": next((each for each in endpoints.get() or () if each.model == name), None),
        "status": status,
        "decisions": entries.get() or [],
        "rollouts": [] if told is None else [_rollout(sources, request, told, one, looks) for one in told.standings],
        "steps": [] if plan is None or plan.trial is None else _steps(plan, shown_plans),
        "plans": shown_plans,
        "older_plans": _older(name, "plans", [each.number for each in shown_plans]),
        "versions": shown_versions,
        "older_versions": _older(name, "versions", [each.version for each in shown_versions]),
        "at": at,
        "served": None if served is None else served.find(),
        "then": None if then is None else then.find(),
    }
    return Page("models/model", name, values, live=True)


def card_page(sources: Sources, request: PageRequest) -> Page:
    """The card of a version: what its run says about it."""
    name, version = request.parts
    asked = request.ask("the registry", sources.cards.card, name, int(version))
    found = request.ask("the metadata actor", sources.metadata.models.get_version, name, int(version))
    card = asked.find()
    values = {"name": name, "version": found.need(), "card": None if card is None else card[0]}
    return Page("models/card", f"{name} v{version}", values)


def _may_be_judged(sources: Sources, plan: ServingPlan | None, status: ControlStatus | None) -> bool:
    """Whether a version is on trial or on probation: how it stands is worth the time that the controller takes."""
    if plan is None or not plan.served or plan.trial is not None:
        return plan is not None and plan.served
    since = plan.created_at if status is None or status.champion_since is None else status.champion_since
    probation = sources.config.control.trial.probation
    if probation is None or plan.backup is None:
        return False
    return sources.clock.now() - since <= probation.max_duration


def _older(name: str, what: str, numbers: Sequence[int]) -> str | None:
    if len(numbers) < _ROWS or numbers[-1] <= 1:
        return None
    return url("models", name, **{what: numbers[-1]}) + f"#{what}"


def _steps(plan: ServingPlan, plans: Sequence[ServingPlan]) -> list[tuple[str, str]]:
    """The shares of a trial: ``(text, state)``, with ``done``, ``now`` or ``next`` as states."""
    assert plan.trial is not None
    trial = plan.trial
    earlier = [one.trial for one in plans if one.trial is not None and one.trial.version == trial.version]
    shares = list(dict.fromkeys((one.mode, one.weight) for one in reversed(earlier)))
    now = (trial.mode, trial.weight)
    done = [(f"{mode} {weight:.0%}", "done") for mode, weight in shares if (mode, weight) != now]
    ahead = [(f"canary {weight:.0%}", "next") for weight in trial.ramp]
    return [*done, (f"{trial.mode} {trial.weight:.0%}", "now"), *ahead, ("champion", "next")]


def _rollout(sources: Sources, request: PageRequest, why: Why, standing: Standing, looks: bool) -> dict[str, Any]:
    """Values of the card of a rollout: intervals, e-values, guards."""
    earlier: list[Standing] = []
    if looks:
        length = why.at - standing.since
        instants = [standing.since + length * step / (_LOOKS + 1) for step in range(1, _LOOKS + 1)]
        asked = [request.ask("the controller", sources.control.why, why.model, at) for at in instants]
        found = [one.find() for one in asked]
        earlier = [each for one in found if one is not None for each in one.standings if each.kind == standing.kind]
    intervals = [one for each in [*earlier, standing] if (one := _interval(each)) is not None]
    margin = float(standing.facts.get("allowed", 0.0))
    evidence = [
        (guard.name, draw_evidence_bar(guard.value, guard.bar, guard.name))
        for guard in standing.guards
        if guard.name in ("faults", "late") and guard.value is not None
    ]
    return {
        "standing": standing,
        "drawing": draw_intervals(intervals, margin) if intervals else "",
        "evidence": evidence,
        "looks": looks,
        "age": why.at - standing.since if why.at > standing.since else timedelta(0),
    }


def _interval(standing: Standing) -> Interval | None:
    facts = standing.facts
    if "difference" not in facts:
        return None
    rows = int(facts.get("compared_rows", 0))
    return Interval(standing.look_at, facts["difference"], facts.get("lower"), facts.get("upper"), rows)
