from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.errors import StorageError
from raymlops.experiments import (
    Budgeted,
    Drawn,
    HalvingRule,
    InProcessTuner,
    Journaled,
    LearningTask,
    SearchSpace,
    TpeSearch,
    TrialResult,
    TrialSpec,
    select,
)
from raymlops.experiments.searching.search import TRIALS_LOG, LoggedSearch, forget_old, rows_digest

SPACE = SearchSpace(
    {
        "xgboost": {"n_estimators": 40, "max_depth": {"int": [1, 6]}, "learning_rate": {"log_uniform": [0.001, 0.5]}},
        "logistic": {"C": {"log_uniform": [1e-6, 10.0]}},
    }
)


def _tpe(n: int = 10, seed: int = 1, **changes: Any) -> TpeSearch:
    return TpeSearch(SPACE, metric="log_loss", seed=seed, n=n, **changes)


def _run(search: Any, rows: pa.Table, task: LearningTask, **how: Any) -> list[TrialResult]:
    return InProcessTuner().search(search, rows[:1500], rows[1500:], task=task, name="t", **how)


def _plain(results: list[TrialResult]) -> list[dict[str, Any]]:
    return [result.model_dump(exclude={"seconds"}) for result in results]


def test_one_at_a_time_a_seed_gives_the_same_search(rows: pa.Table, task: LearningTask) -> None:
    first, second, other = (_run(_tpe(seed=seed), rows[:], task) for seed in (1, 1, 2))
    assert _plain(first) == _plain(second)
    assert [result.spec.params for result in first] != [result.spec.params for result in other]


def test_tpe_tries_where_it_went_well(rows: pa.Table, task: LearningTask) -> None:
    results = _run(_tpe(24), rows, task)
    early, late = ([r.metrics["log_loss"] for r in part] for part in (results[:8], results[12:]))
    assert sum(late) / len(late) < sum(early) / len(early)
    assert [result.spec.number for result in results] == list(range(24))


def test_a_warm_start_comes_first_and_is_learned_from(rows: pa.Table, task: LearningTask) -> None:
    inside = ("xgboost", {"n_estimators": 40, "max_depth": 3, "learning_rate": 0.2})
    search = _tpe(2, warm=[inside, ("random_forest", {"n_estimators": 5})])
    results = _run(search, rows, task)
    assert [result.spec.origin for result in results] == ["champion", "champion", "sampled", "sampled"]
    assert len(search._study.trials) == 3, "the warm start outside the space is tried, and not learned from"


def test_failed_trials_do_not_stop_a_tpe_search(rows: pa.Table, task: LearningTask) -> None:
    space = SearchSpace({"logistic": {"C": {"choice": [-1.0, 1.0]}}})
    results = _run(TpeSearch(space, metric="log_loss", seed=0, n=8), rows, task)
    assert {result.error is None for result in results} == {True, False}


def test_a_grid_is_every_combination() -> None:
    space = SearchSpace({"xgboost": {"max_depth": {"int": [2, 3]}, "subsample": {"choice": [0.5, 1.0]}, "eta": 1}})
    tried = [(spec.params["max_depth"], spec.params["subsample"]) for spec in space.grid(0)]
    assert sorted(tried) == [(2, 0.5), (2, 1.0), (3, 0.5), (3, 1.0)]
    ends = [spec.params["C"] for spec in SearchSpace({"logistic": {"C": {"log_uniform": [0.01, 1.0]}}}).grid(0)]
    assert ends == pytest.approx([0.01, 0.1, 1.0])


def test_a_killed_search_does_not_run_finished_trials_again(rows: pa.Table, task: LearningTask, tmp_path: Path) -> None:
    """Killed after each number of trials, and begun again: every trial runs once, and the end is the same."""
    whole = _plain(_run(_tpe(6), rows, task))
    for killed_after in range(6):
        path, ran = tmp_path / f"{killed_after}.jsonl", []
        first = Journaled(_tpe(6), path)
        for result in _run(_First(first, killed_after), rows, task):
            ran.append(result.spec.number)
        again = Journaled(_tpe(6), path)
        ran += [result.spec.number for result in _run(again, rows, task)]
        assert ran == list(range(6))
        assert again.resumed == killed_after
        assert _plain([again.results[n] for n in range(6)]) == whole
        again.close()
        assert not path.exists()


