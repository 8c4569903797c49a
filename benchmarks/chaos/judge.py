"""Judges a trace: what was wrong, what was lost, what hung, and how long nobody was answered rightly."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from benchmarks.chaos.trace import LABEL, PROMOTE, PUSH, Operation, Request, Trace, Trouble

__all__ = ["Deadlines", "Measured", "Oracle", "Verdict", "judge", "judge_answer", "measure"]

RESOLUTION_S = 0.5
"""A shorter pause of a model, in which no request failed, is the machine's and the generator's own: it counts as 0."""


class Oracle(Protocol):
    """Knows what every version answers."""

    def expected(self, model: str, version: int, item: int) -> float | None:
        """The answer of a version; ``None`` where there is no such version."""
        ...

    def generation(self, model: str, version: int, item: int, value: float) -> int | None:
        """Of a model that is asked by key: the generation of features that the answer comes from."""
        ...

    def is_keyed(self, model: str) -> bool:
        """Whether the model is asked by key."""
        ...

    def is_close(self, value: float, wanted: float) -> bool:
        """Whether both are the same answer."""
        ...


@dataclass(frozen=True)
class Deadlines:
    """When a call counts as hung."""

    request_s: float = 15.0
    """The platform promises an answer within ``serving.deadline``, 10 s."""
    operation_s: float = 90.0
    """A call to a control actor has ``cluster.call_timeout``, 60 s."""


@dataclass
class Verdict:
    """What must not be; each entry is one line that names it."""

    wrong: list[str] = field(default_factory=list)
    """Answers that the version they name does not give, or that leave out an acknowledged push."""
    lost: list[str] = field(default_factory=list)
    """Writes that were acknowledged and are not there."""
    twice: list[str] = field(default_factory=list)
    """Writes that are there more than once."""
    unexplained: list[str] = field(default_factory=list)
    """Plans whose reason the ledger does not give."""
    hung: list[str] = field(default_factory=list)
    interventions: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing of it was."""
        return not any(vars(self).values())


@dataclass(frozen=True)
class Measured:
    """What one trouble cost."""

    trouble: Trouble
    outage_s: float
    """The longest time, over all models, in which a model gave no right answer."""
    outages_s: dict[str, float]
    failed: int
    statuses: dict[int, int]
    repair_s: float | None
    """Until all was as before; ``None``: it was not, or nobody waited for it."""


def judge(trace: Trace, oracle: Oracle, deadlines: Deadlines = Deadlines()) -> Verdict:
    """Everything in a trace that must not be."""
    verdict = Verdict()
    fresh = _Freshness(trace.operations)
    for request in trace.requests:
        if (fault := judge_answer(request, oracle, fresh)) is not None:
            verdict.wrong.append(fault)
        if request.done - request.sent > deadlines.request_s:
            verdict.hung.append(f"{request.model}: no answer within {deadlines.request_s:g} s, {request.status}")
    verdict.lost.extend(_lost(trace))
    verdict.twice.extend(f"generation {g}: {n} rows" for g, n in trace.state.rows.items() if n > _keys(trace))
    verdict.unexplained.extend(_unexplained(trace))
    verdict.hung.extend(_hung(trace, deadlines))
    for trouble in trace.troubles:
        verdict.interventions.extend(f"{trouble.kind}: {each}" for each in trouble.interventions)
        verdict.hung.extend(f"{trouble.kind}: {each}" for each in trouble.hung)
    if trace.state.ledger != "holds":
        verdict.lost.append(f"the ledger: {trace.state.ledger}")
    return verdict


def judge_answer(request: Request, oracle: Oracle, fresh: Callable[[Request, int], str | None]) -> str | None:
    """Why an answer is wrong; ``None`` where it is right, or where it is none.

    Args:
        request: The request and what came back.
        oracle: Knows the answers.
        fresh: Tells what is wrong with features of a generation at the time of the request.
    """
    if request.status != 200:
        return None
    named = f"{request.model} row {request.item}, version {request.version}: got {request.value}"
    if request.version is None or request.value is None:
        return f"{named} ({request.note})"
    if oracle.is_keyed(request.model):
        generation = oracle.generation(request.model, request.version, request.item, request.value)
        if generation is None:
            return f"{named}, which no pushed features give"
        fault = fresh(request, generation)
        return None if fault is None else f"{named}: {fault}"
    wanted = oracle.expected(request.model, request.version, request.item)
    if wanted is None:
        return f"{named}, and there is no such version"
    return None if oracle.is_close(request.value, wanted) else f"{named}, not {wanted}"


