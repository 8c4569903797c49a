"""The limits that all models share: runs at once, a budget of runs, the share of false alarms; and their queue."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from raymlops.config.control import FleetConfig, TriggersConfig
from raymlops.control.rollout.decisions import StartRetraining
from raymlops.control.rollout.ledger_state import Rollout
from raymlops.control.rollout.observation import Observation
from raymlops.control.triggering.false_alarms import (
    ALARMS,
    alarm_evidence,
    champions_so_far,
    evidence_needed,
    let_through,
)
from raymlops.control.triggering.urgency import run_seconds, urgency
from raymlops.records.people.reasons import Reason

if TYPE_CHECKING:
    from raymlops.control.loop.folding import FoldedLedger

__all__ = ["Fleet", "Place", "without_other_models"]

_NO_LIMIT = 1 << 30
_SHOWN = 3
_AHEAD = "; before it comes "
_ALARM = "alarm"
"""Name of the fact that says by what evidence an alarm was let through."""
_STALE_S = 300.0
"""Seconds after which a model that was not looked at holds no place, and waits for none."""


class Place(NamedTuple):
    """The answer to a model that asked for a place."""

    granted: bool
    full: bool = False
    """Whether a run must end, time must pass or evidence must grow before there is a place."""
    facts: Mapping[str, Any] = MappingProxyType({})
    """The evidence by which an alarm was let through."""


class _Alarm(NamedTuple):
    """A retraining that only alarms call for."""

    evidence: float
    alone: float
    """The evidence that it would need, were it the only alarm ever."""


@dataclass(frozen=True)
class _Wish:
    """A retraining that waits for its place; its occasion may become another one meanwhile."""

    urgency: float
    since: datetime
    round: int
    """In which it was first asked for."""
    alarm: _Alarm | None = None
    """``None`` where something else than an alarm calls for it, or its champion's alarm was let through before."""


def _rank(model: str, wish: _Wish) -> tuple[float, datetime, str]:
    """Sorts the most urgent first, then the oldest."""
    return -wish.urgency, wish.since, model


class _Room(NamedTuple):
    """The rest of the limits."""

    free: int
    told: tuple[str, ...]
    until: datetime | None
    """When the budget has room again."""


@dataclass(frozen=True)
class _Started:
    """The retrainings of all models, as far as the ledger was read."""

    sequence: int = -1
    at: tuple[datetime, ...] = ()
    """When each started, ascending."""
    alarms: frozenset[tuple[str, int]] = field(default_factory=frozenset)
    """Models, and their champions of which an alarm was let through: each counts once."""


@dataclass
class _Model:
    """The state of one model in the fleet."""

    seen_s: float
    running: bool | None = None
    """``None`` before the first look: then the ledger counts."""
    wish: _Wish | None = None
    asked: bool = False
    """Whether the turn under way has asked for a place."""


