"""Who answers a query, and what happens when that one cannot."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from raymlops.clock import Clock, to_us
from raymlops.errors import DataError, DeploymentError
from raymlops.flavors.protocol import Outputs
from raymlops.records.plans import BLOCKED, Role, Trial
from raymlops.serving.answering.batching import Batcher
from raymlops.serving.answering.breaker import Breakers
from raymlops.serving.answering.event_log import EventLog
from raymlops.serving.answering.events import PredictionEvent
from raymlops.serving.answering.refusals import Refusals
from raymlops.serving.answering.router import choose
from raymlops.serving.plans.recorded_requests import RecordedRequests
from raymlops.serving.plans.trials import ShadowJob, ShadowQueue, ask
from raymlops.serving.protocol.prediction_request import PredictionRequest
from raymlops.serving.protocol.schema import InputSchema

if TYPE_CHECKING:
    from raymlops.serving.plans.loader import Loaded, Serving

__all__ = ["Answer", "Answerer", "Query"]

CANARY_SHARE = 0.8
"""Share of the request's deadline that a candidate may take; the champion has the rest."""

_log = logging.getLogger(__name__)


class Query(NamedTuple):
    """A request to be answered under one serving.

    Attributes:
        request: The rows.
        key: Decides who takes part in a trial: the sticky key or the request id.
        serving: The state of the endpoint when the request arrived.
        pinned: The version that the caller named; no other version answers for it.
        started_ns: ``time.perf_counter_ns`` when the whole request was there.
        ends_ns: The same at its deadline.
    """

    request: PredictionRequest
    key: str
    serving: Serving
    pinned: Loaded | None
    started_ns: int
    ends_ns: int

    @property
    def schema(self) -> InputSchema:
        """The inputs of the version that the caller named, or of the champion."""
        return (self.pinned or self.serving.champion).model.schema


class Answer(NamedTuple):
    """Outputs and whose they are; ``fallback`` says why they are not the chosen version's.

    The version of a baseline's answer is the champion, which it stands in for. ``refused`` says that a version that can
    answer others did not take these rows.
    """

    version: int
    role: Role
    outputs: Outputs
    fallback: str | None = None
    refused: bool = False

    @property
    def counted_for(self) -> int | None:
        """The version in whose figures it counts; ``None`` where no version answered."""
        return None if self.role == "baseline" else self.version


@dataclass
class _Faults:
    """Why those who were asked did not answer: the first refusal, and whether one failed."""

    reasons: list[str]
    refusal: DataError | None = None
    failed: bool = False


