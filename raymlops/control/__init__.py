"""The loop that keeps models right: triggers, the retraining policy, the rollout, and the controller over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.control.loop.controller import ALL_MODELS, Controller
    from raymlops.control.loop.explaining.model_status import ModelStatus, join_statuses
    from raymlops.control.loop.explaining.reasons import reasons_against
    from raymlops.control.loop.explaining.status import ControlStatus, Phase
    from raymlops.control.loop.explaining.why import History, Why, explain
    from raymlops.control.loop.observer import EventSource, StoreObserver
    from raymlops.control.loop.ports import Actuator, Observer
    from raymlops.control.loop.turns import TurnReport, Turns
    from raymlops.control.rollout.by_hand import next_share, trial_to_retry
    from raymlops.control.rollout.decisions import (
        Abandon,
        Ask,
        Block,
        Decision,
        FailRun,
        FallBack,
        Pause,
        PlanDecision,
        Promote,
        Ramp,
        Refuse,
        Resume,
        RollBack,
        Skip,
        StartRetraining,
        StartTrial,
        decision_of,
    )
    from raymlops.control.rollout.judge import Judgement, Verdict, judge
    from raymlops.control.rollout.ledger_state import Rollout
    from raymlops.control.rollout.measuring.evidence import Arm, Health, Losses, TrialEvidence, TrialScope
    from raymlops.control.rollout.measuring.gathering import gather_evidence, gather_health
    from raymlops.control.rollout.observation import Observation
    from raymlops.control.rollout.rollout_state import decide
    from raymlops.control.triggering.backtest import Backtested, backtest
    from raymlops.control.triggering.model_policies import ModelPolicies, ModelPolicy, PolicySetting
    from raymlops.control.triggering.policies import RetrainOutcome, RetrainPolicy, RetrainRequest, RetrainVerdict
    from raymlops.laboratory.foresight import default_policy
    from raymlops.laboratory.loss_matrix import LossMatrix
    from raymlops.laboratory.policies import Never, Periodic
    from raymlops.laboratory.simulation import Outcome, Policy, simulate

__all__ = [
    "ALL_MODELS",
    "Abandon",
    "Actuator",
    "Arm",
    "Ask",
    "Backtested",
    "Block",
    "ControlStatus",
    "Controller",
    "Decision",
    "EventSource",
    "FailRun",
    "FallBack",
    "Health",
    "History",
    "Judgement",
    "LossMatrix",
    "Losses",
    "ModelPolicies",
    "ModelPolicy",
    "ModelStatus",
    "Never",
    "Observation",
    "Observer",
    "Outcome",
    "Pause",
    "Periodic",
    "Phase",
    "PlanDecision",
    "Policy",
    "PolicySetting",
    "Promote",
    "Ramp",
    "Refuse",
    "Resume",
    "RetrainOutcome",
    "RetrainPolicy",
    "RetrainRequest",
    "RetrainVerdict",
    "RollBack",
    "Rollout",
    "Skip",
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
    "default_policy",
    "explain",
    "gather_evidence",
    "gather_health",
    "join_statuses",
    "judge",
    "next_share",
    "reasons_against",
    "simulate",
    "trial_to_retry",
]

__getattr__ = lazy_names(
    __name__,
    {
        "loop.controller": ["ALL_MODELS", "Controller"],
        "loop.explaining.model_status": ["ModelStatus", "join_statuses"],
        "loop.observer": ["EventSource", "StoreObserver"],
        "loop.ports": ["Actuator", "Observer"],
        "loop.explaining.reasons": ["reasons_against"],
        "loop.explaining.status": ["ControlStatus", "Phase"],
        "loop.turns": ["TurnReport", "Turns"],
        "loop.explaining.why": ["History", "Why", "explain"],
        "rollout.by_hand": ["next_share", "trial_to_retry"],
        "rollout.decisions": [
            "Abandon",
            "Ask",
            "Block",
            "Decision",
            "FailRun",
            "FallBack",
            "Pause",
            "PlanDecision",
            "Promote",
            "Ramp",
            "Refuse",
            "Resume",
            "RollBack",
            "Skip",
            "StartRetraining",
            "StartTrial",
            "decision_of",
        ],
        "rollout.measuring.evidence": ["Arm", "Health", "Losses", "TrialEvidence", "TrialScope"],
        "rollout.measuring.gathering": ["gather_evidence", "gather_health"],
        "rollout.judge": ["Judgement", "Verdict", "judge"],
        "rollout.ledger_state": ["Rollout"],
        "rollout.observation": ["Observation"],
        "rollout.rollout_state": ["decide"],
        "triggering.backtest": ["Backtested", "backtest"],
        "triggering.model_policies": ["ModelPolicies", "ModelPolicy", "PolicySetting"],
        "triggering.policies": ["RetrainOutcome", "RetrainPolicy", "RetrainRequest", "RetrainVerdict"],
        "raymlops.laboratory.foresight": ["default_policy"],
        "raymlops.laboratory.loss_matrix": ["LossMatrix"],
        "raymlops.laboratory.policies": ["Never", "Periodic"],
        "raymlops.laboratory.simulation": ["Outcome", "Policy", "simulate"],
    },
)
