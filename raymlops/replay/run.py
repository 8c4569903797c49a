"""``raymlops replay``: a project's table as live operation, start to end, on a platform of its own."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from raymlops import runtime
from raymlops.clock import ReplayClock
from raymlops.config.platform import PlatformConfig
from raymlops.delivery.project import PROJECT_FILE, collect_files
from raymlops.errors import ConfigError, StorageError, TrainingError, UnavailableError
from raymlops.platform import Platform, connect
from raymlops.records.bundles import ProjectSpec
from raymlops.records.record import sha256_of
from raymlops.records.runs import Run, RunStatus
from raymlops.replay.client import PredictionClient
from raymlops.replay.journal import JOURNAL, Journal, Progress
from raymlops.replay.outcome.story import Story
from raymlops.replay.plan import ReplayPlan, Wishes
from raymlops.replay.player import Pace, Replay, push_rows
from raymlops.replay.settings import Planned, free_port, plan_replay, platform_config, read_policy
from raymlops.replay.source import Project, known_classes_only, load_project
from raymlops.replay.trial_lines import TrialLines
from raymlops.replay.view import View
from raymlops.runtime.supervision.stopping import take_down_local

__all__ = [
    "Interventions",
    "ReplayOptions",
    "alone",
    "deploy_project",
    "feed_history",
    "first_parameters",
    "run_replay",
    "train_first",
]

HOME = ".raymlops"
"""Home of a project's replay, below the project's directory."""
_LOCK = "replay.lock"
_LOOK_S = 0.2
_FIRST_CONFIDENCE = 0.55
"""That the first model beats a constant, which a small training part cannot show with more."""

Interventions = Mapping[int, Callable[[Platform, int], int | None]]
"""Window -> what is done by hand after it, with the platform and the seed; gives the bad version it made, if any."""


@dataclass(frozen=True)
class ReplayOptions:
    """How a project is replayed.

    Attributes:
        home: Of the replay's platform; ``None``: ``.raymlops`` in the project's directory.
        port: For HTTP; ``None``: a free one.
        wishes: The user's wishes; the rest is derived.
        policy: File with sections of ``control`` that replace the project's.
        speed: Of the table's time in a second, at most; ``None``: as fast as it goes.
        seed: Draws the sample and the trials.
        resume: Go on where a replay was killed, with the plan it was begun with.
        own_home: Whether whatever is in the home may be removed, be it a replay's or not.
        after: Actions by hand.
        settings: Settings of the replay's platform that replace those of the project's ``platform.yaml``.
        beside: Called with the platform as soon as it is up; what it gives is entered for as long as the replay runs.
    """

    home: Path | None = None
    port: int | None = None
    wishes: Wishes = field(default_factory=Wishes)
    policy: Path | None = None
    speed: timedelta | None = None
    seed: int = 7
    resume: bool = False
    own_home: bool = False
    after: Interventions = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    beside: Callable[[Platform], AbstractContextManager[object]] = nullcontext


def run_replay(directory: Path, options: ReplayOptions, *, finish: Callable[[Story, Path], None]) -> Story:
    """Replay a project's data on a platform of its own, and stop that platform at the end, however it ends.

    Args:
        directory: The project's.
        options: How.
        finish: Called with the story and the home once all figures are computed, while the platform is still up.

    Raises:
        ConfigError: The project or an option is wrong, a port is taken, or there is nothing to resume.
        NotEnoughRows: The table is too small.
        TrainingError: The first run ended without a model.
    """
    began = time.monotonic()
    view = View()
    with view.stage("reading the project and its data"):
        project = load_project(directory)
        planned = plan_replay(project, options.wishes)
        project = known_classes_only(project, planned.plan.trained_until)
        policy = None if options.policy is None else read_policy(options.policy)
    home = (options.home or directory / HOME).expanduser().absolute()
    if not options.own_home:
        _check_home(home)
    os.environ.pop("RAY_ADDRESS", None)  # a replay never runs on a foreign cluster
    with alone(home):
        marks = _marks(project, planned, policy, options.seed)
        progress = _resumed(home, marks) if options.resume else Progress()
        if not options.resume:
            _clear(home)
        config = platform_config(planned, home, options.port or free_port(), policy, options.settings)
        view.tell_plan(planned.plan, project)
        with view.stage("starting the platform"):
            platform, key = _start(config, planned.plan)
        try:
            run = _Run(platform, project, planned.plan, options, view, Journal(home / JOURNAL), progress, key)
            with options.beside(platform):
                story = run.begin(marks, without_policy=policy is not None)
                run.play(story)
            with view.stage("scoring the first model and a calendar on the same rows"):
                story.finish()
            story.total_seconds = time.monotonic() - began
            view.summary(story)
            finish(story, home)
        finally:
            with view.stage("stopping what was started"):
                platform.close()
    return story


def deploy_project(platform: Platform, directory: Path) -> str:
    """Test and build the project, deploy the bundle; returns its digest."""
    bundle = platform.delivery.build(directory, allow_dirty=True, offline=True)  # a project that is being tried
    platform.delivery.deploy(bundle.digest, reason="first deployment")
    return bundle.digest


def feed_history(platform: Platform, project: Project, plan: ReplayPlan) -> None:
    """Apply the definitions, and push what was known when the training part was over."""
    platform.apply(*project.definitions)
    for view, rows in project.tables.views.items():
        known = rows.between(None, plan.trained_until)
        push_rows(platform, view, known, f"{view}-history")


def first_parameters(spec: ProjectSpec, plan: ReplayPlan, seed: int) -> dict[str, Any]:
    """Parameters of the first training run: the project's, and defaults for a training part that may be small."""
    defaults = {"monitor_window_days": plan.window / timedelta(days=1), "confidence": _FIRST_CONFIDENCE}
    own = {name: value for name, value in defaults.items() if name not in spec.training}
    return {**own, **spec.replay.first_run, "seed": seed}


