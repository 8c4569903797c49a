"""The pipeline engine: what a step costs beyond its work, and a run of which everything is taken over."""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from raymlops.clock import SystemClock
from raymlops.metadata import MetadataService
from raymlops.pipelines import Pipeline, PipelineRunner, Step

STEPS, ROUNDS, WORK_S = 10, 7, 0.02


def _work(context: object, *, seed: int, before: dict[str, int] | None = None) -> dict[str, Any]:
    del context
    time.sleep(WORK_S)
    return {"out": {"value": seed + (before or {"value": 0})["value"]}}


def measure() -> dict[str, Any]:
    """Milliseconds, medians over rounds: artifacts, cache, logs and records are on disk, each write synced."""
    steps = [
        Step(f"s{n}", _work, {"out": "json"}, {"before": f"s{n - 1}.out"} if n else {}, ("seed",)) for n in range(STEPS)
    ]
    pipeline = Pipeline("bench", steps, f"s{STEPS - 1}.out")
    overheads, cached, resumed = [], [], []
    with tempfile.TemporaryDirectory() as folder, closing(MetadataService(Path(folder) / "m.db")) as metadata:
        for turn in range(ROUNDS + 1):
            # a new runner each time, as each process has; what a process reads once, it has read in the first round
            runner = PipelineRunner(Path(folder) / "artifacts", metadata, SystemClock(), logs=Path(folder) / "runs")
            took_s = _seconds(runner, pipeline, turn, f"fresh-{turn}")
            again_s = _seconds(runner, pipeline, turn, f"cached-{turn}")
            told = time.perf_counter()
            assert all(step.action == "reuse" for step in runner.plan(pipeline, {"seed": turn}, run_id="next"))
            told_s = time.perf_counter() - told
            if turn:
                overheads.append((took_s - STEPS * WORK_S) / STEPS * 1e3)
                cached.append(again_s * 1e3)
                resumed.append(told_s * 1e3)
        assert len(metadata.runs.list_runs()) == 2 * (ROUNDS + 1)
    return {
        "overhead_per_step_ms": round(statistics.median(overheads), 2),
        "overhead_per_step_worst_ms": round(max(overheads), 2),
        "cached_run_of_10_steps_ms": round(statistics.median(cached), 1),
        "cached_run_of_10_steps_worst_ms": round(max(cached), 1),
        "plan_of_10_steps_ms": round(statistics.median(resumed), 1),
    }


def _seconds(runner: PipelineRunner, pipeline: Pipeline, seed: int, run_id: str) -> float:
    started = time.perf_counter()
    done = runner.run(pipeline, {"seed": seed}, run_id=run_id)
    took_s = time.perf_counter() - started
    assert done.result["value"] == seed * STEPS
    return took_s
