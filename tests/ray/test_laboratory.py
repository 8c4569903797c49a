"""The laboratory's fits as Ray tasks: the same matrix as by threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from raymlops.laboratory import Recipe
from raymlops.laboratory.building import build_matrix
from raymlops.laboratory.intake.table import prepare
from raymlops.runtime.jobs.laboratory import fit_on_ray
from tests.unit.laboratory.examples import drifting_table

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray


def test_tasks_give_the_matrix_that_threads_give(platform: Platform) -> None:
    table = prepare(drifting_table(rows=30), label="answer", event_time="at", window="7d", label_delay="1d")
    recipe = Recipe(params={"n_estimators": 5, "max_depth": 2})
    own = build_matrix(table, first=9, recipe=recipe, processes=1)
    found = build_matrix(table, first=9, recipe=recipe, mapper=fit_on_ray(180))
    assert np.array_equal(found.sums, own.sums, equal_nan=True)
    assert found.facts.drifted == own.facts.drifted
