from __future__ import annotations

import threading

import pyarrow as pa

from raymlops.experiments import LearningTask, TrialResult, TrialSpec, run_trial
from raymlops.experiments.searching.stepped import SteppedTrial

SPEC = TrialSpec(number=3, family="xgboost", params={"n_estimators": 20, "max_depth": 2})


def _stepped(rows: pa.Table, task: LearningTask) -> SteppedTrial:
    return SteppedTrial(SPEC, rows[:1500], rows[1500:], task=task, pauses=lambda rounds: rounds in {5, 10})


def test_a_trial_pauses_where_it_is_to_be_looked_at_and_ends_as_one_that_did_not(
    rows: pa.Table, task: LearningTask
) -> None:
    trial = _stepped(rows, task)
    looked = [trial.advance(), trial.advance()]
    assert [pause[0] for pause in looked if not isinstance(pause, TrialResult)] == [5, 10]
    end = trial.advance()
    assert isinstance(end, TrialResult)
    straight = run_trial(SPEC, rows[:1500], rows[1500:], task=task)
    assert end.metrics == straight.metrics
    assert end.stopped_at is None


def test_a_trial_that_is_stopped_leaves_no_thread(rows: pa.Table, task: LearningTask) -> None:
    trial = _stepped(rows, task)
    trial.advance()
    trial.stop()
    trial.stop()
    assert "trial-3" not in {thread.name for thread in threading.enumerate()}
