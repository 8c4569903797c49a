"""A short chaos campaign: processes of the main kinds are killed under load, then all of them (docs/reliability.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(540)]

ROOT = Path(__file__).parents[2]
KINDS = ("reconciler", "one of two replicas", "HAProxy")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a campaign of one kill of each kind, and one of the whole tree, has reported."""
    out = tmp_path_factory.mktemp("chaos")
    options = ["--kills", str(len(KINDS)), "--trees", "1", "--models", "3", "--quiet", "1", "--out", str(out)]
    chosen = [argument for kind in KINDS for argument in ("--only", kind)]
    command = [sys.executable, "-m", "benchmarks.chaos", *options, *chosen]
    campaign = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        told, _ = campaign.communicate(timeout=480)
    finally:
        campaign.terminate()  # it takes its platform down
        campaign.wait(60)
    assert campaign.returncode in {0, 1}, told[-3000:]
    found: dict[str, Any] = json.loads((out / "report.json").read_text())
    assert found["requests"] > 500
    assert found["acknowledged"] > 20
    return found


def _kills(report: dict[str, Any], *, tree: bool) -> list[dict[str, Any]]:
    kills = [row for row in report["victims"] if row["action"] == "kill"]
    return [row for row in kills if row["victim"].startswith("whole tree") is tree]


@pytest.mark.parametrize("fault", ["wrong", "lost", "twice", "unexplained", "hung"])
def test_nothing_is_wrong_lost_or_hung(report: dict[str, Any], fault: str) -> None:
    assert report[fault] == {"count": 0, "first": []}


def test_every_process_that_is_killed_comes_back_by_itself(report: dict[str, Any]) -> None:
    kills = _kills(report, tree=False)
    assert sum(row["count"] for row in kills) == len(KINDS)
    assert [(row["victim"], row["wanting"]) for row in kills if row["not_repaired"] or row["interventions"]] == []


def test_after_the_loss_of_every_process_up_is_enough(report: dict[str, Any]) -> None:
    (tree,) = _kills(report, tree=True)
    assert (tree["not_repaired"], tree["interventions"], tree["wanting"]) == (0, 0, [])
