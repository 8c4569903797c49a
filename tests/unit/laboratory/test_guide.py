"""The guide's code runs as it stands."""

from __future__ import annotations

import os
import re
from pathlib import Path

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
    names: dict[str, object] = {"table": table, "__name__": "guide"}
    for block in blocks:
        exec(compile(block.replace("from __future__ import annotations", ""), str(GUIDE), "exec"), names)
    assert os.listdir(tmp_path) == ["losses.arrow"]
