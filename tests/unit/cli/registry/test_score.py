from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from raymlops.cli.main import app
from raymlops.cli.registry import score as command
from raymlops.errors import NotFoundError
from raymlops.scorecard import Evidence, ScoreCard, Settings, score

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def card_of(model: str) -> ScoreCard:
    if model != "churn":
        raise NotFoundError(f"no version of {model!r} is registered")
    return score(Evidence(model=model, now=NOW, settings=Settings(keys_required=False, retention_days=400)))


@pytest.fixture(autouse=True)
def _platform(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def platform(config: object = None) -> Iterator[Any]:
        yield SimpleNamespace(control=SimpleNamespace(score=card_of))

    monkeypatch.setattr(command, "platform", platform)


def test_every_test_is_shown_with_what_would_make_it_pass(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["score", "churn", "--json", str(tmp_path / "card.json")], env={"COLUMNS": "250"})
    assert shown.exit_code == 0, shown.output
    for name in ("data-1", "monitoring-7", "level2-canary"):
        assert shown.output.count(name) == 2
    assert "infrastructure-7: serve a second version: the first becomes the backup" in shown.output
    assert "churn: ML Test Score 0 of 7, the least of data 0, model 0, infrastructure 0, monitoring 0" in shown.output
    written = json.loads((tmp_path / "card.json").read_text())
    assert (written["score"], len(written["items"]), len(written["level_two"])) == (0, 28, 18)
    assert set(written["items"][0]) >= {"id", "status", "points", "finding", "evidence", "age_s", "remedy"}


def test_a_model_that_nobody_registered_is_one_line() -> None:
    shown = CliRunner().invoke(app, ["score", "nobody"])
    assert shown.exit_code == 1
    assert "no version of 'nobody' is registered" in shown.output
