from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from raymlops.cli.registry.models import app, parse_table
from raymlops.errors import ConfigError


def test_a_table_is_named_with_or_without_a_version() -> None:
    assert parse_table("planes") == ("planes", None)
    assert parse_table("planes@12") == ("planes", 12)
    assert parse_table("planes@2@12") == ("planes@2", 12)


@pytest.mark.parametrize("text", ["planes@", "@3", "planes@x"])
def test_what_is_no_version_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=f"got '{text}'"):
        parse_table(text)


def test_lineage_says_what_it_needs() -> None:
    done = CliRunner().invoke(app, ["lineage", "churn"])
    assert done.exit_code == 1
    assert "NAME VERSION, or --request ID" in done.output


def test_a_card_is_shown_written_or_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command alone, on a platform that knows one card; what is in a card is tested where it is made."""
    card = {
        "model": "churn",
        "run": "run-1",
        "as_of": "2013-03-02T03:00:00+00:00",
        "task": {"metric": "log_loss"},
        "training": {"winner": {"family": "xgboost"}},
        "evaluation": {
            "train": {"log_loss": 0.4},
            "baseline": {"log_loss": 0.7},
            "holdout": {"rows": 300, "metrics": {"log_loss": 0.5}, "intervals": {"log_loss": [0.45, 0.55]}},
        },
        "blessings": [{"kind": "data", "granted": True, "reason": "300 rows [all]"}],
        "checks": [{"name": "loss_falls", "passed": False, "detail": "loss 0.4 after 1 rounds, 0.6 after 30"}],
    }
    asked = []

    def find(name: str, version: int) -> tuple[dict[str, Any], str]:
        asked.append((name, version))
        return card, "<h1>churn</h1>"

    @contextmanager
    def connected(config: Path | None) -> Iterator[Any]:
        yield SimpleNamespace(models=SimpleNamespace(card=find))

    monkeypatch.setattr("raymlops.cli.registry.models.platform", connected)
    page = tmp_path / "card.html"
    shown, written, printed = (
        CliRunner().invoke(app, ["card", "churn", "2", *more]) for more in ([], ["--html", str(page)], ["--json"])
    )
    assert [done.exit_code for done in (shown, written, printed)] == [0, 0, 0]
    assert asked == [("churn", 2)] * 3
    assert "log_loss 0.5000 [0.4500, 0.5500] on 300 rows" in shown.output
    assert "300 rows [all]" in shown.output
    assert "failed" in shown.output
    assert page.read_text() == "<h1>churn</h1>"
    assert orjson.loads(printed.output) == card
