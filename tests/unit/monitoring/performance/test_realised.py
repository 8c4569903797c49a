from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.monitoring.performance.realised import rows_by_version, score_kind
from raymlops.records.learning.signatures import Signature


def rows_of(world: Any, signature: Signature, events: pa.Table, labels: list[str | None]) -> Any:
    version = world.register(1, signature=signature)
    failed = np.zeros(events.num_rows, dtype=bool)
    return rows_by_version(events, labels, failed, {1: version})[1]


def test_binary_losses_are_log_losses(world: Any) -> None:
    events = world.events(0, 4, score=np.array([0.9, 0.2, 0.5, np.nan]))
    rows = rows_of(world, Signature(task="classifier", inputs=(), classes=(0, 1)), events, ["1", "1", None, "0"])
    assert rows.kind == "binary"
    losses = rows.losses()
    assert losses.metric == "log_loss"
    assert losses.values[:2] == pytest.approx(-np.log([0.9, 0.2]))
    assert np.isnan(losses.values[2:]).all()
    assert rows.performance().labelled_rows == 2
    assert rows.performance().label_coverage == 0.5
    assert rows.performance().label_lean == pytest.approx((0.9 + 0.2) / 2 - (0.9 + 0.2 + 0.5) / 3)
    assert rows.performance().labels_text == "2 of 4 rows are labelled (50%), their mean score +0.0167 off that of all"


def test_without_labels_nothing_leans(world: Any) -> None:
    events = world.events(0, 2, score=np.array([0.9, 0.2]))
    rows = rows_of(world, Signature(task="classifier", inputs=(), classes=(0, 1)), events, [None, None])
    assert rows.performance().label_lean is None
    assert rows.performance().labels_text == "0 of 2 rows are labelled (0%)"


def test_of_many_classes_the_named_one_is_right_or_wrong(world: Any) -> None:
    signature = Signature(task="classifier", inputs=(), classes=("a", "b", "c"))
    events = world.events(0, 4, label_predicted=["a", "b", "c", "a"])
    rows = rows_of(world, signature, events, ["a", "c", "z", None])
    assert rows.kind == "multiclass"
    assert rows.outcomes[:2].tolist() == [1.0, 0.0]
    assert rows.unreadable == 1
    assert rows.losses().values[:2].tolist() == [0.0, 1.0]
    assert rows.performance().metrics == {"accuracy": 0.5}


def test_values_have_squared_errors(world: Any) -> None:
    events = world.events(0, 4, score=np.array([1.0, 2.0, 3.0, 4.0]))
    rows = rows_of(world, Signature(task="regressor", inputs=()), events, ["3", "inf", "much", None])
    assert rows.unreadable == 2
    assert rows.losses().values[0] == 4.0
    assert np.isnan(rows.losses().values[1:]).all()


def test_failed_rows_and_unknown_versions_are_left_out(world: Any) -> None:
    version = world.register(1)
    events = pa.concat_tables([world.events(0, 3), world.events(0, 2, version=9)])
    rows = rows_by_version(events, [None] * 5, np.array([True, False, False, False, False]), {1: version})
    assert list(rows) == [1]
    assert rows[1].events.num_rows == 2
    assert rows_by_version(events.slice(0, 0), [], np.empty(0, dtype=bool), {1: version}) == {}


def test_kinds_of_scores() -> None:
    assert score_kind(Signature(task="regressor", inputs=())) == "regressor"
    assert score_kind(Signature(task="classifier", inputs=(), classes=(0, 1))) == "binary"
    assert score_kind(Signature(task="classifier", inputs=(), classes=(0, 1, 2))) == "multiclass"
