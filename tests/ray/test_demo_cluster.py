"""The demo's loop on three nodes that share no disk, two of which are killed, beside the loop on one node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("shared_servers")]

_ROOT = Path(__file__).parents[2]
_MARKER = "RAYMLOPS_TEST_DEMO_CLUSTER"
_DEADLINE_S = 3600.0
"""Of both runs, on a machine that others keep busy; an idle one takes some minutes."""


def _marked(marker: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARKER) == marker:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_decisions_and_losses_are_those_of_one_node(flights_project: Path, tmp_path: Path) -> None:
    marker = uuid.uuid4().hex
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYMLOPS_"))}
    figures = tmp_path / "figures.json"
    options = ["--weeks", "4", "--per-week", "300", "--json", str(figures)]
    command = [sys.executable, "-m", "benchmarks.demo_cluster", *options]
    with (tmp_path / "log").open("wb") as log:
        demo = subprocess.Popen(command, cwd=_ROOT, env={**kept, _MARKER: marker}, stdout=log, stderr=subprocess.STDOUT)
        try:
            code = demo.wait(_DEADLINE_S)
        finally:
            demo.terminate()
            demo.wait(60)
            _, stayed = psutil.wait_procs(_marked(marker), timeout=30)
            for process in stayed:
                process.kill()
    told = (tmp_path / "log").read_text(errors="replace")[-8000:]
    assert code == 0, told
    assert stayed == [], "the demo ends everything that it started"
    one, several = (json.loads(figures.read_text())[name] for name in ("one", "several"))
    assert several["failed"] == 0, told
    assert [each["action"] for each in several["decisions"]] == [each["action"] for each in one["decisions"]]
    assert several["loss"]["loop"] == pytest.approx(one["loss"]["loop"], abs=0.002)
    killed = [fault["what"] for fault in several["faults"]]
    assert {amid for amid in ("retraining", "canary") if any(amid in what for what in killed)} == {
        "retraining",
        "canary",
    }
    assert any(what.endswith("actor") for what in killed)