class Fleet:
    """Admits retrainings within the limits of all models, the most urgent of those that wait first. Thread-safe.

    A retraining that asks for the first time waits for the next round, so that one that is more urgent may ask, too.

    Args:
        config: The limits.
        monotonic: Measures.
    """

    def __init__(self, config: FleetConfig, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._places: dict[str, _Model] = {}
        self._models: frozenset[str] = frozenset()
        self._round = 0
        self._started = _Started()

    def begin_round(self, models: Collection[str]) -> None:
        """A new round of turns begins; a model that is not deployed any more takes no place."""
        with self._lock:
            self._round += 1
            self._models = frozenset(models)
            self._places = {model: self._places.get(model) or _Model(self._monotonic()) for model in models}

    def next_in_line(self, now: datetime, ledger: FoldedLedger) -> list[str]:
        """The models that wait and for which there is room, the most urgent first."""
        with self._lock:
            queue = self._queue(ledger)
            if not queue:
                return []
            room = self._room(None, now, ledger)
            return queue[: max(0, room.free)]

    @contextmanager
    def turn(self, model: str) -> Iterator[None]:
        """A turn of a model: where it does not ask for a place any more, or fails, it waits for none after it."""
        with self._lock:
            self._place(model).asked = False
        try:
            yield
        finally:
            with self._lock:
                place = self._place(model)
                if not place.asked:
                    place.wish = None

    def see(self, state: Rollout, seen: Observation) -> None:
        """Take note of whether a run of a model is under way."""
        known = {run.id for run in seen.runs}
        started = state.open_retraining
        starting = started is not None and started.run_id not in known
        with self._lock:
            place = self._place(seen.model)
            place.seen_s = self._monotonic()
            place.running = starting or any(not run.status.final for run in seen.runs)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """One model at a time asks and records its place; a caller that only reads does not wait for the lock."""
        with self._asking:
            yield

    def ask(
        self, decision: StartRetraining, seen: Observation, triggers: TriggersConfig, ledger: FoldedLedger
    ) -> Place:
        """Ask for a place; call it, and record the decision, within ``asking``.

        Args:
            decision: The retraining.
            seen: The platform.
            triggers: Of the model.
            ledger: The fold of all models' entries.
        """
        worth = urgency(decision.facts.get("fired", ()), run_seconds(seen.runs))
        with self._lock:
            alarm = self._alarm(decision, seen, triggers, ledger)
            if alarm is None and not self._limited:
                return Place(granted=True)
            place = self._place(decision.model)
            place.asked = True
            if place.wish is None:
                place.wish = _Wish(worth, seen.now, self._round, alarm)
            elif (place.wish.urgency, place.wish.alarm) != (worth, alarm):
                place.wish = replace(place.wish, urgency=worth, alarm=alarm)
            room = self._room(decision.model, seen.now, ledger)
            if room.free <= 0 or place.wish.round == self._round:
                return Place(granted=False, full=room.free <= 0)
            queue = self._queue(ledger)
            if decision.model not in queue[: room.free]:
                return Place(granted=False, full=decision.model not in queue)
            place.wish, place.running = None, True
            if alarm is None:
                return Place(granted=True)
            return Place(granted=True, facts={_ALARM: {**alarm._asdict(), "models": len(self._models)}})

    def reason(self, model: str, now: datetime, ledger: FoldedLedger) -> Reason | None:
        """Why a retraining of a model waits; ``None`` where none does."""
        with self._lock:
            wish = self._places[model].wish if model in self._places else None
            if wish is None:
                return None
            names, count = self._queue(ledger), len(self._models)
            let = len(self._read(ledger).alarms)
            room = self._room(model, now, ledger)
        if model not in names:
            return (
                None if wish.alarm is None else _waits_for_evidence(wish.alarm, count, let, self._config.false_alarms)
            )
        ahead = names[: names.index(model)]
        if not room.told:
            return None  # the next round starts it
        more = f" and {len(ahead) - _SHOWN} more" if len(ahead) > _SHOWN else ""
        before = f"{_AHEAD}{', '.join(ahead[:_SHOWN])}{more}" if ahead else ""
        text = f"the models share control.fleet: {'; '.join(room.told)}{before}"
        return Reason(kind="fleet", text=text, remedy="it starts by itself; or raise control.fleet", until=room.until)

    @property
    def _limited(self) -> bool:
        return self._config.runs_at_once is not None or self._config.budget_runs is not None

    def _alarm(
        self, decision: StartRetraining, seen: Observation, triggers: TriggersConfig, ledger: FoldedLedger
    ) -> _Alarm | None:
        """How strongly an alarm speaks that must be let through first."""
        level, models = self._config.false_alarms, len(self._models)
        if level is None or models < 2 or decision.attempt > 1 or not ALARMS.keys() >= set(decision.triggers):
            return None
        if (decision.model, decision.champion) in self._read(ledger).alarms:
            return None
        alone = evidence_needed(models, champions_so_far(seen.plans), 1, level)
        return _Alarm(alarm_evidence(seen.own_windows, triggers), alone)

    def _read(self, ledger: FoldedLedger) -> _Started:
        """The fold of all models' retrainings; made again only where entries were appended."""
        sequence = ledger.sequence
        if self._started.sequence != sequence:
            each = [one for state in ledger.states().values() for one in state.retrainings]
            alarms = frozenset((one.model, one.champion) for one in each if _ALARM in one.facts)
            self._started = _Started(sequence, tuple(sorted(one.at for one in each)), alarms)
        return self._started

    def _room(self, model: str | None, now: datetime, ledger: FoldedLedger) -> _Room:
        """The rest of the limits without the share of one model."""
        config, free, until, told = self._config, _NO_LIMIT, None, []
        if config.runs_at_once is not None:
            running = len(self._running(ledger.states()) - {model})
            free = config.runs_at_once - running
            told.append(f"{running} of {config.runs_at_once} runs are under way")
        if config.budget_runs is not None:
            at = self._read(ledger).at
            started = at[bisect_right(at, now - config.budget_period) : bisect_right(at, now)]
            left = config.budget_runs - len(started)
            free = min(free, left)
            told.append(f"{len(started)} of {config.budget_runs} runs of the budget are spent")
            until = None if left > 0 else started[-config.budget_runs] + config.budget_period
        return _Room(free, tuple(told), until)

    def _running(self, states: Mapping[str, Rollout]) -> set[str]:
        """Models with a run under way; by the ledger for a model that was not looked at since the start."""
        now_s, running = self._monotonic(), set[str]()
        for model, place in self._places.items():
            if place.running is None:
                state = states.get(model)
                if state is not None and state.open_retraining is not None:
                    running.add(model)
            elif place.running and now_s - place.seen_s < _STALE_S:
                running.add(model)
        return running & self._models

    def _queue(self, ledger: FoldedLedger) -> list[str]:
        """The models that wait for room alone, the most urgent first."""
        wishes = dict(self._wishes())
        needs = {model: wish.alarm.alone / wish.alarm.evidence for model, wish in wishes.items() if wish.alarm}
        held = needs.keys() - let_through(needs, len(self._read(ledger).alarms)) if needs else set[str]()
        return [name for _, _, name in sorted(_rank(name, wish) for name, wish in wishes.items() if name not in held)]

    def _wishes(self) -> Iterator[tuple[str, _Wish]]:
        now_s = self._monotonic()
        for model, place in self._places.items():
            if place.wish is not None and now_s - place.seen_s < _STALE_S:
                yield model, place.wish

    def _place(self, model: str) -> _Model:
        return self._places.setdefault(model, _Model(self._monotonic()))


def without_other_models(reason: Reason) -> Reason:
    """A reason without the names of other models, for readers who may see one model only."""
    text, ahead, _ = reason.text.partition(_AHEAD) if reason.kind == "fleet" else (reason.text, "", "")
    return reason.model_copy(update={"text": f"{text}; others come before it"}) if ahead else reason


def _waits_for_evidence(alarm: _Alarm, models: int, let: int, level: float | None) -> Reason:
    needed = alarm.alone / (let + 1)
    text = (
        f"only an alarm calls for it, and its evidence of {alarm.evidence:.3g} is below the {needed:.3g} that "
        f"control.fleet.false_alarms of {level:g} asks for of {models} models after {let} alarms let through"
    )
    remedy = "further windows tell; or `raymlops control retrain`, which needs no evidence"
    return Reason(kind="fleet", text=text, remedy=remedy)
