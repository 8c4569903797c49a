from __future__ import annotations

import pyarrow as pa

from raymlops.experiments import Drawn, InProcessTuner, LearningTask, TrialSpec, run_trial


def test_a_trial_is_judged_on_the_validation_rows(rows: pa.Table, task: LearningTask) -> None:
    spec = TrialSpec(number=0, family="xgboost", params={"n_estimators": 40, "max_depth": 3})
    result = run_trial(spec, rows.slice(0, 1500), rows.slice(1500), task=task)
    assert result.error is None
    assert result.metrics["auc"] > 0.75
    assert result.metrics["log_loss"] < 0.6
    assert result.seconds > 0
    assert result.fitted_params == {"n_estimators": 40, "max_depth": 3}


def test_early_stopping_fixes_the_rounds_of_what_is_built_again(rows: pa.Table, task: LearningTask) -> None:
    spec = TrialSpec(number=0, family="xgboost", params={"n_estimators": 500, "early_stopping_rounds": 5})
    result = run_trial(spec, rows.slice(0, 1500), rows.slice(1500), task=task)
    assert result.best_iteration is not None
    assert result.fitted_params == {"n_estimators": result.best_iteration}


def test_what_an_estimator_raises_is_the_result_of_its_trial_alone(rows: pa.Table, task: LearningTask) -> None:
    specs = [
        TrialSpec(number=0, family="xgboost", params={"n_estimators": 5, "max_depth": -7}),
        TrialSpec(number=1, family="logistic"),
    ]
    broken, fine = InProcessTuner().search(Drawn(specs), rows.slice(0, 1500), rows.slice(1500), task=task, name="t")
    assert broken.error is not None
    assert "max_depth" in broken.error
    assert broken.metrics == {}
    assert fine.error is None
    assert [broken.spec.number, fine.spec.number] == [0, 1]


def test_equal_trials_give_equal_metrics(rows: pa.Table, task: LearningTask) -> None:
    spec = TrialSpec(number=0, family="random_forest", params={"n_estimators": 10}, seed=5)
    first, second = (run_trial(spec, rows.slice(0, 1500), rows.slice(1500), task=task) for _ in range(2))
    assert first.metrics == second.metrics
