"""The ledger, folded into what it says about each model."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

from raymlops.control.loop.policy_notes import POLICY_ACTION
from raymlops.control.rollout.decisions import decision_of
from raymlops.control.rollout.ledger_state import Rollout
from raymlops.control.triggering.news import order_of
from raymlops.errors import LedgerBroken
from raymlops.records.ledger import Ledger, LedgerEntry

__all__ = ["ALL_MODELS", "FoldedLedger", "fold_entry"]

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


class FoldedLedger:
    """Reads what was appended since it last looked, whoever wrote it. Thread-safe.

    An entry that cannot be read is the trouble of its subject alone.

    Args:
        ledger: Read, never written.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._folding = threading.Lock()
        self._sequence = 0
        self._rollouts: dict[str, Rollout] = {}
        self._unreadable: dict[str, str] = {}
        self._policy_notes: dict[str, LedgerEntry] = {}

    def catch_up(self) -> int:
        """Fold what is new; returns the sequence up to which it was read."""
        entries = self._ledger.entries(after=self._sequence)
        with self._folding:  # not while the ledger is asked: who is slow there must hold up nobody
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
        """What was folded about a model; it is paused while all are.

        Raises:
            LedgerBroken: An entry about the model, or about all, cannot be read.
        """
        with self._folding:
            broken = self._unreadable.get(model) or self._unreadable.get(ALL_MODELS)
            state = self._rollouts.get(model, Rollout())
            everything = self._rollouts.get(ALL_MODELS, Rollout())
        if broken is not None:
            raise LedgerBroken(f"the ledger of {model!r} cannot be read: {broken}", model=model)
        return replace(state, paused=state.paused or everything.paused)

    def states(self) -> dict[str, Rollout]:
        """What was folded about every model; of those that cannot be read, up to where they could."""
        with self._folding:
            return {model: state for model, state in self._rollouts.items() if model != ALL_MODELS}

    def policy_note(self, model: str) -> LedgerEntry | None:
        """The newest entry about the policy of a model."""
        with self._folding:
            return self._policy_notes.get(model)

    def _fold(self, entry: LedgerEntry) -> None:
        if entry.action == POLICY_ACTION:
            self._policy_notes[entry.subject] = entry
        try:
            before = self._rollouts.get(entry.subject, Rollout())
            after = fold_entry(before, entry)
            if after is not before:
                self._rollouts[entry.subject] = after
        except Exception as error:  # whatever it is: it stops its own subject, which says so, and no other
            _log.exception("entry %d of the ledger, about %s, cannot be read", entry.sequence, entry.subject)
            self._unreadable[entry.subject] = f"entry {entry.sequence}: {type(error).__name__}: {error}"
