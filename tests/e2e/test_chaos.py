"""Chaos campaigns: processes of several kinds are killed under load, then all of them at once.

What every landing has is short: one kill for each of three kinds, one of the whole tree, one stop and start
(docs/reliability.md).
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(620)]

ROOT = Path(__file__).parents[2]
KINDS = ("reconciler", "one of two replicas", "HAProxy")
OF_CONTROL = ("metadata", "features", "monitor", "controller", "Serve controller", "gateway", "only replica")


@dataclass(frozen=True)
class Form:
    """One kill of each kind; so many of the whole tree, of which the first spares the supervisor; planned stops."""

    kinds: tuple[str, ...]
    trees: int
    restarts: int
    models: int
    within_s: float


SHORT = Form(KINDS, trees=1, restarts=1, models=3, within_s=560)
LONGER = Form((*KINDS, *OF_CONTROL), trees=2, restarts=1, models=4, within_s=1200)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(SHORT, id="short"),
        pytest.param(LONGER, id="longer", marks=[pytest.mark.slow, pytest.mark.timeout(1300)]),
    ],
)
def form(request: pytest.FixtureRequest) -> Form:
    found: Form = request.param
    return found


@pytest.fixture(scope="module")
def report(form: Form, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the campaign has reported."""
    out = tmp_path_factory.mktemp("chaos")
    counts = {"kills": len(form.kinds), "trees": form.trees, "restarts": form.restarts, "models": form.models}
    options = ["--quiet", "1", *(word for name, count in counts.items() for word in (f"--{name}", str(count)))]
    chosen = [argument for kind in form.kinds for argument in ("--only", kind)]
    command = [sys.executable, "-m", "benchmarks.chaos", *options, *chosen, "--out", str(out)]
    campaign = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        told, _ = campaign.communicate(timeout=form.within_s)
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


def _mended_by_hand(rows: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(row["victim"], row["wanting"]) for row in rows if row["not_repaired"] or row["interventions"]]


@pytest.mark.parametrize("fault", ["wrong", "lost", "twice", "unexplained", "hung"])
def test_nothing_is_wrong_lost_or_hung(report: dict[str, Any], fault: str) -> None:
    assert report[fault] == {"count": 0, "first": []}


def test_every_process_that_is_killed_comes_back_by_itself(report: dict[str, Any], form: Form) -> None:
    kills = _kills(report, tree=False)
    assert sum(row["count"] for row in kills) == len(form.kinds)
    assert _mended_by_hand(kills) == []


def test_after_the_loss_of_every_process_the_supervisor_or_up_is_enough(report: dict[str, Any], form: Form) -> None:
    trees = _kills(report, tree=True)
    assert sum(row["count"] for row in trees) == form.trees
    assert _mended_by_hand(trees) == []


def test_what_was_served_is_served_again_after_a_stop(report: dict[str, Any], form: Form) -> None:
    stopped = [row for row in report["victims"] if row["action"] == "restart"]
    assert sum(row["count"] for row in stopped) == form.restarts
    assert all(row["failed_requests"] for row in stopped), "nothing answers between `down` and `up`"
    assert _mended_by_hand(stopped) == []
