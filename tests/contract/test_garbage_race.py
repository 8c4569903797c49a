"""Garbage is collected while runs take over what it would remove: each comes to its result."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from raymlops.clock import ManualClock
from raymlops.metadata import MetadataService, garbage
from raymlops.metadata.garbage import collect_garbage
from raymlops.pipelines import Pipeline, PipelineRunner, Step
from raymlops.testing.metadata_examples import EPOCH

ROUNDS = 40
LONG_AGO = time.time() - 90 * 86_400


def _first(context: object) -> dict[str, Any]:
    return {"out": {"value": 1}}


def _next(context: object, *, before: dict[str, int]) -> dict[str, Any]:
    return {"out": {"value": before["value"] + 1}}


PIPELINE = Pipeline(
    "p",
    [
        Step("a", _first, {"out": "json"}),
        Step("b", _next, {"out": "json"}, {"before": "a.out"}),
        Step("c", _next, {"out": "json"}, {"before": "b.out"}),
    ],
    "c.out",
)


def test_runs_that_start_meanwhile_come_to_their_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # files of the test were all put there lately; only when they were written can be set back
    modified = lambda path, oldest: garbage._newest(path, lambda stat: stat.st_mtime) < oldest  # noqa: E731
    monkeypatch.setattr(garbage, "_is_old", modified)
    removed, errors = [0], []
    with closing(MetadataService(tmp_path / "metadata.db", clock=ManualClock(EPOCH))) as metadata:
        runner = PipelineRunner(tmp_path / "artifacts", metadata, ManualClock(EPOCH))

        def collect() -> None:
            now = EPOCH + timedelta(days=9)
            try:
                report = collect_garbage(tmp_path, metadata, now, keep=timedelta(days=1), remove=True)
                removed[0] += len(report.found)
            except Exception as error:
                errors.append(error)

        for number in range(ROUNDS):
            for path in (tmp_path / "artifacts").rglob("*"):
                os.utime(path, (LONG_AGO, LONG_AGO))
            collector = threading.Thread(target=collect)
            collector.start()
            assert runner.run(PIPELINE, {}, run_id=f"r{number}").result == {"value": 3}
            collector.join(60)
        run = metadata.runs.get_run(f"r{ROUNDS - 1}")
        kept = [digest for step in run.steps for digest in step.outputs.values()]
        assert all((tmp_path / "artifacts" / digest[:2] / digest).exists() for digest in kept)
    assert errors == []
    assert removed[0] > 0
