"""The score card: every item, the sums of the sections, and the least of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import computed_field

from raymlops.records.record import Instant, Record
from raymlops.records.shown import frame_of
from raymlops.scorecard.data import DATA
from raymlops.scorecard.evidence import Evidence
from raymlops.scorecard.infrastructure import INFRASTRUCTURE
from raymlops.scorecard.item import Item
from raymlops.scorecard.level_two import LEVEL_TWO
from raymlops.scorecard.model import MODEL
from raymlops.scorecard.monitoring import MONITORING

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["QUESTIONS", "ScoreCard", "score"]

QUESTIONS = (*DATA, *MODEL, *INFRASTRUCTURE, *MONITORING)
"""The 28 tests, in four sections of seven."""


class ScoreCard(Record):
    """What the ML Test Score of a model comes to."""

    model: str
    champion: int | None
    """The version that the newest plan names."""
    at: Instant
    """The instant that ages are counted from."""
    items: tuple[Item, ...]
    """The 28 tests."""
    level_two: tuple[Item, ...]
    """The checklist of an automated loop."""

    @computed_field  # type: ignore[prop-decorator]  # of pydantic
    @property
    def sections(self) -> dict[str, float]:
        """Section -> the sum of its points, 7 at most."""
        return {name: sum(of.points for of in self.items if of.section == name) for name in _SECTIONS}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def score(self) -> float:
        """The least of the sections' sums: a chain is as strong as its weakest link."""
        return min(self.sections.values())

    def to_pandas(self) -> pd.DataFrame:
        """One row for each test, then for each item of the checklist."""
        return frame_of((*self.items, *self.level_two))


_SECTIONS = tuple(dict.fromkeys(question.id.rpartition("-")[0] for question in QUESTIONS))


def score(evidence: Evidence) -> ScoreCard:
    """Answer every question from the evidence."""
    return ScoreCard(
        model=evidence.model,
        champion=None if evidence.champion is None else evidence.champion.version,
        at=evidence.now,
        items=tuple(question.answer(evidence) for question in QUESTIONS),
        level_two=tuple(question.answer(evidence) for question in LEVEL_TWO),
    )
