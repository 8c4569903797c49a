from __future__ import annotations

import pytest

from raymlops.clock import ManualClock
from raymlops.control.rollout.decisions import (
    Abandon,
    Block,
    Decision,
    FailRun,
    Pause,
    Promote,
    Refuse,
    Resume,
    RollBack,
    StartRetraining,
    StartTrial,
    decision_of,
)
from raymlops.errors import LedgerBroken
from raymlops.records.plans import Trial
from raymlops.records.record import canonical_json
from raymlops.testing.control_examples import START
from tests.support.control import InMemoryLedger

COMMON = {"model": "m", "at": START, "reason": "because", "facts": {"n": 1}}
DECISIONS: list[tuple[Decision, str]] = [
    (
        StartRetraining(**COMMON, run_id="m-o-2", occasion="o", champion=1, triggers=("drift",), attempt=2),
        "control/m/retrain/o/2",
    ),
    (StartTrial(**COMMON, plan=4, version=3, trial=Trial(version=3), run_id="r"), "control/m/start_trial/3@4"),
    (Promote(**COMMON, plan=4, version=3, previous=2), "control/m/promote/3@4"),
    (RollBack(**COMMON, plan=4, version=3, to=2, cause="trial"), "control/m/roll_back/3@4"),
    (Refuse(**COMMON, run_id="r", version=3), "control/m/refuse/r"),
    (FailRun(**COMMON, run_id="r", final=True), "control/m/run_failed/r"),
    (Block(**COMMON, occasion="o"), "control/m/block/o"),
    (Abandon(**COMMON, decision="control/m/promote/3@4", superseded=True), "control/m/abandon/m/promote/3@4"),
    (Pause(**COMMON, count=0), "control/m/pause/0"),
    (Resume(**COMMON, count=1), "control/m/resume/1"),
]


@pytest.mark.parametrize(("decision", "key"), DECISIONS, ids=lambda value: getattr(value, "action", ""))
def test_a_ledger_entry_holds_all_of_a_decision(decision: Decision, key: str) -> None:
    assert decision.key == key
    ledger = InMemoryLedger(ManualClock(START))
    entry = ledger.append_entry(decision.model, decision.action, decision.reason, decision.evidence(), key=decision.key)
    assert decision_of(entry) == decision
    assert type(decision_of(entry)) is type(decision)
    canonical_json(entry.evidence)


def test_entries_of_others_are_no_decisions() -> None:
    ledger = InMemoryLedger(ManualClock(START))
    assert decision_of(ledger.append_entry("m", "promote", "by hand", {"version": 3}, key="user/m/promote/3")) is None


def test_an_unknown_action_of_the_controller_is_not_passed_over() -> None:
    ledger = InMemoryLedger(ManualClock(START))
    with pytest.raises(LedgerBroken, match="'dance'"):
        decision_of(ledger.append_entry("m", "dance", "", {}, key="control/m/dance/1"))
