"""What a pipeline vouches for: the three blessings without which none of its versions is served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from raymlops.records.record import Record

__all__ = ["BLESSINGS", "Blessing", "BlessingKind", "missing_blessings"]

BlessingKind = Literal["data", "evaluation", "infrastructure"]

BLESSINGS: tuple[BlessingKind, ...] = get_args(BlessingKind)
"""All of them, in the order in which a run comes by them."""


class Blessing(Record):
    """The word of one step of a run about one thing."""

    kind: BlessingKind
    granted: bool
    subject: str
    """Digest of what was looked at: the training set, or, of ``infrastructure``, the model."""
    reason: str
    """Why it was granted or refused, for people."""


def missing_blessings(blessings: Sequence[Blessing], *, training_set: str | None, model: str) -> list[str]:
    """What keeps a version from being served.

    Args:
        blessings: What the version carries.
        training_set: Digest of its training-set manifest.
        model: Digest of its model manifest.

    Returns:
        One text per blessing that is missing, refused, or about something else; empty where all three stand.
    """
    subjects = {"data": training_set, "evaluation": training_set, "infrastructure": model}
    problems = []
    for kind in BLESSINGS:
        found = [blessing for blessing in blessings if blessing.kind == kind]
        refused = [blessing for blessing in found if not blessing.granted]
        if not found:
            problems.append(f"the {kind} blessing is missing")
        elif refused:
            problems.append(f"the {kind} blessing was refused: {refused[0].reason}")
        elif any(blessing.subject != subjects[kind] for blessing in found):
            problems.append(f"the {kind} blessing is about another subject than this version's")
    return problems
