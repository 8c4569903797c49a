"""The state machine of one model: retrain, try, promote or roll back. Pure.

The plans tell what is served, the runs what runs, and the ledger why. ``Rollout`` is a fold over the
ledger; ``decide`` looks at all of them and gives the next decision, if any. A user who starts a run, a trial or a
promotion by hand changes plans and runs, so that the next ``decide`` goes on from there.
"""

from __future__ import annotations

from typing import Any

from raymlops.config.control import ControlConfig
from raymlops.control.rollout import plan_history
from raymlops.control.rollout.decisions import (
    Block,
    Decision,
    FailRun,
    FallBack,
    Refuse,
    Skip,
    StartRetraining,
    StartTrial,
)
from raymlops.control.rollout.floor import decide_floor
from raymlops.control.rollout.ledger_state import Rollout
from raymlops.control.rollout.observation import Look, Observation
from raymlops.control.rollout.trial_decisions import decide_trial, end_probation, fall_back
from raymlops.control.triggering.news import ORDER
from raymlops.control.triggering.policies import RetrainOutcome, RetrainPolicy, RetrainRequest, RetrainVerdict
from raymlops.records.plans import Trial
from raymlops.records.runs import Run, RunStatus

__all__ = [
    "Look",
    "Observation",
    "decide",
    "instead_of_retraining",
    "retrain_request",
    "retrain_verdict",
]

_DATA_ROWS = "data_rows"
"""Name of the fact that says how many new rows a retraining had."""


def decide(
    state: Rollout, seen: Observation, config: ControlConfig, verdict: RetrainVerdict | None = None
) -> Decision | None:
    """The next decision about a model, or ``None`` where there is nothing to do now.

    A champion that fails, or is worse than the one before it, goes first; then a trial is judged; then the runs that
    ended are concluded, which may start a trial; and only where nothing is under way may a retraining start, or, where
    none may, a former version take over from a champion below its floor.

    Args:
        state: The fold of the ledger.
        seen: The platform.
        config: Triggers, limits and levels.
        verdict: As of ``retrain_verdict``, where it is known already.
    """
    if state.paused:
        return None
    out = fall_back(seen, config, impossible=state.unpromotable) or end_probation(seen, config)
    if out is not None:
        return out
    if seen.plan.trial is not None:
        rejections = state.rejections_under(seen.plans)
        return decide_trial(
            seen, seen.plan.trial, config, asked=state.asked, impossible=state.unpromotable, rejections=rejections
        )
    concluded = _conclude_run(state, seen, config)
    if concluded is not None:
        return concluded
    if verdict is None:
        verdict = retrain_verdict(state, seen, config)
    if state.open_retraining is not None or any(not run.status.final for run in seen.runs):
        return _meanwhile(state, seen, config, verdict)
    return _retrain(state, seen, config, verdict) or instead_of_retraining(state, seen, config)


def instead_of_retraining(state: Rollout, seen: Observation, config: ControlConfig) -> FallBack | None:
    """The fallback of a champion below its floor, where nothing is under way and no retraining may start."""
    return decide_floor(seen, seen.own_windows, config, impossible=state.unpromotable)


def retrain_verdict(state: Rollout, seen: Observation, config: ControlConfig) -> RetrainVerdict:
    """The retraining policy's verdict about the champion's windows, whatever else is under way."""
    return RetrainPolicy(config).evaluate(retrain_request(state, seen))


def retrain_request(state: Rollout, seen: Observation) -> RetrainRequest:
    """The request that the retraining policy judges.

    What is dated after now was written before the clock was set back: such windows and starts count for nothing, and a
    champion whose plan is one of them counts by its version alone.
    """
    since = seen.champion_since
    return RetrainRequest(
        now=seen.now,
        champion_since=min(since, seen.now),
        windows=seen.own_windows,
        started=[each.at for each in state.retrainings if each.at <= seen.now],
        rejections=state.rejections_under(seen.plans),
        used=state.used_occasions,
        probed=seen.probed,
        champion=seen.plan.champion,
        orders=state.orders,
        data=seen.data,
        rows_before=_rows_before(state, seen),
        code=seen.code,
    )


