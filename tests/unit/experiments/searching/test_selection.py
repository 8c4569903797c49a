from __future__ import annotations

import pytest

from raymlops.errors import NoViableModel
from raymlops.experiments import LearningTask, TrialResult, TrialSpec, select

TASK = LearningTask(inputs=("a",))


def _result(number: int, log_loss: float | None = None, error: str | None = None) -> TrialResult:
    metrics = {} if log_loss is None else {"log_loss": log_loss}
    return TrialResult(spec=TrialSpec(number=number, family="logistic"), metrics=metrics, error=error)


def test_the_lowest_loss_wins_and_of_equals_the_lowest_number() -> None:
    results = [_result(3, 0.4), _result(0, 0.5), _result(2, 0.4), _result(1, error="ValueError: no")]
    assert select(results, TASK).spec.number == 2


def test_what_is_not_finite_is_not_viable() -> None:
    assert select([_result(0, float("nan")), _result(1, 0.9)], TASK).spec.number == 1


@pytest.mark.parametrize("results", [[], [_result(0, error="ValueError: no"), _result(1, float("inf"))]])
def test_no_viable_trial_is_an_error_that_names_them_all(results: list[TrialResult]) -> None:
    with pytest.raises(NoViableModel, match=f"none of {len(results)} trials") as caught:
        select(results, TASK)
    assert len(caught.value.context["errors"]) == len(results)
