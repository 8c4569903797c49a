"""A project whose inputs are mostly texts, from its definitions to the answers and the drift of its version."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.experiments import InProcessTuner, LearningTask, estimators, fit_candidate
from raymlops.experiments.task import model_inputs
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field
from raymlops.metadata import MetadataService
from raymlops.monitoring import Reference
from raymlops.records.bundles import ProjectSpec
from raymlops.serving.models.model import columns_of
from raymlops.serving.models.model_files import load_model
from raymlops.steps import TrainingContext, train_project
from tests.unit.steps.conftest import START, instants

DAYS, ROWS = 40, 1200
SOURCE = """
import pyarrow as pa

def spine(reader, start, end):
    rows = reader.table("outcomes")
    return pa.table({
        "event_time": rows["sailed_at"], "label": rows["survived"],
        "passenger": rows["passenger"], "deck": rows["deck"],
    })

def timely(reader, start, end):
    rows = reader.table("outcomes")
    return spine(reader, start, end).append_column("sailed", rows["sailed_at"])

def own():
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    texts = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(make_column_transformer(
        (texts, ["deck", "passengers__sex", "passengers__port", "passengers__agent"]),
        (SimpleImputer(strategy="median"), ["passengers__fare", "passengers__alone"]),
    ), LogisticRegression(max_iter=500))