def _conclude_run(state: Rollout, seen: Observation, config: ControlConfig) -> Decision | None:
    """The decision that follows from the newest run that ended."""
    own = {each.run_id: each for each in state.retrainings}
    for run in sorted(seen.runs, key=_newest_first):
        if run.id in state.concluded or not run.status.final:
            continue
        attempt = own.get(run.id)
        outcome = run.result.get("outcome")
        decision: Decision | None = None
        if run.status is RunStatus.SUCCEEDED and outcome == "candidate":
            decision = _conclude_candidate(run, attempt, seen, config)
        elif run.status is RunStatus.SUCCEEDED and outcome in {"refused", "blocked", "skipped"}:
            decision = _refuse(run, attempt, seen)
        elif attempt is not None:
            reason = f"run {run.status.value}: {run.error or f'outcome {outcome!r}'}"
            decision = _fail(attempt, reason, state, seen, config)
        if decision is not None:
            return decision
    lost = state.open_retraining
    if lost is not None and lost != state.pending and all(run.id != lost.run_id for run in seen.runs):
        return _fail(lost, f"run {lost.run_id} was started, and there is no record of it any more", state, seen, config)
    return None


def _fail(attempt: StartRetraining, reason: str, state: Rollout, seen: Observation, config: ControlConfig) -> FailRun:
    return FailRun(
        model=seen.model,
        at=seen.now,
        reason=reason,
        run_id=attempt.run_id,
        final=attempt.attempt >= config.retrain.max_attempts,
        rejections=state.rejections_under(seen.plans),
    )


def _conclude_candidate(
    run: Run, attempt: StartRetraining | None, seen: Observation, config: ControlConfig
) -> Decision | None:
    version, newest = _version(run), max(plan.champion for plan in seen.plans)
    facts = {"run_id": run.id, **_figures(run)}
    stale = None
    if version is None:
        stale = f"run named no version of its candidate, got {run.result.get('version')!r}"
    elif version in plan_history.versions_seen(seen.plans):
        stale = f"version {version} was deployed or tried by hand"
    elif version < newest:
        stale = f"version {version} is older than version {newest}, which became champion since"
    if stale is not None or version is None:
        # A person's run: the person decides about its version, and the plans show that.
        return None if attempt is None else _set_aside(run, stale or "", seen)
    settings = config.trial
    trial = Trial(
        version=version,
        mode=settings.mode,
        weight=settings.weight,
        ramp=settings.ramp,
        deadline_ms=settings.deadline.total_seconds() * 1000,
    )
    return StartTrial(
        model=seen.model,
        at=seen.now,
        reason=str(run.result.get("reason") or f"run {run.id} produced a candidate"),
        facts=facts,
        plan=seen.plan.number,
        version=version,
        trial=trial,
        run_id=run.id,
    )


def _set_aside(run: Run, reason: str, seen: Observation) -> Refuse:
    return Refuse(model=seen.model, at=seen.now, reason=reason, run_id=run.id, version=_version(run), rejection=False)


def _version(run: Run) -> int | None:
    version = run.result.get("version")
    return version if isinstance(version, int) else None


def _refuse(run: Run, attempt: StartRetraining | None, seen: Observation) -> Refuse | None:
    if attempt is None and run.created_at < seen.plans[0].created_at:
        return None
    return Refuse(
        model=seen.model,
        at=seen.now,
        reason=f"{run.result['outcome']}: {run.result.get('reason') or 'no reason given'}",
        facts={"outcome": run.result["outcome"], **_figures(run)},
        run_id=run.id,
        version=_version(run),
        rejection=attempt is not None and run.result["outcome"] == "refused",
    )


def _figures(run: Run) -> dict[str, Any]:
    return {name: run.result[name] for name in ("metrics", "champion_metrics", "comparison") if name in run.result}


