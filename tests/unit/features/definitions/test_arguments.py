from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest

from raymlops.errors import DataError, SchemaMismatch
from raymlops.features.definitions.arguments import as_table, check_free, instant_us


def test_tables_and_record_batches_are_tables() -> None:
    table = pa.table({"a": [1, 2]})
    assert as_table("spine", table) is table
    assert as_table("spine", table.to_batches()[0]).equals(table)


@pytest.mark.parametrize("given", [None, [], {"a": [1]}, "a", pa.table({"a": [1]}).to_pandas()])
def test_anything_else_is_named(given: Any) -> None:
    with pytest.raises(SchemaMismatch, match=rf"^spine must be a pyarrow\.Table, got {type(given).__name__}$"):
        as_table("spine", given)


def test_a_column_must_not_be_called_like_a_feature() -> None:
    check_free("spine", ["a", "b"], ["v__a"])
    with pytest.raises(SchemaMismatch, match="spine: column 'v__a' is the name of a feature, rename it"):
        check_free("spine", ["a", "v__a"], ["v__b", "v__a"])


def test_instants_are_counted_from_1970_in_any_zone() -> None:
    assert instant_us("at", datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == 0
    assert instant_us("at", datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1


@pytest.mark.parametrize(
    ("given", "message"),
    [(datetime(2024, 1, 1), "at must be tz-aware"), (date(2024, 1, 1), "at must be a datetime"), (0, "got 0")],
)
def test_other_instants_are_named(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        instant_us("at", given)
