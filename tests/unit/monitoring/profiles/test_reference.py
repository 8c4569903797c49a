from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from raymlops.errors import ConfigError, ConflictError, DataError, NotEnoughRows, SchemaMismatch, StorageError
from raymlops.monitoring import DriftRule, Profile, Reference


def mixed(rng: np.random.Generator, rows: int, columns: int, shift: float = 0.0) -> pa.Table:
    """Normal, lognormal, heavy-tailed, categorical and half-empty columns; ``shift`` moves the first one."""
    made = {}
    for index in range(columns):
        kind = index % 5
        if kind == 0:
            made[f"c{index}"] = pa.array(rng.normal(shift if index == 0 else 0.0, 1, rows))
        elif kind == 1:
            made[f"c{index}"] = pa.array(rng.lognormal(0, 1, rows))
        elif kind == 2:
            made[f"c{index}"] = pa.array(rng.standard_t(2, rows))
        elif kind == 3:
            made[f"c{index}"] = pa.array(rng.integers(0, 10, rows).astype(str))
        else:
            values = np.where(rng.random(rows) < 0.7, 0.0, rng.exponential(1, rows))
            made[f"c{index}"] = pa.array(np.where(rng.random(rows) < 0.03, np.nan, values))
    return pa.table(made)


@pytest.mark.parametrize(("rows", "columns", "windows"), [(50, 5, 60), (200, 5, 60), (1000, 5, 60), (10_000, 5, 20)])
def test_windows_without_drift_are_rarely_flagged(rows: int, columns: int, windows: int) -> None:
    rng = np.random.default_rng(rows)
    flagged = 0
    for index in range(windows):
        if index % 15 == 0:
            reference = Reference.fit(mixed(rng, 4000, columns))
        flagged += reference.compare(reference.profile(mixed(rng, rows, columns))).drifted
    assert flagged / windows <= 0.02


def test_a_small_shift_in_one_of_twenty_columns_is_found() -> None:
    rng = np.random.default_rng(1)
    found, others = 0, 0
    for index in range(20):
        if index % 10 == 0:
            reference = Reference.fit(pa.table({f"c{i}": rng.normal(size=4000) for i in range(20)}))
        window = pa.table({f"c{i}": rng.normal(0.2 if i == 7 else 0.0, 1, 2000) for i in range(20)})
        drifted = reference.compare(reference.profile(window)).drifted_columns()
        found += "c7" in drifted
        others += len(set(drifted) - {"c7"})
    assert found >= 19
    assert others <= 1


def test_values_that_begin_to_be_missing_are_drift() -> None:
    rng = np.random.default_rng(2)
    reference = Reference.fit(pa.table({"x": rng.normal(size=5000), "y": rng.normal(size=5000)}))
    x = np.where(rng.random(2000) < 0.05, np.nan, rng.normal(size=2000))
    report = reference.compare(reference.profile(pa.table({"x": x, "y": rng.normal(size=2000)})))
    assert report.drifted_columns() == ["x"]
    assert report.columns["x"].test == "missing"
    assert report.columns["x"].missing_share == pytest.approx(0.05, abs=0.02)


def test_a_change_without_a_change_of_location_is_found() -> None:
    rng = np.random.default_rng(3)
    reference = Reference.fit(pa.table({"x": rng.normal(size=5000)}))
    report = reference.compare(reference.profile(pa.table({"x": rng.normal(0, 1.5, 2000)})))
    assert report.columns["x"].test == "shape"
    assert report.drifted


def smooth(rng: np.random.Generator, rows: int, memory: float = 0.8) -> np.ndarray:
    noise = rng.normal(size=rows + 200)
    return np.asarray(lfilter([1.0], [1.0, -memory], noise)[200:])


def test_rows_that_resemble_their_neighbours_are_allowed_for() -> None:
    rng = np.random.default_rng(4)
    in_order, shuffled, windows = 0, 0, 50
    for index in range(windows):
        if index % 10 == 0:
            values = smooth(rng, 10_000)
            ordered = Reference.fit(pa.table({"x": values}))
            naive = Reference.fit(pa.table({"x": rng.permutation(values)}))
        window = pa.table({"x": smooth(rng, 500)})
        in_order += ordered.compare(ordered.profile(window)).drifted
        shuffled += naive.compare(naive.profile(window)).drifted
    assert in_order / windows <= 0.06
    assert shuffled / windows > 0.3


