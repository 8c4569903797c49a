"""The product's story in one file: five weeks of real flights, with processes killed on the way.

It is short: the first model is a quick one, which the first retraining is better than. ``make demo`` has 44 weeks.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from raymlops.clock import ReplayClock

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(540)]

WEEKS = 5
PER_WEEK = 500
KILL_METADATA_AFTER, KILL_CONTROLLER_AFTER = 2, 3
FIRST_RUN: dict[str, object] = {
    "trials": 1,
    "search": {"xgboost": {"n_estimators": 3, "learning_rate": 0.1, "max_depth": 2}},
}


def _kill_actor(processes: Callable[[str], list[psutil.Process]], class_name: str) -> None:
    """SIGKILL the process of a control actor, as the kernel would when memory runs out."""
    found = processes(class_name)
    assert len(found) == 1, f"one process of {class_name} runs, got {found}"
    os.kill(found[0].pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def project_files(flights_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project without the longer one of its tests, which a build runs and `make test-unit` does, too."""
    place = tmp_path_factory.mktemp("story") / "flights"
    return Path(shutil.copytree(flights_project, place, ignore=shutil.ignore_patterns("test_sources.py")))


@pytest.fixture(scope="module")
def story(platform: Platform, project_files: Path, processes: Callable[[str], list[psutil.Process]]) -> Any:
    from flights.bad_candidate import start_bad_trial

    from raymlops.replay.client import PredictionClient
    from raymlops.replay.outcome.story import Story
    from raymlops.replay.plan import Sample, Wishes
    from raymlops.replay.player import Replay
    from raymlops.replay.run import deploy_project, feed_history, train_first
    from raymlops.replay.settings import plan_replay
    from raymlops.replay.source import load_project
    from raymlops.runtime.cluster.platform_clock import build_clock

    project = load_project(project_files)
    first = project.spec.replay.model_copy(update={"first_run": FIRST_RUN})
    project = replace(project, spec=project.spec.model_copy(update={"replay": first}))
    plan = plan_replay(project, Wishes(windows=WEEKS, sample=Sample(rows=PER_WEEK))).plan
    bundle = deploy_project(platform, project_files)
    feed_history(platform, project, plan)
    story = Story(platform, project.spec, plan, train_first(platform, project, plan, seed=7), bundle)

    async def replay() -> None:
        names = (project.spec.model, project.spec.name)
        async with PredictionClient(platform.url, project.spec.model) as client:
            clock = build_clock(platform.config)
            assert isinstance(clock, ReplayClock)
            replayed = Replay(platform, clock, client, project.tables, plan, names=names, seed=7)
            story.tally, story.label_of = client.tally, replayed.label_of
            async for week in replayed.windows():
                story.add(week)
                if week.number == KILL_METADATA_AFTER:
                    _kill_actor(processes, "MetadataActor")
                if week.number == KILL_CONTROLLER_AFTER:
                    _kill_actor(processes, "ControllerService")
                serving = platform.endpoints.plan(project.spec.model)
                if serving.champion > 1 and story.bad_version is None and serving.trial is None:
                    story.bad_version = await asyncio.to_thread(start_bad_trial, platform, 7)

    asyncio.run(replay())
    story.finish()
    return story


def test_no_request_fails_though_processes_are_killed_and_models_swapped(story: Any) -> None:
    assert story.tally.failures == []
    assert story.tally.failed == 0
    assert sum(len(week.answers) for week in story.windows_played) == WEEKS * PER_WEEK


def test_drift_starts_a_retraining_from_the_deployed_bundle(story: Any) -> None:
    retrainings = [entry for entry in story.decisions() if entry.action == "retrain"]
    assert any("drift" in entry.evidence["triggers"] for entry in retrainings)
    for entry in retrainings:
        run = story.platform.runs.get(entry.evidence["run_id"])
        assert run.bundle == story.bundle
        assert run.status.final


def test_a_better_candidate_goes_through_a_canary_and_is_promoted(story: Any) -> None:
    actions = [entry.action for entry in story.decisions()]
    promoted = actions.index("promote")
    assert "start_trial" in actions[:promoted]
    champion = story.platform.endpoints.plan("flight-delay").champion
    assert champion > 1
    assert story.platform.models.get("flight-delay", champion).state == "production"