def train_first(
    platform: Platform, project: Project, plan: ReplayPlan, seed: int, tell: Callable[[str], None] = lambda _: None
) -> Run:
    """Train and deploy the first version.

    Args:
        platform: To train and deploy on.
        project: Trained.
        plan: Of the replay.
        seed: Draws the trials.
        tell: Called with a line about each trial of the search, as it ends.

    Raises:
        TrainingError: The run ended without a candidate.
    """
    spec = project.spec
    parameters = first_parameters(spec, plan, seed)
    run = platform.runs.start(spec.name, parameters=parameters, reason="first model", wait=False)
    trials = TrialLines(partial(platform.runs.logs, run.id, "tune"), tell)
    run = platform.runs.wait(run.id, on_look=lambda _: trials.look())
    version = run.result.get("version")
    if run.status is not RunStatus.SUCCEEDED or version is None:
        raise TrainingError(f"the first run came to no model: {run.error or run.result.get('reason')}", run=run.id)
    platform.endpoints.deploy(spec.model, version, features=spec.service)
    return run


@dataclass(frozen=True)
class _Run:
    """A replay under way on a platform that is up."""

    platform: Platform
    project: Project
    plan: ReplayPlan
    options: ReplayOptions
    view: View
    journal: Journal
    progress: Progress
    key: str | None = None

    def begin(self, marks: Mapping[str, Any], *, without_policy: bool) -> Story:
        """Deploy, feed and train; or take up the story of a replay that did so before it was killed."""
        begun = self.progress.begun
        if begun is not None:
            with self.view.stage(f"bringing back {self.project.spec.model}"):
                _await_endpoint(self.platform, self.project.spec.model)
            self.view.tell(f"going on after {self.progress.steps} steps and {self.progress.tally.requests} requests")
            story = self._story(self.platform.runs.get(begun["run"]), begun["bundle"])
            story.look()
            return story
        platform, project, plan, view = self.platform, self.project, self.plan, self.view
        history = f"{plan.first} {plan.unit}s of {project.spec.replay.things}"
        # the build is one process and ingesting another one
        with view.stage(f"building the project's bundle, and ingesting {history}"), ThreadPoolExecutor(1) as aside:
            fed = aside.submit(feed_history, platform, project, plan)
            directory = _without_policy(project, platform) if without_policy else project.directory
            bundle = deploy_project(platform, directory)
            fed.result()
        with view.stage("searching and training the first model"):
            run = train_first(platform, project, plan, self.options.seed, view.tell_trial)
        self.journal.begin({"run": run.id, "bundle": bundle, "marks": dict(marks)})
        return self._story(run, bundle)

    def play(self, story: Story) -> None:
        """Replay window after window."""
        began = time.monotonic()
        asyncio.run(self._play(story))
        story.loop_seconds = self.progress.seconds + time.monotonic() - began
        for view in self.project.tables.views:
            refused = len(self.platform.features.quarantine(view))
            if refused:
                story.notes.append(f"{refused:,} rows of view {view!r} broke a rule of it and were quarantined")

    async def _play(self, story: Story) -> None:
        spec, options = self.project.spec, self.options
        clock = runtime.ClusterClock(self.platform.config)
        called: dict[str, Any] = {"heard": self.journal.hear, "key": self.key}
        async with PredictionClient(self.platform.url, spec.model, **called) as client:
            client.tally = self.progress.tally
            replay = Replay(
                self.platform,
                clock,
                client,
                self.project.tables,
                self.plan,
                names=(spec.model, spec.name),
                seed=options.seed,
                pace=Pace(self.journal, self.progress, options.speed),
            )
            story.tally, story.label_of, story.takeovers_s = client.tally, replay.label_of, replay.takeovers_s
            with self.view.live(story):
                async for window in replay.windows():
                    story.add(window)
                    self.view.update(story)
                    if window.number in options.after and not window.restored:
                        by_hand = options.after[window.number]
                        made = await asyncio.to_thread(by_hand, self.platform, options.seed)
                        story.bad_version = made or story.bad_version

    def _story(self, run: Run, bundle: str) -> Story:
        notes = list(self.project.tables.notes)
        return Story(self.platform, self.project.spec, self.plan, run, bundle, notes=notes)