def test_blocks_by_time_allow_for_sparser_windows() -> None:
    rng = np.random.default_rng(5)
    day = timedelta(days=1)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    flagged = {"time": 0, "rows": 0}
    for _ in range(6):
        levels = np.repeat(rng.normal(0, 0.5, 60), 100)
        times = [start + day * (i / 100) for i in range(6000)]
        table = pa.table({"at": pa.array(times, pa.timestamp("us", tz="UTC")), "x": levels + rng.normal(size=6000)})
        by_time = Reference.fit(table, event_time="at", window=7 * day)
        by_rows = Reference.fit(table.drop_columns(["at"]))
        assert by_time.columns == ("x",)
        for _ in range(10):  # 350 rows over 7 days: half of the reference's rows per day
            window = pa.table({"x": np.repeat(rng.normal(0, 0.5, 7), 50) + rng.normal(size=350)})
            flagged["time"] += by_time.compare(by_time.profile(window)).drifted
            flagged["rows"] += by_rows.compare(by_rows.profile(window)).drifted
    assert flagged["time"] <= 2
    assert flagged["rows"] >= flagged["time"]


def test_windows_longer_than_a_quarter_of_the_reference_are_allowed_for() -> None:
    """Where too few windows fit side by side, shorter stretches tell how alike neighbours are."""
    rng = np.random.default_rng(12)
    start, step = datetime(2020, 1, 1, tzinfo=UTC), timedelta(minutes=10)
    times = pa.array([start + step * row for row in range(3024)], pa.timestamp("us", tz="UTC"))
    flagged, naive = 0, 0
    for _ in range(6):
        values = smooth(rng, 3024)
        reference = Reference.fit(pa.table({"at": times, "x": values}), event_time="at", window=timedelta(days=7))
        shuffled = Reference.fit(pa.table({"x": rng.permutation(values)}))
        for _ in range(10):
            window = pa.table({"x": smooth(rng, 1008)})
            flagged += reference.compare(reference.profile(window)).drifted
            naive += shuffled.compare(shuffled.profile(window)).drifted
    assert flagged <= 2
    assert naive >= 10


NORMAL = np.random.default_rng(6).normal(size=1000)
BAD = {
    "all missing": pa.array([None] * 1000, pa.float64()),
    "all nan": pa.array(np.full(1000, np.nan)),
    "untyped": pa.nulls(1000),
    "constant": pa.array(np.full(1000, 7.0)),
    "all infinite": pa.array(np.full(1000, np.inf)),
    "huge": pa.array(np.where(NORMAL > 0, 1.7e308, -1.7e308)),
    "identifiers": pa.array([f"id{i}" for i in range(1000)]),
    "lists": pa.array([[1]] * 1000),
    "instants": pa.array([datetime(2020, 1, 1, tzinfo=UTC)] * 1000),
    "empty text": pa.array([""] * 1000),
    "mixed types": pa.UnionArray.from_dense(
        pa.array([0, 1] * 500, pa.int8()),
        pa.array(np.repeat(np.arange(500), 2), pa.int32()),
        [pa.array(NORMAL[:500]), pa.array([f"t{i}" for i in range(500)])],
    ),
    "bytes": pa.array([b"\xff"] * 1000),
}
NO_KIND = {"lists", "instants", "mixed types", "bytes"}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_reference_column_disturbs_no_other(bad: str) -> None:
    reference = Reference.fit(pa.table({"x": NORMAL, "bad": BAD[bad]}))
    again = reference.compare(reference.profile(pa.table({"x": NORMAL, "bad": BAD[bad]})))
    assert not again.drifted
    assert again.columns["x"].p_value > 0.5
    if bad in NO_KIND:
        assert "numbers, booleans or strings" in reference.skipped["bad"]
    elif bad in {"all missing", "all nan", "untyped"}:
        assert "every value of the reference is missing" in again.problems["bad"]
    elif bad == "all infinite":
        assert "no value of the reference is finite" in again.problems["bad"]
    else:
        assert not again.problems


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_window_column_disturbs_no_other(bad: str) -> None:
    reference = Reference.fit(pa.table({"x": NORMAL, "bad": NORMAL}))
    report = reference.compare(reference.profile(pa.table({"x": NORMAL, "bad": BAD[bad]})))
    assert report.columns["bad"].drifted
    assert report.drifted_columns() == ["bad"]
    if bad in {"identifiers", "empty text"} | NO_KIND:
        assert "type changed" in report.problems["bad"]
        assert report.columns["bad"].missing_share == 1.0


def test_dropped_and_new_columns_are_reported() -> None:
    reference = Reference.fit(pa.table({"x": NORMAL, "gone": NORMAL}))
    report = reference.compare(reference.profile(pa.table({"x": NORMAL, "fresh": NORMAL})))
    assert report.new_columns == ("fresh",)
    assert report.problems["gone"].startswith("dropped")
    assert report.columns["gone"].problem.startswith("dropped")
    assert not report.columns["x"].drifted


