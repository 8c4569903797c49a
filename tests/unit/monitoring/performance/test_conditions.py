from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import ConfigError
from raymlops.monitoring.performance.conditions import condition_mask, levels_of

TABLE = pa.table(
    {
        "carrier": ["AA", "UA", None, "AA", "B6"],
        "distance": pa.array([200, 1500, 3000, None, 1000], pa.int64()),
        "late": [True, False, True, None, False],
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("carrier = 'AA'", [0, 3]),
        ("carrier == AA", [0, 3]),
        ("carrier != 'AA'", [1, 4]),
        ("distance > 1000", [1, 2]),
        ("distance >= 1e3", [1, 2, 4]),
        ("distance < 1000", [0]),
        ("distance<=1000", [0, 4]),
        ("distance != 200", [1, 2, 4]),
        ("late = 1", [0, 2]),
        ("carrier = 'AA' and distance < 500", [0]),
        ("carrier = 'A and B'", []),
        ("distance = 'AA'", []),
    ],
)
def test_conditions_hold_for_rows(text: str, rows: list[int]) -> None:
    if " and B" in text:
        with pytest.raises(ConfigError):
            condition_mask(text, TABLE)
    else:
        assert np.flatnonzero(condition_mask(text, TABLE)).tolist() == rows


@pytest.mark.parametrize(
    "text",
    [
        "",
        "distance",
        "distance >",
        "> 3",
        "distance > 3 or late = 1",
        "carrier < 'AA'",
        "__import__('os') = 1 2",
        "a b > 1",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="segment"):
        condition_mask(text, TABLE)


def test_columns_must_be_logged() -> None:
    with pytest.raises(ConfigError, match=r"not logged: \['speed'\]"):
        condition_mask("speed > 3 and distance > 1", TABLE)


def test_levels_part_the_rows() -> None:
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "number": np.where(rng.random(900) < 0.1, np.nan, rng.normal(size=900)),
            "few": rng.integers(0, 3, 900),
            "text": pa.array([None if v == 9 else f"v{v}" for v in rng.integers(0, 10, 900)]),
            "empty": pa.nulls(900, pa.float64()),
        }
    )
    for name, number in (("number", 5), ("few", 4), ("text", 8), ("empty", 1)):
        levels = levels_of(table, name)
        assert len(levels.conditions) == number
        assert len(set(levels.conditions)) == number
        for code, text in enumerate(levels.conditions):
            if "missing" not in text and "none of" not in text:
                assert np.array_equal(condition_mask(text, table), levels.codes == code), text
    assert (levels_of(table, "number").codes == 4).sum() == np.isnan(table["number"].to_numpy()).sum()
