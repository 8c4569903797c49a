from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from raymlops.errors import DataError, SchemaMismatch
from raymlops.features.definitions.arguments import check_free, instant_us


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
