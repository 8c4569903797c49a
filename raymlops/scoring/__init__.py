"""Batch scoring: rows joined point-in-time, predicted by a packaged model, committed all at once or not at all.

Pure: where parts are scored is an ``Execute``'s business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.scoring.inputs import FeatureJoin
    from raymlops.scoring.job import PIPELINE, ScoringJob
    from raymlops.scoring.output import OutputTable
    from raymlops.scoring.scorer import PartScorer, Scorer
    from raymlops.scoring.sources import RowSource, cut_parts
    from raymlops.scoring.state import JobDirectory, JobState

__all__ = [
    "PIPELINE",
    "FeatureJoin",
    "JobDirectory",
    "JobState",
    "OutputTable",
    "PartScorer",
    "RowSource",
    "Scorer",
    "ScoringJob",
    "cut_parts",
]

__getattr__ = lazy_names(
    __name__,
    {
        "inputs": ["FeatureJoin"],
        "job": ["PIPELINE", "ScoringJob"],
        "output": ["OutputTable"],
        "scorer": ["PartScorer", "Scorer"],
        "sources": ["RowSource", "cut_parts"],
        "state": ["JobDirectory", "JobState"],
    },
)
