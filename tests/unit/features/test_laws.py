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
from raymlops.features.offline.point_in_time import point_in_time_join
from raymlops.features.online import materializer
from tests.support.examples import examples
from tests.support.in_memory_store import InMemoryOnlineStore
from tests.support.point_in_time import (
    PARTITIONS,
    assert_features,
    bucketed_join,
    expected_features,
    spine_of,
    table_of,
)

START = datetime(2024, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LAST = 12
FUNCTIONS: dict[str, list[Any]] = {
    "f": ["count", "sum", "mean", "std", "min", "max", "last", "distinct"],
    "i": ["count", "sum", "mean", "std", "min", "max", "last", "distinct"],
    "b": ["count", "sum", "mean", "std", "last", "distinct"],
    "s": ["count", "last", "distinct"],
    "t": ["count", "min", "max", "last", "distinct"],
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
NOBODY = {"k": "nobody", "j": 3, "event_time": START}  # a key that nothing asks for; it gives "_seq" a column
histories = st.lists(rows, max_size=24)
asks = st.fixed_dictionaries(
    {"k": st.sampled_from(["a", "ab", "b", None]), "j": st.sampled_from([1, 11, 2]), "event_time": instants}
)
law = settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
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
    tables = {"pair": table_of(PAIR, [*shuffled, {**NOBODY, "_seq": len(shuffled)}])}
    for parts in PARTITIONS:
        assert bucketed_join(spine_of(asked), [PAIR], tables, parts, knowledge_cutoff=cutoff).equals(result)


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


ALIAS = PAIR.aliased("alias", {"k": "who", "j": "number"})
SERVICE = FeatureService("everything", [f"{view.name}:{name}" for view in (PAIR, ALIAS) for name in PAIR.feature_names])
Stored = tuple[FeatureStore, FeatureReader]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[ManualClock, timedelta], Stored]:
    """Opens a new store whose tables are on disk and whose online side is in memory."""
    count = iter(range(10**6))
    monkeypatch.setattr(materializer, "_BATCH_BYTES", materializer._BATCH_BYTES)  # put back in the end

    def build_one(clock: ManualClock, history: timedelta) -> Stored:
        online, root = InMemoryOnlineStore(), tmp_path / str(next(count))
        store = FeatureStore(root, clock=clock, history=history, online=online)
        store.apply(PAIR, ALIAS, SERVICE)
        return store, FeatureReader(root, clock=clock, online=online)

    return build_one


def keyed(history: list[Any]) -> list[Any]:
    return [row for row in history if row["k"] is not None]


@settings(law, max_examples=15)
@given(
    histories=st.lists(histories.map(keyed).filter(bool), min_size=1, max_size=3),
    slack=st.integers(0, LAST),
    now=st.integers(0, LAST),
    batch_rows=st.sampled_from([1, 3, 1000]),
)
def test_p29_p30_online_is_the_join_whatever_the_order_of_arrival(
    opened: Callable[[ManualClock, timedelta], Stored],
    histories: list[list[Any]],
    slack: int,
    now: int,
    batch_rows: int,
) -> None:
    """To the last bit, at every instant from the present back to the end of the history kept, and later."""
    materializer._BATCH_BYTES = batch_rows * (len(PAIR.table_columns) + 1) * materializer._VALUE_BYTES
    clock = ManualClock(START + now * MINUTE)
    store, reader = opened(clock, slack * MINUTE)
    plan = reader.plan("everything")
    for number, batch in enumerate(histories):
        store.push("pair", table_of(PAIR, batch), ingest_id=f"batch {number}")
    table = pa.concat_tables([table_of(PAIR, batch) for batch in histories])
    instants = [START + minute * MINUTE for minute in range(max(now - slack, 0), LAST + 2)]
    people = [(k, j) for k in ("a", "ab", "b", None) for j in (1, 11)]
    asked = [
        {"k": k, "j": j, "who": who, "number": number, "event_time": at}
        for at in instants
        for (k, j), (who, number) in zip(people, people[3:] + people[:3], strict=True)
    ]
    joined = features(point_in_time_join(spine_of(asked), [PAIR, ALIAS], {"pair": table, "alias": table}))
    read = plan.read(asked, [to_us(ask["event_time"]) for ask in asked])
    assert plan.table(read).to_pylist() == joined.to_pylist()
    for ask, missing in zip(asked, read.missing, strict=True):
        expected = []
        for view, keys in ((PAIR, ("k", "j")), (ALIAS, ("who", "number"))):
            newest = expected_newest(table, *(ask[key] for key in keys), ask["event_time"])
            if newest is None or newest < ask["event_time"] - 3 * MINUTE:
                expected += [f"{view.name}__{name}" for name in view.feature_names]
        assert missing == expected


def expected_newest(table: Any, k: str | None, j: int, at: datetime) -> datetime | None:
    times = [
        row["event_time"] for row in table.to_pylist() if (row["k"], row["j"]) == (k, j) and row["event_time"] <= at
    ]
    return max(times, default=None)
