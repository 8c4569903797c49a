"""``raymlops batch``: what is said before anything is connected."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from raymlops.cli.running.batch import app


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("score", "m@new", "rows.parquet", "out"), "a model must be NAME or NAME@VERSION, got 'm@new'"),
        (("check", "m@", "rows.parquet", "out"), "a model must be NAME or NAME@VERSION, got 'm@'"),
        (("score", "m", "rows.parquet", "out", "--at", "2024-03-01T00:00:00"), "instant must have a zone"),
    ],
)
def test_a_wrong_name_or_instant_is_one_line(arguments: tuple[str, ...], told: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
