"""Why a model is not retrained now: everything that stands against it, not only what is looked at first. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from raymlops.config.control import ControlConfig, WindowCount
from raymlops.config.cron import parse_cron
from raymlops.control.rollout import plan_history
from raymlops.control.rollout.ledger_state import Rollout
from raymlops.control.rollout.observation import Observation
from raymlops.control.rollout.rollout_state import retrain_request
from raymlops.control.triggering.news import ORDER
from raymlops.control.triggering.overruled import is_in_force
from raymlops.control.triggering.policies import RetrainOutcome, RetrainPolicy, RetrainRequest, RetrainVerdict
from raymlops.control.triggering.regret import regret_text
from raymlops.records.people.reasons import Reason
from raymlops.records.windows import WindowRecord

__all__ = ["reasons_against"]

_SHOWN = 3


def reasons_against(
    state: Rollout,
    seen: Observation,
    config: ControlConfig,
    *,
    label_delay: timedelta = timedelta(0),
    request: RetrainRequest | None = None,
    verdict: RetrainVerdict | None = None,
) -> tuple[Reason, ...]:
    """All that keeps the loop from starting a retraining now, the most lasting first; none where one may start.

    Args:
        state: The fold of the ledger.
        seen: The platform.
        config: Triggers and limits.
        label_delay: How long after its end a window closes.
        request: As of ``retrain_request``, where it is known already.
        verdict: The policy's verdict about the request, likewise.
    """
    if request is None:
        request = retrain_request(state, seen)
    if verdict is None:
        verdict = RetrainPolicy(config).evaluate(request)
    found = [*_of_the_loop(state, seen, config), *_under_way(state, seen, config)]
    if config.triggers.regret is not None and seen.probed.problem:
        remedy = "the loop goes on by its other triggers; the next window is probed anew"
        found.append(Reason(kind="probes", text=f"windows are not probed: {seen.probed.problem}", remedy=remedy))
    if state.retry is not None and state.retry.champion == seen.plan.champion:
        ordered = ORDER in state.retry.triggers or verdict.outcome is RetrainOutcome.RETRAIN
        newest = request.windows[-1] if request.windows else None
        found += [_broken(newest)] if newest is not None and newest.quality == "block" and not ordered else []
        found += [reason for reason in _of_limits(request, config) if reason.kind == "budget"]
    else:
        found += [*_of_windows(seen, request, verdict, config, label_delay), *_of_limits(request, config)]
    return tuple(found)


def _of_the_loop(state: Rollout, seen: Observation, config: ControlConfig) -> Iterator[Reason]:
    if not config.enabled:
        yield Reason(kind="disabled", text="control.enabled is off", remedy="set control.enabled and start again")
    elif state.paused:
        remedy = f"`raymlops control resume {seen.model}`, or without a name where all are paused"
        yield Reason(kind="paused", text="the loop is paused", remedy=remedy)
    since = seen.champion_since
    if since > seen.now:
        text = f"the champion's plan is dated {since.isoformat()}, which has not come: the clock was set back"
        yield Reason(kind="clock_set_back", text=text, remedy="deploy the champion again", until=since)
    if not seen.trainable:
        remedy = "`raymlops delivery build DIR`, then `raymlops delivery deploy BUNDLE`"
        yield Reason(kind="no_pipeline", text="no deployed bundle trains this model", remedy=remedy)


def _under_way(state: Rollout, seen: Observation, config: ControlConfig) -> Iterator[Reason]:
    trial = seen.plan.trial
    if trial is not None:
        since = plan_history.trial_since(seen.plans)
        text = f"version {trial.version} is on trial since {since.isoformat()}"
        remedy = "labels decide the trial; `raymlops control promote` or `abort` ends it by hand"
        yield Reason(kind="trial", text=text, remedy=remedy, until=since + config.trial.max_duration)
    running = [run for run in seen.runs if not run.status.final]
    started = state.open_retraining
    if running:
        text = f"run {running[0].id} is under way since {running[0].created_at.isoformat()}"
        yield Reason(kind="run_under_way", text=text, remedy=f"`raymlops runs show {running[0].id}` tells its steps")
    elif started is not None and not any(run.id == started.run_id for run in seen.runs):
        text = f"run {started.run_id} was decided on at {started.at.isoformat()} and is being started"
        yield Reason(kind="run_under_way", text=text, remedy="it is started again until it is recorded, or given up")


def _of_windows(
    seen: Observation,
    request: RetrainRequest,
    verdict: RetrainVerdict,
    config: ControlConfig,
    label_delay: timedelta,
) -> Iterator[Reason]:
    newest = request.windows[-1] if request.windows else None
    following = None
    if newest is None:
        text = f"no window of version {seen.plan.champion} has closed since it became champion"
        remedy = "a window closes monitoring.label_delay after its end, once predictions were made"
        yield Reason(kind="no_window", text=text, remedy=remedy)
    else:
        following = newest.end + (newest.end - newest.start) + label_delay
        if newest.quality == "block":
            yield _broken(newest).model_copy(update={"until": following})
    if verdict.outcome is RetrainOutcome.QUIET and verdict.fired:
        text = f"the window that ended at {newest.end.isoformat()} was decided on" if newest else verdict.reason
        remedy = "the next window is decided on anew; `raymlops control decisions` tells what was decided"
        yield Reason(kind="decided_before", text=text, remedy=remedy, until=following)
    elif not verdict.fired and newest is not None:
        counts = [
            *_regret(request, verdict, config),
            *_counts(request.windows, config),
            *_other_counts(request, config),
        ]
        text = f"no trigger fires: {'; '.join(counts) or 'none is configured'}"
        yield Reason(kind="no_trigger", text=text, remedy="control.triggers says when one does", until=following)


def _regret(request: RetrainRequest, verdict: RetrainVerdict, config: ControlConfig) -> Iterator[str]:
    """Result of the probes' account of regret, and whether it overrules the triggers that follow it."""
    if config.triggers.regret is None:
        return
    yield regret_text(verdict.regret, "" if request.probed is None else request.probed.problem)
    if is_in_force(verdict.regret, request.windows):
        yield "drift and performance count as far as that account is not against them"


