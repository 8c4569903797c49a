"""Every kind of column, by every way in, at every door: the right values, or a refusal of one line with the remedy.

``docs/what-people-bring.md`` is the table of what happens; a test fails where a cell of it has changed.
``python -m pytest -n 0 --write-pages tests/contract/test_what_people_bring.py`` writes it again.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyarrow import csv, parquet

from raymlops.clock import ManualClock, SystemClock
from raymlops.config.monitoring import MonitoringConfig
from raymlops.errors import RaymlopsError
from raymlops.experiments import fit_candidate
from raymlops.features import Entity, FeatureReader, FeatureStore, FeatureView, Field
from raymlops.features.definitions.fields import DType
from raymlops.metadata import MetadataService
from raymlops.monitoring import Reference
from raymlops.records.learning.tasks import LearningTask
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.records.plans import ServingPlan
from raymlops.records.record import sha256_of
from raymlops.records.scoring import ScoringPlan
from raymlops.scoring import JobDirectory, OutputTable, RowSource, ScoringJob, cut_parts
from raymlops.scoring.csv_files import typed_copy
from raymlops.scoring.opening import ScorerSetting, open_scorer
from raymlops.scoring.sources import file_source
from raymlops.serving import Endpoint, HttpRequest, Loader, load_model, save_model
from raymlops.serving.front import open_inference_pb2 as pb
from raymlops.serving.front.gateway import Gateway
from raymlops.serving.front.grpc_service import InferenceService
from raymlops.serving.models.model import columns_of
from raymlops.tables.sources import FileSource

ROWS = 120
NOW = datetime(2026, 3, 1, tzinfo=UTC)
DRAW = np.random.default_rng(13)
GROUP = DRAW.integers(0, 2, ROWS)
"""What the label is, and what the column of every kind tells."""
PICK = DRAW.integers(0, 3, ROWS)
REMEDY = re.compile("must|cast|declare|give|derive|convert|export|rename|choose|leave")
RIGHT = "right"
PLAN = ServingPlan(model="m", number=1, champion=1, created_at=NOW)
PAGE = Path(__file__).parents[2] / "docs" / "what-people-bring.md"


class Kind(NamedTuple):
    """A kind of column: three values of either group, and the type that a feature view declares for it."""

    values: tuple[tuple[Any, ...], tuple[Any, ...]]
    arrow: pa.DataType
    declared: DType

    def column(self, group: Any = GROUP, pick: Any = PICK) -> pa.Array:
        rows = [self.values[one][other] for one, other in zip(group.tolist(), pick.tolist(), strict=True)]
        if pa.types.is_dictionary(self.arrow):
            return pa.array(rows, self.arrow.value_type).dictionary_encode().cast(self.arrow)
        return pa.array(rows, self.arrow)


def _days(year: int) -> tuple[datetime, ...]:
    return tuple(datetime(year, 1, 1 + n, 6, 30, n, 250_000) for n in range(3))


def _nanoseconds(year: int) -> tuple[pd.Timestamp, ...]:
    return tuple(pd.Timestamp(at, tz="UTC") + pd.Timedelta(7, "ns") for at in _days(year))


KINDS: Mapping[str, Kind] = {
    "int": Kind(((2**53 + 1, 7, 8), (-4, -5, -(2**53) - 1)), pa.int64(), "int64"),
    "uint": Kind(((200, 220, 255), (0, 1, 2)), pa.uint8(), "int64"),
    "float": Kind(((0.1 + 0.2, 1e-17, 3.0), (-0.1, -1e17, -2.5)), pa.float64(), "float64"),
    "decimal": Kind(
        ((Decimal("1.10"), Decimal("2.25"), Decimal("9.99")), (Decimal("-1.10"), Decimal("-0.01"), Decimal("-7.5"))),
        pa.decimal128(9, 2),
        "float64",
    ),
    "bool": Kind(((True,) * 3, (False,) * 3), pa.bool_(), "bool"),
    "text": Kind((("00742", "", "é"), ("85123A", "NA", "1e5")), pa.string(), "string"),
    "category": Kind((("ord", "jfk", "lax"), ("07", "7", "x y")), pa.dictionary(pa.int8(), pa.string()), "string"),
    "dictionary": Kind(((10, 35, 70), (20, 40, 60)), pa.dictionary(pa.int32(), pa.int64()), "int64"),
    "date": Kind(
        ((date(2020, 1, 1), date(2020, 2, 29), date(2020, 3, 1)), (date(1950, 1, 1), date(1, 1, 1), date(1816, 3, 30))),
        pa.date32(),
        "timestamp",
    ),
    "naive": Kind((_days(2020), _days(1900)), pa.timestamp("us"), "timestamp"),
    "zoned": Kind((_days(2020), _days(1900)), pa.timestamp("us", tz="Europe/Oslo"), "timestamp"),
    "nanosecond": Kind((_nanoseconds(2020), _nanoseconds(1900)), pa.timestamp("ns", tz="UTC"), "timestamp"),
    "list": Kind((([1.0], [1.0, 2.0], [9.0]), ([-1.0], [], [-2.0, 3.0])), pa.list_(pa.float64()), "float64"),
    "null": Kind(((None,) * 3, (None,) * 3), pa.null(), "float64"),
}
FRAMES: Mapping[str, Callable[[pa.Table], Any]] = {
    "pandas": lambda table: table.to_pandas(),
    "polars": pl.from_arrow,
    "Arrow": lambda table: table,
}
FILES = ("CSV", "Parquet")
REQUESTS = ("HTTP JSON", "binary", "gRPC")
TEXTS = {"text", "category"}
CODED = {"category", "dictionary"}
TIMES = {"date", "naive", "zoned", "nanosecond"}


def _table(kind: Kind, **more: Any) -> pa.Table:
    """The column ``v``, and ``x``, which tells nothing unless nothing else can."""
    x = GROUP * 2.0 - 1 if kind.arrow == pa.null() else DRAW.normal(size=ROWS)
    return pa.table({"v": kind.column(), "x": pa.array(x, pa.float64()), **more})


def _file(table: pa.Table, way: str, directory: Path) -> Path:
    path = directory / f"rows.{way.lower()}"
    if way == "Parquet":
        parquet.write_table(table, path)
        return path
    plain = [column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column for column in table]
    with_lists = [_as_json(column) if pa.types.is_list(column.type) else column for column in plain]
    csv.write_csv(pa.table(dict(zip(table.column_names, with_lists, strict=True))), path)
    return path


def _as_json(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([orjson.dumps(value).decode() for value in column.to_pylist()])


def _plain(value: Any) -> Any:
    """A value as Python compares it: instants in UTC, and whole where they are a date's."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC) if isinstance(value, date) else value


