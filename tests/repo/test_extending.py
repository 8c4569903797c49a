"""The diffs of docs/extending.md apply to the package as it is, and do what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))
FENCE = re.compile(r"^```(diff|python)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
EXECUTED = {title: FENCE.findall(text) for title, text in SECTIONS.items() if FENCE.search(text)}


def test_the_page_has_sections_and_diffs() -> None:
    assert len(SECTIONS) == 6
    assert all([kind for kind, _ in parts] == ["diff", "python"] for parts in EXECUTED.values())
    assert len(EXECUTED) >= 4


@pytest.mark.parametrize("title", EXECUTED)
def test_a_diff_applies_and_does_what_is_said(title: str, tmp_path: Path) -> None:
    (_, diff), (_, code) = EXECUTED[title]
    shutil.copytree(ROOT / "raymlops", tmp_path / "raymlops", ignore=shutil.ignore_patterns("__pycache__"))
    patched = subprocess.run(
        ["git", "apply", "-p1", "-"], cwd=tmp_path, input=diff, capture_output=True, text=True, check=False
    )
    assert patched.returncode == 0, patched.stdout + patched.stderr
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
