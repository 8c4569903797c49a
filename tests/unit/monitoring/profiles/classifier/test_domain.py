from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from scipy.signal import lfilter

from raymlops.errors import DataError, NotEnoughRows, SchemaMismatch
from raymlops.monitoring.profiles.classifier import domain
from raymlops.monitoring.profiles.classifier.domain import DomainClassifier


def table(rng: np.random.Generator, rows: int, correlation: float = 0.0, shift: float = 0.0) -> pa.Table:
    """Five numeric columns and a categorical one; the first two are correlated, the third moves."""
    values = rng.normal(size=(5, rows))
    values[1] = correlation * values[0] + np.sqrt(1 - correlation**2) * values[1]
    values[2] += shift
    return pa.table({f"c{index}": column for index, column in enumerate(values)} | {"k": rng.choice(list("abc"), rows)})


def smooth(rng: np.random.Generator, rows: int, memory: float) -> pa.Table:
    noise = rng.normal(size=(4, rows + 300))
    values = lfilter([1.0], [1.0, -memory], noise, axis=1)[:, 300:]
    return pa.table({f"c{index}": column for index, column in enumerate(values)})


def test_a_changed_correlation_is_found_though_no_column_changes() -> None:
    rng = np.random.default_rng(0)
    classifier = DomainClassifier.fit(table(rng, 6000))
    found = classifier.compare(table(rng, 1000, correlation=0.6))
    assert found.drifted
    assert found.auc > found.threshold
    assert found.p_value < 1e-6
    assert set(list(found.importances)[:2]) == {"c0", "c1"}
    assert sum(found.importances.values()) == pytest.approx(1.0)


def test_the_column_that_moves_is_named() -> None:
    rng = np.random.default_rng(1)
    found = DomainClassifier.fit(table(rng, 6000)).compare(table(rng, 1000, shift=1.0))
    assert found.drifted
    assert next(iter(found.importances)) == "c2"
    assert found.importances["c2"] > 0.8


def test_independent_windows_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(2)
    flagged = 0
    for _ in range(12):
        classifier = DomainClassifier.fit(table(rng, 4000))
        flagged += sum(classifier.compare(table(rng, rows)).drifted for rows in (50, 200, 800, 3000) for _ in range(5))
    assert flagged <= 5  # of 240


@pytest.mark.parametrize("memory", [0.5, 0.9, 0.98])
def test_rows_that_resemble_their_neighbours_are_allowed_for(memory: float) -> None:
    rng = np.random.default_rng(3)
    flagged, naive = 0, 0
    for _ in range(8):
        past = smooth(rng, 8000, memory)
        classifier = DomainClassifier.fit(past, window_rows=500)
        shuffled = DomainClassifier.fit(past.take(pa.array(rng.permutation(8000))), window_rows=500)
        for _ in range(8):
            window = smooth(rng, 500, memory)
            flagged += classifier.compare(window).drifted
            naive += shuffled.compare(window).drifted
    assert flagged <= 3  # of 64
    assert naive >= 3 * flagged


def test_stretches_follow_the_time() -> None:
    rng = np.random.default_rng(4)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    days = np.sort(rng.choice(200, 6000))
    times = pa.array([start + timedelta(days=int(day)) for day in days], pa.timestamp("us", tz="UTC"))
    levels = np.repeat(rng.normal(size=29), 7)[days]
    past = pa.table({"at": times, "x": levels + rng.normal(size=6000)}).take(pa.array(rng.permutation(6000)))
    classifier = DomainClassifier.fit(past, event_time="at", window=timedelta(days=7))
    assert classifier.columns == ("x",)
    assert 1900 <= classifier.rows <= 2000
    flagged = [classifier.compare(pa.table({"x": rng.normal() + rng.normal(size=210)})).drifted for _ in range(20)]
    assert sum(flagged) <= 2


