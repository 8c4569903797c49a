"""What users get wrong: an error that names it, never a silent null, never a spine row dropped or doubled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.clock import ManualClock
from raymlops.errors import ConfigError, DataError, FeatureViewNotFound, NotFoundError, RaymlopsError, SchemaMismatch
from raymlops.features import (
    Entity,
    FeatureReader,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    OnDemandView,
    WindowAggregate,
    audit,
    point_in_time_join,
)
from raymlops.tables.columns import INSTANT
from tests.support.examples import examples

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SHOP = FeatureView(
    "v",
    Entity("e", ["k"]),
    [Field("x", "float64", ge=0), Field("n", "int64"), Field("name", "string", allowed=["a", "b"])],
    aggregates=[WindowAggregate("total", "sum", "x", 2 * HOUR)],
)
TOWN = FeatureView("w", Entity("f", ["town"]), [Field("y", "float64")])
HIDDEN = FeatureView("hidden", Entity("e", ["k"]), [Field("x", "float64")], online=False)


def waited(columns: Any) -> Any:
    return {"hours": (columns["asked_at"] - columns["since"]).astype("timedelta64[h]").astype("float64")}


WAITED = OnDemandView(
    "od",
    ["asked_at", "since"],
    [Field("hours", "float64")],
    f"{__name__}:waited",
    request_types={"asked_at": "timestamp", "since": "timestamp"},
)


class World:
    """A store with rows, and its reader."""

    def __init__(self, root: Path) -> None:
        clock = ManualClock(T)
        self.store = FeatureStore(root, clock=clock, history=HOUR)
        self.reader = FeatureReader(root, clock=clock)
        services = [
            FeatureService("s", ["v:x", "v:total"]),
            FeatureService("both", ["v:x", "w:y"]),
            FeatureService("h", ["hidden:x"]),
            FeatureService("o", ["od:hours", "v:x"]),
        ]
        self.store.apply(SHOP, TOWN, HIDDEN, WAITED, *services)
        for hours in (30, 20, 10):  # the first are let go when the last come
            self.store.push("v", rows(event_time=pa.array([T - hours * HOUR] * 2, INSTANT)), ingest_id=f"-{hours}")
        self.store.push("v", rows(), ingest_id="first")

    def push(self, view: Any, table: Any, ingest_id: Any = "second") -> Any:
        return self.store.push(view, table, ingest_id=ingest_id)

    def training(self, spine: Any, service: Any = "s", **options: Any) -> Any:
        return self.reader.training_set(service, spine, **{"name": "t"} | options).table()

    def online(self, spine: Any, service: Any = "s", at: Any = T) -> Any:
        return self.reader.online(service, spine, at)

    def joined(self, spine: Any, table: Any = None) -> Any:
        return point_in_time_join(spine, [SHOP], {"v": rows() if table is None else table})

    def close(self) -> None:
        self.reader.close()
        self.store.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("bad_input"))
    yield made
    made.close()


def table(columns: dict[str, Any], changed: dict[str, Any]) -> pa.Table:
    """A table with columns changed, taken away (``None``) or added."""
    return pa.table({name: column for name, column in (columns | changed).items() if column is not None})


def rows(**changed: Any) -> pa.Table:
    instants = pa.array([T - HOUR, T], INSTANT)
    return table({"k": [1, 2], "event_time": instants, "x": [1.0, 2.0], "n": [1, 2], "name": ["a", "b"]}, changed)


def spine(**changed: Any) -> pa.Table:
    return table({"k": [1, 2], "event_time": pa.array([T, T], INSTANT), "label": [0, 1]}, changed)


def twice(given: pa.Table, name: str) -> pa.Table:
    return pa.Table.from_arrays([*given.columns, given[name]], names=[*given.column_names, name])


Mistake = tuple[str, Callable[[World], Any], type[RaymlopsError], str]

NAIVE = pa.array([datetime(2024, 3, 1)] * 2, pa.timestamp("us"))
FINER = pa.array([1, 2], pa.timestamp("ns", tz="UTC"))
OTHER_TIMES: list[tuple[str, Any, type[RaymlopsError], str]] = [
    ("none", None, SchemaMismatch, "columns ['event_time'] are missing"),
    ("naive", NAIVE, SchemaMismatch, "column 'event_time' must be a tz-aware timestamp, got timestamp[us]"),
    ("dates", [date(2024, 3, 1)] * 2, SchemaMismatch, "'event_time' must be a tz-aware timestamp, got date32"),
    ("texts", ["2024-03-01T00:00:00Z"] * 2, SchemaMismatch, "'event_time' must be a tz-aware timestamp, got string"),
    ("numbers", [1, 2], SchemaMismatch, "'event_time' must be a tz-aware timestamp, got int64"),
    ("too fine", FINER, DataError, "'event_time' must fit timestamp"),
    ("far", pa.array([2**60, 0], pa.timestamp("s", tz="UTC")), DataError, "'event_time' must fit timestamp"),
    ("missing", pa.array([T, None], INSTANT), DataError, "'event_time' must not be null"),
    ("all missing", pa.nulls(2), DataError, "'event_time' must not be null"),
]
OTHER_KEYS: list[tuple[str, Any, str]] = [
    ("none", None, "columns ['k'] are missing"),
    ("reals", [1.5, 2.0], "'k' must fit int64"),
    ("reals that stand for several integers", [2.0**53, 2.0], "'k' must fit int64"),
    ("booleans", [True, False], "'k' must be int"),
    ("instants", pa.array([T, T], INSTANT), "'k' must be int"),
    ("lists", [[1], [2]], "'k' must be int"),
    ("bytes", [b"1", b"2"], "'k' must be int"),
    ("decimals", [Decimal(1)] * 2, "'k' must be int"),
    ("texts for numbers", ["1", "2"], "'k' must be int"),
    ("coded texts", pa.array(["1", "2"]).dictionary_encode(), "'k' must be int"),
]
OTHER_VALUES: list[tuple[str, dict[str, Any], type[RaymlopsError], str]] = [
    ("no column", {"x": None}, SchemaMismatch, "columns ['x'] are missing"),
    ("texts", {"x": ["1", "2"]}, SchemaMismatch, "column 'x' must be float64, got string"),
    ("booleans", {"x": [True, False]}, SchemaMismatch, "column 'x' must be float64, got bool"),
    ("reals", {"n": [1.5, 2.0]}, SchemaMismatch, "column 'n' must fit int64, got a double that does not"),
    ("large reals", {"n": [2.0**53, 2.0]}, SchemaMismatch, "column 'n' must fit int64, got a double that does not"),
    ("numbers", {"name": [1, 2]}, SchemaMismatch, "column 'name' must be string, got int64"),
    ("too large", {"x": pa.array([2**63 - 1, 1])}, DataError, "'x' must fit float64"),
    ("infinite", {"x": [1.0, float("inf")]}, DataError, "'x' must lie within"),
]


def mistakes() -> Iterator[Mistake]:
    for what, times, error, message in OTHER_TIMES:
        changed = {"event_time": times}
        yield f"training, times {what}", lambda w, c=changed: w.training(spine(**c)), error, message
        yield f"join, times {what}", lambda w, c=changed: w.joined(spine(**c)), error, message
        yield f"join, times {what} in the table", lambda w, c=changed: w.joined(spine(), rows(**c)), error, message
        yield f"push, times {what}", lambda w, c=changed: w.push("v", rows(**c)), error, message
    for what, keys, message in OTHER_KEYS:
        changed = {"k": keys}
        yield f"training, keys {what}", lambda w, c=changed: w.training(spine(**c)), SchemaMismatch, message
        yield f"join, keys {what}", lambda w, c=changed: w.joined(spine(**c)), SchemaMismatch, message
        error = SchemaMismatch if "fit" in message else DataError
        yield f"online, keys {what}", lambda w, c=changed: w.online(spine(**c)), error, message
    for what, changed, error, message in OTHER_VALUES:
        yield f"push, {what}", lambda w, c=changed: w.push("v", rows(**c)), error, message
        yield f"join, {what}", lambda w, c=changed: w.joined(spine(), rows(**c)), error, message


TABLES: list[Mistake] = [
    ("a key that is missing", lambda w: w.push("v", rows(k=[1, None])), DataError, "'k' must not be null"),
    ("keys of no type", lambda w: w.push("v", rows(k=pa.nulls(2))), DataError, "'k'"),
    ("keys of another type", lambda w: w.push("v", rows(k=["1", "2"])), SchemaMismatch, "'k': ('int64', 'string')"),
    ("a value too low", lambda w: w.push("v", rows(x=[1.0, -1.0])), DataError, "'x' must be at least 0"),
    (
        "a value not allowed",
        lambda w: w.push("v", rows(name=["a", "c"])),
        DataError,
        "'name' must be one of ['a', 'b']",
    ),
    (
        "an unknown column",
        lambda w: w.push("v", rows(more=[1, 2])),
        SchemaMismatch,
        "columns ['more'] are not declared",
    ),
    ("a column twice", lambda w: w.push("v", twice(rows(), "x")), SchemaMismatch, "got ['x'] more than once"),
    ("the key twice", lambda w: w.training(twice(spine(), "k")), SchemaMismatch, "got ['k'] more than once"),
    ("the label twice", lambda w: w.training(twice(spine(), "label")), SchemaMismatch, "got ['label'] more than once"),
    ("the label twice online", lambda w: w.online(twice(spine(), "label")), SchemaMismatch, "got ['label'] more than"),
    ("twice in a pure join", lambda w: w.joined(twice(spine(), "label")), SchemaMismatch, "got ['label'] more than"),
    ("twice in its table", lambda w: w.joined(spine(), twice(rows(), "n")), SchemaMismatch, "got ['n'] more than once"),
    ("a feature's name", lambda w: w.training(spine(v__x=[1, 2])), SchemaMismatch, "'v__x' is the name of a feature"),
    ("a feature's name online", lambda w: w.online(spine(v__x=[1, 2])), SchemaMismatch, "'v__x' is the name of a feat"),
    ("a feature's name in a join", lambda w: w.joined(spine(v__x=[1, 2])), SchemaMismatch, "is the name of a feature"),
    ("a spine of rows", lambda w: w.training(spine().to_pylist()), SchemaMismatch, "spine must be an Arrow table"),
    ("entities as a dict", lambda w: w.online(spine().to_pydict()), SchemaMismatch, "entities must be an Arrow table"),
    (
        "rows as texts",
        lambda w: w.push("v", "rows"),
        SchemaMismatch,
        "must be an Arrow table, a pandas or polars",
    ),
    ("a table of rows", lambda w: w.joined(spine(), [1]), SchemaMismatch, "its table must be an Arrow table"),
    ("a series", lambda w: w.training(spine().to_pandas()["k"]), SchemaMismatch, "got a Series that is none"),
    ("served texts", lambda w: audit("s", "served", w.reader), SchemaMismatch, "served must be an Arrow table"),
    ("a view for views", lambda w: point_in_time_join(spine(), SHOP, {}), ConfigError, "views must be a list"),  # type: ignore[arg-type]
    ("names for views", lambda w: point_in_time_join(spine(), ["v"], {}), ConfigError, "must hold FeatureView only"),  # type: ignore[list-item]
    ("a list of tables", lambda w: point_in_time_join(spine(), [SHOP], [rows()]), ConfigError, "tables must be a map"),  # type: ignore[arg-type]
    ("no spine", lambda w: w.reader.features_at("s", None), SchemaMismatch, "spine must be an Arrow table"),
]
NAMES: list[Mistake] = [
    ("an unknown view", lambda w: w.push("q", rows()), FeatureViewNotFound, "view 'q' is not applied, got ['hidden@1'"),
    ("an unknown version", lambda w: w.push("v@2", rows()), FeatureViewNotFound, "view 'v@2' is not applied"),
    ("a view of other case", lambda w: w.reader.table("V"), FeatureViewNotFound, "view 'V' is not applied"),
    ("version 0", lambda w: w.reader.table("v@0"), ConfigError, "reference must be NAME or NAME@VERSION, got 'v@0'"),
    ("no name", lambda w: w.reader.table(None), ConfigError, "reference must be NAME or NAME@VERSION, got None"),  # type: ignore[arg-type]
    ("an unknown service", lambda w: w.online(spine(), "q"), FeatureViewNotFound, "service 'q' is not applied"),
    ("a view for a service", lambda w: w.training(spine(), "v"), FeatureViewNotFound, "service 'v' is not applied"),
    ("a service's version", lambda w: w.training(spine(), "s@7"), FeatureViewNotFound, "service 's@7' is not applied"),
    (
        "a text for a version",
        lambda w: w.reader.table("v", "1"),
        ConfigError,
        "'v@1': a table's version must be an int",
    ),  # type: ignore[arg-type]
    ("a text for a pin", lambda w: w.training(spine(), table_versions={"v": "0"}), ConfigError, "must be an integer"),
    (
        "a list of pins",
        lambda w: w.training(spine(), table_versions=["v"]),
        ConfigError,
        "table_versions must be a map",
    ),
    ("a view without rows", lambda w: w.training(spine(), "h"), NotFoundError, "table 'hidden' does not exist"),
    ("a view not online", lambda w: w.online(spine(), "h"), ConfigError, "view 'hidden@1' is not kept online"),
    ("an unknown table", lambda w: w.training(spine(), table_versions={"q": 0}), ConfigError, "got ['q']"),
    (
        "a later version",
        lambda w: w.training(spine(), table_versions={"v": 99}),
        NotFoundError,
        "table 'v': version must",
    ),
    (
        "a nameless set",
        lambda w: w.training(spine(), name=None),
        ConfigError,
        "training set: name must be text, got None",
    ),
    ("a number for an id", lambda w: w.push("v", rows(), 5), ConfigError, "ingest_id must be text, got 5"),
    ("a column of the service", lambda w: w.training(spine(), "both"), RaymlopsError, "'w'"),
    ("a view without a table", lambda w: point_in_time_join(spine(), [SHOP], {}), FeatureViewNotFound, "has no table"),
    (
        "a view given twice",
        lambda w: point_in_time_join(spine(), [SHOP, SHOP], {"v": rows()}),
        SchemaMismatch,
        "'v__x'",
    ),
    (
        "an unknown field",
        lambda w: w.store.apply(FeatureService("z", ["v:q"])),
        ConfigError,
        "'v@1' has no feature 'q'",
    ),
    (
        "a field of no view",
        lambda w: w.store.apply(FeatureService("z", ["q:x"])),
        FeatureViewNotFound,
        "view 'q' is not",
    ),
    ("no definition", lambda w: w.store.apply("v"), ConfigError, "got str 'v'"),  # type: ignore[arg-type]
    ("a list of definitions", lambda w: w.store.apply([SHOP]), ConfigError, "got list"),  # type: ignore[arg-type]
    ("no such training set", lambda w: w.reader.manifest("q"), NotFoundError, "training set 'q' does not exist"),
    (
        "a cutoff without created-at",
        lambda w: w.training(spine(), knowledge_cutoff=True),
        ConfigError,
        "view 'v': knowledge_cutoff needs created_at",
    ),
]
INSTANTS: list[Mistake] = [
    ("naive", lambda w: w.online(spine(), at=datetime(2024, 3, 1)), DataError, "at must be tz-aware, got datetime"),
    ("a date", lambda w: w.online(spine(), at=date(2024, 3, 1)), DataError, "at must be a datetime, got datetime.date"),
    ("a text", lambda w: w.online(spine(), at="2024-03-01"), DataError, "at must be a datetime, got '2024-03-01'"),
    ("before", lambda w: w.online(spine(), at=T - 25 * HOUR), DataError, "at must not be before"),
    ("year 1", lambda w: w.online(spine(), at=datetime(1, 1, 1, tzinfo=UTC)), DataError, "at must not be before"),
]


def asked(asked_at: Any, since: Any = T, key: Any = 1) -> Callable[[World], Any]:
    at_us = int(T.timestamp()) * 1_000_000
    return lambda w: w.reader.plan("o").read([{"k": key, "asked_at": asked_at, "since": since}] * 2, [at_us] * 2)


REQUESTS: list[Mistake] = [
    ("a naive instant", asked(datetime(2024, 3, 1)), SchemaMismatch, "'asked_at' must hold tz-aware instants"),
    ("a number", asked(5), SchemaMismatch, "column 'asked_at' must be a tz-aware timestamp, got int64"),
    ("a large number", asked(2**70), DataError, "column 'asked_at' must hold one type"),
    ("an object", asked(object()), DataError, "column 'asked_at' must hold one type"),
    ("broken text", asked("\ud800"), DataError, "column 'asked_at' must be an ISO 8601 instant with its offset"),
    ("a real key", asked(T, key=1.0), DataError, "key 'k' must be int, got 1.0"),
    ("a large key", asked(T, key=2**63), DataError, "key 'k' must fit 64 bits"),
    ("no column", lambda w: w.reader.plan("o").read([{"k": 1, "since": T}], [0]), RaymlopsError, ""),
    ("no key", lambda w: w.reader.plan("s").read([{}], [0]), SchemaMismatch, "key 'k' is missing, got []"),
]

ALL = [
    *mistakes(),
    *TABLES,
    *NAMES,
    *((f"at {what}", call, error, message) for what, call, error, message in INSTANTS),
    *((f"request with {what}", call, error, message) for what, call, error, message in REQUESTS),
]


@pytest.mark.parametrize(
    ("call", "error", "message"), [mistake[1:] for mistake in ALL], ids=[mistake[0] for mistake in ALL]
)
def test_a_mistake_is_named(world: World, call: Callable[[World], Any], error: type[Exception], message: str) -> None:
    before = world.reader.table_versions()
    with pytest.raises(error) as caught:
        call(world)
    assert message in str(caught.value)
    assert world.reader.table_versions() == before


def test_one_naive_instant_among_aware_ones_is_not_taken_for_utc(world: World) -> None:
    rows = [{"k": 1, "asked_at": T, "since": T}, {"k": 1, "asked_at": T.replace(tzinfo=None), "since": T}]
    with pytest.raises(SchemaMismatch, match="'asked_at' must hold tz-aware instants"):
        world.reader.plan("o").read(rows, [int(T.timestamp()) * 1_000_000] * 2)


def test_what_is_no_mistake(world: World) -> None:
    """Null keys, unknown entities, no rows at all, other zones, instants in the future: answered, typed, in order."""
    unknown = spine(k=pa.array([None, 7], pa.int8()))
    for answer in (world.training(unknown), world.online(unknown), world.joined(unknown)):
        assert answer["v__x"].to_pylist() == [None, None]
        assert answer["label"].to_pylist() == [0, 1]
    none = spine().slice(0, 0)
    for answer in (world.training(none), world.online(none), world.joined(none)):
        assert answer.num_rows == 0
        assert (answer["v__x"].type, answer["v__total"].type) == (pa.float64(), pa.float64())
    assert (
        world.training(
            none.append_column("asked_at", [pa.array([], INSTANT)]).append_column("since", [pa.array([], INSTANT)]), "o"
        )["od__hours"].type
        == pa.float64()
    )
    elsewhere = spine(event_time=pa.array([T, T], pa.timestamp("ns", tz="US/Pacific")))
    assert world.training(elsewhere)["v__x"].to_pylist() == world.training(spine())["v__x"].to_pylist() == [1.0, 2.0]
    assert world.online(spine(), at=T + 1000 * HOUR)["v__total"].to_pylist() == [None, None]
    assert world.online(spine().to_batches()[0])["v__x"].to_pylist() == [1.0, 2.0]
    doubled = pa.concat_tables([spine(), spine().slice(1, 1), spine()])
    assert world.training(doubled)["label"].to_pylist() == [0, 1, 1, 0, 1]


ANY_COLUMN = st.one_of(
    st.sampled_from(
        [
            pa.nulls(3),
            pa.array([T, T - HOUR, None], INSTANT),
            pa.array([T, T, T], INSTANT),
            pa.array([0, 1, 2], pa.timestamp("s", tz="Asia/Kathmandu")),
            pa.array([datetime(2024, 1, 1)] * 3),
            pa.array([1, 2, 2], pa.int8()),
            pa.array([1, 2**63, 2**64 - 1], pa.uint64()),
            pa.array([1.0, float("nan"), None]),
            pa.array([True, None, False]),
            pa.array(["1", "", None]),
            pa.array(["a", "b", "a"]).dictionary_encode(),
            pa.array([1, None, 1]).dictionary_encode(),
            pa.array([b"a", b"", None]),
            pa.array([[1], [], None]),
            pa.array([{"a": 1}, None, {"a": 2}]),
            pa.array([Decimal("1.5"), None, Decimal(2)]),
            pa.array([timedelta(1), None, timedelta(2)]),
            pa.array([date(2024, 1, 1), None, date(1, 1, 1)]),
            pa.chunked_array([[1], [2, 3]]),
            pa.array(["x"] * 3, pa.large_string()),
        ]
    )
)
ANY_NAME = st.sampled_from(["k", "event_time", "x", "n", "name", "label", "v__x", "_seq", "", "asked_at"])


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Tables of three rows with any columns under likely names, some twice; half of them nearly right."""
    names = draw(st.lists(ANY_NAME, min_size=1, max_size=6))
    if draw(st.booleans()):
        names = [*names, *(name for name in ("k", "event_time") if name not in names)]
    return pa.Table.from_arrays([draw(ANY_COLUMN) for _ in names], names=names)


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the error of ours that it raises; any other goes through."""
    try:
        return call()
    except RaymlopsError as error:
        return error


@given(given=tables())
@settings(max_examples=examples(300), deadline=None)
def test_whatever_is_asked_the_answer_has_the_rows_or_the_error_is_ours(world: World, given: pa.Table) -> None:
    for ask in (world.training, world.online, world.joined):
        answer = outcome(lambda ask=ask: ask(given))
        if isinstance(answer, RaymlopsError):
            assert str(answer)
        else:
            assert answer.num_rows == given.num_rows
            assert str(answer.to_pydict()).startswith(str(given.to_pydict())[:-1])


@given(given=tables())
@settings(max_examples=examples(150), deadline=None)
def test_whatever_is_ingested_is_stored_whole_or_refused(world: World, given: pa.Table) -> None:
    before = world.reader.table("v").num_rows
    answer = outcome(lambda: world.store.ingest("v", given))
    fresh = 0 if isinstance(answer, RaymlopsError) or answer.duplicate else given.num_rows
    assert world.reader.table("v").num_rows == before + fresh
