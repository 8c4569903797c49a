"""The closed loop on a year of flights: the demo's own figures."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[1]


def measure() -> dict[str, Any]:
    """Run ``raymlops demo`` in a home of its own and read the figures it leaves."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "raymlops.cli.main", "demo"]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "RAYMLOPS_HOME": home}, stdout=sys.stderr)
        figures: dict[str, Any] = orjson.loads((Path(home) / "demo" / "reports" / "demo.json").read_bytes())["summary"]
    return figures
