"""``raymlops init``: what it asks, what it takes as options, and its refusals in one line."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from deltalake import write_deltalake
from pyarrow import csv, parquet
from typer.testing import CliRunner

from raymlops.cli.main import app
from tests.unit.projects.examples import houses, orders

HOUSES = ["--label", "price", "--time", "sold", "--yes"]


def run(*arguments: str, said: str = "") -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["init", *arguments], input=said, env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def spec(project: Path) -> dict[str, Any]:
    found: dict[str, object] = yaml.safe_load((project / "project.yaml").read_text())
    return found


@pytest.fixture
def table(tmp_path: Path) -> Path:
    parquet.write_table(orders(), tmp_path / "orders.parquet")
    return tmp_path / "orders.parquet"


def test_all_answers_are_options(table: Path, tmp_path: Path) -> None:
    options = ["--entity", "customer_id", "--label-delay", "3d", "--name", "returns", "--keep", "refund_code"]
    code, out, err = run(
        str(table), str(tmp_path / "p"), "--label", "returned", "--time", "ordered_at", *options, "--yes"
    )
    assert (code, err) == (0, "")
    assert "classifier of 2 classes from 3,000 rows" in out
    found = spec(tmp_path / "p")
    assert found["name"] == "returns"
    assert "refund_code" in found["request_columns"]


def test_the_next_command_can_be_typed_as_it_stands(table: Path, tmp_path: Path) -> None:
    project = tmp_path / "it's mine"
    code, out, err = run(str(table), str(project), "--label", "returned", "--time", "ordered_at", "--yes")
    assert (code, err) == (0, "")
    command = out.partition("next: ")[2].partition(";")[0]
    assert shlex.split(command) == ["raymlops", "replay", str(project)]


def test_without_a_directory_the_project_is_named_after_the_table(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(str(table), "--label", "returned", "--time", "ordered_at", "--yes")[0] == 0
    found = spec(tmp_path / "orders")
    assert found["data"]["table"] == "../orders.parquet"
    assert found["data"]["entities"] == ["customer_id"], "a column of this name whose values come back"


def test_on_a_terminal_it_asks_what_it_cannot_know(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymlops.cli.projects.init._on_terminal", lambda: True)
    code, out, _ = run(str(table), str(tmp_path / "p"), said="returned\nordered_at\ncustomer_id\n2d\n")
    assert code == 0, out
    data = spec(tmp_path / "p")["data"]
    assert (data["label"], data["event_time"], data["entities"], data["label_delay"]) == (
        "returned",
        "ordered_at",
        ["customer_id"],
        "2d",
    )


def test_a_delta_table_and_a_csv_file_give_the_same_project(tmp_path: Path) -> None:
    csv.write_csv(houses(), tmp_path / "houses.csv")
    write_deltalake(str(tmp_path / "houses"), houses())
    for table, project in (("houses.csv", "a"), ("houses", "b")):
        assert run(str(tmp_path / table), str(tmp_path / project), "--name", "prices", *HOUSES)[0] == 0
    for name in ("prices/definitions.py", "prices/spine.py"):
        assert (tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--time", "sold", "--yes"], "--label must name the column to predict"),
        (["--label", "price", "--time", "sold", "--entity", "shop", "--yes"], "entity must be a column of the table"),
        (["--label", "price", "--time", "area", "--yes"], "must hold instants"),
        ([*HOUSES, "--time-zone", "Mars/Base"], "time_zone must be a name"),
        ([*HOUSES, "--name", "index"], "one of the platform's own"),
        ([*HOUSES, "--label-time", "sold", "--label-delay", "1d"], "must be different columns"),
    ],
)
def test_a_refusal_is_one_line_and_writes_nothing(tmp_path: Path, options: list[str], said: str) -> None:
    parquet.write_table(houses(300), tmp_path / "houses.parquet")
    code, out, err = run(str(tmp_path / "houses.parquet"), str(tmp_path / "p"), *options)
    assert (code, out) == (1, "")
    assert said in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["houses.parquet"]


def refused(table: Path, project: Path, *options: str) -> str:
    code, _, err = run(str(table), str(project), *options, "--yes")
    assert code == 1
    assert err.count("\n") == 1
    return err


def test_tables_of_no_use_are_refused(tmp_path: Path) -> None:
    project = tmp_path / "p"
    parquet.write_table(houses(300).slice(0, 0), tmp_path / "empty.parquet")
    assert "has no rows" in refused(tmp_path / "empty.parquet", project, "--label", "price", "--time", "sold")
    (tmp_path / "doubled.csv").write_text("a,b,a\n1,2,3\n")
    assert "must be unique, got ['a']" in refused(tmp_path / "doubled.csv", project, "--label", "b", "--time", "a")
    untimed = houses(300).drop_columns(["sold"])
    parquet.write_table(untimed, tmp_path / "untimed.parquet")
    assert "must have a column of times" in refused(tmp_path / "untimed.parquet", project, "--label", "price")
    once = houses(300).set_column(1, "sold", [["2024-05-17"] * 300])
    parquet.write_table(once, tmp_path / "once.parquet")
    assert "time 'sold' must differ between rows, got 2024-05-17T00:00:00+00:00 in every row" in refused(
        tmp_path / "once.parquet", project, "--label", "price", "--time", "sold"
    )
    assert "is not a file" in refused(tmp_path / "none.csv", project, *HOUSES[:-1])
    assert not project.exists()


def test_several_columns_of_times_are_named(table: Path, tmp_path: Path) -> None:
    err = refused(table, tmp_path / "p", "--label", "returned")
    assert "--time must name" in err
    assert "ordered_at, joined_at, shipped_at" in err


def test_times_of_a_csv_file_in_several_zones_are_refused(tmp_path: Path) -> None:
    rows = [f"2024-01-{1 + n % 28:02}T08:00:00{'+01:00' if n % 2 else '-05:00'},{n % 3},{n}" for n in range(300)]
    (tmp_path / "zones.csv").write_text("\n".join(["at,kind,size", *rows]))
    assert "must hold times of one zone" in refused(
        tmp_path / "zones.csv", tmp_path / "p", "--label", "kind", "--time", "at"
    )


def test_a_directory_that_holds_something_is_refused_before_the_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p/notes.txt").write_text("mine")
    assert "must be empty or not there" in refused(tmp_path / "none.csv", tmp_path / "p", *HOUSES[:-1])
