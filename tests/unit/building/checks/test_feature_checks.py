"""Feature functions with faults are found, and sound ones pass."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from raymlops.building.checks.feature_checks import batch_equals_row_by_row, edge_rows, edge_values
from raymlops.features import Entity, FeatureView, Field, OnDemandView, WindowAggregate, calendar, elapsed

FUNCTIONS = """
import numpy as np

def ratio(columns):
    return {"ratio": columns["spent"] / columns["visits"]}

def guarded(columns):
    visits = columns["visits"]
    return {"ratio": np.where(visits == 0, 0.0, columns["spent"] / np.where(visits == 0, 1.0, visits))}

def centred(columns):
    return {"ratio": columns["spent"] - np.nanmean(columns["spent"])}

def fussy(columns):
    if np.isnan(columns["spent"]).any():
        raise ValueError("a value is missing")
    return {"ratio": columns["spent"]}

def logarithm(columns):
    return {"level": np.log(columns["recent__count_7d"])}

def root(columns):
    return {"level": np.sqrt(columns["recent__count_7d"])}
"""
USER = Entity("user", ["user_id"])
RECENT = FeatureView(
    "recent",
    USER,
    [Field("amount", "float64")],
    aggregates=[WindowAggregate("count_7d", "count", "amount", timedelta(days=7))],
)


@pytest.fixture(scope="module", autouse=True)
def _functions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    place = tmp_path_factory.mktemp("functions")
    (place / "checked_functions.py").write_text(FUNCTIONS)
    sys.path.insert(0, str(place))
    yield
    sys.path.remove(str(place))
    sys.modules.pop("checked_functions", None)


def _ratio(function: str) -> OnDemandView:
    return OnDemandView("ratios", ["spent", "visits"], [Field("ratio", "float64")], f"checked_functions:{function}")


def _level(function: str) -> OnDemandView:
    return OnDemandView("levels", ["recent:count_7d"], [Field("level", "float64")], f"checked_functions:{function}")


def test_a_division_by_zero_is_found_and_a_guarded_one_passes() -> None:
    found = edge_values([_ratio("ratio")])
    assert found.outcome == "failed"
    assert "ratios__ratio is" in found.evidence
    assert "'visits': 0.0" in found.evidence or "'visits': -0.0" in found.evidence
    assert "numpy.where" in found.remedy
    assert edge_values([_ratio("guarded")]).outcome == "passed"


def test_a_function_that_looks_at_the_whole_batch_is_found() -> None:
    found = batch_equals_row_by_row([_ratio("centred")])
    assert found.outcome == "failed"
    assert "must give a row the same 'ratios__ratio' however it is called" in found.evidence
    assert batch_equals_row_by_row([_ratio("guarded")]).outcome == "passed"


def test_a_function_that_does_not_take_missing_values_is_found() -> None:
    found = edge_values([_ratio("fussy")])
    assert (found.outcome, "a value is missing" in found.evidence) == ("failed", True)


def test_values_that_a_count_cannot_have_are_not_asked_about() -> None:
    assert edge_values([USER, RECENT, _level("root")]).outcome == "passed"
    found = edge_values([USER, RECENT, _level("logarithm")])
    assert (found.outcome, "'recent__count_7d': 0" in found.evidence) == ("failed", True)
    (counts,) = edge_rows(_level("root"), {"recent": RECENT}).values()
    assert 0 in counts.to_pylist()
    assert None not in counts.to_pylist()


def test_the_views_that_the_library_has_pass() -> None:
    views = [calendar("asked", "asked_at"), elapsed("age", "joined_at", "asked_at")]
    for check in (edge_values, batch_equals_row_by_row):
        found = check(views)
        assert found.outcome == "passed", found


def test_a_project_without_functions_has_nothing_to_check() -> None:
    assert edge_values([USER, RECENT]).outcome == "not_applicable"
    assert batch_equals_row_by_row([]).outcome == "not_applicable"
