"""What a training run comes to.

``candidate``: a version is registered. ``refused``: a model was trained and is not good enough, or not servable.
``blocked``: the data is not fit to be trained on. ``skipped``: nothing has changed since the champion was trained. A
fault of the platform is none of these, but an error.

From the comparison on, the evidence travels from step to step as one ``dossier``: JSON values to which each step adds
what it found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raymlops.pipelines.step import Halt
from raymlops.records.learning.blessings import Blessing

__all__ = ["blocked", "outcome", "refused", "refused_unevaluated", "skipped"]


def outcome(
    kind: str, reason: str, dossier: Mapping[str, Any], *, version: int | None = None, **more: Any
) -> dict[str, Any]:
    """A run's result, with the same first keys whatever the outcome.

    Args:
        kind: ``candidate``, ``refused``, ``blocked`` or ``skipped``.
        reason: Why, for people.
        dossier: ``metrics`` of the candidate on the holdout, ``champion_metrics`` and the ``comparison`` of the two, as
            far as there are any.
        version: The version registered.
        more: Further JSON values.
    """
    found = {name: dict(dossier.get(name, {})) for name in ("metrics", "champion_metrics", "comparison")}
    return {"outcome": kind, "version": version, "reason": reason, **found, **more}


def blocked(reasons: Sequence[str], *, training_set: str = "") -> Halt:
    """End the run: the data is not fit to be trained on.

    Args:
        reasons: Why.
        training_set: Digest of its manifest, as far as there is one.
    """
    reason = "; ".join(reasons)
    blessing = Blessing(kind="data", granted=False, subject=training_set, reason=reason)
    return Halt(outcome("blocked", reason, {}, problems=list(reasons), blessings=[blessing.model_dump(mode="json")]))


def refused(reason: str, dossier: Mapping[str, Any], blessing: Blessing | None = None) -> Halt:
    """End the run: the model is not good enough, or cannot be served.

    Args:
        reason: Why, for people.
        dossier: The evidence so far.
        blessing: The one that is not granted, where the step is one that grants any.
    """
    blessings = [] if blessing is None else [blessing.model_dump(mode="json")]
    return Halt(outcome("refused", reason, dossier, blessings=blessings))


def refused_unevaluated(reason: str) -> Halt:
    """End the run: the model is so wrong that there is nothing to compare."""
    return refused(reason, {}, Blessing(kind="evaluation", granted=False, subject="", reason=reason))


def skipped(reason: str) -> Halt:
    """End the run: there is nothing to be learned that the champion does not know."""
    return Halt(outcome("skipped", reason, {}))
