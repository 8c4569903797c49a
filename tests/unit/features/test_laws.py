"""Laws that hold for every history: the join is the definition, online is the join, and nothing sees the future."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raymlops.clock import ManualClock, to_us
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field, WindowAggregate
from raymlops.features.online import InMemoryOnlineStore
from raymlops.features.point_in_time import point_in_time_join
from raymlops.testing.point_in_time import assert_features, expected_features, spine_of, table_of

START = datetime(2024, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LAST = 12
FUNCTIONS: dict[str, list[Any]] = {
    "f": ["count", "sum", "mean", "std", "min", "max", "last"],
    "i": ["count", "sum", "mean", "std", "min", "max", "last"],
    "b": ["count", "sum", "mean", "std", "last"],
    "s": ["count", "last"],
    "t": ["count", "min", "max", "last"],
}


def build(name: str, keys: list[str], ttl: timedelta | None, spans: tuple[int, ...]) -> FeatureView:
    return FeatureView(
        name,
        Entity("who_" + name, keys),
        [Field("f", "float64"), Field("i", "int64"), Field("b", "bool"), Field("s", "string"), Field("t", "timestamp")],
        created_at="created_at",
        ttl=ttl,
        aggregates=[
            WindowAggregate(f"{function}_{field}_{span}", function, field, span * MINUTE)
            for field, functions in FUNCTIONS.items()
            for function in functions
            for span in spans
        ],
    )


PAIR = build("pair", ["k", "j"], 3 * MINUTE, (1, 4))
instants = st.integers(0, LAST).map(lambda n: START + n * MINUTE)
doubles = st.one_of(
    st.sampled_from([0.1, -0.0, 1e16, -1e16, 1.0, 1e-300, 1e99, -1e99, 2.0**53 + 2]),
    st.floats(-1e6, 1e6),
)
rows = st.fixed_dictionaries(
    {
        "k": st.sampled_from(["a", "ab", None]),
        "j": st.sampled_from([1, 11]),
        "event_time": instants,
        "created_at": st.one_of(st.none(), instants),
        "f": st.one_of(st.none(), doubles),
        "i": st.one_of(st.none(), st.integers(-(2**40), 2**40)),
        "b": st.one_of(st.none(), st.booleans()),
        "s": st.one_of(st.none(), st.text(max_size=3)),
        "t": st.one_of(st.none(), instants),
    }
)
histories = st.lists(rows, max_size=24)
asks = st.fixed_dictionaries(
    {"k": st.sampled_from(["a", "ab", "b", None]), "j": st.sampled_from([1, 11, 2]), "event_time": instants}
)
law = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
few = settings(law, max_examples=20)


def features(table: Any) -> Any:
    return table.select([name for name in table.column_names if "__" in name])


@law
@given(histories, st.lists(asks, min_size=1, max_size=6), st.booleans(), st.randoms())
def test_the_join_is_the_definition(history: list[Any], asked: list[Any], cutoff: bool, chance: Any) -> None:
    arrived = [{**row, "_seq": n} for n, row in enumerate(history)]
    shuffled = chance.sample(arrived, len(arrived))
    result = point_in_time_join(spine_of(asked), [PAIR], {"pair": table_of(PAIR, shuffled)}, knowledge_cutoff=cutoff)
    for ask, got in zip(asked, result.to_pylist(), strict=True):
        assert_features(PAIR, got, expected_features(PAIR, arrived, ask, knowledge_cutoff=cutoff))


@few
@given(histories, st.lists(asks, min_size=1, max_size=2), st.booleans())
def test_rows_after_the_instant_leave_no_trace(history: list[Any], asked: list[Any], cutoff: bool) -> None:
    for ask in asked:
        past = [row for row in history if row["event_time"] <= ask["event_time"]]
        results = [
            features(
                point_in_time_join(spine_of([ask]), [PAIR], {"pair": table_of(PAIR, seen)}, knowledge_cutoff=cutoff)
            )
            for seen in (history, past)
        ]
        assert results[0].equals(results[1])


@few
@given(histories, st.lists(asks, min_size=1, max_size=2))
def test_rows_created_after_the_instant_leave_no_trace_under_a_cutoff(history: list[Any], asked: list[Any]) -> None:
    for ask in asked:
        known = [row for row in history if row["created_at"] is not None and row["created_at"] <= ask["event_time"]]
        results = [
            features(point_in_time_join(spine_of([ask]), [PAIR], {"pair": table_of(PAIR, seen)}, knowledge_cutoff=True))
            for seen in (history, known)
        ]
        assert results[0].equals(results[1])


SERVICE = FeatureService("everything", [f"pair:{name}" for name in PAIR.feature_names])
Stored = tuple[FeatureStore, FeatureReader]


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[ManualClock, timedelta], Stored]:
    """Opens a new store whose tables are on disk and whose online side is in memory."""
    count = iter(range(10**6))

    def build_one(clock: ManualClock, history: timedelta) -> Stored:
        online, root = InMemoryOnlineStore(), tmp_path / str(next(count))
        store = FeatureStore(root, clock=clock, history=history, online=online)
        store.apply(PAIR, SERVICE)
        return store, FeatureReader(root, clock=clock, online=online)

    return build_one


def keyed(history: list[Any]) -> list[Any]:
    return [row for row in history if row["k"] is not None]


@settings(law, max_examples=15)
@given(
    histories=st.lists(histories.map(keyed).filter(bool), min_size=1, max_size=3),
    slack=st.integers(0, LAST),
    now=st.integers(0, LAST),
)
def test_online_is_the_join_whatever_the_order_of_arrival(
    opened: Callable[[ManualClock, timedelta], Stored], histories: list[list[Any]], slack: int, now: int
) -> None:
    """P29, P30: to the last bit, at every instant from the present back to the end of the history kept, and later."""
    clock = ManualClock(START + now * MINUTE)
    store, reader = opened(clock, slack * MINUTE)
    plan = reader.plan("everything")
    for number, batch in enumerate(histories):
        store.push("pair", table_of(PAIR, batch), ingest_id=f"batch {number}")
    table = pa.concat_tables([table_of(PAIR, batch) for batch in histories])
    instants = [START + minute * MINUTE for minute in range(max(now - slack, 0), LAST + 2)]
    asked = [{"k": k, "j": j, "event_time": at} for at in instants for k in ("a", "ab", "b", None) for j in (1, 11)]
    joined = features(point_in_time_join(spine_of(asked), [PAIR], {"pair": table}))
    read = plan.read(asked, [to_us(ask["event_time"]) for ask in asked])
    assert plan.table(read).to_pylist() == joined.to_pylist()
    for ask, missing in zip(asked, read.missing, strict=True):
        newest = expected_newest(table, ask)
        assert bool(missing) == (newest is None or newest < ask["event_time"] - 3 * MINUTE)


def expected_newest(table: Any, ask: dict[str, Any]) -> datetime | None:
    times = [
        row["event_time"]
        for row in table.to_pylist()
        if (row["k"], row["j"]) == (ask["k"], ask["j"]) and row["event_time"] <= ask["event_time"]
    ]
    return max(times, default=None)