def _start(config: PlatformConfig, plan: ReplayPlan) -> tuple[Platform, str | None]:
    """The platform of the replay, and a key where callers need one; what a killed replay left is stopped first."""
    take_down_local(config.home)
    ReplayClock.opened(config.home / "clock", plan.trained_until)
    key = None
    if config.serving.keys_required:
        _, key = runtime.create_key(config, "replay", ["infer", "label"], "the replay calls as a client")
    return connect(config=config), key


def _await_endpoint(platform: Platform, model: str) -> None:
    """Wait until a model answers that was planned before the platform was stopped.

    Raises:
        UnavailableError: It does not within ``serving.deploy_timeout``.
    """
    timeout_s = platform.config.serving.deploy_timeout.total_seconds()
    deadline = time.monotonic() + timeout_s
    while not any(status.model == model and status.answers for status in platform.endpoints.status()):
        if time.monotonic() > deadline:
            raise UnavailableError(f"model {model!r} does not answer after {timeout_s:g} s: see `raymlops status`")
        time.sleep(_LOOK_S)


def _marks(project: Project, planned: Planned, policy: Mapping[str, Any] | None, seed: int) -> dict[str, Any]:
    """Options that a resumed replay must share with its beginning."""
    plan, tables = planned.plan, project.tables
    data = f"{tables.requests.num_rows} requests, {tables.labels.num_rows} labels"
    return {
        "project": sha256_of(project.spec),
        "data": data,
        "windows": f"{plan.first}+{plan.count} from {plan.origin.isoformat()}",
        "sample": f"{plan.sample.rows}, {plan.sample.share}",
        "policy": sha256_of(dict(policy or {})),
        "seed": seed,
    }


def _resumed(home: Path, marks: Mapping[str, Any]) -> Progress:
    """The progress before the kill.

    Raises:
        ConfigError: Nothing was, or with another project, other data or other options.
    """
    progress = Journal.read(home / JOURNAL)
    if progress.begun is None:
        raise ConfigError(f"{home} holds no replay to resume: none was begun, or it was killed before its first model")
    others = sorted(name for name, value in progress.begun["marks"].items() if marks.get(name) != value)
    if others:
        raise ConfigError(
            f"the replay in {home} was begun with other {', '.join(others)}: give the same, or start anew"
        )
    return progress


def _without_policy(project: Project, platform: Platform) -> Path:
    """A copy of the project that says nothing of a policy: another one was asked for."""
    copy = platform.config.home / "project"
    shutil.rmtree(copy, ignore_errors=True)
    for name, file in collect_files(project.directory).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(file.content)
    document = yaml.safe_load((copy / PROJECT_FILE).read_bytes())
    document.pop("policy", None)
    (copy / PROJECT_FILE).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return copy


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """See to it that one replay at a time runs in a home.

    Raises:
        ConfigError: Another one runs.
        StorageError: The directory cannot be written to.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = (home / _LOCK).open("w")
    except OSError as error:
        raise StorageError(f"{home} cannot be written to: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another replay runs in {home}: wait for it, or give another --home") from None
        yield


def _check_home(home: Path) -> None:
    """Refuse a home that holds something else than a replay.

    Raises:
        ConfigError: It does.
    """
    if home.exists() and not (home / JOURNAL).exists() and any(each.name != _LOCK for each in home.iterdir()):
        raise ConfigError(f"{home} holds something else than a replay: give another --home")


def _clear(home: Path) -> None:
    """Stop what an earlier replay left running, and remove what it left behind."""
    take_down_local(home)
    for each in home.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each.name != _LOCK:
            each.unlink()
    (home / JOURNAL).touch()
    (home / ".gitignore").write_text("*\n")  # the files of a replay are no part of the project's repository