def _broken(window: WindowRecord) -> Reason:
    why = "; ".join(window.quality_reasons[:_SHOWN]) or "its quality check failed"
    text = f"data of the window that ended at {window.end.isoformat()} is broken: {why}"
    if window.wrong_features and window.quality_reasons and "features served differ" in window.quality_reasons[0]:
        remedy = "`raymlops features audit SERVICE` names the rows; `raymlops features materialize` where they lag"
        return Reason(kind="features_differ", text=text, remedy=remedy)
    remedy = "mend what the reason names, or set its bar in monitoring.quality; the next sound window ends it"
    return Reason(kind="broken_data", text=text, remedy=remedy)


def _counts(windows: Sequence[WindowRecord], config: ControlConfig) -> Iterator[str]:
    """How near each trigger that looks at windows is."""
    sound = [window for window in windows if window.quality != "block"]
    told: tuple[tuple[str, WindowCount | None, list[bool]], ...] = (
        ("the champion is worse", config.triggers.performance, [window.degraded for window in sound]),
        ("data has drifted", config.triggers.drift, [window.drifted for window in sound]),
    )
    for what, count, flags in told:
        if count is not None:
            yield f"{what} in {sum(flags[-count.of :])} of the last {len(flags[-count.of :])} windows, needs {count.n}"
    if len(sound) < len(windows):
        yield f"{len(windows) - len(sound)} windows of broken data are left out"


def _other_counts(request: RetrainRequest, config: ControlConfig) -> Iterator[str]:
    """How near each trigger is that looks at something else than windows."""
    triggers = config.triggers
    if triggers.cron is not None:
        due = parse_cron(triggers.cron.at, triggers.cron.zone).following(request.now)
        yield f"the calendar comes due at {due.isoformat()}" if due else "the calendar never comes due"
    if triggers.new_data is not None:
        rows = "an unknown number of" if request.data is None else request.data.rows - request.rows_before
        yield f"{rows} new rows came, needs {triggers.new_data.min_rows}"
    if triggers.new_code:
        yield "the deployed bundle has the champion's code, or nothing to compare"


def _of_limits(request: RetrainRequest, config: ControlConfig) -> Iterator[Reason]:
    limits = config.retrain
    wait = RetrainPolicy(config).cooldown(request.rejections)
    by_hand = "`raymlops runs start PIPELINE` trains without waiting"
    if request.started and request.now < request.started[-1] + wait:
        last, until = request.started[-1], request.started[-1] + wait
        if request.rejections:
            text = f"{request.rejections} candidates in a row did not help: {wait} after {last.isoformat()}"
            yield Reason(kind="backoff", text=text, remedy=by_hand, until=until)
        else:
            text = f"the last retraining started at {last.isoformat()}, and {wait} must pass"
            yield Reason(kind="cooldown", text=text, remedy=by_hand, until=until)
    recent = [at for at in request.started if request.now - at < limits.budget_period]
    if len(recent) >= limits.budget_runs:
        text = f"{len(recent)} retrainings started within {limits.budget_period}, allowed are {limits.budget_runs}"
        until = recent[len(recent) - limits.budget_runs] + limits.budget_period
        yield Reason(kind="budget", text=text, remedy=f"{by_hand}; or raise control.retrain.budget_runs", until=until)
    rows = request.labelled_rows
    if rows < limits.min_labelled_rows:
        text = f"{rows} labelled rows since the champion took over, {limits.min_labelled_rows} are needed"
        remedy = "record labels, or lower control.retrain.min_labelled_rows"
        yield Reason(kind="labelled_rows", text=text, remedy=remedy)