def test_a_stored_sample_judges_alike() -> None:
    rng = np.random.default_rng(5)
    for past in (table(rng, 3000), smooth(rng, 3000, 0.9)):
        classifier = DomainClassifier.fit(past)
        again = DomainClassifier.loads(classifier.dumps())
        assert again.dumps() == classifier.dumps()
        window = past.slice(0, 400)
        assert again.compare(window) == classifier.compare(window)


@pytest.mark.parametrize("content", [b"", b"{}", b"ARROW1"])
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="Arrow file"):
        DomainClassifier.loads(content)


def test_other_tables_are_refused() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.schema([("x", pa.float64())])) as writer:
        writer.write_table(pa.table({"x": [1.0]}))
    with pytest.raises(DataError, match="must have rows"):
        DomainClassifier.loads(sink.getvalue().to_pybytes())


def test_few_rows_are_no_verdict() -> None:
    rng = np.random.default_rng(6)
    classifier = DomainClassifier.fit(table(rng, 1000))
    for rows in (0, 1, 29):
        found = classifier.compare(table(rng, 40).slice(0, rows))
        assert not found.drifted
        assert "cannot be told" in found.problem
    with pytest.raises(NotEnoughRows, match="got 100"):
        DomainClassifier.fit(table(rng, 100))


def test_bad_columns_disturb_no_other() -> None:
    rng = np.random.default_rng(7)
    rows = 3000
    bad = {
        "empty": pa.nulls(rows),
        "missing": pa.array([None] * rows, pa.float64()),
        "infinite": pa.array(np.full(rows, np.inf)),
        "constant": pa.array(np.full(rows, 7.0)),
        "lists": pa.array([[1]] * rows),
        "names": pa.array([f"n{index}" for index in range(rows)]),
    }
    past = table(rng, rows)
    for name, column in bad.items():
        past = past.append_column(name, column)
    classifier = DomainClassifier.fit(past)
    assert "lists" not in classifier.columns
    same = classifier.compare(past.slice(0, 500))
    assert not same.drifted
    window = past.slice(0, 500)
    encoded = pa.RunEndEncodedArray.from_arrays(pa.array([500], pa.int32()), pa.array([7.0]))  # no rows of it are taken
    assert not classifier.compare(window.append_column("beside", encoded)).drifted
    assert classifier.compare(window.drop_columns(["c4"]).append_column("c4", encoded)).drifted
    dropped = classifier.compare(past.drop_columns(["c4"]).slice(0, 500))
    assert dropped.drifted
    assert next(iter(dropped.importances)) == "c4"


def test_named_columns_must_be_there() -> None:
    rng = np.random.default_rng(8)
    with pytest.raises(SchemaMismatch, match="nope"):
        DomainClassifier.fit(table(rng, 1000), ["nope"])
    ranked = DomainClassifier.fit(table(rng, 1000), ["c0", "c1"], importances={"c1": 2.0, "c0": 1.0})
    assert ranked.columns == ("c1", "c0")


def test_wide_tables_are_judged_too() -> None:
    rng = np.random.default_rng(9)

    def wide(rows: int, shift: float = 0.0) -> pa.Table:
        values = rng.normal(size=(340, rows))
        values[7] += shift
        return pa.table({f"c{index}": column for index, column in enumerate(values)})

    classifier = DomainClassifier.fit(wide(800))
    assert not classifier.compare(wide(200)).drifted
    found = classifier.compare(wide(200, shift=8.0))
    assert found.drifted
    assert next(iter(found.importances)) == "c7"


def test_the_most_important_columns_bound_what_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "MAX_COLUMNS", 3)
    rng = np.random.default_rng(10)
    classifier = DomainClassifier.fit(table(rng, 1000), importances={"c4": 2.0, "c2": 1.0})
    assert classifier.columns == ("c4", "c2", "c0")
    assert classifier.compare(table(rng, 500, shift=1.0)).drifted  # c2 moves
    assert DomainClassifier.loads(classifier.dumps()).columns == classifier.columns
