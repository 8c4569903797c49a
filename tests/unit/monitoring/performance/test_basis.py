from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raymlops.monitoring.performance.basis import Basis, floats_of, texts_of

RNG = np.random.default_rng(0)
TABLE = pa.table(
    {
        "x": RNG.normal(5, 2, 500),
        "y": np.where(np.arange(500) % 10 == 0, np.nan, RNG.exponential(size=500)),
        "few": RNG.integers(0, 4, 500),
        "flag": RNG.random(500) < 0.5,
        "kind": pa.array([f"k{i % 3}" for i in range(499)] + [None]),
        "same": np.ones(500),
        "nothing": pa.nulls(500, pa.float64()),
    }
)


def test_terms_are_standardised() -> None:
    terms = Basis.fit(TABLE, TABLE.column_names).matrix(TABLE)
    assert terms.shape[0] == 500
    assert terms.mean(axis=0) == pytest.approx(0, abs=1e-9)
    assert terms.std(axis=0) == pytest.approx(1)


def test_a_line_in_each_number_and_level_can_be_read_off() -> None:
    terms = np.column_stack([np.ones(500), Basis.fit(TABLE, ["x", "few", "kind"]).matrix(TABLE)])
    wanted = 2 * TABLE["x"].to_numpy() + (TABLE["few"].to_numpy() == 2) - (texts_of(TABLE, "kind") == "k1")
    fitted = terms @ np.linalg.lstsq(terms, wanted, rcond=None)[0]
    assert np.quantile(np.abs(fitted - wanted), 0.98) < 0.05  # the wildest values are cut


@pytest.mark.parametrize("name", ["x", "y", "few", "flag", "kind", "same", "nothing"])
def test_a_dropped_or_changed_column_counts_as_missing(name: str) -> None:
    basis = Basis.fit(TABLE, TABLE.column_names)
    shape = basis.matrix(TABLE).shape
    dropped = basis.matrix(TABLE.drop_columns([name]))
    changed = pa.array(["?"] * 500) if name != "kind" else pa.array(np.zeros(500))
    other = basis.matrix(TABLE.set_column(TABLE.column_names.index(name), name, changed))
    assert dropped.shape == other.shape == shape
    assert np.isfinite(dropped).all()
    assert np.array_equal(dropped, other)


def test_wild_values_are_cut() -> None:
    basis = Basis.fit(TABLE, ["x", "y"])
    wild = pa.table({"x": [1e300, -1e300, np.inf], "y": [np.nan, 1e9, -np.inf]})
    assert np.abs(basis.matrix(wild)).max() < 100


def test_unseen_categories_have_no_level() -> None:
    basis = Basis.fit(TABLE, ["kind"])
    unseen = basis.matrix(pa.table({"kind": ["new"]}))
    seen = basis.matrix(pa.table({"kind": ["k0", "k1", "k2"]}))
    assert not any(np.array_equal(unseen[0], row) for row in seen)


def test_no_columns_give_no_terms() -> None:
    assert Basis.fit(TABLE, []).matrix(TABLE).shape == (500, 0)
    assert Basis.fit(TABLE, ["same", "nothing"]).matrix(TABLE).shape == (500, 0)


def test_columns_as_values() -> None:
    table = pa.table({"d": pa.array([1, None, 3]).dictionary_encode(), "t": ["a", None, "b"]})
    assert floats_of(table, "d").tolist()[::2] == [1.0, 3.0]
    assert np.isnan(floats_of(table, "t")).all()
    assert texts_of(table, "t").tolist() == ["a", None, "b"]
    assert texts_of(table, "absent").tolist() == [None] * 3