def _same(found: list[Any], wanted: list[Any]) -> None:
    assert [_plain(value) for value in found] == [_plain(value) for value in wanted]


def ingest(kind: Kind, way: str, directory: Path) -> None:
    """Into a feature store, and back."""
    with closing(FeatureStore(directory / "features", clock=SystemClock())) as store:
        entity = Entity("row", ["row"])
        store.apply(entity, FeatureView("brought", entity, [Field("v", kind.declared)]))
        times = pa.array([NOW] * ROWS, pa.timestamp("us", tz="UTC"))
        table = _table(kind, row=pa.array(range(ROWS)), event_time=times).drop_columns(["x"])
        if way in FRAMES:
            store.ingest("brought", FRAMES[way](table))
        else:
            source, staged, blocks = FileSource(_file(table, way, directory)), uuid.uuid4().hex, 0
            for block in source.tables():
                store.stage(staged, blocks, block)
                blocks += 1
            store.ingest_staged("brought", staged, blocks, ingest_id=way, text=source.text)
    with closing(FeatureReader(directory / "features")) as reader:
        _same(reader.table("brought").sort_by("row").column("v").to_pylist(), kind.column().to_pylist())


def train(kind: Kind, way: str, directory: Path) -> None:
    """A family of trees is fitted on it, and its packaged form tells the groups apart."""
    rows = _table(kind, label=pa.array(GROUP))
    task = LearningTask(inputs=("v", "x"))
    params = {"n_estimators": 20, "max_depth": 3, "min_child_weight": 0}
    fitted = fit_candidate("xgboost", params, seed=0, rows=FRAMES[way](rows), task=task)
    manifest = save_model(directory / "m", fitted.estimator, example=rows.select(["v", "x"]))
    model = load_model(directory / "m", manifest, sha256_of(manifest))
    answers = model.predict(columns_of(rows.select(["v", "x"]), model.signature))
    assert (answers["label"] == GROUP).mean() > 0.95


