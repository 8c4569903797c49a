"""Candidates and their evaluation: families of estimators, search spaces, trials, metrics, comparison, selection.

Pure: tables and parameters in, values out. Where trials run is a ``Tuner``'s business.
"""

from raymlops.experiments.bootstrap import Interval, Resampling, mean_intervals, row_blocks, time_blocks
from raymlops.experiments.evaluation import Comparison, Evaluation, Rule, compare, evaluate, verdict
from raymlops.experiments.fitting import Fitted, fit_candidate, loss_curve
from raymlops.experiments.metrics import constant_predictions, loss, metrics, score
from raymlops.experiments.options import FitOptions
from raymlops.experiments.searching.halving import Halving, HalvingRule
from raymlops.experiments.searching.in_process import InProcessTuner
from raymlops.experiments.searching.search import Budgeted, Drawn, Journaled, Search, Tuner
from raymlops.experiments.searching.search_space import SearchSpace
from raymlops.experiments.searching.selection import select
from raymlops.experiments.searching.tpe import TpeSearch
from raymlops.experiments.streamed import Boosting, RowSource, Slice, evaluate_streamed, fit_streamed
from raymlops.experiments.task import matrix, target
from raymlops.experiments.trial import TrialResult, TrialSpec
from raymlops.experiments.trial_run import run_trial
from raymlops.records.learning.tasks import LearningTask

__all__ = [
    "Boosting",
    "Budgeted",
    "Comparison",
    "Drawn",
    "Evaluation",
    "FitOptions",
    "Fitted",
    "Halving",
    "HalvingRule",
    "InProcessTuner",
    "Interval",
    "Journaled",
    "LearningTask",
    "Resampling",
    "RowSource",
    "Rule",
    "Search",
    "SearchSpace",
    "Slice",
    "TpeSearch",
    "TrialResult",
    "TrialSpec",
    "Tuner",
    "compare",
    "constant_predictions",
    "evaluate",
    "evaluate_streamed",
    "fit_candidate",
    "fit_streamed",
    "loss",
    "loss_curve",
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