@pytest.mark.parametrize("rows", [0, 1])
def test_windows_of_no_or_one_row_are_no_drift(rows: int) -> None:
    reference = Reference.fit(pa.table({"x": NORMAL, "kind": BAD["empty text"]}))
    window = pa.table({"x": NORMAL[:rows] + 50, "kind": pa.array(["new"] * rows, pa.string())})
    report = reference.compare(reference.profile(window))
    assert report.rows == rows
    assert not report.drifted


def test_a_reference_of_one_row_works() -> None:
    reference = Reference.fit(pa.table({"x": [1.0]}))
    assert not reference.compare(reference.profile(pa.table({"x": [1.0]}))).drifted


def test_a_reference_survives_a_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    table = mixed(rng, 2000, 5).append_column("odd", BAD["all infinite"].take(pa.array(np.zeros(2000, dtype=int))))
    reference = Reference.fit(table, importances={"c0": 3.0, "c1": 1.0})
    again = Reference.loads(reference.dumps())
    assert again.dumps() == reference.dumps()
    assert again.digest == reference.digest
    window = mixed(rng, 500, 5, shift=1.0)
    assert again.compare(again.profile(window)).to_dict() == reference.compare(reference.profile(window)).to_dict()
    assert again.compare(again.profile(window)).columns["c0"].importance == 0.75
    reference.save(tmp_path / "reference.bin")
    assert Reference.load(tmp_path / "reference.bin").digest == reference.digest
    assert [path.name for path in tmp_path.iterdir()] == ["reference.bin"]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b"\x80\x04", b'{"format":1}', b'{"format":1,"order":["a"],"columns":{}}']
)
def test_other_bytes_are_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        Reference.loads(content)
    with pytest.raises(DataError):
        Profile.loads(content)
    (tmp_path / "reference.bin").write_bytes(content)
    with pytest.raises(DataError, match=r"reference\.bin"):
        Reference.load(tmp_path / "reference.bin")


def test_a_reference_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere/reference\.bin"):
        Reference.fit(pa.table({"x": NORMAL})).save(tmp_path / "nowhere" / "reference.bin")


def test_wrong_requests_are_refused() -> None:
    table = pa.table({"x": NORMAL})
    with pytest.raises(NotEnoughRows, match="got 0"):
        Reference.fit(table.slice(0, 0))
    with pytest.raises(SchemaMismatch, match="nope"):
        Reference.fit(table, columns=["nope"])
    with pytest.raises(SchemaMismatch, match="must hold timestamps"):
        Reference.fit(pa.table({"x": NORMAL, "at": NORMAL}), event_time="at", window=timedelta(days=1))
    reference = Reference.fit(table)
    with pytest.raises(ConflictError, match="must be of reference"):
        reference.compare(Reference.fit(pa.table({"x": NORMAL[:500]})).profile(table))
    with pytest.raises(SchemaMismatch, match="not in the reference"):
        reference.bins("nope")


def test_chosen_columns_alone_are_compared() -> None:
    reference = Reference.fit(pa.table({"x": NORMAL, "y": NORMAL}), columns=["y"])
    assert reference.columns == ("y",)


def test_joined_references_keep_their_own_rows() -> None:
    joined = Reference.fit(pa.table({"x": NORMAL})).joined(Reference.fit(pa.table({"score": NORMAL[:200]})))
    assert joined.columns == ("x", "score")
    assert joined.counts("score").sum() == 200
    report = joined.compare(joined.profile(pa.table({"x": NORMAL, "score": NORMAL})))
    assert not report.drifted
    with pytest.raises(ConflictError, match="must not share columns"):
        joined.joined(Reference.fit(pa.table({"x": NORMAL})))


def test_a_stricter_rule_flags_less() -> None:
    reference = Reference.fit(pa.table({"x": NORMAL}))
    profile = reference.profile(pa.table({"x": NORMAL + 0.5}))
    assert reference.compare(profile).drifted
    assert not reference.compare(profile, rule=DriftRule(effect=0.5)).drifted


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_column_leaves_the_others_as_they_were(bad: str) -> None:
    """Beside it all else is equal: evidence, distances and problems of the good columns."""
    rng = np.random.default_rng(8)
    window = mixed(rng, 400, 5, shift=0.3)
    past = mixed(rng, 1000, 5)
    alone = Reference.fit(past)
    beside = Reference.fit(past.append_column("bad", BAD[bad]))
    column = BAD[bad].slice(0, 400)
    calm, disturbed = (
        alone.compare(alone.profile(window)),
        beside.compare(beside.profile(window.append_column("bad", column))),
    )
    for name in alone.columns:
        assert disturbed.columns[name].p_value == calm.columns[name].p_value
        assert disturbed.columns[name].distances == calm.columns[name].distances
        assert name not in disturbed.problems
    assert disturbed.new_columns == ()