def _frame(name: str, kind: Kind) -> pd.DataFrame:
    frame: pd.DataFrame = _table(kind).to_pandas()
    return frame.assign(v=pd.to_numeric(GROUP + PICK / 10)) if name in TIMES or name == "list" else frame


@cache
def _estimator(name: str) -> Any:
    """What somebody fits on a frame with such a column, away from the platform."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = _frame(name, KINDS[name])
    if name == "text":
        encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["v"]), remainder="passthrough")
        return make_pipeline(encoder, LogisticRegression()).fit(frame, GROUP)
    if name == "decimal":
        frame = frame.astype({"v": float})
    if name == "null":
        return RandomForestClassifier(n_estimators=5, random_state=0).fit(frame.astype(float), GROUP)
    return HistGradientBoostingClassifier(max_iter=10, min_samples_leaf=2).fit(frame, GROUP)


def register(kind: Kind, way: str, directory: Path) -> None:
    """A model fitted on a pandas frame is packaged with rows of another kind of frame, and answers as it did."""
    name = _name(kind)
    table = _table(kind)
    manifest = save_model(directory / "m", _estimator(name), example=FRAMES[way](table))
    model = load_model(directory / "m", manifest, sha256_of(manifest))
    answers = model.predict(columns_of(table, model.signature))
    wanted = _estimator(name).predict_proba(_asked(name, table))
    np.testing.assert_allclose(answers["probability"], wanted, atol=1e-6)


def _asked(name: str, table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame.astype({"v": float}) if name == "decimal" else frame


def _name(kind: Kind) -> str:
    return next(name for name, other in KINDS.items() if other is kind)


class _Registry:
    def __init__(self, directory: Path, manifest: ModelManifest) -> None:
        self.version = ModelVersion(
            name="m", version=1, path=str(directory), manifest=manifest, digest=sha256_of(manifest), created_at=NOW
        )

    def get_version(self, name: str, version: int) -> ModelVersion:
        assert (name, version) == ("m", 1)
        return self.version


class _Plans:
    async def served_plans(self) -> Mapping[str, ServingPlan]:
        return {"m": PLAN}


class _Endpoints:
    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    async def ask(self, model: str, request: HttpRequest) -> Any:
        return await self.endpoint.handle(request)


def serve(kind: Kind, way: str, directory: Path) -> None:
    """The endpoint answers callers as the estimator answers its own frame."""
    name, table = _name(kind), _table(kind)
    manifest = save_model(directory / "m", _estimator(name), example=table)
    endpoint = Endpoint("m", Loader(_Registry(directory / "m", manifest)), clock=ManualClock(NOW))
    assert endpoint.slot.swap(endpoint.slot.load(PLAN))
    datatypes = {column.name: column.dtype for column in manifest.signature.inputs}
    values = {column: _sent(table.column(column), datatypes[column]) for column in datatypes}
    ask = {"HTTP JSON": _ask_json, "binary": _ask_binary, "gRPC": _ask_grpc}[way]
    wanted = _estimator(name).predict_proba(_asked(name, table))
    together = asyncio.run(ask(endpoint, datatypes, values))
    alone = [asyncio.run(ask(endpoint, datatypes, {c: v[row : row + 1] for c, v in values.items()})) for row in (0, 1)]
    np.testing.assert_allclose(together, wanted, atol=1e-6)
    np.testing.assert_allclose(np.concatenate(alone), wanted[:2], atol=1e-6)


def _sent(column: pa.ChunkedArray, datatype: str) -> list[Any]:
    values = column.to_pylist()
    return [float(value) if value is not None and datatype.startswith("FP") else value for value in values]


async def _ask_json(endpoint: Endpoint, datatypes: Mapping[str, str], values: Mapping[str, list[Any]]) -> Any:
    inputs = [
        {"name": name, "datatype": datatypes[name], "shape": [len(data)], "data": data} for name, data in values.items()
    ]
    reply = await endpoint.handle(HttpRequest("POST", "/v2/models/m/infer", {}, orjson.dumps({"inputs": inputs})))
    assert reply.status == 200, reply.body
    return _probability(orjson.loads(reply.body))


def _probability(document: Mapping[str, Any]) -> Any:
    output = next(output for output in document["outputs"] if output["name"] == "probability")
    return np.array(output["data"]).reshape(output["shape"])


def _raw(datatype: str, data: list[Any]) -> bytes:
    from raymlops.serving.protocol.datatypes import NUMBERS

    if datatype == "BYTES":
        return b"".join(len(value.encode()).to_bytes(4, "little") + value.encode() for value in data)
    return np.array([np.nan if value is None else value for value in data], NUMBERS[datatype]).tobytes()


async def _ask_binary(endpoint: Endpoint, datatypes: Mapping[str, str], values: Mapping[str, list[Any]]) -> Any:
    raw = {name: _raw(datatypes[name], data) for name, data in values.items()}
    inputs = [
        {
            "name": name,
            "datatype": datatypes[name],
            "shape": [len(values[name])],
            "parameters": {"binary_data_size": len(content)},
        }
        for name, content in raw.items()
    ]
    head = orjson.dumps({"inputs": inputs})
    headers = {"inference-header-content-length": str(len(head))}
    body = b"".join((head, *raw.values()))
    reply = await endpoint.handle(HttpRequest("POST", "/v2/models/m/infer", headers, body))
    assert reply.status == 200, reply.body
    return _probability(orjson.loads(reply.body))


async def _ask_grpc(endpoint: Endpoint, datatypes: Mapping[str, str], values: Mapping[str, list[Any]]) -> Any:
    message = pb.ModelInferRequest(model_name="m")
    for name, data in values.items():
        message.inputs.add(name=name, datatype=datatypes[name], shape=[len(data)])
        message.raw_input_contents.append(_raw(datatypes[name], data))
    service = InferenceService(Gateway("1", _Plans()), _Endpoints(endpoint))
    reply = await service.call("ModelInfer", message.SerializeToString(), {})
    assert reply.status == "OK", reply.message
    answer = pb.ModelInferResponse.FromString(reply.body)
    place = [output.name for output in answer.outputs].index("probability")
    return np.frombuffer(answer.raw_output_contents[place]).reshape(answer.outputs[place].shape)


def batch(kind: Kind, way: str, directory: Path) -> None:
    """A file with the column beside the model's input is scored, and the column comes out as it went in."""
    from sklearn.linear_model import LogisticRegression

    table = _table(kind)
    estimator = LogisticRegression().fit(table.select(["x"]).to_pandas(), GROUP)
    manifest = save_model(directory / "m", estimator, example=table.select(["x"]))
    path = _file(table, way, directory)
    path = typed_copy(path, manifest.signature, directory / "copies") or path
    plan = ScoringPlan(
        model="m",
        version=1,
        digest=sha256_of(manifest),
        source=file_source(path, "rows"),
        columns=("v",),
        output=str(directory / "scored"),
        part_rows=60,
        block_rows=50,
    )
    metadata = MetadataService(directory / "metadata.db", clock=ManualClock(NOW))
    try:
        job = ScoringJob(
            plan=plan,
            parts=cut_parts(RowSource(plan.source).row_groups(), plan.part_rows),
            scorer=open_scorer(ScorerSetting(plan, directory / "m", manifest, directory / "features", {})),
            output=OutputTable(plan.output),
            directory=JobDirectory(directory / "job"),
            reference=None,
            journal=metadata,
            config=MonitoringConfig(),
            clock=ManualClock(NOW),
            model_uri=str(directory / "m"),
        )
        try:
            job.check()
        except RaymlopsError:
            assert not list(directory.glob("scored/**/*.parquet"))  # refused before the first row, and nothing is left
            raise
        job.run(lambda parts: (job.scorer.score(part) for part in parts))
    finally:
        metadata.close()
    scored = DeltaTable(plan.output).to_pyarrow_table().sort_by("_row")
    wanted = kind.column().to_pylist()
    if way == "CSV":
        wanted = _file_texts(table) if scored.column("v").type == pa.string() else wanted
    _same(scored.column("v").to_pylist(), wanted)
    np.testing.assert_allclose(
        np.array(scored.column("probability").to_pylist()), estimator.predict_proba(table.select(["x"]).to_pandas())
    )


