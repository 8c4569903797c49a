"""Prove that the packaged model can be served: loaded and asked in a process of its own, by the serving code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from raymlops.pipelines import Halt
from raymlops.records.models import ModelManifest
from raymlops.steps.context import TrainingContext
from raymlops.steps.outcome import refused

__all__ = ["validate_infra"]


def validate_infra(
    context: TrainingContext,
    *,
    model: Path,
    manifest: Mapping[str, Any],
    probes: pa.Table,
    expected: list[Any],
    evaluation: Mapping[str, Any],
    comparison: Mapping[str, Any],
    infra_timeout_s: float,
) -> Mapping[str, Any] | Halt:
    """Refused where the model cannot be loaded, answers in another way than its estimator did, or takes too long."""
    work = context.scratch("infra")
    work.mkdir()
    with pa.OSFile(str(work / "probes.arrow"), "wb") as sink, pa.ipc.new_file(sink, probes.schema) as writer:
        writer.write_table(probes)
    request = {"model": str(model), "manifest": ModelManifest.model_validate(manifest).model_dump(mode="json")}
    (work / "request.json").write_bytes(orjson.dumps({**request, "expected": expected}))
    problem, findings = _probe(work, infra_timeout_s)
    if problem:
        return refused(
            f"the packaged model cannot be served: {problem}",
            metrics=evaluation["holdout"]["metrics"],
            champion_metrics=comparison["champion_metrics"],
            comparison=comparison["comparison"],
        )
    return {"infra": findings}


def _probe(work: Path, timeout_s: float) -> tuple[str, dict[str, Any]]:
    """Run the probe; what is wrong, or nothing, and what it found."""
    command = [sys.executable, "-m", "raymlops.steps.infra_probe", str(work)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)  # noqa: S603 - our own module
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout_s:g} s", {}
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return lines[-1] if lines else f"the process ended with code {done.returncode}", {}
    findings: dict[str, Any] = orjson.loads((work / "findings.json").read_bytes())
    return findings.pop("problem"), findings