def test_the_bad_candidate_is_rolled_back(story: Any) -> None:
    rolled_back = [entry.evidence["version"] for entry in story.decisions() if entry.action == "roll_back"]
    assert story.bad_version in rolled_back
    assert story.platform.models.get("flight-delay", story.bad_version).state == "archived"


def test_the_served_probabilities_are_those_of_the_versions_that_claim_them(story: Any) -> None:
    """No answer mixes two versions: each is recomputed by the version it names, from the logged inputs."""
    versions = {answer.version for week in story.windows_played for answer in week.answers}
    recomputed = {version: story.platform.models.rescore("flight-delay", version) for version in versions}
    for week in story.windows_played:
        for answer in week.answers:
            assert answer.score == pytest.approx(recomputed[answer.version][answer.request_id], abs=1e-6)


def test_what_was_served_is_what_the_tables_say(story: Any) -> None:
    report = story.platform.features.audit("flight_delay")
    assert report.rows >= WEEKS * PER_WEEK
    assert report.consistent, {name: found for name, found in report.features.items() if found.mismatch}
    ages = story.platform.monitor.report("flight-delay").windows[-1].feature_ages
    assert {"weather", "carrier_recent"} <= ages.keys()
    assert 0 <= ages["weather"].median_s < 4 * 3600, "no older than its time to live"
    weeks = story.platform.monitor.rollup("flight-delay", every=timedelta(weeks=1))
    assert sum(week.answered().rows for week in weeks) >= (WEEKS - 1) * PER_WEEK, "the last week may be open"


def test_lineage_leads_from_the_champion_to_tables_bundle_and_run(story: Any) -> None:
    champion = story.platform.endpoints.plan("flight-delay").champion
    lineage = story.platform.models.lineage("flight-delay", champion)
    assert lineage["bundle"] == story.bundle
    assert {"flights", "weather"} <= lineage["table_versions"].keys()
    assert lineage["run"]["id"]
    card, page = story.platform.models.card("flight-delay", champion)
    assert [blessing["granted"] for blessing in card["blessings"]] == [True] * 3
    assert card["run"] == lineage["run"]["id"]
    assert "<h2>Blessings</h2>" in page


def test_an_answer_is_traced_to_data_code_and_who_promoted_its_version(story: Any) -> None:
    answer = story.windows_played[-1].answers[0]
    found = story.platform.models.explain(answer.request_id)
    assert (found["model"], found["answered_by"]["version"]) == ("flight-delay", answer.version)
    assert found["answered_by"]["bundle"] == found["answered_by"]["code"]["digest"] == story.bundle
    assert found["answered_by"]["run"]["reason"]
    assert found["promotion"]["ledger"]["hash"] in {entry.hash for entry in story.platform.ledger.entries()}
    table, version = next(iter(found["answered_by"]["table_versions"].items()))
    assert answer.version in {each.version for each in story.platform.models.trained_on(table, version)}


def test_nothing_that_serves_is_garbage(story: Any) -> None:
    told = story.platform.collect_garbage(keep=timedelta(0), grace=timedelta(0))
    assert not told.removed
    packages = {version.path for version in story.platform.models.list("flight-delay")}
    assert packages.isdisjoint(each.path for each in told.found)
    assert story.bundle not in {Path(each.path).name for each in told.found}


def test_the_ledger_says_on_whose_word_a_version_is_served(story: Any) -> None:
    """The first version came out of a run; the bad candidate was registered by hand and put on trial by a user."""
    by_user = [entry for entry in story.platform.ledger.entries("flight-delay") if entry.key.startswith("user/")]
    said = {entry.action: entry.evidence for entry in by_user}
    assert [blessing["granted"] for blessing in said["deploy"]["blessings"]] == [True] * 3
    assert not said["deploy"]["registered_by_hand"]
    assert said["start_trial"]["registered_by_hand"]
    assert said["start_trial"]["blessings"] == []


def test_the_ledger_holds(story: Any) -> None:
    assert story.platform.ledger.verify() == len(story.platform.ledger.entries())
    assert story.platform.ledger.verify(), "also by the hash that the first check has kept elsewhere"


def test_the_page_shows_it(story: Any, tmp_path: Path) -> None:
    from raymlops.replay.outcome.report import write_report

    page = write_report(story, tmp_path / "demo.html").read_text()
    assert "never retrained" in page
    assert "roll back" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
