"""The laboratory: what retraining would have been worth, from one matrix of losses that any policy is folded over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.laboratory.building import build_matrix
    from raymlops.laboratory.comparison import LoopComparison, ServedModel, compare_loop
    from raymlops.laboratory.foresight import ForesightPolicy, default_policy
    from raymlops.laboratory.intake.table import prepare
    from raymlops.laboratory.loss_matrix import LossMatrix, MatrixFacts, Paired
    from raymlops.laboratory.policies import (
        CheapestCalendar,
        Drift,
        Never,
        Performance,
        Periodic,
        Regret,
        Schedule,
    )
    from raymlops.laboratory.recipe import Recipe
    from raymlops.laboratory.report.lab_report import LabReport, check_price, compare_policies
    from raymlops.laboratory.simulation import Firing, History, Outcome, Policy, best_schedules, oracle, simulate
    from raymlops.laboratory.staleness import Staleness
    from raymlops.laboratory.weighing import Weighed

__all__ = [
    "DEFAULT_PRICE",
    "CheapestCalendar",
    "Drift",
    "Firing",
    "ForesightPolicy",
    "History",
    "LabReport",
    "LoopComparison",
    "LossMatrix",
    "MatrixFacts",
    "Never",
    "Outcome",
    "Paired",
    "Performance",
    "Periodic",
    "Policy",
    "Recipe",
    "Regret",
    "Schedule",
    "ServedModel",
    "Staleness",
    "Weighed",
    "best_schedules",
    "build_matrix",
    "check_price",
    "compare_loop",
    "compare_policies",
    "default_policy",
    "oracle",
    "prepare",
    "simulate",
]

DEFAULT_PRICE = 0.05
"""Of a retraining, in losses of one window."""

__getattr__ = lazy_names(
    __name__,
    {
        "building": ["build_matrix"],
        "comparison": ["LoopComparison", "ServedModel", "compare_loop"],
        "foresight": ["ForesightPolicy", "default_policy"],
        "loss_matrix": ["LossMatrix", "MatrixFacts", "Paired"],
        "policies": ["CheapestCalendar", "Drift", "Never", "Performance", "Periodic", "Regret", "Schedule"],
        "recipe": ["Recipe"],
        "report.lab_report": ["LabReport", "check_price", "compare_policies"],
        "simulation": ["Firing", "History", "Outcome", "Policy", "best_schedules", "oracle", "simulate"],
        "staleness": ["Staleness"],
        "intake.table": ["prepare"],
        "weighing": ["Weighed"],
    },
)
