"""The order of a step, and a replay that goes on after a kill, over HTTP; the platform notes what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
from aiohttp import web

from raymlops.clock import ReplayClock
from raymlops.platform import Platform
from raymlops.replay.client import Answer, PredictionClient, Tally
from raymlops.replay.journal import Journal
from raymlops.replay.plan import ReplayPlan, Sample
from raymlops.replay.player import Pace, Replay, WindowResult
from raymlops.replay.tables import ReplayTables, ViewRows

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
PLAN = ReplayPlan(START, 2 * HOUR, first=1, count=2, steps=(HOUR, HOUR), sample=Sample())
"""Trains until 02:00, replays 02:00 to 06:00 in four steps of an hour."""


def at(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


ROWS = [at(10 * number) for number in range(40)]
TABLES = ReplayTables(
    requests=pa.table({"request_id": [f"r{n}" for n in range(40)], "at": ROWS, "size": list(range(40))}),
    labels=pa.table(
        {
            "request_id": [f"r{n}" for n in range(40)],
            "known_at": [each + timedelta(minutes=25) for each in ROWS],
            "label": [float(n % 2) for n in range(40)],
        }
    ),
    views={"facts": ViewRows(pa.table({"key": list(range(40)), "event_time": ROWS}), "event_time")},
)


class Recording:
    """Notes what a replay does, in order, with the clock's instant; answers requests like an endpoint."""

    def __init__(self, clock: ReplayClock) -> None:
        self._clock = clock
        self.done: list[tuple[str, Any, datetime]] = []
        self.features = SimpleNamespace(push=self._push)
        self.endpoints = SimpleNamespace(flush=lambda model: self._note("flush", model))
        self.runs = SimpleNamespace(list=lambda pipeline: [])
        self.control = SimpleNamespace(step=self._step)

    def _note(self, what: str, told: Any) -> None:
        self.done.append((what, told, self._clock.now()))

    def _push(self, view: str, rows: pa.Table, *, ingest_id: str, on_invalid: str) -> None:
        assert on_invalid == "quarantine"
        self._note("push", (view, rows["key"].to_pylist(), ingest_id))

    def _step(self) -> list[Any]:
        self._note("step", None)
        return []

    async def predict(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert datetime.fromisoformat(body["parameters"]["at"]) <= self._clock.now()
        self._note("ask", body["id"])
        share = body["instances"][0]["size"] / 40
        said = {"outputs": [{"name": "probability", "data": [[1 - share, share]]}], "model_version": "3"}
        return web.json_response({**said, "parameters": {"role": "champion"}})

    async def labels(self, request: web.Request) -> web.Response:
        labels = (await request.json())["labels"]
        assert all(datetime.fromisoformat(each["event_time"]) <= self._clock.now() for each in labels)
        self._note("labels", [(each["request_id"], each["label"]) for each in labels])
        return web.json_response({})

    def asked(self) -> list[str]:
        return [told for what, told, _ in self.done if what == "ask"]


def play(home: Path, *, stop: Callable[[], None] = lambda: None) -> tuple[Recording, list[WindowResult], Tally]:
    """Replay in a home, from where its journal says, as ``run_replay`` does."""
    clock = ReplayClock.opened(home / "clock", PLAN.trained_until)
    platform = Recording(clock)
    windows: list[WindowResult] = []

    async def run() -> Tally:
        app = web.Application()
        app.router.add_post("/v2/models/m/predict", platform.predict)
        app.router.add_post("/v2/models/m/labels", platform.labels)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        progress = Journal.read(home / "replay.jsonl")
        journal = Journal(home / "replay.jsonl")

        def hear(what: Answer | str | None) -> None:
            journal.hear(what)
            stop()

        try:
            async with PredictionClient(f"http://127.0.0.1:{port}", "m", heard=hear, connections=1) as client:
                client.tally = progress.tally
                played = Replay(
                    cast("Platform", platform),
                    clock,
                    client,
                    TABLES,
                    PLAN,
                    names=("m", "p"),
                    seed=7,
                    pace=Pace(journal, progress),
                )
                async for window in played.windows():
                    windows.append(window)
                labels.update(played.label_of)
                return client.tally
        finally:
            journal.close()
            await runner.cleanup()

    labels: dict[str, float] = {}
    tally = asyncio.run(run())
    assert labels == {f"r{n}": float(n % 2) for n in range(12, 34)}, "asked, and known by the end"
    return platform, windows, tally


def test_a_step_pushes_asks_reports_and_then_turns_the_loop(tmp_path: Path) -> None:
    platform, _, tally = play(tmp_path)
    first = platform.done[: [what for what, _, _ in platform.done].index("step") + 1]
    whats = [what for what, _, _ in first]
    assert whats[0] == "push"
    assert first[0][1] == ("facts", list(range(12, 18)), f"facts-{at(180).isoformat()}")
    assert whats.index("labels") > whats.index("push")
    assert {instant for what, _, instant in first if what == "push"} == {at(180) - timedelta(microseconds=1)}
    assert first[-1] == ("step", None, at(180)), "the loop turns at the end of the step"
    assert tally.failed == 0


def test_every_row_of_the_replay_is_asked_once_and_its_label_reported_once(tmp_path: Path) -> None:
    platform, windows, tally = play(tmp_path)
    assert sorted(platform.asked(), key=lambda one: int(one[1:])) == [f"r{n}" for n in range(12, 36)]
    reported = [label for what, told, _ in platform.done if what == "labels" for label in told]
    assert sorted(reported) == sorted((f"r{n}", float(n % 2)) for n in range(12, 34))
    assert [len(window.answers) for window in windows] == [12, 12]
    assert windows[0].answers[0].prediction == pytest.approx((0.7, 0.3))
    assert tally.requests == 24 + 4
    pushed = [key for what, told, _ in platform.done if what == "push" for key in told[1]]
    assert pushed == list(range(12, 36))


class Killed(BaseException):
    """Ends the replay where it is, as a kill does."""


@pytest.mark.parametrize("heard", [1, 7, 8, 15, 27])
def test_a_replay_that_was_killed_goes_on_and_asks_nothing_again(tmp_path: Path, heard: int) -> None:
    whole, windows, _ = play(tmp_path / "whole")
    left = iter(range(heard))

    def stop() -> None:
        if next(left, None) == heard - 1:
            raise Killed

    with pytest.raises(Killed):
        play(tmp_path / "killed", stop=stop)
    before = Journal.read(tmp_path / "killed" / "replay.jsonl")
    assert before.tally.requests == heard
    platform, again, tally = play(tmp_path / "killed")
    assert before.answers.keys().isdisjoint(platform.asked())
    assert before.answers.keys() | set(platform.asked()) == set(whole.asked())
    assert [window.restored for window in again] == [before.steps >= 2, before.steps >= 4]
    for one, other in zip(windows, again, strict=True):
        assert sorted(one.answers, key=lambda a: a.request_id) == sorted(other.answers, key=lambda a: a.request_id)
    assert tally.failed == 0


def test_a_replay_that_is_over_does_nothing_again(tmp_path: Path) -> None:
    _, windows, tally = play(tmp_path)
    platform, again, second = play(tmp_path)
    assert platform.done == []
    assert [len(window.answers) for window in again] == [len(window.answers) for window in windows]
    assert second == tally