def _file_texts(table: pa.Table) -> list[Any]:
    """The values as a CSV file has them."""
    column = table.column("v")
    if pa.types.is_list(column.type):
        return list(_as_json(column).to_pylist())
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    sink = pa.BufferOutputStream()
    csv.write_csv(pa.table({"v": column}), sink, csv.WriteOptions(include_header=False, quoting_style="none"))
    texts = sink.getvalue().to_pybytes().decode().splitlines()
    return [text if text or pa.types.is_string(column.type) else None for text in texts]


def monitor(kind: Kind, way: str, directory: Path) -> None:
    """A window like the reference raises no alarm; one of a single group does."""
    del directory
    chance = np.random.default_rng(5)

    def window(rows: int, group: Any) -> Any:
        column = kind.column(group, chance.integers(0, 3, rows))
        return FRAMES[way](pa.table({"v": column}))

    reference = Reference.fit(window(2000, chance.integers(0, 2, 2000)))
    if "v" in reference.skipped:
        raise RaymlopsError(reference.skipped["v"])
    alike = reference.compare(reference.profile(window(500, chance.integers(0, 2, 500))))
    moved = reference.compare(reference.profile(window(500, np.zeros(500, int))))
    assert (bool(alike.drifted), bool(moved.drifted)) == (False, kind.arrow != pa.null())


