"""Candidates and their evaluation: families of estimators, search spaces, trials, metrics, comparison, selection.

Pure: tables and parameters in, values out. Where trials run is a ``Tuner``'s business.
"""

from raymlops.experiments.bootstrap import Interval, Resampling, mean_intervals, row_blocks, time_blocks
from raymlops.experiments.evaluation import Comparison, Evaluation, Rule, compare, evaluate, verdict
from raymlops.experiments.metrics import constant_predictions, loss, metrics, score
from raymlops.experiments.search_space import SearchSpace
from raymlops.experiments.selection import select
from raymlops.experiments.streamed import Boosting, RowSource, Slice, evaluate_streamed, fit_streamed
from raymlops.experiments.task import LearningTask, matrix, target
from raymlops.experiments.trial import InProcessTuner, TrialResult, TrialSpec, Tuner, run_trial

__all__ = [
    "Boosting",
    "Comparison",
    "Evaluation",
    "InProcessTuner",
    "Interval",
    "LearningTask",
    "Resampling",
    "RowSource",
    "Rule",
    "SearchSpace",
    "Slice",
    "TrialResult",
    "TrialSpec",
    "Tuner",
    "compare",
    "constant_predictions",
    "evaluate",
    "evaluate_streamed",
    "fit_streamed",
    "loss",
    "matrix",
    "mean_intervals",
    "metrics",
    "row_blocks",
    "run_trial",
    "score",
    "select",
    "target",
    "time_blocks",
    "verdict",
]