def _newest_first(run: Run) -> tuple[int, float, str]:
    return (-(_version(run) or 0), -run.created_at.timestamp(), run.id)


def _attempt_again(failed: StartRetraining, seen: Observation) -> StartRetraining:
    attempt = failed.attempt + 1
    return failed.model_copy(
        update={
            "at": seen.now,
            "attempt": attempt,
            "run_id": _run_id(seen.model, failed.occasion, attempt),
            "reason": f"attempt {attempt}: {failed.reason.removeprefix(f'attempt {failed.attempt}: ')}",
        }
    )


def _retrain(state: Rollout, seen: Observation, config: ControlConfig, verdict: RetrainVerdict) -> Decision | None:
    if not seen.trainable:
        return None  # no pipeline trains it: the occasion is not spent on a run that cannot start
    if state.retry is not None and state.retry.champion == seen.plan.champion:
        held = RetrainPolicy(config).against_retry(retrain_request(state, seen), ordered=ORDER in state.retry.triggers)
        if held is None:
            return _attempt_again(state.retry, seen)
        # What holds another attempt back may not hold an order that came since.
        return _start(verdict, seen) if verdict.outcome is RetrainOutcome.RETRAIN else None
    facts = _facts(verdict, seen)
    if verdict.outcome is RetrainOutcome.BLOCK:
        return Block(model=seen.model, at=seen.now, reason=verdict.reason, facts=facts, occasion=verdict.occasion)
    if verdict.outcome is not RetrainOutcome.RETRAIN:
        return None
    return _start(verdict, seen)


def _meanwhile(state: Rollout, seen: Observation, config: ControlConfig, verdict: RetrainVerdict) -> Decision | None:
    """The decision about triggers that fire while a run is under way."""
    mode = config.retrain.when_running
    if mode == "queue" or not seen.trainable:
        return None
    if mode == "skip":
        if verdict.outcome is RetrainOutcome.QUIET:
            return None
        return Skip(
            model=seen.model,
            at=seen.now,
            reason=f"a run is under way: {'; '.join(each.reason for each in verdict.fired)}",
            facts=_facts(verdict, seen),
            occasion=verdict.occasion,
            orders=verdict.orders if any(each.trigger == ORDER for each in verdict.fired) else (),
        )
    own = state.open_retraining
    running = next((run for run in seen.runs if own is not None and run.id == own.run_id), None)
    if verdict.outcome is not RetrainOutcome.RETRAIN or running is None:
        return None
    return _start(verdict, seen, replaces=running.id)


def _start(verdict: RetrainVerdict, seen: Observation, *, replaces: str | None = None) -> StartRetraining:
    return StartRetraining(
        model=seen.model,
        at=seen.now,
        reason=verdict.reason if replaces is None else f"in place of run {replaces}: {verdict.reason}",
        facts=_facts(verdict, seen),
        run_id=_run_id(seen.model, verdict.occasion, 1),
        occasion=verdict.occasion,
        champion=seen.plan.champion,
        triggers=tuple(each.trigger for each in verdict.fired),
        orders=verdict.orders,
        replaces=replaces,
    )


def _facts(verdict: RetrainVerdict, seen: Observation) -> dict[str, Any]:
    fired = [each.model_dump(mode="json") for each in verdict.fired]
    regret = None if verdict.regret is None else verdict.regret.model_dump(mode="json", exclude={"reason"})
    facts: dict[str, Any] = {"fired": fired, "labelled_rows": verdict.labelled_rows, "regret": regret}
    return facts if seen.data is None else {**facts, _DATA_ROWS: seen.data.rows}


def _rows_before(state: Rollout, seen: Observation) -> int:
    """New rows that the newest retraining of this champion had already, where it noted them."""
    noted = [each.facts.get(_DATA_ROWS, 0) for each in state.retrainings if each.champion == seen.plan.champion]
    return int(noted[-1]) if noted else 0


def _run_id(model: str, occasion: str, attempt: int) -> str:
    return f"{model}-{occasion}" + (f"-{attempt}" if attempt > 1 else "")
