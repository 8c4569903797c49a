"""Rows come from where they are: Ray Datasets, files and many processes, all through the one writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import ray
from pyarrow import csv

from raymlops.errors import DataError, SchemaMismatch
from raymlops.features import Entity, FeatureService, FeatureView, Field
from raymlops.features.catalog.layout import tables_path
from raymlops.platform import Platform
from raymlops.runtime.cluster.clients import ActorProxy
from raymlops.runtime.cluster.names import FEATURES
from raymlops.tables.columns import INSTANT, SEQUENCE
from raymlops.tables.delta import DeltaTables

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # of its own defaults
]

T = datetime(2013, 1, 1, tzinfo=UTC)


def rows(numbers: list[int]) -> pa.Table:
    return pa.table(
        {"k": numbers, "event_time": pa.array([T] * len(numbers), INSTANT), "x": [float(n) for n in numbers]}
    )


@pytest.fixture
def view(request: pytest.FixtureRequest, platform: Platform) -> Iterator[str]:
    """A view of its own for every test."""
    name = request.node.name.removeprefix("test_")[:40]
    platform.apply(FeatureView(name, Entity("number", ["k"]), [Field("x", "float64", ge=0)], online=False))
    return name


def sequence(platform: Platform, view: str) -> list[int]:
    tables = DeltaTables(tables_path(platform.config.home / "features"))
    found: list[int] = tables.read(view, columns=[SEQUENCE])[SEQUENCE].to_pylist()
    return found


def test_a_dataset_is_one_commit(platform: Platform, view: str) -> None:
    dataset = ray.data.from_arrow([rows(list(range(100 * block, 100 * block + 100))) for block in range(7)])
    for duplicate in (False, True):
        receipt = platform.features.ingest(view, dataset, ingest_id="one")
        assert (receipt.table_version, receipt.rows, receipt.duplicate) == (0, 700, duplicate)
    assert sorted(platform.features.table(view)["k"].to_pylist()) == list(range(700))
    assert sequence(platform, view) == list(range(700))
    assert not list((platform.config.home / "features" / "staging").iterdir())


def test_bad_rows_of_a_dataset(platform: Platform, view: str) -> None:
    dataset = ray.data.from_arrow([rows([1, 2]), rows([3, -4])])
    with pytest.raises(DataError, match="column 'x' must be at least 0, broken by 1 rows"):
        platform.features.ingest(view, dataset)
    with pytest.raises(SchemaMismatch, match=r"columns \['x'\] are missing"):
        platform.features.ingest(view, dataset.drop_columns(["x"]))
    receipt = platform.features.ingest(view, dataset, ingest_id="one", on_invalid="quarantine")
    assert (receipt.table_version, receipt.rows, receipt.rejected) == (0, 3, 1)
    assert [row.values["k"] for row in platform.features.quarantine(view)] == [-4]


def test_a_dataset_without_rows(platform: Platform, view: str) -> None:
    receipt = platform.features.ingest(view, ray.data.from_arrow(rows([]).cast(rows([1]).schema)))
    assert (receipt.table_version, receipt.rows) == (0, 0)


def test_a_directory_of_files(platform: Platform, view: str, tmp_path: Path) -> None:
    for number in range(3):
        csv.write_csv(rows([number, number + 10]), tmp_path / f"{number}.csv")
    with (tmp_path / "2.csv").open("a") as file:
        file.write('99,2013-01-01T00:00:00,"not a number"\n')
    for duplicate in (False, True):
        receipt = platform.features.ingest_file(view, tmp_path, on_invalid="quarantine")
        assert (receipt.rows, receipt.rejected, receipt.duplicate) == (6, 1, duplicate)
    assert platform.features.table(view)["k"].to_pylist() == [0, 10, 1, 11, 2, 12]
    (refused,) = platform.features.quarantine(view)
    assert (refused.row, refused.values["x"], len(refused.reasons)) == (6, "not a number", 2)


def test_many_processes_lose_nothing(platform: Platform, view: str) -> None:
    @ray.remote(num_cpus=0.25)
    def ingest(who: int) -> None:
        writer = ActorProxy(FEATURES)
        for number in range(5):
            writer.ingest(view, rows([100 * who + number]), ingest_id=f"{who}/{number}")

    ray.get([ingest.remote(who) for who in range(4)], timeout=120)
    expected = sorted(100 * who + number for who in range(4) for number in range(5))
    assert sorted(platform.features.table(view)["k"].to_pylist()) == expected
    assert sequence(platform, view) == list(range(20))


def test_the_command_line(command: Callable[..., Any], view: str, tmp_path: Path) -> None:
    features = partial(command, "features")
    path = tmp_path / "rows.csv"
    path.write_text("k,event_time,x\n1,2013-01-01T00:00:00Z,1.5\n2,2013-01-01T00:00:00Z,-1\n")
    refused = features("ingest", view, str(path))
    assert refused.returncode == 1
    assert "column 'x' must be at least 0, broken by 1 rows, first [1]" in refused.stderr
    taken = features("ingest", view, str(path), "--quarantine", "--ingest-id", "one", "--json")
    (receipt,) = json.loads(taken.stdout)
    assert (receipt["rows"], receipt["rejected"], receipt["ingest_id"]) == (1, 1, "one")
    (row,) = json.loads(features("quarantine", view, "--ingest-id", "one", "--json").stdout)
    assert (row["row"], row["values"]["k"], row["reasons"]) == (1, "2", ["'x' must be at least 0"])
    report = json.loads(features("vacuum", "--retention", "12h", "--json").stdout)
    assert (report["dry_run"], report["retention_s"]) == (True, 12 * 3600)
    assert view in [table["table"] for table in report["tables"]]
    wrong = features("vacuum", "--retention", "soon")
    assert (wrong.returncode, "--retention must be whole numbers" in wrong.stderr) == (1, True)


def test_a_frame_of_pandas_is_read_as_told(platform: Platform, view: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"k": [1, 2], "event_time": [datetime(2013, 1, 1, 1)] * 2, "x": [0.5, None], "more": [1, 2]})
    with pytest.raises(SchemaMismatch, match="extra_columns='ignore' leaves them out"):
        platform.features.ingest(view, frame, time_zone="Europe/Berlin")
    platform.features.ingest(view, frame, time_zone="Europe/Berlin", extra_columns="ignore")
    assert platform.features.table(view)["event_time"].to_pylist() == [T, T]
    platform.apply(service := FeatureService(view, [f"{view}:x"]))
    spine = frame[["k", "event_time"]]
    built = platform.features.training_set(service.name, spine, name="frames", time_zone="Europe/Berlin")
    assert built.to_pandas()[f"{view}__x"].tolist()[0] == 0.5
    path = tmp_path / "later.csv"
    path.write_text("k,event_time,x\n02,2013-01-02T00:00:00Z,1\n")
    with pytest.raises(SchemaMismatch, match=r"'k' must be a 64-bit integer .*got '02' in .*later\.csv, row 0"):
        platform.features.ingest_file(view, path)
