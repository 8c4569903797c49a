"""The installed wheel runs the loop: no clone, any directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.wheel import ROOT, install_wheel

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

BUSY = "\ncluster: {start_timeout: 5m, boot_timeout: 5m, num_cpus: 2, trial_cpus: 0.8}\n"
"""A busy machine fails no test."""


def test_the_example_that_the_wheel_carries_is_replayed(tmp_path: Path, flights_project: Path) -> None:
    """``flights_project`` skips where the data of the extra ``demo`` is not installed; the wheel has the project."""
    installed = install_wheel(tmp_path)
    anywhere = tmp_path / "anywhere"
    anywhere.mkdir()
    where = "from raymlops.cli.carried import carried; print(carried('examples/flights'))"
    carried = Path(installed.run("python", "-W", "ignore", "-c", where, cwd=anywhere).stdout.strip())
    assert not carried.is_relative_to(ROOT)
    project = shutil.copytree(carried, anywhere / "flights")
    settings = (project / "platform.yaml").read_text()
    shortened = settings.partition("cluster:")[0] + BUSY + "clock:" + settings.partition("clock:")[2]
    (project / "platform.yaml").write_text(shortened)
    replay = ("raymlops", "replay", "flights", "--windows", "1", "--sample", "100", "--json", "figures.json")
    done = installed.run(*replay, cwd=anywhere, timeout_s=850)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((anywhere / "figures.json").read_text())
    assert (figures["failed"], len(figures["windows"])) == (0, 1)
