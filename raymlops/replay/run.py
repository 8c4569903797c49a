"""``raymlops demo``: the closed loop on a year of real flights, start to end."""

from __future__ import annotations

import asyncio
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from flights import sources
from flights.bad_candidate import start_bad_trial
from flights.definitions import DEFINITIONS, SERVICE

from raymlops.clock import ReplayClock
from raymlops.config.loader import load_config
from raymlops.config.platform import PlatformConfig
from raymlops.errors import TrainingError
from raymlops.platform import Platform, connect
from raymlops.records.runs import Run, RunStatus
from raymlops.replay.client import PredictionClient
from raymlops.replay.player import MODEL, START, TRAINED_UNTIL, Replay, between
from raymlops.replay.report import write_report
from raymlops.replay.story import Story
from raymlops.replay.view import View

__all__ = ["FIRST_RUN", "configure", "deploy_project", "feed_history", "run_demo", "train_first"]

FIRST_RUN: dict[str, Any] = {
    "trials": 8,
    "search": {
        "xgboost": {
            "n_estimators": {"int": [120, 240]},
            "learning_rate": {"log_uniform": [0.05, 0.1]},
            "max_depth": {"int": [4, 6]},
            "min_child_weight": {"log_uniform": [30, 100]},
            "colsample_bytree": {"uniform": [0.3, 0.6]},
            "subsample": 0.8,
            "reg_lambda": 10,
            "max_bin": 64,
        },
        "logistic": {"C": {"log_uniform": [0.01, 1.0]}},
    },
}
"""The first search looks wider than a retraining does: two families, eight draws."""

_BAD_CANDIDATE_WEEK = 30


def configure(project: Path, home: Path, port: int) -> PlatformConfig:
    """The demo's configuration, in a home of its own."""
    overrides = {"home": str(home), "serving": {"port": port}}
    return load_config(project / "platform.yaml", environ={}, overrides=overrides)


def deploy_project(platform: Platform, project: Path) -> str:
    """Test and build the project, deploy the bundle; returns its digest."""
    bundle = platform.delivery.build(project)
    platform.delivery.deploy(bundle.digest, reason="first deployment")
    return bundle.digest


def feed_history(platform: Platform) -> None:
    """Apply the definitions, and ingest what was known when the training weeks were over."""
    platform.apply(*DEFINITIONS)
    platform.features.ingest("planes", sources.planes(), ingest_id="planes")
    for view, table in (("weather", sources.weather()), ("flights", sources.landings())):
        rows = between(table, "event_time", START - timedelta(days=1), TRAINED_UNTIL)
        platform.features.push(view, rows, ingest_id=f"{view}-history")


def train_first(platform: Platform, seed: int) -> Run:
    """Train and deploy the first version.

    Raises:
        TrainingError: The run came to no candidate.
    """
    run = platform.runs.start(MODEL, parameters={**FIRST_RUN, "seed": seed}, reason="first model")
    version = run.result.get("version")
    if run.status is not RunStatus.SUCCEEDED or version is None:
        raise TrainingError(f"the first run came to no model: {run.error or run.result.get('reason')}", run=run.id)
    platform.endpoints.deploy(MODEL, version, features=SERVICE.name)
    return run


def run_demo(project: Path, *, weeks: int, per_week: int | None, seed: int, port: int) -> int:
    """Run the demo in ``RAYMLOPS_HOME/demo``, which it empties first.

    Returns:
        0 where the loop ran to its end and no request failed, else 1.
    """
    home = load_config().home / "demo"
    _clear(home)
    config = configure(project, home, port)
    clock = ReplayClock(home / "clock", TRAINED_UNTIL)
    view = View(weeks)
    started = time.monotonic()
    with view.stage("starting the platform"):
        platform = connect(config=config)
    try:
        with view.stage("testing and building the project's bundle"):
            bundle = deploy_project(platform, project)
        with view.stage("ingesting eight weeks of flights and weather"):
            feed_history(platform)
        with view.stage("searching eight trials of two families, first model"):
            run = train_first(platform, seed)
        story = Story(platform, run, bundle)
        loop_started = time.monotonic()
        asyncio.run(_replay(platform, clock, view, story, weeks=weeks, per_week=per_week, seed=seed))
        story.loop_seconds = time.monotonic() - loop_started
        with view.stage("scoring the model never retrained on the same flights"):
            story.finish()
        story.total_seconds = time.monotonic() - started
        page = write_report(story, home / "reports" / "demo.html")
        view.summary(story, page)
    finally:
        with view.stage("stopping what was started"):
            platform.close()
    return 0 if story.tally.failed == 0 else 1


async def _replay(
    platform: Platform,
    clock: ReplayClock,
    view: View,
    story: Story,
    *,
    weeks: int,
    per_week: int | None,
    seed: int,
) -> None:
    async with PredictionClient(platform.url, MODEL) as client:
        replay = Replay(platform, clock, client, per_week=per_week, seed=seed)
        story.tally, story.late_of, story.takeovers_s = client.tally, replay.late_of, replay.takeovers_s
        with view.live(story):
            async for week in replay.weeks(weeks):
                story.add(week)
                view.update(story)
                if week.number == _BAD_CANDIDATE_WEEK:
                    story.bad_version = await asyncio.to_thread(start_bad_trial, platform, seed)


def _clear(home: Path) -> None:
    """Stop what an earlier demo left running, and remove what it left behind."""
    if home.exists():
        from raymlops.runtime.cluster.local_cluster import stop_local

        stop_local(home)
        shutil.rmtree(home)
    home.mkdir(parents=True)
