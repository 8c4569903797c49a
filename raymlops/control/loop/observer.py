"""The observer over the metadata store and the monitor's tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import pyarrow as pa

from raymlops.control.loop.champion_news import ChampionNews
from raymlops.control.rollout.measuring.evidence import Health, Task, TrialEvidence, TrialScope
from raymlops.control.rollout.measuring.gathering import Rescore, gather_evidence, gather_health
from raymlops.control.triggering.news import NewCode, NewData
from raymlops.errors import NotFoundError
from raymlops.laboratory.probed import Probed
from raymlops.records.plans import PlanStore, ServingPlan
from raymlops.records.runs import Run, RunStore
from raymlops.records.windows import WindowRecord, WindowStore

__all__ = ["EventSource", "Records", "StoreObserver"]

_RUNS = 200
"""Newest runs looked at; a run older than so many others is not waited for any more."""


class Records(Protocol):
    """The stores that the observer reads."""

    plans: PlanStore
    runs: RunStore
    windows: WindowStore


class EventSource(Protocol):
    """The part of the monitor that the observer reads."""

    def events(self, model: str, since: datetime, until: datetime) -> pa.Table:
        """Prediction events of ``model``, served within ``[since, until)``; more may come along."""
        ...

    def labels(self, model: str, since: datetime) -> pa.Table:
        """Labels of ``model`` that came in after ``since``, in the order they came: ``request_id, row, label``."""
        ...

    def scoring(self, model: str, version: int) -> tuple[Task, str | None]:
        """The loss that fits a version's outputs, and the label its score is the probability of."""
        ...


class StoreObserver:
    """Reads plans, runs and windows from the metadata store, and evidence from the monitor's tables.

    Thread-safe where its sources are.

    Args:
        records: The metadata store.
        events: The monitor's tables.
        pipeline_of: Model -> the pipeline that trains it in this environment, or ``None``.
        window: Length of a monitoring window.
        rescore: Where given, trials are compared on the same rows.
        probed: Model and version -> what probes have shown; ``None``: there are no probes.
        news: Finds changes since a version was trained; ``None``: they are not watched.
    """

    def __init__(
        self,
        records: Records,
        events: EventSource,
        *,
        pipeline_of: Callable[[str], str | None],
        window: timedelta,
        rescore: Callable[[str], Rescore] | None = None,
        probed: Callable[[str, int], Probed] | None = None,
        news: ChampionNews | None = None,
    ) -> None:
        self._records = records
        self._events = events
        self._pipeline_of = pipeline_of
        self._window = window
        self._rescore = rescore
        self._probed = probed
        self._news = news

    def models(self) -> Sequence[str]:
        return sorted(self._records.plans.served_plans())

    def plans(self, model: str) -> Sequence[ServingPlan]:
        return self._records.plans.list_plans(model)

    def runs(self, model: str) -> Sequence[Run]:
        pipeline = self._pipeline_of(model)
        return [] if pipeline is None else self._records.runs.list_runs(pipeline=pipeline, limit=_RUNS)

    def find_run(self, run_id: str) -> Run | None:
        try:
            return self._records.runs.get_run(run_id)
        except NotFoundError:
            return None

    def trainable(self, model: str) -> bool:
        return self._pipeline_of(model) is not None

    def windows(self, model: str, since: datetime) -> Sequence[WindowRecord]:
        windows = self._records.windows.list_windows(model, start=since - self._window)
        return [window for window in windows if window.end > since]

    def probed(self, model: str, version: int) -> Probed:
        return Probed() if self._probed is None else self._probed(model, version)

    def new_data(self, model: str, champion: int, every: timedelta) -> NewData | None:
        return None if self._news is None else self._news.new_data(model, champion, every)

    def new_code(self, model: str, champion: int) -> NewCode | None:
        return None if self._news is None else self._news.new_code(model, champion)

    def trial_evidence(self, model: str, scope: TrialScope) -> TrialEvidence:
        task, positive = self._events.scoring(model, scope.champion)
        return gather_evidence(
            self._events.events(model, scope.since, scope.until),
            self._events.labels(model, scope.since),
            scope.model_copy(update={"task": task, "positive": positive}),
            self._rescore(model) if self._rescore else None,
        )

    def health(self, plan: ServingPlan, *, since: datetime, until: datetime) -> Health:
        return gather_health(self._events.events(plan.model, since, until), since=since, until=until)
