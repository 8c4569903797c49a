"""What a training run comes to.

``candidate``: a version is registered. ``refused``: a model was trained and is not good enough, or not servable.
``blocked``: the data is not fit to be trained on. A fault of the platform is none of these, but an error.

From the comparison on, the evidence travels from step to step as one ``dossier``: JSON values to which each step adds
what it found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raymlops.pipelines import Halt

__all__ = ["blocked", "outcome", "refused"]


def outcome(
    kind: str, reason: str, dossier: Mapping[str, Any], *, version: int | None = None, **more: Any
) -> dict[str, Any]:
    """A run's result, with the same first keys whatever the outcome.

    Args:
        kind: ``candidate``, ``refused`` or ``blocked``.
        reason: Why, for people.
        dossier: ``metrics`` of the candidate on the holdout, ``champion_metrics`` and the ``comparison`` of the two, as
            far as there are any.
        version: The version registered.
        more: Further JSON values.
    """
    found = {name: dict(dossier.get(name, {})) for name in ("metrics", "champion_metrics", "comparison")}
    return {"outcome": kind, "version": version, "reason": reason, **found, **more}


def blocked(reasons: Sequence[str]) -> Halt:
    """End the run: the data is not fit to be trained on."""
    return Halt(outcome("blocked", "; ".join(reasons), {}, problems=list(reasons)))


def refused(reason: str, dossier: Mapping[str, Any]) -> Halt:
    """End the run: the model is not good enough, or cannot be served."""
    return Halt(outcome("refused", reason, dossier))
