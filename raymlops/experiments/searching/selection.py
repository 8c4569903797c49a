"""The choice among trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from raymlops.errors import NoViableModel

if TYPE_CHECKING:
    from raymlops.experiments.trial import TrialResult
    from raymlops.records.learning.tasks import LearningTask

__all__ = ["select"]


def select(results: Sequence[TrialResult], task: LearningTask) -> TrialResult:
    """The trial with the lowest metric; of equal ones the lowest number, whichever finished first.

    A trial that was given up early is not among them: its model is not fitted to the end.

    Raises:
        NoViableModel: No trial reached a finite metric; the message holds the first errors, the context all of them.
    """
    ended = [result for result in results if result.stopped_at is None]
    viable = [r for r in ended if r.error is None and math.isfinite(r.metrics.get(task.metric, math.nan))]
    if not viable:
        errors = [f"trial {r.spec.number} ({r.spec.family}): {r.error or f'{task.metric} not finite'}" for r in results]
        raise NoViableModel(f"none of {len(results)} trials is viable: {'; '.join(errors[:3])}", errors=errors)
    return min(viable, key=lambda r: (r.metrics[task.metric], r.spec.number))
