"""A project that is made from a table passes its own tests, and its rows are those of the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from raymlops.delivery.project import collect_files, read_project
from raymlops.delivery.suite import run_suite
from raymlops.projects import Asked, make_project
from raymlops.projects.making import Made
from tests.unit.projects.examples import houses, kinds, orders, tickets

SHAPES: dict[str, tuple[Callable[[], pa.Table], Asked]] = {
    "orders": (orders, Asked("returned", "ordered_at", ("customer_id",), label_delay="3d")),
    "houses": (houses, Asked("price", "sold")),
    "tickets": (tickets, Asked("kind", "created", ("team",))),
}


def make(shape: str, directory: Path) -> Made:
    table, asked = SHAPES[shape]
    if shape == "houses":
        csv.write_csv(table(), directory / "houses.csv")
        return make_project(str(directory / "houses.csv"), directory / shape, asked)
    parquet.write_table(table(), directory / f"{shape}.parquet")
    return make_project(str(directory / f"{shape}.parquet"), directory / shape, asked)


@pytest.mark.slow  # the tests below run those of projects of other columns
@pytest.mark.parametrize("shape", SHAPES)
def test_the_tests_of_a_made_project_are_green(shape: str, tmp_path: Path) -> None:
    made = make(shape, tmp_path)
    report = run_suite(made.directory, tmp_path / "home", timeout_s=240)
    assert report.green, report.output
    assert report.counts["passed"] == (2 if shape == "houses" else 3)


def test_columns_of_every_type_are_typed_or_left_out(tmp_path: Path) -> None:
    parquet.write_table(kinds(), tmp_path / "kinds.parquet")
    made = make_project(str(tmp_path / "kinds.parquet"), tmp_path / "kinds", Asked("price", "sold", ("dictionary",)))
    answers = made.inferred.answers
    assert {column["name"] for column in answers["left_out"]} == {"id", "list", "binary", "null"}
    assert [column["name"] for column in answers["inputs"] if column["nullable"]] == [
        "bool",
        "int with nulls",
        "infinite",
    ]
    report = run_suite(made.directory, tmp_path / "home", timeout_s=240)
    assert report.green, report.output


def test_columns_with_the_names_that_the_platform_uses_are_read(tmp_path: Path) -> None:
    names = {"customer_id": "entity", "ordered_at": "event_time", "shipped_at": "label_time", "returned": "label"}
    table = orders().rename_columns([names.get(name, name) for name in orders().column_names])
    parquet.write_table(table, tmp_path / "named.parquet")
    asked = Asked("label", "event_time", ("entity",), label_time="label_time")
    made = make_project(str(tmp_path / "named.parquet"), tmp_path / "named", asked)
    report = run_suite(made.directory, tmp_path / "home", timeout_s=240)
    assert report.green, report.output


def test_what_names_and_labels_hold_is_no_code(tmp_path: Path) -> None:
    hostile = 'x""" + str(1/0) + """\\'
    table = orders().rename_columns([hostile if name in {"amount"} else name for name in orders().column_names])
    labels = [hostile if each == "yes" else "{{ 1/0 }}" for each in table["returned"].to_pylist()]
    table = table.set_column(table.column_names.index("returned"), hostile + " #", pa.array(labels))
    parquet.write_table(table, tmp_path / "hostile.parquet")
    asked = Asked(hostile + " #", "ordered_at", ("customer_id",))
    made = make_project(str(tmp_path / "hostile.parquet"), tmp_path / "hostile", asked)
    spec = read_project(made.directory)
    assert spec.data is not None
    assert (spec.data.label, set(spec.data.classes)) == (hostile + " #", {hostile, "{{ 1/0 }}"})
    assert hostile in spec.request_columns
    report = run_suite(made.directory, tmp_path / "home", timeout_s=240)
    assert report.green, report.output


def test_what_is_packed_into_a_bundle_holds_everything_that_a_run_needs(tmp_path: Path) -> None:
    made = make("orders", tmp_path)
    assert {"project.yaml", "orders/definitions.py", "orders/spine.py", "tests/test_project.py"} <= set(
        collect_files(made.directory)
    )
    spec = read_project(made.directory)
    assert spec.request_columns == ("amount", "items", "Sales Channel", "express")
    assert spec.data is not None
    assert spec.data.classes == ("no", "yes")
