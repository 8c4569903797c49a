"""Turns of the loop, one model's apart from the others': none ends or holds up another."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from raymlops.clock import Clock
from raymlops.errors import RaymlopsError
from raymlops.records.shown import shown

__all__ = ["TurnReport", "Turns"]

_FIRST_PAUSE_S = 1.0
_MOST_DOUBLINGS = 30

_log = logging.getLogger(__name__)


@shown()
@dataclass(frozen=True)
class TurnReport:
    """How one model's turns go.

    Attributes:
        done_at: The instant when the last turn ended without an error.
        taken_s: How long the turn under way has taken; ``None`` where none is.
        failures: Turns that ended in an error since the start.
        problem: The error of the last turn, or that the turn under way takes longer than it may.
    """

    done_at: datetime | None = None
    taken_s: float | None = None
    failures: int = 0
    problem: str | None = None


@dataclass
class _Model:
    """The turns of one model; instants are those of the monotonic clock."""

    under_way_since_s: float | None = None
    began_s: float = float("-inf")
    rests_until_s: float = float("-inf")
    done_at: datetime | None = None
    failures: int = 0
    in_a_row: int = 0
    problem: str | None = None
    late: bool = False


class Turns:
    """Takes turns, never two of one model at a time. Whatever a turn raises ends that turn alone. Thread-safe.

    A turn cannot be killed: one that takes longer than ``deadline_s`` stays the model's only one, and its place among
    the ``at_once`` is free for others.

    Args:
        clock: Dates the ends of turns.
        at_once: Turns of different models side by side, those beyond their deadline not counted.
        deadline_s: Seconds that a turn may take.
        pause_max_s: After a failure a model rests for 1 s, then twice as long each time, and for this at most.
        monotonic: Measures.
        start: Runs a function beside the caller.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        at_once: int,
        deadline_s: float,
        pause_max_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], object]], object] | None = None,
    ) -> None:
        self._clock = clock
        self._at_once = at_once
        self._deadline_s = deadline_s
        self._pause_max_s = pause_max_s
        self._monotonic = monotonic
        self._start = start or _in_a_thread
        self._changed = threading.Condition()
        self._models: dict[str, _Model] = {}

    def run(self, model: str, turn: Callable[[], object]) -> bool:
        """Take a turn now, in this thread; one that is under way is waited for, up to the deadline.

        Returns:
            Whether the turn ended without an error.
        """
        with self._changed:
            known = self._models.setdefault(model, _Model())
            if not self._changed.wait_for(lambda: known.under_way_since_s is None, self._deadline_s):
                return False
            self._begin(known)
        return self._take(model, known, turn)

    def start_due(self, models: Iterable[str], turn: Callable[[str], object]) -> list[str]:
        """Start the turns that are due, in threads of their own: the model that waited longest first.

        Returns:
            The models whose turns were started.
        """
        started = []
        with self._changed:
            now_s = self._monotonic()
            self._notice_late(now_s)
            found = [(self._models.setdefault(model, _Model()).began_s, model) for model in models]
            free = self._at_once - sum(self._in_time(known, now_s) for known in self._models.values())
            for _, model in sorted(found):
                known = self._models[model]
                if free > 0 and known.under_way_since_s is None and now_s >= known.rests_until_s:
                    self._begin(known)
                    started.append(model)
                    free -= 1
        for model in started:
            self._start_one(model, turn)
        return started

    def reports(self) -> dict[str, TurnReport]:
        """How the turns of every model go."""
        with self._changed:
            return {model: self._report(known) for model, known in sorted(self._models.items())}

    def _start_one(self, model: str, turn: Callable[[str], object]) -> None:
        known = self._models[model]
        try:
            self._start(lambda: self._take(model, known, lambda: turn(model)))
        except RuntimeError as error:  # there is no thread to be had now
            self._end(known, f"the turn could not be started: {error}")

    def _take(self, model: str, known: _Model, turn: Callable[[], object]) -> bool:
        problem: str | None = "the turn was cut off"
        try:
            turn()
            problem = None
        except Exception as error:  # the border of one model's turn: what is raised here must not reach the others
            problem = f"{type(error).__name__}: {error}"
            unforeseen = not isinstance(error, RaymlopsError)
            _log.warning("control of %s is held up: %s", model, problem, exc_info=unforeseen)
        finally:
            self._end(known, problem)
        return problem is None

    def _begin(self, known: _Model) -> None:
        known.under_way_since_s = known.began_s = self._monotonic()
        known.late = False

    def _end(self, known: _Model, problem: str | None) -> None:
        with self._changed:
            known.under_way_since_s, known.problem = None, problem
            if problem is None:
                known.done_at, known.in_a_row = self._clock.now(), 0
            else:
                known.failures += 1
                pause_s = min(_FIRST_PAUSE_S * 2 ** min(known.in_a_row, _MOST_DOUBLINGS), self._pause_max_s)
                known.rests_until_s = self._monotonic() + pause_s
                known.in_a_row += 1
            self._changed.notify_all()

    def _in_time(self, known: _Model, now_s: float) -> bool:
        return known.under_way_since_s is not None and now_s - known.under_way_since_s < self._deadline_s

    def _notice_late(self, now_s: float) -> None:
        for model, known in self._models.items():
            if known.under_way_since_s is not None and not known.late and not self._in_time(known, now_s):
                known.late = True
                _log.error(
                    "the turn of %s has taken %.0f s and goes on; the others do not wait", model, self._deadline_s
                )

    def _report(self, known: _Model) -> TurnReport:
        now_s = self._monotonic()
        taken_s = None if known.under_way_since_s is None else now_s - known.under_way_since_s
        problem = known.problem
        if taken_s is not None and taken_s >= self._deadline_s:
            problem = f"this turn has taken {taken_s:.0f} s"
        return TurnReport(known.done_at, taken_s, known.failures, problem)


def _in_a_thread(work: Callable[[], object]) -> None:
    threading.Thread(target=work, name="turn", daemon=True).start()
