"""One item of a score card: a question, what answers it, and what it is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from raymlops.records.record import Record
from raymlops.scorecard.evidence import Evidence, Proof

__all__ = ["Finding", "Item", "Question", "automated", "manual", "missing"]

Status = Literal["automated", "manual", "missing"]
_POINTS: dict[Status, float] = {"automated": 1.0, "manual": 0.5, "missing": 0.0}


@dataclass(frozen=True)
class Finding:
    """What an item has found."""

    status: Status
    text: str
    proofs: tuple[Proof, ...] = ()
    remedy: str = ""


def automated(text: str, proof: Proof, *proofs: Proof) -> Finding:
    """The test is made by the system, again and again, and passes: a record shows it."""
    return Finding("automated", text, (proof, *proofs))


def manual(text: str, remedy: str, *proofs: Proof) -> Finding:
    """The test was made in part, once, or by a person."""
    return Finding("manual", text, proofs, remedy)


def missing(text: str, remedy: str, *proofs: Proof) -> Finding:
    """The test was not made, or it fails."""
    return Finding("missing", text, proofs, remedy)


class Item(Record):
    """One item, answered."""

    id: str
    """Section and number: ``data-1``."""
    section: str
    title: str
    status: Status
    points: float
    """1 automated, 0.5 manual, 0 missing."""
    finding: str
    evidence: tuple[Proof, ...] = ()
    age_s: float | None = None
    """Age of the newest evidence; ``None`` where there is none."""
    remedy: str = ""
    """What would make it pass; empty where it does."""


@dataclass(frozen=True)
class Question:
    """A question, and the pure function that answers it."""

    id: str
    title: str
    assess: Callable[[Evidence], Finding]

    def answer(self, evidence: Evidence) -> Item:
        """Answer it."""
        found = self.assess(evidence)
        return Item(
            id=self.id,
            section=self.id.rpartition("-")[0],
            title=self.title,
            status=found.status,
            points=_POINTS[found.status],
            finding=found.text,
            evidence=found.proofs,
            age_s=_age_s(found.proofs, evidence.now),
            remedy=found.remedy,
        )


def _age_s(proofs: tuple[Proof, ...], now: datetime) -> float | None:
    return max(0.0, (now - max(proof.at for proof in proofs)).total_seconds()) if proofs else None
