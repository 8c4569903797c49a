from __future__ import annotations

import pytest
from typer.testing import CliRunner

from raymlops.cli.models import app, parse_table
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