class Answerer:
    """Answers queries and records what happened. All methods belong to one event loop.

    Args:
        clock: Dates the events.
        events: Takes the events; ``None`` records nothing.
        shadow: Takes copies for a shadow.
        deadline_s: Longest real time from arrival to answer.
        batcher: Predicts what is in process.
        breakers: Say who is asked, and are told what came of it.
        recorded: Shown what was answered.
    """

    def __init__(
        self,
        clock: Clock,
        events: EventLog | None,
        shadow: ShadowQueue,
        deadline_s: float,
        batcher: Batcher,
        breakers: Breakers,
        recorded: RecordedRequests,
    ) -> None:
        self._clock = clock
        self._events = events
        self._shadow = shadow
        self._deadline_s = deadline_s
        self._batcher = batcher
        self._breakers = breakers
        self._recorded = recorded
        self._refusals = Refusals(recorded)
        self.candidate_fallbacks: Counter[int] = Counter()
        """Canary -> requests that another version had to answer in its place."""

    async def answer(self, query: Query) -> Answer:
        """Answer by the chosen version: the candidate on trial, else the champion, else the backup, else the baseline.

        Who is blocked, or whose breaker is open, is not asked. A version that the caller named is asked whatever its
        breaker says, and nobody else answers for it.

        Raises:
            DataError: The caller's rows are such that a model that answers others does not take them.
            DeploymentError: Nobody could answer.
            TimeoutError: The answer came after the deadline.
        """
        serving = query.serving
        trial = serving.plan.trial
        role: Role = "champion" if trial is None or query.pinned is not None else choose(serving.plan, query.key)
        reasons: list[str] = []
        failure: str | None = None
        if role == "canary" and trial is not None:
            outputs, failure = await self._by_candidate(query, trial, reasons)
            if outputs is not None:
                return self._finish(query, Answer(trial.version, "canary", outputs))
        try:
            answer = await self._in_process(query, reasons)
        except DataError:
            raise  # the caller's fault: the version on trial is not blamed for it, and a shadow does not get it
        except BaseException:
            self._settle(query, role, trial, failure)
            raise
        self._settle(query, role, trial, failure)
        return self._finish(query, answer)

    def _settle(self, query: Query, role: Role, trial: Trial | None, failure: str | None) -> None:
        """Give a shadow its copy of the request, or count that another version answered for the canary."""
        if role == "shadow":
            self._copy(query)
        elif role == "canary" and trial is not None:
            self.candidate_fallbacks[trial.version] += 1
            if failure is not None:
                self._breakers.fail(trial.version, failure)

    def give_up(self, query: Query) -> None:
        """Write down that the deadline came before an answer; whoever waits for ``answer`` has cancelled it."""
        first = query.pinned or query.serving.champion
        error = f"deadline: no answer within {self._deadline_s:g} s"
        self._record(query, first.version, query.serving.role_of(first.version), None, error=error)

    async def _by_candidate(self, query: Query, trial: Trial, reasons: list[str]) -> tuple[Outputs | None, str | None]:
        """The candidate's outputs; without any, ``reasons`` gains why, and the second value is its failure, if any."""
        candidate = query.serving.candidate
        barred = "it cannot be reached" if candidate is None else self._barred(query, trial.version)
        if barred is not None or candidate is None:
            reasons.append(f"canary {trial.version}: {barred}")
            return None, None
        deadline_s = min(trial.deadline_ms / 1000, self._deadline_s * CANARY_SHARE)
        try:
            outputs = await ask(candidate, query.request.columns, query.request.rows, deadline_s)
        except DeploymentError as error:
            reasons.append(f"canary {trial.version}: {error}")
            return None, str(error)
        self._breakers.of(trial.version).succeed()
        return outputs, None

    async def _in_process(self, query: Query, reasons: list[str]) -> Answer:
        serving = query.serving
        first = query.pinned or serving.champion
        chosen: list[tuple[Role, Loaded]] = [(serving.role_of(first.version), first)]
        if query.pinned is None and serving.backup is not None:
            chosen.append(("backup", serving.backup))
        faults = _Faults(reasons)
        for role, loaded in chosen:
            barred = self._barred(query, loaded.version)
            if barred is not None:
                reasons.append(f"{role} {loaded.version}: {barred}")
                continue
            try:
                outputs = await self._batcher.predict(loaded.model, query.request.columns, query.request.rows)
            except Exception as error:
                await self._judge(query, role, loaded, error, faults)
            else:
                self._breakers.of(loaded.version).succeed()
                return Answer(loaded.version, role, outputs, "; ".join(reasons) or None, faults.refusal is not None)
        if faults.refusal is not None:
            raise faults.refusal
        constant = None if query.pinned is not None else serving.baseline(query.request.rows)
        if constant is not None:
            return Answer(first.version, "baseline", constant, "; ".join(reasons))
        self._record(query, first.version, chosen[0][0], None, error="; ".join(reasons))
        versions = " and ".join(f"{role} {loaded.version}" for role, loaded in chosen)
        raise DeploymentError(f"model {serving.plan.model!r} cannot answer: {versions} failed or may not be asked")

    async def _judge(self, query: Query, role: Role, loaded: Loaded, error: Exception, faults: _Faults) -> None:
        """Note that a version did not answer: what it refused is the caller's fault, all else its own.

        Raises:
            DataError: The rows are out of range, whoever would be asked next.
        """
        by_input = isinstance(error, DataError)
        if by_input and faults.refusal is not None:  # the inputs of another version, which nobody meant
            return
        refusal = (
            None if by_input and faults.failed else await self._refusals.of(query.request, query.serving, loaded, error)
        )
        if refusal is not None and by_input:
            raise refusal from error
        if refusal is not None:
            faults.refusal = refusal
            faults.reasons.append(f"{role} {loaded.version}: {refusal}")
            return
        faults.failed = True
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        _log.warning("%s %d of %s failed: %s", role, loaded.version, loaded.model_name, reason)
        self._breakers.fail(loaded.version, reason)
        faults.reasons.append(f"{role} {loaded.version}: {reason}")

    def _barred(self, query: Query, version: int) -> str | None:
        """Why a version is not asked; ``None`` where it is."""
        if version in query.serving.plan.blocked:
            return BLOCKED
        breaker = self._breakers.of(version)
        return None if breaker.closed or query.pinned is not None else f"not asked after {breaker.reason}"

    def _finish(self, query: Query, answer: Answer) -> Answer:
        if time.perf_counter_ns() > query.ends_ns:
            error = f"deadline: no answer within {self._deadline_s:g} s"
            self._record(query, answer.version, answer.role, None, error=error)
            raise TimeoutError(error)
        if answer.role != "baseline" and not answer.refused:  # only requests that a version answered are recorded
            self._recorded.offer(query.request.columns)
        self._record(query, answer.version, answer.role, answer.outputs, fallback=answer.fallback)
        return answer

    def _copy(self, query: Query) -> None:
        """Hand the query to the shadow, whose answer becomes an event and nothing else."""
        trial, candidate = query.serving.plan.trial, query.serving.candidate
        if trial is None or candidate is None:
            return

        def done(outputs: Outputs | None, error: str | None, latency_us: int) -> None:
            self._record(query, trial.version, "shadow", outputs, error=error, latency_us=latency_us)

        columns, rows = query.request.columns, query.request.rows
        nbytes = query.schema.memory_of(columns, rows)
        self._shadow.offer(ShadowJob(candidate, columns, rows, nbytes, trial.deadline_ms / 1000, done))

    def _record(
        self,
        query: Query,
        version: int,
        role: Role,
        outputs: Outputs | None,
        *,
        fallback: str | None = None,
        error: str | None = None,
        latency_us: int | None = None,
    ) -> None:
        if self._events is None:
            return
        if latency_us is None:
            latency_us = (time.perf_counter_ns() - query.started_ns) // 1000
        self._events.record(
            PredictionEvent(
                request=query.request,
                schema=query.schema,
                served_at_us=to_us(self._clock.now()),
                version=version,
                role=role,
                latency_us=latency_us,
                outputs=outputs,
                fallback=fallback,
                error=error,
            )
        )