DOORS: Mapping[str, tuple[Callable[[Kind, str, Path], None], tuple[str, ...]]] = {
    "ingest": (ingest, (*FRAMES, *FILES)),
    "train": (train, tuple(FRAMES)),
    "register": (register, tuple(FRAMES)),
    "serve": (serve, REQUESTS),
    "batch": (batch, FILES),
    "monitor": (monitor, tuple(FRAMES)),
}


def outcome(door: str, way: str, kind: str, directory: Path) -> str:
    """``RIGHT``, the line that refuses, or what is wrong."""
    directory.mkdir(parents=True)
    try:
        DOORS[door][0](KINDS[kind], way, directory)
    except RaymlopsError as error:
        said = str(error).replace(str(directory), "")
        assert "\n" not in said, said
        assert len(said) < 400, said
        return said
    return RIGHT


@pytest.mark.parametrize("door", DOORS)
def test_every_cell_is_right_or_refused_in_one_line(door: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    _, ways = DOORS[door]
    cells = {(way, kind): outcome(door, way, kind, tmp_path / way / kind) for way in ways for kind in KINDS}
    wrong = {cell: said for cell, said in cells.items() if said != RIGHT and not REMEDY.search(said)}
    assert not wrong, wrong
    page = PAGE.read_text()
    place = page.index(f"\n## {door.capitalize()}\n")
    end = page.find("\n## ", place + 1)
    written = page[place : end if end > 0 else len(page)]
    section = _section(door, cells)
    if request.config.getoption("--write-pages"):
        PAGE.write_text(page.replace(written, section))
    else:
        assert written == section, "a cell has changed: see --write-pages"


def _section(door: str, cells: Mapping[tuple[str, str], str]) -> str:
    what, ways = DOORS[door]
    notes: dict[str, int] = {}

    def mark(said: str) -> str:
        return said if said == RIGHT else f"refused [{notes.setdefault(said, len(notes) + 1)}]"

    lines = [f"\n## {door.capitalize()}", "", str(what.__doc__), "", f"| | {' | '.join(ways)} |"]
    lines.append("|---" * (len(ways) + 1) + "|")
    lines += [f"| {kind} | {' | '.join(mark(cells[way, kind]) for way in ways)} |" for kind in KINDS]
    return "\n".join([*lines, "", *(f"{number}. `{said}`" for said, number in notes.items()), ""])
