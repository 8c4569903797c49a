"""The guide's code runs as it stands."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from tests.unit.laboratory.examples import drifting_table

GUIDE = Path(__file__).parents[3] / "docs" / "laboratory.md"


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table: pa.Table = drifting_table().rename_columns(
        ["visited_at", "x", "shop", "holiday", "opened", "user_id", "churned"]
    )
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    guide = ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", guide)  # a dataclass looks its module up
    guide.__dict__["table"] = table
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), guide.__dict__)
    assert os.listdir(tmp_path) == ["losses.arrow"]
