"""Autoscaling on a platform of its own: replicas follow a load that triples and falls, and no request fails."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


def test_replicas_follow_the_load_and_no_request_fails() -> None:
    port = random.randrange(20_000, 30_000)
    command = [sys.executable, "-m", "benchmarks.autoscaling", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    before, most, after = found["replicas"]
    assert (before, after) == (1, 1)
    assert most > before
    assert found["failed"] == 0, found
