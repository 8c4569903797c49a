"""A table that nobody has seen becomes a loop in two commands, and goes from a commit to production."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import requests
import yaml
from pyarrow import csv, parquet

from tests.support.delivery_world import REHEARSE, DeliveryWorld

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]

_START = datetime(2025, 2, 1, tzinfo=UTC)
_QUICK = {
    "trials": 1,
    "search": {"xgboost": {"n_estimators": 60, "learning_rate": 0.1, "max_depth": 3}},
    # the table stands still, so that a champion has seen every row that a candidate is judged on
    "rule": "absolute",
}
_REHEARSE = {**REHEARSE, "parameters": _QUICK}
_ENVIRONMENTS = {
    "dev": _REHEARSE,
    "staging": {**_REHEARSE, "approvals": 1, "after": "dev"},
    "prod": {**_REHEARSE, "approvals": 1, "after": "staging", "green_runs": 2, "branch": "main"},
}


def _days(rng: np.random.Generator, rows: int, days: float) -> list[datetime]:
    return [_START + timedelta(seconds=int(each)) for each in np.sort(rng.uniform(0, days * 86_400, rows))]


def _calls(place: Path) -> Path:
    """Two classes, events of an entity whose name has leading zeros."""
    rng, rows = np.random.default_rng(11), 2400
    who = rng.integers(0, 50, rows)
    wait, habit = rng.gamma(2.0, 40.0, rows), rng.normal(0, 1.5, 50)
    again = rng.random(rows) < 1 / (1 + np.exp(-(habit[who] + 0.02 * wait - 2)))
    table = pa.table(
        {
            "Call Time": [each.strftime("%d/%m/%Y %H:%M:%S") for each in _days(rng, rows, 150)],
            "client.no": [f"{each:05}" for each in who],
            "wait_s": np.round(wait, 1),
            "Línea": rng.choice(["fija", "móvil"], rows),
            "calls again": np.where(again, "sí", "no"),
        }
    )
    csv.write_csv(table, place / "Call Log.csv")
    return place / "Call Log.csv"


def _flats(place: Path) -> Path:
    """Numbers, one row per thing, with an identifier."""
    rng, rows = np.random.default_rng(12), 1600
    size = rng.uniform(20, 160, rows)
    rooms = rng.integers(1, 7, rows)
    table = pa.table(
        {
            "flat_id": [f"F{number:06}" for number in range(rows)],
            "let_at": pa.array(_days(rng, rows, 200), pa.timestamp("us", tz="UTC")),
            "size": size,
            "rooms": rooms,
            "balcony": rng.random(rows) < 0.4,
            "rent": np.round(9 * size + 60 * rooms + rng.normal(0, 90, rows), 2),
        }
    )
    parquet.write_table(table, place / "flats.parquet")
    return place / "flats.parquet"


def _letters(place: Path) -> Path:
    """Three classes, texts that are left out."""
    rng, rows = np.random.default_rng(13), 2000
    office, weight = rng.integers(0, 3, rows), rng.gamma(2.0, 30.0, rows)
    kind = np.where(rng.random(rows) < 0.7, office, rng.integers(0, 3, rows))
    table = pa.table(
        {
            "received": pa.array(_days(rng, rows, 160), pa.timestamp("ms", tz="UTC")),
            "office": np.array(["north", "south", "east"])[office],
            "weight": weight,
            "subject": [f"about matter {number} of {number % 7}" for number in range(rows)],
            "desk": np.array(["claims", "sales", "other"])[kind],
        }
    )
    parquet.write_table(table, place / "letters.parquet")
    return place / "letters.parquet"


class Shape(NamedTuple):
    """A kind of table, and what is to come of it."""

    write: Callable[[Path], Path]
    options: tuple[str, ...]
    loss: str
    left_out: tuple[str, ...]
    output: str


SHAPES = {
    "calls": Shape(
        _calls,
        ("--label", "calls again", "--time", "Call Time", "--entity", "client.no"),
        "log_loss",
        (),
        "probability",
    ),
    "flats": Shape(_flats, ("--label", "rent", "--time", "let_at"), "rmse", ("flat_id",), "value"),
    "letters": Shape(_letters, ("--label", "desk", "--time", "received"), "log_loss", ("subject",), "probability"),
}


def _init(run: Callable[..., subprocess.CompletedProcess[str]], shape: Shape, place: Path, project: Path) -> None:
    made = run("init", str(shape.write(place)), str(project), "--name", "stranger", *shape.options, "--yes")
    assert (made.returncode, made.stderr) == (0, "")
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert tuple(each["name"] for each in answers["left_out"]) == shape.left_out
    spec = yaml.safe_load((project / "project.yaml").read_text())
    assert spec["metric"] == shape.loss
    if "client.no" in shape.options:
        assert 'Field("client.no", "string"' in (project / "stranger" / "definitions.py").read_text(), "zeros are kept"


@pytest.mark.parametrize("name", SHAPES)
def test_two_commands_make_a_loop_of_a_table(name: str, tmp_path: Path) -> None:
    from tests.support.delivered_project import Commands

    (tmp_path / "platform.yaml").write_text("cluster: {start_timeout: 5m, boot_timeout: 5m}\n")
    run, project = Commands(tmp_path / "platform.yaml"), tmp_path / "project"
    _init(run, SHAPES[name], tmp_path, project)
    figures_file, page = tmp_path / "figures.json", tmp_path / "replay.html"
    options = ("--windows", "3", "--sample", "60", "--json", str(figures_file), "--html", str(page))
    done = run("replay", str(project), *options, timeout_s=900.0)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(figures_file.read_text())
    assert (figures["failed"], len(figures["windows"])) == (0, 3), figures["failures"]
    assert figures["rows"] == sum(each["rows"] for each in figures["windows"]) > 0
    assert figures["loss"]["loop"] == pytest.approx(figures["loss"]["never"], rel=0.5), "both were scored"
    assert "stranger" in page.read_text()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DeliveryWorld]:
    # the platform trusts in prod what it has signed itself
    world = DeliveryWorld(tmp_path, {"main": "dev"}, _ENVIRONMENTS, trusted={"prod": True})
    try:
        world.start()
        yield world
    finally:
        world.stop()


@pytest.mark.parametrize("name", SHAPES)
def test_a_table_goes_from_a_commit_to_production(name: str, world: DeliveryWorld) -> None:
    _init(world.run, SHAPES[name], world.place, world.checkout)
    _feed(world)
    pushed = world.pushed("from a table")
    assert (pushed["state"], pushed["environment"]) == ("success", "dev"), pushed["description"]
    digest = pushed["bundle"]
    assert world.served() == {"dev.stranger": pushed["version"]}

    deploy = ("delivery", "deploy", digest, "--env")
    assert "must be approved for 'staging'" in world.run.refused(*deploy, "staging")
    world.approved(digest, "staging", "ada@example.org")
    world.approved(digest, "staging", "bob@example.org")
    world.run.json(*deploy, "staging")
    parameters = [f"{key}={json.dumps(value)}" for key, value in {**_QUICK, "skip_unchanged": False}.items()]
    run = world.run.json("runs", "start", "staging.stranger", *(part for each in parameters for part in ("-p", each)))
    assert (run["bundle"], run["result"]["outcome"]) == (digest, "candidate"), run
    assert "must be approved for 'prod'" in world.run.refused(*deploy, "prod")
    world.approved(digest, "prod", "carol@example.org")
    world.run.json(*deploy, "prod")
    assert world.live() == {"dev": digest, "staging": digest, "prod": digest}
    assert set(world.served()) == {"dev.stranger", "staging.stranger", "stranger"}
    _assert_answers(world, SHAPES[name])


_INGEST = """
import runpy, sys
sys.path.insert(0, sys.argv.pop())
runpy.run_module("stranger.ingest", run_name="__main__")
"""


def _feed(world: DeliveryWorld) -> None:
    """Bring the table's rows into prod, as the project's README says."""
    assert world.run.python(_INGEST, str(world.checkout)) == "rows"


def _assert_answers(world: DeliveryWorld, shape: Shape) -> None:
    """The newest row of the project's sample is answered by production."""
    sample = parquet.read_table(world.checkout / "tests" / "rows.parquet")
    spec: dict[str, Any] = yaml.safe_load((world.checkout / "project.yaml").read_text())
    row = sample.slice(sample.num_rows - 1).to_pylist()[0]
    asked = {name: row[name] for name in [*spec["request_columns"], *spec["data"].get("entities", [])]}
    body = {"instances": [{**asked, "asked_at": (_START + timedelta(days=100)).isoformat()}]}
    answer = requests.post(f"{world.url}/v2/models/stranger/predict", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    outputs = {each["name"]: each for each in answer.json()["outputs"]}
    assert np.isfinite(outputs[shape.output]["data"]).all()