"""
PASSENGER = Entity("passenger", ["passenger"])
DEFINITIONS = (
    PASSENGER,
    FeatureView(
        "passengers",
        PASSENGER,
        [
            Field("sex", "string", allowed=["female", "male"]),
            Field("port", "string"),
            Field("agent", "int64"),
            Field("fare", "float64"),
            Field("alone", "bool"),
        ],
    ),
    FeatureView(
        "outcomes", PASSENGER, [Field("sailed_at", "timestamp"), Field("deck", "string"), Field("survived", "int64")]
    ),
    FeatureService("titanic", [f"passengers:{name}" for name in ("sex", "port", "agent", "fare", "alone")]),
)
PROJECT = ProjectSpec(
    name="titanic",
    model="titanic",
    definitions="titanic_project:DEFINITIONS",
    service="titanic",
    spine="titanic_project:spine",
    request_columns=("deck",),
    categories=("passengers__agent",),
    training={"holdout_days": 8},
)
SEARCHES: dict[str, dict[str, Any]] = {
    "boosters": {
        "xgboost": {"n_estimators": 30, "max_depth": 3, "calibration": "isotonic"},
        "lightgbm": {"n_estimators": 20, "min_child_samples": 5},
    },
    "scikit-learn": {"logistic": {"C": 1.0}, "random_forest": {"n_estimators": 20, "min_samples_leaf": 5}},
    "its own": {"titanic_project:own": {"logisticregression__C": 1.0}},
}


def people() -> dict[str, pa.Table]:
    """View -> rows: who has no deck fares badly, agent 7 books for those that do well."""
    draw = np.random.default_rng(4)
    deck, port = draw.choice(["A", "B", "C", ""], ROWS), draw.choice(["Cherbourg", "Queenstown", "København"], ROWS)
    sex, agent = draw.choice(["female", "male"], ROWS), draw.choice([7, 35, 120, 4], ROWS)
    said = 2.5 * (sex == "female") - 2.5 * (deck == "") + 2.5 * (agent == 7) + 1.5 * (port == "København") - 2.0
    survived = draw.random(ROWS) < 1 / (1 + np.exp(-said))
    sailed = np.sort(draw.uniform(0.5, DAYS, ROWS))
    keys = {"passenger": pa.array([f"p{number:05}" for number in range(ROWS)])}
    known = {
        "sex": pa.array(sex),
        "port": pa.array(port, mask=draw.random(ROWS) < 0.1),
        "agent": pa.array(agent),
        "fare": pa.array(draw.gamma(2, 15, ROWS), mask=draw.random(ROWS) < 0.1),
        "alone": pa.array(draw.random(ROWS) < 0.5, mask=draw.random(ROWS) < 0.1),
    }
    outcome = {
        "sailed_at": instants(sailed),
        "deck": pa.array(deck, mask=deck == ""),
        "survived": pa.array(survived.astype(np.int64)),
    }
    return {
        "passengers": pa.table({**keys, "event_time": instants(sailed - 0.25), **known}),
        "outcomes": pa.table({**keys, "event_time": instants(sailed + 0.1), **outcome}),
    }


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("titanic")
    (home / "titanic_project.py").write_text(SOURCE)
    sys.path.insert(0, str(home))
    store = FeatureStore(home / "features", clock=ManualClock(START + timedelta(days=DAYS + 1)))
    store.apply(*DEFINITIONS)
    for view, table in people().items():
        store.ingest(view, table, ingest_id=view)
    store.close()
    yield home
    sys.path.remove(str(home))
    sys.modules.pop("titanic_project", None)


@pytest.fixture
def context(filled: Path, tmp_path: Path) -> Iterator[TrainingContext]:
    clock = ManualClock(START + timedelta(days=DAYS + 1))
    metadata = MetadataService(tmp_path / "metadata.db", clock=clock)
    reader = FeatureReader(filled / "features", clock=clock)
    yield TrainingContext(
        home=tmp_path,
        reader=reader,
        metadata=metadata,
        tuner=InProcessTuner(),
        clock=clock,
        project=PROJECT,
        run_id="run-1",
        work=tmp_path / "work",
        features=filled / "features",
    )
    reader.close()
    metadata.close()


@pytest.mark.parametrize(
    "search", [pytest.param(each, marks=[] if each == "boosters" else [pytest.mark.slow]) for each in SEARCHES]
)
def test_a_project_of_texts_is_trained_registered_and_answers_as_fitted(context: TrainingContext, search: str) -> None:
    pytest.importorskip("lightgbm")
    got = train_project(context, {"search": SEARCHES[search], "trials": len(SEARCHES[search])}, reason="first")
    assert got["outcome"] == "candidate", got["reason"]
    assert [trial["status"] for trial in got["trials"]] == ["succeeded"] * len(SEARCHES[search])
    assert got["metrics"]["log_loss"] < got["baseline_metrics"]["log_loss"] - 0.03
    version = context.metadata.models.get_version("titanic", 1)
    model = load_model(Path(version.path), version.manifest, version.digest)
    names = ["deck", *(f"passengers__{name}" for name in ("sex", "port", "agent", "fare", "alone"))]
    assert [(column.name, column.dtype) for column in model.signature.inputs] == list(
        zip(names, ["BYTES", "BYTES", "BYTES", "INT64", "FP64", "BOOL"], strict=True)
    )
    rows, task = training_rows(context), LearningTask(inputs=tuple(names), categories=("passengers__agent",))
    params = {n.removeprefix("params."): v for n, v in version.parameters.items() if n.startswith("params.")}
    fitted = fit_candidate(str(version.parameters["family"]), params, seed=0, rows=rows, task=task)
    own = estimators.predict(fitted.estimator, model_inputs(rows, task), "classifier")
    columns = columns_of(rows, model.signature)
    np.testing.assert_allclose(model.predict(columns)["probability"], own, atol=1e-5)
    for row in range(0, ROWS, 40):
        alone = model.predict({name: values[row : row + 1] for name, values in columns.items()})
        np.testing.assert_allclose(alone["probability"], own[row : row + 1], atol=1e-5)
    assert_drift_is_seen(Path(version.path), rows.select(names))


def training_rows(context: TrainingContext) -> pa.Table:
    people_rows = people()["outcomes"]
    spine = pa.table(
        {
            "event_time": people_rows["sailed_at"],
            "label": people_rows["survived"],
            "passenger": people_rows["passenger"],
            "deck": people_rows["deck"],
        }
    )
    return context.reader.training_set("titanic", spine, name="again").table()


def assert_drift_is_seen(version: Path, rows: pa.Table) -> None:
    """Texts are watched: shares that move, and a text that is new."""
    reference = Reference.load(version / "reference.bin")
    assert not reference.skipped
    assert {name: reference.bins(name).kind for name in ("deck", "passengers__port")} == {
        "deck": "categorical",
        "passengers__port": "categorical",
    }
    quiet = rows.slice(600)
    report = reference.compare(reference.profile(quiet))
    assert not {"deck", "passengers__port", "passengers__sex"} & set(report.drifted_columns())
    ports = pa.array(["Southampton" if place % 3 else "Cherbourg" for place in range(600)])
    decks = pa.array(["A"] * 500 + [None] * 100)
    moved = quiet.set_column(2, "passengers__port", ports).set_column(0, "deck", decks)
    assert {"deck", "passengers__port"} <= set(reference.compare(reference.profile(moved)).drifted_columns())


def test_what_is_neither_number_nor_text_stops_the_run(context: TrainingContext) -> None:
    project = PROJECT.model_copy(update={"request_columns": ("sailed",), "spine": "titanic_project:timely"})
    got = train_project(replace(context, project=project), {"search": SEARCHES["scikit-learn"]}, reason="first")
    assert got["outcome"] == "blocked"
    assert "'sailed' must be a number, a bool or a text" in got["reason"]
