"""One observation of a model: plans, runs and windows in order, each once, however the observer lists them."""

from __future__ import annotations

from datetime import datetime

from raymlops.config.control import TriggersConfig
from raymlops.control.loop.ports import Observer
from raymlops.control.rollout import plan_history
from raymlops.control.rollout.ledger_state import Rollout
from raymlops.control.rollout.observation import Observation
from raymlops.control.triggering.news import NewCode, NewData
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run
from raymlops.records.windows import WindowRecord

__all__ = ["news_of", "observe", "plans_of", "windows_of"]


def observe(observer: Observer, model: str, state: Rollout, now: datetime, triggers: TriggersConfig) -> Observation:
    """Look at a model.

    A retraining whose run is not listed is looked up by its id: the model may be trained by another pipeline by now.

    Args:
        observer: Shows the platform.
        model: Name of the model.
        state: The fold of its ledger.
        now: The instant of the look.
        triggers: The model's triggers; inputs that no trigger uses are not read.
    """
    plans = plans_of(observer, model)
    runs = {run.id: run for run in observer.runs(model)}
    started = state.open_retraining
    if started is not None and started.run_id not in runs:
        found = observer.find_run(started.run_id)
        runs |= {} if found is None else {found.id: found}
    champion = plans[-1].champion
    data, code = news_of(observer, model, champion, triggers)
    return Observation(
        model=model,
        now=now,
        plans=plans,
        runs=sorted(runs.values(), key=_age),
        windows=windows_of(observer, model, min(plan_history.champion_since(plans), now)),
        trainable=observer.trainable(model),
        data=data,
        code=code,
        probed=observer.probed(model, champion),
    )


def news_of(
    observer: Observer, model: str, champion: int, triggers: TriggersConfig
) -> tuple[NewData | None, NewCode | None]:
    """Changes since the champion was trained, as far as triggers use them."""
    asked = triggers.new_data
    data = None if asked is None else observer.new_data(model, champion, asked.look_every)
    return data, observer.new_code(model, champion) if triggers.new_code else None


def plans_of(observer: Observer, model: str) -> list[ServingPlan]:
    """All plans of a model, oldest first."""
    numbered = {plan.number: plan for plan in observer.plans(model)}
    return [numbered[number] for number in sorted(numbered)]


def windows_of(observer: Observer, model: str, since: datetime) -> list[WindowRecord]:
    """Closed windows of a model that end after an instant, oldest first."""
    started = {window.start: window for window in observer.windows(model, since)}
    return [started[start] for start in sorted(started)]


def _age(run: Run) -> tuple[datetime, str]:
    return run.created_at, run.id
