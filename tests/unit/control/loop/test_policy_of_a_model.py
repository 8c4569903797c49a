"""The controller decides about each model by the policy in force for it, and the ledger says which that is."""

from __future__ import annotations

from datetime import timedelta

import pytest

from raymlops.config import ControlConfig, DriftCount, FleetConfig, RetrainConfig, TriggersConfig
from raymlops.config.reading.policy import resolve_policy
from raymlops.control import Controller, ModelPolicy
from raymlops.testing.control_examples import DAY, example_plan, example_window
from tests.support.control_world import ControlWorld

PLATFORM = ControlConfig(
    triggers=TriggersConfig(performance=None, drift=DriftCount(n=2, of=3)),
    retrain=RetrainConfig(cooldown=timedelta(), min_labelled_rows=0),
    fleet=FleetConfig(false_alarms=None),
)


class Policies:
    """What a test says of each model, once it is asked to look."""

    def __init__(self) -> None:
        self.said: dict[str, dict[str, object]] = {}
        self._seen: dict[str, dict[str, object]] = {}

    def refresh(self) -> None:
        self._seen = dict(self.said)

    def of(self, model: str) -> ModelPolicy:
        config, sources = resolve_policy(PLATFORM, self._seen.get(model), "prod")
        return ModelPolicy(model=model, environment="prod", config=config, sources=sources)


@pytest.fixture
def policies() -> Policies:
    return Policies()


@pytest.fixture
def world(policies: Policies) -> ControlWorld:
    return start(ControlWorld(config=PLATFORM), policies)


def start(world: ControlWorld, policies: Policies) -> ControlWorld:
    world.controller = Controller(
        clock=world.clock,
        ledger=world.ledger,
        observer=world.observer,
        actuator=world.actuator,
        config=PLATFORM,
        policies=policies,
    )
    return world


def test_each_model_is_decided_about_by_its_own_policy(world: ControlWorld, policies: Policies) -> None:
    world.observer.put_plan(example_plan(model="other"))
    policies.said = {"m": {"triggers": {"drift": {"n": 1}}}}
    world.close_window(drifted=True)
    world.observer.windows_of["other"] = [example_window(0, model="other", drifted=True)]
    assert [(decision.model, decision.action) for decision in world.step()] == [("m", "retrain")]
    verdicts = {status.model: status.verdict.outcome for status in world.controller.status()}
    assert verdicts == {"m": "quiet", "other": "quiet"}
    texts = [reason.text for reason in world.controller.why("other").reasons]
    assert any("in 1 of the last 1 windows, needs 2" in text for text in texts)


def test_a_change_is_in_force_at_the_next_turn_and_stands_in_the_ledger(
    world: ControlWorld, policies: Policies
) -> None:
    world.step()
    assert world.actions == [], "a model without a policy of its own leaves no word"
    policies.said["m"] = {"triggers": {"drift": {"n": 1}}}
    world.close_window(drifted=True)
    assert len(world.step()) == 1
    assert world.actions == ["policy", "retrain"]
    note = world.ledger.entries("m")[0]
    assert note.reason == "the project says triggers.drift.n 1"
    assert note.evidence["policy"]["triggers"]["drift"]["n"] == 1
    assert note.evidence["sources"] == {"triggers.drift.n": "project.yaml"}
    world.step()
    start(world, policies).step()
    assert world.actions.count("policy") == 1, "neither a turn nor a restart says it again"
    policies.said.clear()
    world.step()
    policies.said["m"] = {"triggers": {"drift": {"n": 1}}}
    world.step()
    world.step()
    reasons = [entry.reason for entry in world.ledger.entries("m") if entry.action == "policy"]
    assert reasons == [note.reason, "the platform's policy is in force", note.reason]


def test_why_looks_at_an_instant_by_the_policy_of_that_instant(world: ControlWorld, policies: Policies) -> None:
    world.close_window(drifted=True)
    before = world.clock.now()
    world.step()
    world.advance(DAY / 4)
    policies.said["m"] = {"triggers": {"drift": {"n": 1}}, "retrain": {"min_labelled_rows": 10**6}}
    world.step()
    world.advance(DAY / 4)
    during = world.clock.now()
    world.advance(DAY / 4)
    policies.said.clear()
    world.step()
    world.advance(DAY / 4)
    outcomes = [world.controller.why("m", at).verdict.outcome for at in (before, during, None)]
    assert outcomes == ["quiet", "hold", "quiet"]


def test_a_trial_is_judged_by_the_models_policy(world: ControlWorld, policies: Policies) -> None:
    policies.said["m"] = {
        "triggers": {"drift": {"n": 1}},
        "trial": {"weight": 0.25, "ramp": [0.5], "look_every": "2h", "deadline": "90ms"},
    }
    world.close_window(drifted=True)
    world.step()
    world.finish_runs("candidate")
    world.step()
    trial = world.plans[-1].trial
    assert trial is not None
    assert (trial.weight, trial.ramp, trial.deadline_ms) == (0.25, (0.5,), 90.0)
    world.show("good")
    world.advance(DAY / 24)
    assert world.step() == [], "it is looked at every two hours"
    world.advance(DAY / 24)
    assert [decision.action for decision in world.step()] == ["ramp"]


def test_a_champion_below_the_floor_that_its_project_declares_gives_way(
    world: ControlWorld, policies: Policies
) -> None:
    policies.said["m"] = {"fallback": {"windows": {"n": 1, "of": 1}, "floor": {"log_loss": 0.45}}}
    world.disappoint("bad")
    world.user_promote()
    world.serve(backup=None)
    world.close_window()
    assert [decision.action for decision in world.step()] == ["fall_back"]
    assert "log_loss 0.5, must be at most 0.45" in world.ledger.entries("m")[-1].reason
    world.close_window()
    policies.said.clear()
    assert world.step() == []
