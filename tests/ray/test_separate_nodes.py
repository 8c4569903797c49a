"""Three nodes that share no disk: replicas on each, one of which is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("shared_servers")]

_ROOT = Path(__file__).parents[2]
_DEADLINE_S = 900


def test_replicas_on_nodes_without_the_heads_files(tmp_path: Path) -> None:
    """In a process of its own: this one's cluster forbids it a second one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYMLOPS_"))}
    log = tmp_path / "log"
    # Ray's unix sockets are below it, and the path of one has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rml-", dir="/tmp") as directory, log.open("wb") as output:
        story = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("separate_nodes.py")), directory],
            cwd=_ROOT,
            env={**kept, "PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            code = story.wait(_DEADLINE_S)
        finally:
            story.terminate()
            story.wait(60)
    assert code == 0, log.read_text(errors="replace")[-6000:]
    assert log.read_text(errors="replace").rstrip().endswith(" told")
