"""The loop that keeps models right: triggers, the retraining policy, the rollout, and the controller over them."""

from raymlops.control.backtest import Backtested, backtest
from raymlops.control.controller import ALL_MODELS, Controller
from raymlops.control.decisions import (
    Abandon,
    Block,
    Decision,
    FailRun,
    Pause,
    PlanDecision,
    Promote,
    Refuse,
    Resume,
    RollBack,
    StartRetraining,
    StartTrial,
    decision_of,
)
from raymlops.control.evidence import Arm, Health, Losses, TrialEvidence, TrialScope, gather_evidence, gather_health
from raymlops.control.judge import Judgement, Verdict, judge
from raymlops.control.model_status import ModelStatus, join_statuses
from raymlops.control.observer import EventSource, StoreObserver
from raymlops.control.policies import RetrainOutcome, RetrainPolicy, RetrainRequest, RetrainVerdict
from raymlops.control.ports import Actuator, Ledger, Observer
from raymlops.control.reasons import reasons_against
from raymlops.control.rollout import Observation, Rollout, decide
from raymlops.control.status import ControlStatus, Phase
from raymlops.control.turns import TurnReport, Turns
from raymlops.control.why import History, Why, explain

__all__ = [
    "ALL_MODELS",
    "Abandon",
    "Actuator",
    "Arm",
    "Backtested",
    "Block",
    "ControlStatus",
    "Controller",
    "Decision",
    "EventSource",
    "FailRun",
    "Health",
    "History",
    "Judgement",
    "Ledger",
    "Losses",
    "ModelStatus",
    "Observation",
    "Observer",
    "Pause",
    "Phase",
    "PlanDecision",
    "Promote",
    "Refuse",
    "Resume",
    "RetrainOutcome",
    "RetrainPolicy",
    "RetrainRequest",
    "RetrainVerdict",
    "RollBack",
    "Rollout",
    "StartRetraining",
    "StartTrial",
    "StoreObserver",
    "TrialEvidence",
    "TrialScope",
    "TurnReport",
    "Turns",
    "Verdict",
    "Why",
    "backtest",
    "decide",
    "decision_of",
    "explain",
    "gather_evidence",
    "gather_health",
    "join_statuses",
    "judge",
    "reasons_against",
]
