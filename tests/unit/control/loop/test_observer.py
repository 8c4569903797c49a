from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.control.loop.observer import StoreObserver
from raymlops.control.loop.observing import plans_of, windows_of
from raymlops.control.rollout.measuring.evidence import Task, TrialScope
from raymlops.control.rollout.measuring.gathering import Rescore, Rescored
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run
from raymlops.records.windows import WindowRecord
from raymlops.testing.control_examples import DAY, START, example_plan, example_run, example_window


class _Records:
    @property
    def plans(self) -> _Records:
        return self

    runs = windows = plans

    def served_plans(self) -> dict[str, ServingPlan]:
        return {"m": example_plan(2), "a": example_plan(1)}

    def list_plans(self, model: str) -> list[ServingPlan]:
        assert model == "m"
        return [example_plan(2), example_plan(1)]

    def list_runs(self, pipeline: str | None = None, status: None = None, limit: int | None = None) -> list[Run]:
        assert limit is not None
        return [example_run(f"of-{pipeline}")]

    def list_windows(
        self, model: str, start: datetime | None = None, end: datetime | None = None
    ) -> list[WindowRecord]:
        assert start is not None
        return [window for window in map(example_window, (3, 2, 1, 0)) if window.start >= start]


class _Events:
    def __init__(self) -> None:
        self.asked: list[Any] = []

    def events(self, model: str, since: datetime, until: datetime) -> pa.Table:
        self.asked.append((model, since, until))
        return pa.table(
            {
                "request_id": ["a", "b"],
                "row": pa.array([0, 0], pa.int32()),
                "served_at": pa.array([START, START], pa.timestamp("us", tz="UTC")),
                "version": pa.array([1, 2], pa.int32()),
                "role": ["champion", "canary"],
                "fallback": pa.array([None, None], pa.string()),
                "error": pa.array([None, None], pa.string()),
                "score": [0.5, 0.5],
                "label_predicted": ["late", "late"],
            }
        )

    def labels(self, model: str, since: datetime) -> pa.Table:
        return pa.table({"request_id": ["a", "b"], "row": pa.array([0, 0], pa.int32()), "label": ["late", "on time"]})

    def scoring(self, model: str, version: int) -> tuple[Task, str | None]:
        return "binary", "late"


def build(events: _Events | None = None, rescore: Rescore | None = None) -> StoreObserver:
    return StoreObserver(
        _Records(),
        events or _Events(),
        pipeline_of={"m": "flights"}.get,
        window=DAY,
        rescore=None if rescore is None else lambda _: rescore,
    )


def test_everything_comes_in_order() -> None:
    observer = build()
    assert observer.models() == ["a", "m"]
    assert [plan.number for plan in plans_of(observer, "m")] == [1, 2]
    starts = [window.start for window in windows_of(observer, "m", START + 1.5 * DAY)]
    assert starts == [START + DAY * d for d in (1, 2, 3)]
    assert [window.start for window in windows_of(observer, "m", START + 2 * DAY)] == starts[1:]


def test_runs_are_those_of_the_models_pipeline() -> None:
    assert [run.id for run in build().runs("m")] == ["of-flights"]
    assert build().runs("unknown") == []


def test_evidence_of_a_trial() -> None:
    events, scope = _Events(), TrialScope(candidate=2, champion=1, since=START, until=START + DAY)
    evidence = build(events).trial_evidence("m", scope)
    assert evidence.candidate.losses.rows == evidence.champion.losses.rows == 1
    assert evidence.paired is None
    assert events.asked == [("m", START, START + DAY)]
    rescored = build(rescore=lambda _, rows: Rescored(np.full(len(rows), 0.5)))
    evidence = rescored.trial_evidence("m", scope)
    assert evidence.paired is not None
    assert evidence.paired.rows == 2


def test_health() -> None:
    health = build().health(example_plan(), since=START, until=START + DAY)
    assert (health.rows, health.faults) == (1, 0)
