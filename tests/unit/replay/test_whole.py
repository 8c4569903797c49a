"""From a stranger's table to the figures of a replay, with all real parts but the cluster: features, training, HTTP."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from aiohttp import web
from pyarrow import csv

from raymlops.clock import ReplayClock, to_us
from raymlops.experiments import InProcessTuner
from raymlops.features import FeatureReader, FeatureStore
from raymlops.metadata import MetadataService
from raymlops.monitoring.performance.labels import name_labels
from raymlops.platform import Platform
from raymlops.projects.inference import Asked
from raymlops.projects.making import make_project
from raymlops.records.ledger import LedgerEntry
from raymlops.records.runs import Run
from raymlops.replay.client import PredictionClient
from raymlops.replay.outcome.page import render
from raymlops.replay.outcome.story import Story
from raymlops.replay.plan import Sample, Wishes
from raymlops.replay.player import Replay
from raymlops.replay.run import feed_history, first_parameters
from raymlops.replay.settings import plan_replay, platform_config
from raymlops.replay.source import load_project
from raymlops.serving.models.model_files import load_model
from raymlops.serving.protocol.instances import InstanceSchema
from raymlops.serving.protocol.schema import InputSchema
from raymlops.steps import TrainingContext, train_project

ROWS, DAYS, TURN = 3000, 365, 0.45
LABELS = {"classifier": "won", "regressor": "price", "several": "grade"}
SEARCH = {"xgboost": {"n_estimators": 50, "max_depth": 2, "learning_rate": 0.1, "min_child_weight": 10}}


def _table(kind: str) -> pa.Table:
    """Rows whose label turns on an input at a part of the time."""
    rng = np.random.default_rng(3)
    day = np.sort(rng.uniform(0, DAYS, ROWS))
    a, b = rng.normal(size=(2, ROWS))
    pull = np.where(day > TURN * DAYS, -2.0, 2.0) * a + b
    start = datetime(2025, 1, 1, tzinfo=UTC)
    columns: dict[str, Any] = {
        "at": [(start + timedelta(days=each)).isoformat() for each in day.tolist()],
        "user_id": [f"u{number}" for number in rng.integers(0, 30, ROWS)],
        "a": a,
        "b": b,
        "colour": rng.choice(["x", "y", "z"], ROWS),
    }
    if kind == "classifier":
        columns["won"] = np.where(rng.random(ROWS) < 1 / (1 + np.exp(-pull)), "yes", "no")
    elif kind == "regressor":
        columns["price"] = 100 + 20 * pull + rng.normal(size=ROWS)
    else:
        scores = np.stack([pull, -pull, 0.5 * b], axis=1) + rng.gumbel(size=(ROWS, 3))
        columns["grade"] = np.array(["low", "mid", "high"])[scores.argmax(axis=1)]
    return pa.table(columns)


class _Served:
    """A platform in this process: the first version answers over HTTP, and what it was asked is logged."""

    def __init__(self, home: Path, kind: str) -> None:
        project = home / f"played_{kind}"
        csv.write_csv(_table(kind), home / "rows.csv")
        asked = Asked(LABELS[kind], "at", ("user_id",), label_delay="1d")
        make_project(str(home / "rows.csv"), project, asked)
        self.project = load_project(project)
        planned = plan_replay(self.project, Wishes(sample=Sample(rows=50)))
        self.plan, self._log = planned.plan, list[dict[str, Any]]()
        self.config = platform_config(planned, home / "home", 23399, None)
        self.clock = ReplayClock(home / "clock", self.plan.trained_until)
        self.closing = ExitStack()
        store = FeatureStore(home / "features", clock=self.clock, history=self.config.features.history)
        reader = FeatureReader(home / "features", clock=self.clock)
        metadata = MetadataService(home / "metadata.db", clock=self.clock)
        for opened in (store, reader, metadata):
            self.closing.enter_context(closing(opened))
        self.features = SimpleNamespace(
            push=store.push, table=reader.table, training_set=reader.training_set, quarantine=reader.quarantine
        )
        self.apply = store.apply
        feed_history(cast("Platform", self), self.project, self.plan)
        spec = self.project.spec
        context = TrainingContext(
            home=home,
            reader=reader,
            metadata=metadata,
            tuner=InProcessTuner(),
            clock=self.clock,
            project=spec,
            run_id="run-1",
            work=home / "work",
        )
        parameters = {**first_parameters(spec, self.plan, seed=7), "search": SEARCH, "trials": 1}
        self.run = train_project(context, parameters, reason="first model")
        assert self.run["outcome"] == "candidate", self.run["reason"]
        version = metadata.models.get_version(spec.model, 1)
        self._model = load_model(Path(version.path), version.manifest, version.digest)
        self._inputs = [column.name for column in self._model.signature.inputs]
        self._schema = InstanceSchema(InputSchema(self._model.signature), reader.plan(spec.service))
        self.models = SimpleNamespace(list=lambda _: [version], asked=lambda _: self._asked(), predictions=self._again)
        self.monitor = SimpleNamespace(report=lambda _: SimpleNamespace(windows=[]))
        self.ledger = SimpleNamespace(entries=lambda _: self._entries())
        self.endpoints = SimpleNamespace(flush=lambda _: None)
        self.runs = SimpleNamespace(list=lambda _: [])
        self.control = SimpleNamespace(step=list, comparison=lambda _: None)

    def _entries(self) -> list[LedgerEntry]:
        """The loop decided twice to retrain."""
        common = {"subject": "m", "action": "retrain", "reason": "drift", "previous_hash": "0", "hash": "1"}
        return [LedgerEntry(sequence=n, at=self.plan.start(3 * n), key=f"control/{n}", **common) for n in (1, 2)]

    def _asked(self) -> pa.Table:
        table = pa.Table.from_pylist(self._log)
        place = table.column_names.index("event_time")
        return table.set_column(place, "event_time", table["event_time"].cast(pa.timestamp("us", tz="UTC")))

    def _again(self, _: str, version: int) -> dict[str, tuple[float, ...]]:
        assert version == 1
        asked = self._asked()
        outputs = self._model.predict({name: _values(asked[name]) for name in self._inputs})
        found = outputs["value"][:, None] if "value" in outputs else outputs["probability"]
        return dict(zip(asked["request_id"].to_pylist(), map(tuple, found.astype(float).tolist()), strict=True))

    async def predict(self, request: web.Request) -> web.Response:
        asked = self._schema.decode(await request.read(), to_us(self.clock.now()))
        columns = {name: np.asarray(asked.columns[name]) for name in self._inputs}
        self._log.append(
            {"request_id": asked.request_id, "event_time": asked.at_us[0]}
            | {name: columns[name][0] for name in self._inputs}
        )
        outputs = [{"name": name, "data": found.tolist()} for name, found in self._model.predict(columns).items()]
        return web.json_response({"outputs": outputs, "model_version": "1", "parameters": {"role": "champion"}})

    async def labels(self, request: web.Request) -> web.Response:
        name_labels(pa.Table.from_pylist((await request.json())["labels"]), self._model.signature)
        return web.json_response({})


def _values(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=object if pa.types.is_string(column.type) else np.float64)


@pytest.fixture(
    params=[pytest.param(each, marks=[] if each == "classifier" else [pytest.mark.slow]) for each in sorted(LABELS)]
)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[_Served]:
    before = list(sys.path)
    platform = _Served(tmp_path, request.param)
    with platform.closing:
        yield platform
    sys.path[:] = before


def test_requests_are_understood_and_losses_are_over_the_same_rows(served: _Served) -> None:
    spec, plan = served.project.spec, served.plan
    run = cast("Run", SimpleNamespace(result={"version": 1}))
    story = Story(cast("Platform", served), spec, plan, run, "bundle")

    async def play() -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post(f"/v2/models/{spec.model}/predict", served.predict)
        app.router.add_post(f"/v2/models/{spec.model}/labels", served.labels)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with PredictionClient(f"http://127.0.0.1:{runner.addresses[0][1]}", spec.model) as client:
            names = (spec.model, spec.name)
            replay = Replay(
                cast("Platform", served), served.clock, client, served.project.tables, plan, names=names, seed=7
            )
            story.tally, story.label_of = client.tally, replay.label_of
            async for window in replay.windows():
                story.add(window)
        await runner.cleanup()

    asyncio.run(play())
    story.finish()
    assert story.tally.failures == []
    figures = story.to_dict()
    assert figures["rows"] == len(story.label_of) > 0.9 * 50 * plan.count
    assert figures["loss"]["loop"] == pytest.approx(figures["loss"]["never"], rel=1e-5), (
        "the first version answered all"
    )
    assert figures["loss"]["calendar"] < 0.95 * figures["loss"]["never"], "it learned what has turned"
    assert len(story.calendar_at) == 2
    first = story.figures[0]
    assert first.calendar == first.never, "until the first interval ends, the first version serves"
    assert "Better than a calendar?" in render(story)
