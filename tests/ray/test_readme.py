"""The code of the README runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray

README = Path(__file__).parents[2] / "README.md"
DATA = """
from datetime import UTC, datetime, timedelta
import numpy as np
import pyarrow as pa
_rng, _start = np.random.default_rng(0), datetime(2013, 1, 1, tzinfo=UTC)
_users = ["ada", *(f"user-{n}" for n in range(199))]
rows = pa.table({
    "user_id": _users, "event_time": pa.array([_start] * 200, pa.timestamp("us", tz="UTC")),
    "mean": _rng.normal(size=200), "days": _rng.integers(0, 30, 200),
})
spine = pa.table({
    "user_id": _users, "event_time": pa.array([_start + timedelta(days=1)] * 200, pa.timestamp("us", tz="UTC")),
    "label": (_rng.random(200) < 0.5).astype(int),
})
"""


def test_fifteen_lines_of_user_code_and_a_request(platform: Platform, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    script = tmp_path / "user.py"
    script.write_text(DATA + code)
    environment = {**os.environ, "RAYMLOPS_HOME": str(platform.config.home)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    request = re.search(r"-d '(.*)'", README.read_text())
    assert request is not None
    answer = requests.post(f"{platform.url}/v2/models/churn/predict", data=request[1], timeout=10)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_version"] == "1"


def test_the_commands_stand_at_the_top() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 150
    top = "\n".join(lines[:25])
    assert "make demo" in top
    assert "make test" in top
