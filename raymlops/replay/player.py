"""Replays the year on the replay clock: rows become known, flights are asked about, labels arrive, the loop turns."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from flights import sources

from raymlops.clock import ReplayClock
from raymlops.control import Promote, StartRetraining, StartTrial
from raymlops.replay.client import Answer, PredictionClient, Question

if TYPE_CHECKING:
    from raymlops.control import Decision
    from raymlops.platform import Platform

__all__ = ["MODEL", "START", "STEPS", "TRAINED_UNTIL", "Replay", "WeekResult", "between", "log_loss"]

MODEL = "flight-delay"
START = datetime(2013, 1, 1, 5, tzinfo=UTC)
"""Midnight in New York."""
TRAINED_UNTIL = START + timedelta(weeks=8)
STEPS = tuple(timedelta(days=days) for days in (1, 2, 2, 2))
"""The first step of a week ends when the labels of the week before are in."""
_ASKED_KEYS = ("origin", "carrier", "dest")
_TICK = timedelta(microseconds=1)
_HELD = 10
"""Flights of a step that are asked about while the loop takes its turn."""
_PACE_S = 0.02


def log_loss(probability: float, late: float) -> float:
    """Log loss of one prediction, probabilities kept within 1e-6 of 0 and 1."""
    bounded = min(max(probability, 1e-6), 1 - 1e-6)
    return -math.log(bounded if late else 1 - bounded)


def between(table: pa.Table, column: str, start: datetime, end: datetime) -> pa.Table:
    """Rows of a sorted table with ``start <= column < end``."""
    values = table[column]
    low = pc.sum(pc.less(values, pa.scalar(start, values.type))).as_py() or 0
    high = pc.sum(pc.less(values, pa.scalar(end, values.type))).as_py() or 0
    return table.slice(low, high - low)


@dataclass
class WeekResult:
    """One replayed week."""

    number: int
    """1 is the first week after the training weeks."""
    start: datetime
    end: datetime
    answers: list[Answer] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)


class Replay:
    """Drives the platform through the year.

    Within a step, what becomes known is pushed first, then every flight is asked about as of its own scheduled
    departure: the feature store answers as of that instant, so nothing later is seen. A run that was started at the end
    of one step is waited for at the end of the next, whatever the machine's speed: equal seeds give equal decisions.

    Args:
        platform: Connected, with the model deployed.
        clock: The platform's replay clock, at ``TRAINED_UNTIL``.
        client: Asks and reports.
        per_week: Flights asked about in a week, drawn by ``seed``; ``None`` for all.
        seed: Draws the sample.
        steps: Lengths of a week's steps.
    """

    def __init__(
        self,
        platform: Platform,
        clock: ReplayClock,
        client: PredictionClient,
        *,
        per_week: int | None,
        seed: int,
        steps: Sequence[timedelta] = STEPS,
    ) -> None:
        self._platform = platform
        self._clock = clock
        self._client = client
        self._per_week = per_week
        self._seed = seed
        self._steps = steps
        self._asked: set[str] = set()
        self._decided_s: dict[str, float] = {}
        self._run_of: dict[int, str] = {}
        self.takeovers_s: list[float] = []
        """Real seconds from each decision to retrain to the new champion's first answer."""
        self.late_of: dict[str, float] = {}
        """Flight -> whether it was late, for the flights asked about that landed."""

    async def weeks(self, count: int) -> AsyncIterator[WeekResult]:
        """Replay week after week; each is given once it is over."""
        for number in range(1, count + 1):
            start = TRAINED_UNTIL + timedelta(weeks=number - 1)
            week = WeekResult(number, start, start + timedelta(weeks=1))
            questions = self._draw(week)
            for step in self._steps:
                end = start + step
                await self._replay(week, start, end, [q for q in questions if start <= q.at < end])
                start = end
            await asyncio.to_thread(self._platform.endpoints.flush, MODEL)
            yield week

    def _draw(self, week: WeekResult) -> list[Question]:
        rows = between(sources.schedule(), "sched_dep", week.start, week.end).to_pylist()
        if self._per_week is not None and len(rows) > self._per_week:
            chosen = random.Random(f"{self._seed}/{week.number}").sample(range(len(rows)), self._per_week)  # noqa: S311
            rows = [rows[index] for index in sorted(chosen)]
        return [_question(row) for row in rows]

    async def _replay(self, week: WeekResult, start: datetime, end: datetime, questions: Sequence[Question]) -> None:
        self._clock.advance_to(end - _TICK)
        landed = between(sources.landings(), "event_time", start, end)
        await asyncio.to_thread(self._push, "weather", between(sources.weather(), "event_time", start, end), end)
        await asyncio.to_thread(self._push, "flights", landed, end)
        held = max(0, len(questions) - _HELD)
        week.answers += await self._client.ask(questions[:held])
        self._asked.update(question.flight_id for question in questions)
        flushed = asyncio.to_thread(self._platform.endpoints.flush, MODEL)
        await asyncio.gather(flushed, self._client.report(self._labels(landed)))
        await asyncio.to_thread(self._await_runs)
        self._clock.advance_to(end)
        turn = asyncio.create_task(asyncio.to_thread(self._platform.control.step))
        week.answers += await self._ask_during(turn, questions[held:])
        self._note(await turn, week)

    def _note(self, decisions: Sequence[Decision], week: WeekResult) -> None:
        """Keep the decisions, and how long a retraining took to take effect."""
        week.decisions += decisions
        for decision in decisions:
            match decision:
                case StartRetraining():
                    self._decided_s[decision.run_id] = time.monotonic()
                case StartTrial():
                    self._run_of[decision.version] = decision.run_id
                case Promote() if decision.version in self._run_of:
                    self.takeovers_s.append(time.monotonic() - self._decided_s[self._run_of[decision.version]])

    async def _ask_during(self, turn: asyncio.Task[Any], questions: Sequence[Question]) -> list[Answer]:
        """Ask the last flights of a step one by one while the loop turns, so that no swap happens in silence."""
        answers: list[Answer] = []
        for question in questions:
            answers += await self._client.ask([question])
            await asyncio.wait([turn], timeout=_PACE_S)
        return answers

    def _push(self, view: str, rows: pa.Table, end: datetime) -> None:
        if rows.num_rows:
            self._platform.features.push(view, rows, ingest_id=f"{view}-{end.isoformat()}")

    def _labels(self, landed: pa.Table) -> list[dict[str, object]]:
        """Labels of the flights in ``landed`` that were asked about."""
        columns = landed.select(["flight_id", "late", "event_time"]).to_pylist()
        known = [row for row in columns if row["flight_id"] in self._asked]
        self.late_of.update((row["flight_id"], row["late"]) for row in known)
        return [
            {
                "request_id": row["flight_id"],
                "row": 0,
                "label": row["late"],
                "event_time": row["event_time"].isoformat(),
            }
            for row in known
        ]

    def _await_runs(self) -> None:
        for run in self._platform.runs.list(MODEL):
            if not run.status.final:
                self._platform.runs.wait(run.id)


def _question(row: dict[str, Any]) -> Question:
    instance = {name: row[name] for name in (*_ASKED_KEYS, *sources.REQUEST_FIELDS)}
    return Question(row["flight_id"], row["sched_dep"], instance)
