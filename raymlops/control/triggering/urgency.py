"""Which of several retrainings pays most. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from raymlops.control.triggering.news import ORDER
from raymlops.records.runs import Run, RunStatus

__all__ = ["run_seconds", "urgency"]

_UNKNOWN_RUN_S = 60.0
_LOOKED_AT_RUNS = 5
_LOSSES = ("log_loss", "brier", "error", "mae", "rmse")
"""Metrics that are better where they are lower, the ones that tell most first."""


def urgency(fired: Sequence[dict[str, Any]], run_s: float) -> float:
    """Accrued regret per second of compute: losses of one window that staleness has cost, by what a retraining takes.

    An order goes before everything. The ``regret`` trigger brings what has accrued and what the next window is expected
    to cost. ``performance`` brings how far the loss lies above its reference, in each of its windows. What tells
    nothing about the loss comes last.

    Args:
        fired: Triggers with their facts, as the ledger has them.
        run_s: Duration of a retraining of the model, in seconds.
    """
    return max((_accrued(each["trigger"], each.get("facts", {})) for each in fired), default=0.0) / max(run_s, 1.0)


def run_seconds(runs: Sequence[Run]) -> float:
    """Median duration of the newest runs that succeeded, in seconds; one minute where there is none."""
    done = sorted((run for run in runs if run.status is RunStatus.SUCCEEDED and run.ended_at), key=lambda run: run.id)
    done.sort(key=lambda run: run.created_at)
    taken = sorted(
        (run.ended_at - run.created_at).total_seconds() for run in done[-_LOOKED_AT_RUNS:] if run.ended_at is not None
    )
    return taken[len(taken) // 2] if taken else _UNKNOWN_RUN_S


def _accrued(trigger: str, facts: dict[str, Any]) -> float:
    if trigger == ORDER:
        return math.inf
    if "accrued" in facts:
        return float(facts["accrued"]) + float(facts.get("expected") or 0.0)
    if trigger != "performance":
        return 0.0
    measured, reference = facts.get("metrics", {}), facts.get("reference_metrics", {})
    name = next((name for name in _LOSSES if name in measured and reference.get(name, 0.0) > 0), None)
    if name is None:
        return 0.0
    excess = float(measured[name]) / float(reference[name]) - 1.0
    return max(0.0, excess) * len(facts.get("windows", ()))
