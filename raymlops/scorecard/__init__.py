"""The ML Test Score of a model (Breck 2017) and the level-2 checklist, as queries over what is recorded. Pure."""

from raymlops.scorecard.card import QUESTIONS, ScoreCard, score
from raymlops.scorecard.evidence import Evidence, Proof, Settings, gather
from raymlops.scorecard.item import Item

__all__ = ["QUESTIONS", "Evidence", "Item", "Proof", "ScoreCard", "Settings", "gather", "score"]
