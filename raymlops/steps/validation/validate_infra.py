"""Prove that the package can be served: loaded and asked in a process of its own, by the serving code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from raymlops.pipelines.artifacts import content_digest
from raymlops.pipelines.step import Halt
from raymlops.records.learning.blessings import Blessing
from raymlops.records.record import sha256_of
from raymlops.steps.outcome import refused
from raymlops.steps.project.context import TrainingContext
from raymlops.steps.validation.served import read_manifest

__all__ = ["validate_infra"]


def validate_infra(
    context: TrainingContext, *, package: Path, probes: pa.Table, dossier: Mapping[str, Any], infra_timeout_s: float
) -> Mapping[str, Any] | Halt:
    """Refused where the model cannot be loaded, answers in another way than its estimator did, or takes too long.

    Grants the infrastructure blessing, about this very model: its digest is that of the manifest that was loaded.
    """
    work = context.scratch("infra")
    work.mkdir()
    with pa.OSFile(str(work / "probes.arrow"), "wb") as sink, pa.ipc.new_file(sink, probes.schema) as writer:
        writer.write_table(probes)
    problem, findings = _probe(package, work, infra_timeout_s)
    if problem:
        subject = content_digest(package)  # what it says of itself may be what is wrong with it
        reason = f"the packaged model cannot be served: {problem}"
        blessing = Blessing(kind="infrastructure", granted=False, subject=subject, reason=reason)
        return refused(reason, dossier, blessing)
    reason = (
        f"loaded in {findings['load_s']:.2f} s by the serving code, {findings['rows']} rows answered as by the "
        f"estimator, one in {findings['one_row_ms']:.1f} ms"
    )
    blessing = Blessing(kind="infrastructure", granted=True, subject=sha256_of(read_manifest(package)), reason=reason)
    return {"dossier": {**dossier, "infra": findings}, "blessing": blessing}


def _probe(package: Path, work: Path, timeout_s: float) -> tuple[str, dict[str, Any]]:
    """Run the probe: what is wrong, or nothing, and what it found."""
    command = [sys.executable, "-m", "raymlops.steps.validation.infra_probe", str(package), str(work)]
    try:
        done = subprocess.run(  # noqa: S603 - our own module, our own paths
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout_s:g} s", {}
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return lines[-1] if lines else f"the process ended with code {done.returncode}", {}
    findings: dict[str, Any] = orjson.loads((work / "findings.json").read_bytes())
    return findings.pop("problem"), findings