@pytest.mark.parametrize(
    ("fitted", "seen"),
    [
        (pa.array(np.arange(1000) % 7), pa.array(np.arange(1000) % 7, pa.float32())),
        (pa.array(np.arange(1000) % 2 == 0), pa.array(np.arange(1000) % 2 == 0).cast(pa.int8())),
        (pa.array(["a", "b"] * 500), pa.array(["a", "b"] * 500).dictionary_encode()),
        (pa.array(["a", "b"] * 500), pa.array(["a", "b"] * 500, pa.large_string())),
    ],
)
def test_another_type_for_the_same_values_is_no_change(fitted: pa.Array, seen: pa.Array) -> None:
    reference = Reference.fit(pa.table({"x": fitted}))
    report = reference.compare(reference.profile(pa.table({"x": seen})))
    assert not report.problems
    assert report.columns["x"].distances["jensen_shannon"] == 0.0 or not report.drifted


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("bad", BAD)
def test_bad_columns_of_no_or_one_row_are_no_drift(bad: str, rows: int) -> None:
    reference = Reference.fit(pa.table({"x": NORMAL, "bad": BAD[bad]}))
    report = reference.compare(reference.profile(pa.table({"x": NORMAL[:rows], "bad": BAD[bad].slice(0, rows)})))
    assert not report.drifted
    assert report.rows == rows


def test_every_column_reports_its_distances_and_what_chance_makes_of_them() -> None:
    rng = np.random.default_rng(9)
    reference = Reference.fit(mixed(rng, 5000, 5))
    report = reference.compare(reference.profile(mixed(rng, 1000, 5, shift=0.5)))
    moved, still = report.columns["c0"], report.columns["c3"]
    assert {"psi", "kolmogorov_smirnov", "wasserstein", "missing", "unseen"} <= moved.distances.keys()
    assert {"psi", "l_infinity", "chi_square"} <= still.distances.keys()
    assert "wasserstein" not in still.distances
    assert moved.distance_thresholds.keys() == moved.distances.keys()
    for name in ("jensen_shannon", "psi", "kolmogorov_smirnov", "wasserstein"):
        assert moved.distances[name] > moved.distance_thresholds[name]
    assert all(still.distances[name] < still.distance_thresholds[name] for name in still.distances)


def test_thresholds_allow_for_rows_that_resemble_their_neighbours() -> None:
    rng = np.random.default_rng(10)
    values = smooth(rng, 10_000, 0.95)
    ordered, shuffled = (Reference.fit(pa.table({"x": each})) for each in (values, rng.permutation(values)))
    window = pa.table({"x": smooth(rng, 500, 0.95)})
    wide, narrow = (each.compare(each.profile(window)).columns["x"] for each in (ordered, shuffled))
    assert all(
        wide.distance_thresholds[name] > 1.5 * narrow.distance_thresholds[name] for name in ("psi", "wasserstein")
    )


@pytest.mark.parametrize(
    ("measure", "effect"),
    [("psi", 0.05), ("chi_square", 0.1), ("l_infinity", 0.05), ("kolmogorov_smirnov", 0.1), ("wasserstein", 0.2)],
)
def test_a_rule_may_ask_another_distance_to_be_large(measure: str, effect: float) -> None:
    rng = np.random.default_rng(11)
    reference = Reference.fit(mixed(rng, 20_000, 5))
    rule = DriftRule(measure=measure, effect=effect)
    large, small = (
        reference.compare(reference.profile(mixed(rng, 20_000, 5, shift)), rule=rule) for shift in (0.5, 0.08)
    )
    assert large.drifted_columns() == ["c0"]
    assert large.columns["c0"].score == large.columns["c0"].distances[measure]
    assert not small.drifted
    assert small.columns["c0"].p_value < 1e-4  # significant, and too small to matter
    holes = mixed(rng, 20_000, 5).set_column(0, "c0", pa.array(np.where(rng.random(20_000) < 0.2, np.nan, 0.0)))
    assert "c0" in reference.compare(reference.profile(holes), rule=rule).drifted_columns()


def test_a_measure_must_be_known() -> None:
    with pytest.raises(ConfigError, match="measure must be one of jensen_shannon"):
        DriftRule(measure="euclid")


@given(st.lists(st.integers(1, 400), min_size=2, max_size=12))
def test_a_reference_compared_with_its_own_rows_shows_nothing(counts: list[int]) -> None:
    rows = pa.table({"x": np.repeat(np.arange(len(counts)), counts)})
    reference = Reference.fit(rows)
    assert not reference.compare(reference.profile(rows)).drifted