def test_a_line_half_written_is_a_trial_to_run(rows: pa.Table, task: LearningTask, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    specs = [TrialSpec(number=n, family="logistic", params={"C": 1.0 + n}) for n in range(2)]
    _run(Journaled(Drawn(specs), path), rows, task)
    path.write_bytes(path.read_bytes()[:-40])
    again = Journaled(Drawn(specs), path)
    assert [result.spec.number for result in _run(again, rows, task)] == [1]
    third = Journaled(Drawn(specs), path)
    assert _run(third, rows, task) == []
    assert third.resumed == 2


def test_a_trial_that_failed_is_run_again(rows: pa.Table, task: LearningTask, tmp_path: Path) -> None:
    specs = [TrialSpec(number=n, family="logistic", params={"C": 2.0 * n - 1.0}) for n in range(2)]
    assert [result.error is None for result in _run(Journaled(Drawn(specs), tmp_path / "j"), rows, task)] == [
        False,
        True,
    ]
    again = Journaled(Drawn(specs), tmp_path / "j")
    assert [result.spec.number for result in _run(again, rows, task)] == [0]
    assert again.resumed == 1


def test_journals_that_nobody_came_back_to_are_removed(tmp_path: Path) -> None:
    for name in ("old.jsonl", "new.jsonl", "other.txt"):
        (tmp_path / name).touch()
    os.utime(tmp_path / "old.jsonl", (0, 0))
    os.utime(tmp_path / "other.txt", (0, 0))
    forget_old(tmp_path, 3600.0)
    forget_old(tmp_path / "not there", 3600.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.jsonl", "other.txt"]


def test_a_journal_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="journal of trials"):
        Journaled(Drawn([]), tmp_path / "file" / "journal.jsonl")


def test_no_trial_starts_after_the_budget_but_the_first_always_does(rows: pa.Table, task: LearningTask) -> None:
    times = iter([0.0, 3.0, 6.0, 9.0])
    search = Budgeted(Drawn(SPACE.sample(0, 8)), 5.0, clock=lambda: next(times))
    assert len(_run(search, rows, task)) == 2
    assert Budgeted(Drawn(SPACE.sample(0, 8)), 1e-9).ask() is not None


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_trials_that_are_behind_are_given_up(family: str, rows: pa.Table, task: LearningTask) -> None:
    rates = [0.3, 0.001, 0.2, 0.002, 0.25]
    specs = [
        TrialSpec(number=n, family=family, params={"n_estimators": 40, "learning_rate": rate, "max_depth": 3})
        for n, rate in enumerate(rates)
    ]
    results = _run(Drawn(specs), rows, task, halving=HalvingRule(grace_rounds=5, factor=2))
    stopped = {result.spec.number: result.stopped_at for result in results}
    assert stopped[0] is None
    assert stopped[1] == stopped[3] == 5
    full = _run(Drawn(specs), rows, task)
    assert select(results, task).spec == select(full, task).spec


def test_other_families_have_no_rounds_to_stop_at(rows: pa.Table, task: LearningTask) -> None:
    specs = [TrialSpec(number=n, family="logistic", params={"C": 10.0**-n}) for n in range(4)]
    results = _run(Drawn(specs), rows, task, halving=HalvingRule(grace_rounds=1))
    assert {result.stopped_at for result in results} == {None}


def test_rows_have_a_digest_of_their_content(rows: pa.Table) -> None:
    assert rows_digest(rows) == rows_digest(pa.concat_tables([rows[:700], rows[700:]]))
    assert rows_digest(rows[:10], rows[10:]) != rows_digest(rows[:11], rows[11:])


def test_each_trial_is_told_of_with_its_place_and_the_best_so_far(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger=TRIALS_LOG)
    search = LoggedSearch(Drawn(SPACE.sample(0, 4)), "log_loss")
    specs = [search.ask() for _ in range(4)]
    losses, errors, stops = (0.5, 0.4, 0.6, 0.7), (None, None, "bad depth", None), (None, None, None, 5)
    for place, (spec, loss, error, stopped) in enumerate(zip(specs, losses, errors, stops, strict=True)):
        assert spec is not None
        if place == 2:
            search.run_by("by Ray Tune, 2 at a time")
        metrics = {"log_loss": loss}
        search.tell(TrialResult(spec=spec, metrics=metrics, seconds=1.25, error=error, stopped_at=stopped))
    assert search.ask() is None
    assert [record.getMessage() for record in caplog.records] == [
        "trial 1 of 4, xgboost, in the run's own process: log_loss 0.5000, the best so far, 1.2 s",
        "trial 2 of 4, logistic, in the run's own process: log_loss 0.4000, the best so far, 1.2 s",
        "trial 3 of 4, xgboost, by Ray Tune, 2 at a time: failed: bad depth, 1.2 s",
        "trial 4 of 4, logistic, by Ray Tune, 2 at a time: given up after 5 rounds, 1.2 s",
    ]


class _First:
    """A search that dies after so many trials."""

    def __init__(self, inner: Any, trials: int) -> None:
        self._inner, self._left = inner, trials

    def ask(self) -> TrialSpec | None:
        self._left -= 1
        return self._inner.ask() if self._left >= 0 else None

    def tell(self, result: TrialResult) -> None:
        self._inner.tell(result)
