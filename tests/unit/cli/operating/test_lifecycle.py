"""What ``status`` shows of each model."""

from __future__ import annotations

from raymlops.cli.operating.lifecycle import about_champion, status_rows, troubles
from raymlops.control import ModelStatus, Phase, join_statuses
from raymlops.control.loop.controller import ControlStatus
from raymlops.control.triggering.policies import RetrainOutcome, RetrainVerdict
from raymlops.errors import ModelVersionNotFound
from raymlops.records.models import ModelVersion
from raymlops.records.serving.endpoints import EndpointStatus
from raymlops.testing.control_examples import START


def controlled(model: str) -> ControlStatus:
    verdict = RetrainVerdict(outcome=RetrainOutcome.QUIET, reason="nothing")
    return ControlStatus(
        model=model,
        phase=Phase.SERVING,
        champion=1,
        champion_since=START,
        backup=None,
        trial=None,
        run_id="run-1",
        verdict=verdict,
    )


def test_every_planned_model_has_a_row_with_what_answers_and_why_not() -> None:
    reason = "plan 2 (version 1) is planned; its endpoint has been starting for 4 s"
    endpoints = [
        EndpointStatus(model="a", plan=1, champion=1, replicas=1, answers=True),
        EndpointStatus(model="b", plan=2, champion=1, replicas=1, reason=reason),
    ]
    joined = join_statuses([controlled("a"), controlled("undeployed")], endpoints)
    assert [(type(one), one.model, one.endpoint) for one in joined] == [(ModelStatus, "a", endpoints[0])]
    rows = status_rows(joined, endpoints)
    shown = [(row["model"], row.get("phase"), row["champion"], row["answers"], row["run"]) for row in rows]
    assert shown == [("a", "serving", 1, "yes", "run-1"), ("b", None, 1, f"no: {reason}", None)]


def test_a_plan_of_a_version_that_is_not_registered_is_told() -> None:
    class Registry:
        def get(self, name: str, version: int) -> ModelVersion:
            raise ModelVersionNotFound(f"model {name!r} has no version {version}")

    told = about_champion(Registry(), EndpointStatus(model="m", plan=4, champion=7, replicas=1))
    assert told == "plan 4 names it, and no such version is registered; deploy one that is"


def test_what_an_operator_has_to_know_of_a_model_is_told_in_sentences() -> None:
    row = ModelStatus(model="m", labels="8 of 10 rows are labelled (80%)", below_floor="version 1 is below its floor")
    assert troubles(row) == ["version 1 is below its floor", "newest window: 8 of 10 rows are labelled (80%)"]
    assert troubles(ModelStatus(model="m")) == []
