"""What a training run comes to.

``candidate``: a version is registered. ``refused``: a model was trained and is not good enough, or not servable.
``blocked``: the data is not fit to be trained on. A fault of the platform is none of these, but an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raymlops.pipelines import Halt

__all__ = ["blocked", "outcome", "refused"]


def outcome(
    kind: str,
    reason: str,
    *,
    version: int | None = None,
    metrics: Mapping[str, float] | None = None,
    champion_metrics: Mapping[str, float] | None = None,
    comparison: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A run's result, with the same keys whatever the outcome.

    Args:
        kind: ``candidate``, ``refused`` or ``blocked``.
        reason: Why, for people.
        version: The version registered.
        metrics: The candidate's, on the holdout.
        champion_metrics: The champion's, on the same rows.
        comparison: Of the two.
        more: Further JSON values.
    """
    return {
        "outcome": kind,
        "version": version,
        "reason": reason,
        "metrics": dict(metrics or {}),
        "champion_metrics": dict(champion_metrics or {}),
        "comparison": dict(comparison or {}),
        **more,
    }


def blocked(reasons: Sequence[str]) -> Halt:
    """End the run: the data is not fit to be trained on."""
    return Halt(outcome("blocked", "; ".join(reasons), problems=list(reasons)))


def refused(reason: str, **more: Any) -> Halt:
    """End the run: the model is not good enough, or cannot be served."""
    return Halt(outcome("refused", reason, **more))
