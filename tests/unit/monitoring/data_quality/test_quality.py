from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raymlops.config.monitoring import QualityConfig
from raymlops.monitoring import Reference
from raymlops.monitoring.data_quality.quality import Rows, judge_quality
from raymlops.monitoring.data_quality.verdict import Quality

RNG = np.random.default_rng(0)


def table(rows: int = 1000, **columns: object) -> pa.Table:
    made = {
        "x": RNG.normal(size=rows),
        "k": RNG.integers(0, 5, rows).astype(str),
        "month": np.sort(RNG.integers(1, 3, rows)),
    }
    return pa.table({**made, **columns})


REFERENCE = Reference.fit(table(4000))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state


def judge(window: pa.Table, duplicates: int = 0) -> Quality:
    profile = REFERENCE.profile(window)
    return judge_quality(Rows(window.num_rows, duplicates), REFERENCE, profile, QualityConfig(), min_rows=30)


def test_good_data_is_ok() -> None:
    assert judge(table()) == Quality("ok", ())


@pytest.mark.parametrize(
    ("window", "verdict", "reason"),
    [
        (table().drop_columns(["x"]), "block", "x: dropped"),
        (table(x=pa.array(["a"] * 1000)), "block", "x: type changed"),
        (table(x=np.full(1000, np.nan)), "block", "x: 100.0% of the values are missing, 0.0% in the reference"),
        (
            table(x=np.where(np.arange(1000) < 100, np.nan, 0.5 + np.arange(1000) % 7)),
            "warn",
            "x: 10.0% of the values are missing",
        ),
        (table(x=np.where(np.arange(1000) < 600, np.inf, 0.0)), "block", "60.0% of the values are infinite"),
        (table(x=np.full(1000, 0.3)), "block", "x: frozen: all 1000 values are equal"),
        (table(k=pa.array(["3"] * 1000)), "block", "k: frozen"),
        (table(k=pa.array(["new"] * 1000)), "block", "categories never seen before"),
        (table(k=np.where(np.arange(1000) % 10 == 0, "new", "1")), "warn", "k: 10.0% of the values are categories"),
        (table(x=RNG.normal(9, 1, 1000)), "warn", "x: 100.0% of the values lie outside the reference's range"),
        (table(0), "block", "0 predictions, fewer than the 1 expected"),
    ],
)
def test_broken_data_is_named(window: pa.Table, verdict: str, reason: str) -> None:
    found = judge(window)
    assert found.verdict == verdict
    assert any(reason in text for text in found.reasons), found.reasons


def test_a_column_that_is_constant_by_nature_is_not_frozen() -> None:
    assert judge(table(month=np.full(1000, 2))).verdict == "ok"


def test_a_column_that_mostly_rests_at_one_value_may_rest_for_a_window() -> None:
    """As visibility does, which is ten miles in a week without fog: worth a look, no reason to stop training."""
    visibility = np.where(RNG.random(4000) < 0.55, 10.0, RNG.uniform(0, 9, 4000))
    reference = Reference.fit(pa.table({"visibility": visibility}))
    window = reference.profile(pa.table({"visibility": np.full(1000, 10.0)}))
    found = judge_quality(Rows(1000), reference, window, QualityConfig(), min_rows=30)
    assert found.verdict == "warn"
    assert found.reasons[0].startswith("visibility: frozen")


def test_few_rows_are_not_judged_by_their_shares() -> None:
    assert judge(table(20, x=np.full(20, np.nan))).verdict == "ok"


def test_repeated_requests_are_found() -> None:
    assert judge(table(), duplicates=100).verdict == "warn"
    assert judge(table(), duplicates=600).verdict == "block"
    assert judge(table(), duplicates=5).verdict == "ok"


def test_a_missing_reference_is_said() -> None:
    found = judge_quality(Rows(10), None, None, QualityConfig(), min_rows=30, reference_problem="no file")
    assert found == Quality("warn", ("drift is not judged: no file",))


def test_the_worst_comes_first() -> None:
    found = judge(table(k=np.where(np.arange(1000) % 10 == 0, "new", "1"), x=np.full(1000, 0.3)))
    assert found.verdict == "block"
    assert found.reasons[0].startswith("x: frozen")
