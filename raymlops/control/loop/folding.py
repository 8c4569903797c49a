"""The ledger, folded into what it says about each model."""

from __future__ import annotations

import logging
import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from raymlops.control.loop.policy_notes import POLICY_ACTION
from raymlops.control.rollout.decisions import decision_of
from raymlops.control.rollout.ledger_state import Rollout
from raymlops.control.triggering.news import order_of
from raymlops.errors import LedgerBroken
from raymlops.records.ledger import Ledger, LedgerEntry

__all__ = ["ALL_MODELS", "FoldedLedger", "fold_entries", "fold_entry"]

_log = logging.getLogger(__name__)

ALL_MODELS = "*"
"""Subject of the ledger entries that pause and resume the loop for all models."""


def fold_entry(state: Rollout, entry: LedgerEntry) -> Rollout:
    """The state of a model after one more entry about it; ``state`` itself where that is none of the controller's."""
    order = order_of(entry)
    if order is not None:
        return replace(state, orders=(*state.orders, order))
    decision = decision_of(entry)
    return state if decision is None else state.apply(decision)


def fold_entries(model: str, entries: Iterable[LedgerEntry]) -> Rollout:
    """The state of a model after entries about it and about all models, in order; it is paused while all are."""
    own, everything = Rollout(), Rollout()
    for entry in entries:
        if entry.subject == model:
            own = fold_entry(own, entry)
        else:
            everything = fold_entry(everything, entry)
    return replace(own, paused=own.paused or everything.paused)


class _States:
    """Every state of one subject, and the instant from which on it stood."""

    def __init__(self) -> None:
        self._since: list[datetime] = []
        self._states: list[Rollout] = []
        self._set_back: list[tuple[datetime, datetime]] = []
        """The spans of time that came twice, since the clock was set back: no state in this list stands for them."""

    @property
    def newest(self) -> Rollout:
        return self._states[-1] if self._states else Rollout()

    def add(self, at: datetime, state: Rollout) -> None:
        since = max([at, *self._since[-1:]])
        if at < since:
            self._set_back.append((at, since))
        self._since.append(since)
        self._states.append(state)

    def at(self, instant: datetime) -> Rollout | None:
        """The state after all entries up to an instant; ``None`` where the clock was set back over it."""
        if any(start <= instant < end for start, end in self._set_back):
            return None
        place = bisect_right(self._since, instant)
        return self._states[place - 1] if place else Rollout()


class FoldedLedger:
    """Reads the entries that any writer appended since the last read. Thread-safe.

    It keeps every former state of every subject, so that what stood at an instant is known without reading again. An
    entry that cannot be read is the trouble of its subject alone.

    Args:
        ledger: Read, never written.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._folding = threading.Lock()
        self._sequence = 0
        self._rollouts: defaultdict[str, _States] = defaultdict(_States)
        self._unreadable: dict[str, tuple[datetime, str]] = {}
        self._policy_notes: defaultdict[str, list[LedgerEntry]] = defaultdict(list)

    def catch_up(self) -> int:
        """Fold what is new; returns the sequence up to which it was read."""
        entries = self._ledger.entries(after=self._sequence)
        with self._folding:  # no lock is held while the ledger is read: a slow ledger must not delay other threads
            for entry in entries:
                if entry.sequence > self._sequence:
                    self._fold(entry)
                    self._sequence = entry.sequence
            return self._sequence

    @property
    def sequence(self) -> int:
        """The newest entry that was folded."""
        return self._sequence

    def state(self, model: str) -> Rollout:
        """The fold of one model; it is paused while all models are.

        Raises:
            LedgerBroken: An entry about the model, or about all, cannot be read.
        """
        with self._folding:
            self._require_readable(model, None)
            state, everything = self._of(model).newest, self._of(ALL_MODELS).newest
        return replace(state, paused=state.paused or everything.paused)

    def state_at(self, model: str, instant: datetime) -> Rollout:
        """As ``state``, by the entries that were recorded up to an instant.

        The ledger is read again only where the clock was set back over that instant.
        """
        with self._folding:
            self._require_readable(model, instant)
            state, everything = self._of(model).at(instant), self._of(ALL_MODELS).at(instant)
        if state is None or everything is None:
            entries = [entry for subject in (model, ALL_MODELS) for entry in self._ledger.entries(subject)]
            known = [entry for entry in entries if entry.at <= instant]
            return fold_entries(model, sorted(known, key=lambda entry: entry.sequence))
        return replace(state, paused=state.paused or everything.paused)

    def states(self) -> dict[str, Rollout]:
        """The fold of every model; where a model's entries cannot be read, up to the last one that could."""
        with self._folding:
            return {model: states.newest for model, states in self._rollouts.items() if model != ALL_MODELS}

    def policy_notes(self, model: str) -> Sequence[LedgerEntry]:
        """The entries about the policy of a model, in order."""
        with self._folding:
            return tuple(self._policy_notes.get(model, ()))

    def _of(self, subject: str) -> _States:
        return self._rollouts.get(subject) or _States()

    def _require_readable(self, model: str, until: datetime | None) -> None:
        for subject in (model, ALL_MODELS):
            broken = self._unreadable.get(subject)
            if broken is not None and (until is None or broken[0] <= until):
                raise LedgerBroken(f"the ledger of {model!r} cannot be read: {broken[1]}", model=model)

    def _fold(self, entry: LedgerEntry) -> None:
        if entry.action == POLICY_ACTION:
            self._policy_notes[entry.subject].append(entry)
        try:
            before = self._of(entry.subject).newest
            after = fold_entry(before, entry)
            if after is not before:
                self._rollouts[entry.subject].add(entry.at, after)
        except Exception as error:  # whatever it is: it stops its own subject, which says so, and no other
            _log.exception("entry %d of the ledger, about %s, cannot be read", entry.sequence, entry.subject)
            known = self._unreadable.get(entry.subject)
            if known is None or entry.at < known[0]:
                self._unreadable[entry.subject] = entry.at, f"entry {entry.sequence}: {type(error).__name__}: {error}"
