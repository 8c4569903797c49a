"""What all models may use together: runs at once, and a budget of runs. Who waits is ordered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from raymlops.config.control import FleetConfig
from raymlops.control.loop.folding import FoldedLedger
from raymlops.control.rollout.decisions import StartRetraining
from raymlops.control.rollout.observation import Observation
from raymlops.control.rollout.rollout_state import Rollout
from raymlops.control.triggering.urgency import run_seconds, urgency
from raymlops.records.reasons import Reason

__all__ = ["Fleet"]

_NO_LIMIT = 1 << 30
_SHOWN = 3
_STALE_S = 300.0
"""A model that nobody could look at for so long takes no place, and waits for none."""


@dataclass(frozen=True)
class _Wish:
    """A retraining that waits for its place; its occasion may become another one meanwhile."""

    urgency: float
    since: datetime
    round: int
    """In which it was first asked for."""


def _rank(model: str, wish: _Wish) -> tuple[float, datetime, str]:
    """Sorts the most urgent first, then the oldest."""
    return -wish.urgency, wish.since, model


class _Room(NamedTuple):
    """What is left of the limits."""

    free: int
    told: tuple[str, ...]
    until: datetime | None
    """When the budget has room again."""


@dataclass
class _Place:
    """What is known of one model."""

    seen_s: float
    running: bool | None = None
    """``None`` as long as nobody has looked: the ledger tells."""
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
        self._places: dict[str, _Place] = {}
        self._models: frozenset[str] = frozenset()
        self._round = 0

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self._config.runs_at_once is not None or self._config.budget_runs is not None

    def begin_round(self, models: Collection[str]) -> None:
        """A new round of turns begins; a model that is not deployed any more takes no place."""
        with self._lock:
            self._round += 1
            self._models = frozenset(models)
            self._places = {model: place for model, place in self._places.items() if model in self._models}

    def next_in_line(self, now: datetime, ledger: FoldedLedger) -> list[str]:
        """The models that wait and for which there is room, the most urgent first."""
        with self._lock:
            queue = self._queue()
            if not queue:
                return []
            room = self._room(None, now, ledger.states())
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
        """Only one model at a time asks, and records what it was given; who only looks does not wait for it."""
        with self._asking:
            yield

    def ask(self, decision: StartRetraining, seen: Observation, ledger: FoldedLedger) -> bool:
        """Ask for a place; call it, and record the decision, within ``asking``.

        Args:
            decision: The retraining.
            seen: The platform.
            ledger: What it says of all models.

        Returns:
            Whether it may start.
        """
        worth = urgency(decision.facts.get("fired", ()), run_seconds(seen.runs))
        with self._lock:
            place = self._place(decision.model)
            place.asked = True
            if place.wish is None:
                place.wish = _Wish(worth, seen.now, self._round)
            elif place.wish.urgency != worth:
                place.wish = replace(place.wish, urgency=worth)
            room = self._room(decision.model, seen.now, ledger.states())
            own = _rank(decision.model, place.wish)
            ahead = sum(1 for model, wish in self._wishes() if _rank(model, wish) < own)
            if place.wish.round == self._round or room.free <= ahead:
                return False
            place.wish, place.running = None, True
            return True

    def is_full(self, model: str, now: datetime, ledger: FoldedLedger) -> bool:
        """Whether no place is left for a model: somebody's run must end, or time pass, before there is one."""
        with self._lock:
            return self._room(model, now, ledger.states()).free <= 0

    def reason(self, model: str, now: datetime, ledger: FoldedLedger) -> Reason | None:
        """Why a retraining of a model waits; ``None`` where none does."""
        with self._lock:
            names = self._queue()
            if model not in names:
                return None
            room, ahead = self._room(model, now, ledger.states()), names[: names.index(model)]
        more = f" and {len(ahead) - _SHOWN} more" if len(ahead) > _SHOWN else ""
        before = f"; before it comes {', '.join(ahead[:_SHOWN])}{more}" if ahead else ""
        text = f"the models share control.fleet: {'; '.join(room.told)}{before}"
        return Reason(kind="fleet", text=text, remedy="it starts by itself; or raise control.fleet", until=room.until)

    def _room(self, model: str | None, now: datetime, states: Mapping[str, Rollout]) -> _Room:
        """What is left of the limits, but for what a model has itself."""
        config, free, until, told = self._config, _NO_LIMIT, None, []
        if config.runs_at_once is not None:
            running = len(self._running(states) - {model})
            free = config.runs_at_once - running
            told.append(f"{running} of {config.runs_at_once} runs are under way")
        if config.budget_runs is not None:
            since = now - config.budget_period
            started = sorted(
                each.at for state in states.values() for each in state.retrainings if since < each.at <= now
            )
            left = config.budget_runs - len(started)
            free = min(free, left)
            told.append(f"{len(started)} of {config.budget_runs} runs of the budget are spent")
            until = None if left > 0 else started[-config.budget_runs] + config.budget_period
        return _Room(free, tuple(told), until)

    def _running(self, states: Mapping[str, Rollout]) -> set[str]:
        """Models with a run under way; of one that nobody has looked at since the start, the ledger tells."""
        now_s, running = self._monotonic(), set[str]()
        for model in self._models:
            place = self._places.get(model)
            if place is None or place.running is None:
                state = states.get(model)
                if state is not None and state.open_retraining is not None:
                    running.add(model)
            elif place.running and now_s - place.seen_s < _STALE_S:
                running.add(model)
        return running

    def _queue(self) -> list[str]:
        """The models that wait, the most urgent first."""
        return [model for _, _, model in sorted(_rank(model, wish) for model, wish in self._wishes())]

    def _wishes(self) -> Iterator[tuple[str, _Wish]]:
        now_s = self._monotonic()
        for model, place in self._places.items():
            if place.wish is not None and now_s - place.seen_s < _STALE_S:
                yield model, place.wish

    def _place(self, model: str) -> _Place:
        return self._places.setdefault(model, _Place(self._monotonic()))
