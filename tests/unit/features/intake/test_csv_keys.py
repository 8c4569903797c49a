"""Keys in CSV files that come day by day: none is altered, and no two become one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raymlops.clock import ManualClock
from raymlops.errors import SchemaMismatch
from raymlops.features import Entity, FeatureReader, FeatureStore, FeatureView, Field
from raymlops.features.intake.row_batches import OnInvalid
from raymlops.records.features import IngestReceipt
from raymlops.tables.sources import FileSource

ZIP = Entity("zip", ["zip"])
STAGED = "0" * 32


class World:
    """A store with two views of the same keys, one of which declares what they are."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = FeatureStore(root / "store", clock=ManualClock(datetime(2026, 1, 3, tzinfo=UTC)))
        self.store.apply(
            FeatureView("guessed", ZIP, [Field("income", "int64")]),
            FeatureView("text", ZIP, [Field("zip", "string"), Field("income", "int64")]),
            FeatureView("number", ZIP, [Field("zip", "int64"), Field("income", "int64")]),
        )

    def ingest(self, view: str, name: str, *rows: str, on_invalid: OnInvalid = "reject") -> IngestReceipt:
        path = self.root / name
        path.mkdir()
        for number, row in enumerate(rows):
            (path / f"{number}.csv").write_text(f"zip,event_time,income\n{row}\n")
        source = FileSource(path)
        blocks = 0
        for table in source.tables():
            self.store.stage(STAGED, blocks, table)
            blocks += 1
        return self.store.ingest_staged(view, STAGED, blocks, ingest_id=name, on_invalid=on_invalid, text=source.text)

    def keys(self, view: str) -> list[object]:
        keys: list[object] = FeatureReader(self.root / "store").table(view)["zip"].to_pylist()
        return keys


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def row(key: str, income: str = "9") -> str:
    return f"{key},2026-01-01T00:00:00Z,{income}"


def test_a_later_file_alters_no_key(world: World) -> None:
    world.ingest("guessed", "day1", row("94105"), row("2116"))
    with pytest.raises(SchemaMismatch) as caught:
        world.ingest("guessed", "day2", row("10001"), row("02116"))
    message = str(caught.value)
    file = world.root / "day2" / "1.csv"
    assert message.endswith(f"broken by 1 rows, first [1]; got '02116' in {file}, row 0")
    assert "column 'zip' must be a 64-bit integer written as it prints" in message
    assert "declare Field('zip', 'string') in a new version of the view" in message
    assert "\n" not in message
    assert world.keys("guessed") == [94105, 2116]
    receipt = world.ingest("guessed", "day3", row("10001"), row("02116"), row("85123A"), on_invalid="quarantine")
    assert (receipt.rows, receipt.rejected) == (1, 2)
    assert world.keys("guessed") == [94105, 2116, 10001]


def test_all_files_tell_what_keys_are(world: World) -> None:
    world.ingest("guessed", "day1", row("00742"), row("742"), row("85123A"))
    world.ingest("guessed", "day2", row("742"))
    assert world.keys("guessed") == ["00742", "742", "85123A", "742"]


def test_a_declared_type_is_kept_to(world: World) -> None:
    keys = ["02116", "2116", "NA", "null", "True", "1e5"]
    world.ingest("text", "day1", *map(row, keys))
    assert world.keys("text") == keys
    for number, key in enumerate(["02116", "0x10", "1e5", "+5", "1_000", '" 5"', "1.0", str(2**63), "NA"]):
        with pytest.raises(SchemaMismatch, match="'zip' must be a 64-bit integer"):
            world.ingest("number", f"refused {number}", row(key))
    world.ingest("number", "kept", row(str(2**63 - 1)), row(str(2**53 + 1)))
    assert world.keys("number") == [2**63 - 1, 2**53 + 1]


def test_a_value_that_is_not_of_its_type_is_told_with_its_place(world: World) -> None:
    for number, value in enumerate(["0x10", "1e5", "1_000", "NA", "1.5"]):
        with pytest.raises(
            SchemaMismatch, match=rf"'income' must be text of int64, .*got '{value}' in .*0\.csv, row 0$"
        ):
            world.ingest("text", f"refused {number}", row("a", value))
    world.ingest("text", "kept", row("a", "1.0"), row("b", ""), row("c", "07"))
    rows = FeatureReader(world.root / "store").table("text")
    assert rows["income"].to_pylist() == [1, None, 7]
