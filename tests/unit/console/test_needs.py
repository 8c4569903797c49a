from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from raymlops.console.needs import find_needs
from raymlops.control.loop.explaining.status import ControlStatus, Phase
from raymlops.records.ledger import LedgerEntry
from raymlops.records.people.reasons import Reason
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.runs import Run, RunStatus
from raymlops.records.serving.endpoints import EndpointStatus

NOW = datetime(2026, 5, 4, tzinfo=UTC)


def plan(model: str = "m", trial: Trial | None = None) -> dict[str, ServingPlan]:
    return {model: ServingPlan(model=model, number=1, champion=1, trial=trial, created_at=NOW)}


def entry(sequence: int, action: str) -> LedgerEntry:
    return LedgerEntry(
        sequence=sequence,
        at=NOW,
        subject="m",
        action=action,
        reason="why",
        key=str(sequence),
        previous_hash="",
        hash="",
    )


def told(**status: Any) -> list[tuple[str, str]]:
    return [(need.what, need.tone) for need in find_needs(plan(), [ControlStatus(model="m", **status)], [])]


def test_a_quiet_model_needs_nobody() -> None:
    endpoint = EndpointStatus(model="m", plan=1, champion=1, replicas=1, answering=1, answers=True)
    reasons = (Reason(kind="no_trigger", text="nothing fired", remedy="wait"),)
    status = ControlStatus(model="m", phase=Phase.SERVING, champion=1, reasons=reasons)
    assert find_needs(plan(), [status], [endpoint]) == []


def test_trouble_of_the_loop() -> None:
    assert told(phase=Phase.PAUSED) == [("paused", "warn")]
    assert told(below_floor="0.6 is below 0.5") == [("below its floor", "bad")]
    assert told(blocked=(3,)) == [("blocked", "warn")]
    assert told(dropped_events=7) == [("events lost", "warn")]
    held = Reason(kind="held_up", text="disk full", remedy="make room")
    assert told(problem="disk full", reasons=(held,)) == [("turn fails", "bad")]
    broken = Reason(kind="broken_data", text="no age", remedy="mend it", until=NOW + timedelta(days=1))
    assert told(reasons=(broken,)) == [("broken data", "warn")]


def test_endpoints_that_do_not_answer_come_first() -> None:
    silent = EndpointStatus(model="m", plan=1, champion=1, replicas=1, answers=False, reason="no CPU")
    odd = EndpointStatus(model="n", plan=1, champion=1, replicas=1, answers=True, reason="an older plan")
    needs = find_needs({**plan("m"), **plan("n")}, [ControlStatus(model="a", blocked=(1,))], [odd, silent])
    assert [(need.model, need.what, need.text) for need in needs] == [
        ("m", "does not answer", "no CPU"),
        ("n", "not as planned", "an older plan"),
    ]


def test_a_trial_that_was_left_to_a_person() -> None:
    trial = plan(trial=Trial(version=2))
    assert [need.what for need in find_needs(trial, [], [], [entry(5, "ask"), entry(4, "start_trial")])] == [
        "decide about the trial"
    ]
    assert find_needs(trial, [], [], [entry(6, "start_trial"), entry(5, "ask")]) == []
    assert find_needs(plan(), [], [], [entry(5, "ask")]) == []


def test_runs_that_failed() -> None:
    run = Run(id="r", pipeline="p", status=RunStatus.FAILED, error="no rows", created_at=NOW)
    (need,) = find_needs(plan(), [], [], [], [("m", run)])
    assert (need.what, need.text, need.run) == ("run failed", "no rows", "r")