class _Freshness:
    """Whether features of a generation may have been read at some time: a register, read while it is written.

    A read sees the newest push that was acknowledged before it began, or one that was under way after that.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        pushes = [each for each in operations if each.op == PUSH]
        self._begun: dict[int, float] = {0: float("-inf")}  # what is there before the campaign begins
        for each in pushes:
            generation = int(each.told["generation"])
            self._begun[generation] = min(each.t0, self._begun.get(generation, each.t0))
        acknowledged = sorted((each.t1, int(each.told["generation"])) for each in pushes if each.ok and each.t1)
        self._at = [at for at, _ in acknowledged]
        self._newest: list[int] = []
        for _, generation in acknowledged:
            self._newest.append(max(generation, self._newest[-1] if self._newest else generation))

    def __call__(self, request: Request, generation: int) -> str | None:
        place = bisect_right(self._at, request.sent)
        least = self._newest[place - 1] if place else 0
        if generation < least:
            return f"generation {generation}, {least} was acknowledged"
        begun = self._begun.get(generation)
        if begun is None or begun > request.done:
            return f"generation {generation}, which nobody had pushed"
        return None


def _keys(trace: Trace) -> int:
    return len(trace.state.online)


def _lost(trace: Trace) -> Iterator[str]:
    state = trace.state
    pushed = [int(each.told["generation"]) for each in trace.operations if each.op == PUSH and each.ok]
    for generation in pushed:
        if (rows := state.rows.get(generation, 0)) < _keys(trace):
            yield f"push of generation {generation}: {rows} of {_keys(trace)} rows in the table"
    for key, generation in state.online.items():
        if pushed and generation < max(pushed):
            yield f"push of generation {max(pushed)}: the online store has {generation} of key {key}"
    for each in trace.operations:
        if each.op == LABEL and each.ok and each.id not in state.labels:
            yield f"label of {each.id}"
        if each.op == PROMOTE and each.ok:
            model, number = str(each.told["model"]), int(each.told["plan"])
            if number not in {known for known, _ in state.plans.get(model, ())}:
                yield f"{each.id}: plan {number} of {model}"
            if each.id not in state.reasons.get(model, frozenset()):
                yield f"{each.id}: no entry in the ledger about {model}"


def _unexplained(trace: Trace) -> Iterator[str]:
    for model, plans in trace.state.plans.items():
        for number, reason in plans:
            if reason not in trace.state.reasons.get(model, frozenset()):
                yield f"plan {number} of {model}: {reason!r} is not in the ledger"


def _hung(trace: Trace, deadlines: Deadlines) -> Iterator[str]:
    end = max((each.done for each in trace.requests), default=0.0)
    for each in trace.operations:
        limit_s = deadlines.request_s if each.op == LABEL else deadlines.operation_s
        # what was begun by a process that was killed since has no end, and is no hang: its successor says so
        if each.told.get("abandoned"):
            continue
        if (each.t1 if each.t1 is not None else end) - each.t0 > limit_s:
            yield f"{each.op} {each.id}: no return within {limit_s:g} s"
    yield from (f"run {run}: not over" for run in trace.state.unfinished_runs)


def measure(trace: Trace, oracle: Oracle) -> list[Measured]:
    """What each trouble cost, from its begin to the next one's, or to its own end where that is later."""
    right: dict[str, list[float]] = {}
    fresh = _Freshness(trace.operations)
    for request in sorted(trace.requests, key=lambda each: each.done):
        if request.status == 200 and judge_answer(request, oracle, fresh) is None:
            right.setdefault(request.model, []).append(request.done)
    models = sorted({request.model for request in trace.requests})
    end = max((request.done for request in trace.requests), default=0.0)
    return [_measured(trace, each, {model: right.get(model, []) for model in models}, end) for each in trace.troubles]


def _measured(trace: Trace, trouble: Trouble, right: dict[str, list[float]], end: float) -> Measured:
    later = [other.at for other in trace.troubles if other.at > trouble.at]
    # an answer may be late for reasons of this trouble until the next one begins
    until = min([*later, end])
    during = [each for each in trace.requests if trouble.at <= each.due < until]
    statuses = Counter(each.status for each in during)
    failed = {model: sum(each.status != 200 for each in during if each.model == model) for model in right}
    outages = {}
    for model, answered in right.items():
        pause = _longest_pause(answered, trouble.at, until, end)
        quiet = not failed[model] and pause < RESOLUTION_S
        outages[model] = 0.0 if quiet else round(pause, 2)
    repair_s = round(trouble.until - trouble.at, 1) if trouble.repaired else None
    worst = max(outages.values(), default=0.0)
    return Measured(trouble, worst, outages, sum(failed.values()), dict(sorted(statuses.items())), repair_s)


def _longest_pause(answered: Sequence[float], start: float, until: float, end: float) -> float:
    """The longest time without an answer that begins before ``until``.

    One that was long when ``until`` came lasts until it ends; one that had hardly begun is the next trouble's.
    """
    instants = [start, *(at for at in answered if at > start), end]
    pauses = [(a, b if until - a > RESOLUTION_S else min(b, until)) for a, b in pairwise(instants) if a < until]
    return max((b - a for a, b in pauses), default=0.0)
