"""A model's policy from its project to the controller, and a retraining that somebody asks for over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import requests

from raymlops.errors import ConfigError
from raymlops.records.runs import RunStatus
from tests.support.killed_project import DEFINITIONS
from tests.support.training_project import PROJECT, SOURCE, tables

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

MODEL = "ordered"
RUN_S = 200.0
POLICY: dict[str, Any] = {"triggers": {"drift": None}, "retrain": {"min_labelled_rows": 4321, "cooldown": "3d"}}


def deploy(platform: Platform, place: Path, policy: dict[str, Any] | None) -> str:
    """Build and deploy the project with a policy; returns the bundle."""
    place.mkdir(parents=True, exist_ok=True)
    described = PROJECT.model_copy(
        update={
            "name": MODEL,
            "model": MODEL,
            "policy": policy,
            "training": {
                "holdout_days": 12,
                "trials": 1,
                "bootstrap_rounds": 100,
                "tolerance": 0.0,
                "search": {"xgboost": {"n_estimators": 150, "learning_rate": 0.04, "max_depth": 2}},
            },
        }
    )
    (place / "killed_project.py").write_text(SOURCE)
    (place / "test_it.py").write_text("from killed_project import spine\n\n\ndef test_it():\n    assert spine\n")
    (place / "project.yaml").write_text(json.dumps(described.model_dump(mode="json")))
    digest = platform.delivery.build(place).digest
    platform.delivery.deploy(digest)
    return digest


@pytest.fixture(scope="module")
def place(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose model is served; the first version is registered by hand, which is quicker than to train it."""
    from sklearn.linear_model import LogisticRegression

    place = tmp_path_factory.mktemp("ordered")
    platform.apply(*DEFINITIONS)
    for view, table in tables().items():
        platform.features.ingest(view, table)
    deploy(platform, place, POLICY)
    sizes = pa.table({"size": [1.0, 2.0, 3.0, 4.0]})
    fitted = LogisticRegression().fit(sizes.to_pandas().to_numpy(), [0, 0, 1, 1])
    platform.endpoints.deploy(MODEL, platform.models.register(MODEL, fitted, example=sizes).version)
    platform.control.step()
    return place


def notes(platform: Platform) -> list[Any]:
    return [entry for entry in platform.ledger.entries(MODEL) if entry.action == "policy"]


def texts(platform: Platform) -> str:
    return "\n".join(reason.text for reason in platform.control.why(MODEL).reasons)


def test_a_policy_is_in_force_once_its_bundle_is_deployed(
    platform: Platform, place: Path, command: Callable[..., Any]
) -> None:
    policy = platform.control.policy(MODEL)
    assert (policy.config.triggers.drift, policy.config.retrain.min_labelled_rows) == (None, 4321)
    assert policy.config.trial == platform.config.control.trial
    assert "4321 are needed" in texts(platform)
    (note,) = notes(platform)
    assert note.evidence["bundle"] == policy.bundle
    assert note.evidence["digest"] == policy.digest
    told = command("control", "policy", MODEL)
    assert told.returncode == 0, told.stderr
    (line,) = [line for line in told.stdout.splitlines() if "min_labelled_rows" in line and "retrain." in line]
    assert "4321" in line
    assert f"project.yaml of bundle {policy.bundle[:12]}" in line
    assert "platform.yaml" in told.stdout
    settings = json.loads(command("control", "policy", MODEL, "--json").stdout)["settings"]
    assert {
        "name": "retrain.cooldown",
        "value": "3d",
        "source": f"project.yaml of bundle {policy.bundle[:12]}",
    } in settings


@pytest.mark.slow
def test_a_change_is_seen_without_a_restart(platform: Platform, place: Path) -> None:
    environment = platform.config.environment
    stricter = {"environments": {environment: {"retrain": {"min_labelled_rows": 8765}}, "elsewhere": {}}}
    before = platform.control.policy(MODEL)
    digest = deploy(platform, place, {**POLICY, **stricter})
    assert digest != before.bundle
    platform.control.step()
    assert [note.evidence["bundle"] for note in notes(platform)] == [before.bundle, digest]
    assert "8765 are needed" in texts(platform)
    source = platform.control.policy(MODEL).sources["retrain.min_labelled_rows"]
    assert source == f"project.yaml of bundle {digest[:12]}, environment {environment}"
    with pytest.raises(ConfigError, match=r"retrain\.cooldown must carry its unit"):
        deploy(platform, place, {"retrain": {"cooldown": 3}})
    assert platform.control.policy(MODEL).bundle == digest


@pytest.fixture
def trained(platform: Platform, place: Path) -> None:
    """The project's model in place of the one that was registered by hand, which a retraining would put on trial."""
    run = platform.runs.start(MODEL, parameters={"as_of": platform.clock.now().isoformat()}, timeout_s=RUN_S)
    assert run.status is RunStatus.SUCCEEDED, run.error
    assert run.result["outcome"] == "candidate", run.result
    platform.endpoints.deploy(MODEL, run.result["version"])
    platform.control.step()


@pytest.mark.slow
def test_a_retraining_is_asked_for_over_http(platform: Platform, trained: None, command: Callable[..., Any]) -> None:
    url = f"{platform.url}/v2/repository/models/{MODEL}/retrain"
    body = {"parameters": {"reason": "the labels of January were mended"}}
    assert requests.post(url, json=body, timeout=20).status_code == 401

    def key(scope: str) -> dict[str, str]:
        made = command("keys", "create", f"nightly-{scope}", "--scope", scope)
        return {"Authorization": f"Bearer {made.stdout.strip()}", "Idempotency-Key": "january"}

    assert requests.post(url, json=body, headers=key("operate"), timeout=20).status_code == 403
    headers = key("trigger")
    answers = [requests.post(url, json=body, headers=headers, timeout=20) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    order = answers[0].json()
    assert order == answers[1].json()
    assert "nightly-trigger" in order["by"]
    (start,) = [decision for decision in platform.control.step() if decision.model == MODEL]
    assert start.run_id == f"{MODEL}-order-{order['order']}"
    assert start.orders == (order["order"],)
    assert start.facts["fired"][0]["facts"]["orders"][0]["via"] == "http"
    done = platform.runs.wait(start.run_id, timeout_s=RUN_S)
    assert done.status is RunStatus.SUCCEEDED, done.error
    assert done.reason == f"{order['by']} asks for it: the labels of January were mended"
    platform.control.step()
    entry = platform.control.retrain(MODEL, reason="again", key="february")
    assert platform.control.retrain(MODEL, key="february").sequence == entry.sequence
    platform.control.step()
    assert platform.runs.wait(f"{MODEL}-order-{entry.sequence}", timeout_s=RUN_S).reason.endswith("asks for it: again")
    platform.control.step()
