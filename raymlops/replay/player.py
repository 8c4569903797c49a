"""Replays a project's data on the replay clock: rows become known, requests and labels arrive, the loop turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raymlops.clock import MovableClock
from raymlops.control import Promote, StartRetraining, StartTrial
from raymlops.replay.client import Answer, PredictionClient, Question
from raymlops.replay.journal import Journal, Progress
from raymlops.replay.plan import ReplayPlan
from raymlops.replay.tables import AT, KNOWN, LABEL, REQUEST_ID, ReplayTables, between

if TYPE_CHECKING:
    from raymlops.control import Decision
    from raymlops.platform import Platform

__all__ = ["Pace", "Replay", "WindowResult", "push_rows"]

_TICK = timedelta(microseconds=1)
_HELD = 10
"""Requests of a step that are asked while the loop takes its turn."""
_PACE_S = 0.02


@dataclass
class WindowResult:
    """One replayed window."""

    number: int
    """1 is the first window after the training part."""
    start: datetime
    end: datetime
    answers: list[Answer] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    restored: bool = False
    """Whether all of it was replayed before a kill, and is known from the journal."""


@dataclass(frozen=True)
class Pace:
    """How fast a replay goes, and from where.

    Attributes:
        journal: Records each step.
        done: The progress before a kill: these steps are not done again, and these requests are not sent again.
        speed: Of the table's time in a second of real time, at most; ``None``: as fast as it goes.
    """

    journal: Journal | None = None
    done: Progress = field(default_factory=Progress)
    speed: timedelta | None = None


class Replay:
    """Drives the platform through the table.

    Within a step, what becomes known is pushed first, then every request is asked as of its own instant: the feature
    store answers as of that instant, so nothing later is seen. A run that was started at the end of one step is waited
    for at the end of the next, whatever the machine's speed: equal seeds give equal decisions.

    Args:
        platform: Connected, with the model deployed.
        clock: The platform's replay clock, at the end of the training part or later.
        client: Asks and reports.
        tables: Requests, rows that become known, and labels.
        plan: When.
        names: Of the model, and of the pipeline that trains it.
        seed: Draws the sample.
        pace: How fast, and what was done before.
    """

    def __init__(
        self,
        platform: Platform,
        clock: MovableClock,
        client: PredictionClient,
        tables: ReplayTables,
        plan: ReplayPlan,
        *,
        names: tuple[str, str],
        seed: int,
        pace: Pace | None = None,
    ) -> None:
        self._platform = platform
        self._clock = clock
        self._client = client
        self._tables = tables
        self._plan = plan
        self._model, self._pipeline = names
        self._seed = seed
        self._pace = pace or Pace()
        self._step = 0
        self._asked: set[str] = set()
        self._decided_s: dict[str, float] = {}
        self._run_of: dict[int, str] = {}
        self.takeovers_s: list[float] = []
        """Real seconds from each decision to retrain to the new champion's first answer."""
        self.label_of: dict[str, float] = {}
        """Request id -> label, of the requests whose labels arrived."""

    async def windows(self) -> AsyncIterator[WindowResult]:
        """Replay window after window; each is given once it is over."""
        for number in range(1, self._plan.count + 1):
            start = self._plan.start(number)
            window = WindowResult(number, start, self._plan.start(number + 1), restored=True)
            questions = self._draw(window)
            for length in self._plan.steps:
                end = start + length
                await self._one_step(window, start, end, [one for one in questions if start <= one.at < end])
                start = end
            if not window.restored:
                await asyncio.to_thread(self._platform.endpoints.flush, self._model)
            yield window

    def _draw(self, window: WindowResult) -> list[Question]:
        rows = between(self._tables.requests, AT, window.start, window.end)
        chosen = self._plan.sample.draw(rows.num_rows, self._seed, window.number)
        return [_question(row) for row in rows.take(pa.array(chosen, pa.int64())).to_pylist()]

    async def _one_step(
        self, window: WindowResult, start: datetime, end: datetime, questions: Sequence[Question]
    ) -> None:
        """Replay a step, or restore it from the journal."""
        self._step += 1
        known = self._pace.done.answers
        window.answers += [known[one.request_id] for one in questions if one.request_id in known]
        if self._step <= self._pace.done.steps:
            self._asked.update(one.request_id for one in questions)
            self._labels(between(self._tables.labels, KNOWN, start, end))
            return
        window.restored = False
        began = time.monotonic()
        await self._replay(window, start, end, questions, [one for one in questions if one.request_id not in known])
        if self._pace.speed is not None:
            await asyncio.sleep(max(0.0, (end - start) / self._pace.speed - (time.monotonic() - began)))
        if self._pace.journal is not None:
            self._pace.journal.end_step(self._step, time.monotonic() - began)

    async def _replay(
        self,
        window: WindowResult,
        start: datetime,
        end: datetime,
        questions: Sequence[Question],
        left: Sequence[Question],
    ) -> None:
        await asyncio.to_thread(self._advance, end - _TICK)
        for view, rows in self._tables.views.items():
            ingest_id = f"{view}-{end.isoformat()}"
            await asyncio.to_thread(push_rows, self._platform, view, rows.between(start, end), ingest_id)
        held = max(0, len(left) - _HELD)
        window.answers += await self._client.ask(left[:held])
        self._asked.update(question.request_id for question in questions)
        flushed = asyncio.to_thread(self._platform.endpoints.flush, self._model)
        labels = self._labels(between(self._tables.labels, KNOWN, start, end))
        await asyncio.gather(flushed, self._client.report(labels))
        await asyncio.to_thread(self._await_runs)
        await asyncio.to_thread(self._advance, end)
        turn = asyncio.create_task(asyncio.to_thread(self._platform.control.step))
        window.answers += await self._ask_during(turn, left[held:])
        self._note(await turn, window)

    def _advance(self, instant: datetime) -> None:
        """Move the clock, which a step that is done again after a kill may find there already."""
        self._clock.advance_to(max(instant, self._clock.now()))

    def _note(self, decisions: Sequence[Decision], window: WindowResult) -> None:
        """Keep the decisions, and how long a retraining took to take effect."""
        window.decisions += decisions
        for decision in decisions:
            match decision:
                case StartRetraining():
                    self._decided_s[decision.run_id] = time.monotonic()
                case StartTrial():
                    self._run_of[decision.version] = decision.run_id
                case Promote() if self._run_of.get(decision.version) in self._decided_s:
                    self.takeovers_s.append(time.monotonic() - self._decided_s[self._run_of[decision.version]])

    async def _ask_during(self, turn: asyncio.Task[Any], questions: Sequence[Question]) -> list[Answer]:
        """Ask the last questions of a step one by one while the loop turns, so that no swap happens in silence."""
        answers: list[Answer] = []
        for question in questions:
            answers += await self._client.ask([question])
            await asyncio.wait([turn], timeout=_PACE_S)
        return answers

    def _labels(self, known: pa.Table) -> list[dict[str, object]]:
        """Labels of the requests that were asked."""
        columns = known.select([REQUEST_ID, LABEL, KNOWN]).to_pylist()
        asked = [row for row in columns if row[REQUEST_ID] in self._asked]
        self.label_of.update((row[REQUEST_ID], row[LABEL]) for row in asked)
        return [
            {"request_id": row[REQUEST_ID], "row": 0, "label": row[LABEL], "event_time": row[KNOWN].isoformat()}
            for row in asked
        ]

    def _await_runs(self) -> None:
        for run in self._platform.runs.list(self._pipeline):
            if not run.status.final:
                self._platform.runs.wait(run.id)


def push_rows(platform: Platform, view: str, rows: pa.Table, ingest_id: str) -> None:
    """Push what became known; a row that breaks a rule of its view is quarantined, and ends no replay."""
    if rows.num_rows:
        platform.features.push(view, rows, ingest_id=ingest_id, on_invalid="quarantine")


def _question(row: dict[str, Any]) -> Question:
    return Question(row.pop(REQUEST_ID), row.pop(AT), row)
