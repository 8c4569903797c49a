from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.errors import DataError, SchemaMismatch, StorageError
from raymlops.features import Entity, FeatureView, Field
from raymlops.features.intake import row_batches as intake
from raymlops.features.intake import screening
from raymlops.features.intake.row_batches import Intake, Spool
from raymlops.tables import codes, digests
from raymlops.tables.columns import INSTANT

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
VIEW = FeatureView("v", Entity("e", ["k"]), [Field("x", "float64", ge=0)])


def of(*values: Any, key: Any = "a") -> pa.Table:
    rows = len(values)
    x = pa.array(values, pa.float64())
    return pa.table({"k": pa.array([key] * rows, pa.string()), "event_time": pa.array([T] * rows, INSTANT), "x": x})


@pytest.mark.parametrize("limit", [1 << 30, 30, 0])
def test_a_spool_gives_back_what_it_was_given(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_IN_MEMORY_BYTES", limit)
    monkeypatch.setattr(codes, "_BATCH_ROWS", 2)
    spool = Spool(tmp_path / "spool")
    tables = [of(1.0), of(), of(2.0, 3.0, 4.0), of(5.0, key="b")]
    for number, table in enumerate(tables):  # some with codes, which read as what they stand for
        spool.add(table.set_column(0, "k", table["k"].dictionary_encode()) if number % 2 == 0 else table)
    spool.finish()
    assert (spool.num_rows, spool.schema) == (5, tables[0].schema)
    for _ in range(2):
        assert pa.Table.from_batches(spool.batches()).equals(pa.concat_tables(tables))
    held = spool.table()
    assert (held is None) == (limit != 1 << 30) == (tmp_path / "spool").exists()


def test_a_spool_without_rows_has_columns(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.add(of())
    spool.finish()
    held = spool.table()
    assert held is not None
    assert (held.column_names, list(spool.batches())) == (["k", "event_time", "x"], [])


def test_rows_are_numbered_through_all_tables(tmp_path: Path) -> None:
    taken = Intake(VIEW, ingest_id="i", on_invalid="reject", at=T, directory=tmp_path)
    with taken, pytest.raises(DataError) as caught:
        taken.take([of(1.0, -1.0), of(2.0), of(*[-1.0] * 12)])
    message = "view 'v': column 'x' must be at least 0, broken by 13 rows, first [1, 3, 4, 5, 6, 7, 8, 9, 10, 11]"
    assert str(caught.value) == message
    assert (caught.value.context["rows"], caught.value.context["rejected"]) == (15, 13)
    assert list(tmp_path.iterdir()) == []


def test_refused_rows_are_kept_as_they_were_given(tmp_path: Path) -> None:
    with Intake(VIEW, ingest_id="i", on_invalid="quarantine", at=T, directory=tmp_path) as taken:
        taken.take([of(1.0), of(float("-inf"), -1.0)])
        assert [batch.num_rows for batch in taken.good.batches()] == [1]
        found = taken.bad.table()
    assert found is not None
    assert found.to_pylist() == [
        {
            "view": "v@1",
            "ingest_id": "i",
            "row": 1,
            "reasons": "[\"'x' must lie within -1e+100 and 1e+100\", \"'x' must be at least 0\"]",
            "values": '{"k": "a", "event_time": "2024-03-01 12:00:00.000000Z", "x": "-inf"}',
            "quarantined_at": T,
        },
        {
            "view": "v@1",
            "ingest_id": "i",
            "row": 2,
            "reasons": "[\"'x' must be at least 0\"]",
            "values": '{"k": "a", "event_time": "2024-03-01 12:00:00.000000Z", "x": -1.0}',
            "quarantined_at": T,
        },
    ]


def test_what_python_cannot_hold_is_kept_too(tmp_path: Path) -> None:
    far = of(1.0, 2.0).set_column(1, "event_time", pa.array([2**60, 0], pa.timestamp("s", tz="UTC")))
    with Intake(VIEW, ingest_id="i", on_invalid="quarantine", at=T, directory=tmp_path) as taken:
        taken.take([far])
        assert taken.bad.num_rows == 1
        assert f"{2**60} s since 1970" in taken.bad.table()["values"][0].as_py()


@pytest.mark.parametrize(
    ("keys", "stored"), [(["1", "2"], pa.int64()), (["1", "02"], pa.string()), (["1", "x"], pa.string())]
)
def test_keys_that_are_texts_are_guessed_once(keys: list[str], stored: Any, tmp_path: Path) -> None:
    texts = [of().cast(pa.schema([(name, pa.string()) for name in ("k", "event_time", "x")]))]
    texts += [pa.table({"k": [key], "event_time": ["2024-03-01T12:00:00Z"], "x": ["1"]}) for key in keys]
    both = pa.concat_tables(texts[1:])
    with Intake(VIEW, ingest_id="i", on_invalid="reject", at=T, directory=tmp_path) as taken:
        taken.take([texts[0], both], text=True)
        assert taken.good.schema.field("k").type == stored
    with Intake(VIEW, ingest_id="i", on_invalid="quarantine", at=T, directory=tmp_path) as taken:
        taken.take(texts, text=True)  # all tables tell, not the first
        assert taken.good.schema.field("k").type == stored
        assert (taken.good.num_rows, taken.bad.num_rows) == (2, 0)


def test_a_disk_that_takes_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_IN_MEMORY_BYTES", 0)
    spool = Spool(tmp_path / "nowhere" / "spool")
    with pytest.raises(StorageError, match=r"rows to be ingested: cannot write .*/nowhere/spool"):
        spool.add(of(1.0))
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(StorageError, match="rows to be ingested: cannot write"),
        Intake(VIEW, ingest_id="i", on_invalid="reject", at=T, directory=tmp_path / "file"),
    ):
        pass


def test_columns_must_fit_in_every_table(tmp_path: Path) -> None:
    taken = Intake(VIEW, ingest_id="i", on_invalid="quarantine", at=T, directory=tmp_path)
    with taken, pytest.raises(SchemaMismatch, match="column 'x' must be float64, got string"):
        taken.take([of(1.0), of(1.0).set_column(2, "x", pa.array(["1"]))])


def test_codes_are_the_same_rows_as_their_texts(tmp_path: Path) -> None:
    """In what is stored, in what is refused, and in the digest by which a repeat is known."""
    view = FeatureView("v", Entity("e", ["k"]), [Field("s", "string", allowed=["x", "y"], nullable=False)])
    plain = pa.table(
        {
            "k": pa.array(["a", "b", "a", "a"] * 3, pa.string()),
            "event_time": pa.array([T] * 12, INSTANT),
            "s": pa.array(["x", "no", "y", None] * 3, pa.string()),
        }
    )
    no_rows = pa.DictionaryArray.from_arrays(pa.array([None] * 12, pa.int8()), pa.array([], pa.string()))
    texts_with_null = pa.array([None, "x", "no", "y"], pa.string())
    with_null = pa.DictionaryArray.from_arrays(pa.array([1, 2, 3, 0] * 3, pa.int8()), texts_with_null)
    coded = plain.set_column(0, "k", plain["k"].cast(pa.large_string()).dictionary_encode())
    forms = [coded, *(coded.set_column(2, "s", each) for each in (plain["s"].dictionary_encode(), with_null))]
    found = []
    for number, table in enumerate([plain, *forms]):
        with Intake(view, ingest_id=str(number), at=T, directory=tmp_path, on_invalid="quarantine") as taken:
            taken.take([table.slice(0, 5), table.slice(5)])
            good, bad = taken.good.table(), taken.bad.table()
            assert good is not None
            assert bad is not None
            found.append((good.schema, good.to_pylist(), bad.drop_columns(["ingest_id"]).to_pylist(), taken.digest))
    assert [len(rows) for rows in found[0][1:3]] == [6, 6]
    assert found[1:] == [found[0]] * 3
    with Intake(view, ingest_id="i", at=T, directory=tmp_path) as taken, pytest.raises(DataError, match="by 12 rows"):
        taken.take([plain.set_column(2, "s", no_rows)])


_ALLOWED = ("x", "y", "", "é", "x\0")
_TEXTS = st.lists(st.tuples(st.sampled_from(["a", "b", "a ", None]), st.sampled_from([*_ALLOWED, "no", None])))


@given(rows=_TEXTS, cut=st.integers(0, 20), nullable=st.booleans(), kind=st.sampled_from([pa.string, pa.large_string]))
def test_few_texts_are_the_same_rows_whether_they_become_codes_or_not(
    rows: list[tuple[Any, Any]], cut: int, nullable: bool, kind: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    field = Field("s", "string", allowed=_ALLOWED, nullable=nullable)
    view = FeatureView("v", Entity("e", ["k"]), [field, Field("t", "string")])
    keys, texts = zip(*rows, strict=True) if rows else ((), ())
    columns = {"k": pa.array(keys, kind()), "s": pa.array(texts, kind()), "t": pa.array(texts[::-1], kind())}
    table = pa.table({**columns, "event_time": pa.array([T] * len(rows), INSTANT)})

    def taken() -> Any:
        directory = tmp_path_factory.mktemp("intake")
        with Intake(view, ingest_id="i", at=T, directory=directory, on_invalid="quarantine") as into:
            into.take([table.slice(0, cut), table.slice(cut)])
            refused = [row for batch in into.bad.batches() for row in batch.to_pylist()]
            good = into.good.table()
            assert good is not None
            return good.schema, good.to_pylist(), refused, into.digest

    with pytest.MonkeyPatch.context() as patch:
        for module in (screening, digests):
            patch.setattr(module, "coded_where_few", lambda column: column)
        as_texts = taken()
    assert taken() == as_texts


@pytest.mark.parametrize("chunks", [[], [pa.array([], pa.string()).dictionary_encode()]])
def test_codes_without_a_row_break_no_rule(chunks: list[Any], tmp_path: Path) -> None:
    view = FeatureView("v", Entity("e", ["k"]), [Field("s", "string", allowed=["x"])])
    codes_of = pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string()))
    table = pa.table({"k": pa.array([], pa.string()), "event_time": pa.array([], INSTANT), "s": codes_of})
    with Intake(view, ingest_id="i", at=T, directory=tmp_path) as taken:
        taken.take([table])
        assert taken.good.num_rows == 0
