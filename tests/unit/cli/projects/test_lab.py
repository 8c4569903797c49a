"""``raymlops lab``: from a file to a page, without a platform."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from raymlops.cli.main import app
from raymlops.laboratory import LossMatrix
from tests.unit.laboratory.examples import drifting_table


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYMLOPS_HOME", str(tmp_path / "home"))
    pq.write_table(drifting_table(rows=60), tmp_path / "visits.parquet")
    return tmp_path / "visits.parquet"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["lab", *arguments])
    return result.exit_code, result.output


def test_a_table_becomes_a_page_figures_and_a_matrix(table: Path, tmp_path: Path) -> None:
    options = ["--label", "answer", "--time", "at", "--entity", "user", "--json", "lab.json", "--matrix", "m.arrow"]
    code, said = run(str(table), *options, "--first", "3", "--window", "7d", "--html", "page.html")
    assert code == 0, said
    facts = json.loads((tmp_path / "lab.json").read_text())
    assert facts["windows"] == 11
    assert f"recommended: {facts['recommended']}" in said
    assert facts["policies"]["never"]["loss"] == facts["never"]
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert LossMatrix.load(tmp_path / "m.arrow").windows == range(3, 14)
    assert not (tmp_path / "home").exists()


def test_json_can_be_printed_alone_beside_a_policy_of_ones_own(table: Path, tmp_path: Path) -> None:
    code_file = "class Always:\n    name = 'always'\n\n    def decide(self, history):\n        return True\n"
    (tmp_path / "own_lab_policy.py").write_text(code_file)
    code, said = run(
        str(table),
        "--label",
        "answer",
        "--time",
        "at",
        "--window",
        "14d",
        "--policy",
        "own_lab_policy:Always",
        "--json",
        "-",
    )
    assert code == 0, said
    assert json.loads(said)["policies"]["always"]["gain_share"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--label", "none", "--time", "at"], "columns ['none'] are not in the table"),
        (["--label", "answer", "--time", "shop"], "column 'shop' must hold instants"),
        (["--label", "answer", "--time", "at", "--policy", "nowhere:None"], "policy must be module:name"),
        (["--label", "answer", "--time", "at", "--policy", "json:dumps"], "must have a name and decide(history)"),
        (["--label", "answer", "--time", "at", "--policy", "raymlops.laboratory:Periodic"], "cannot be made"),
        (["--label", "answer", "--time", "at", "--price", "-1"], "price must not be negative"),
        (["--label", "answer", "--time", "at", "--first", "400"], "first must leave at least two"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(table: Path, options: list[str], said: str) -> None:
    code, output = run(str(table), *options)
    assert code == 1
    assert said in output
    assert "Traceback" not in output
