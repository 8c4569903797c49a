from __future__ import annotations

import numpy as np
import pytest

from raymlops.monitoring.performance.expected import class_metrics, drawn_metrics
from raymlops.monitoring.performance.intervals import measure_binary, measure_multiclass

RNG = np.random.default_rng(0)


def test_known_labels_give_the_realised_metrics() -> None:
    scores = RNG.beta(2, 3, 700).round(2)  # with ties
    labels = (RNG.random((5, 700)) < scores).astype(float)
    drawn = drawn_metrics("binary", scores, labels)
    for number, own in enumerate(labels):
        realised = measure_binary(700, scores, own).metrics
        assert {name: values[number] for name, values in drawn.items()} == pytest.approx(realised)


def test_expected_metrics_are_the_mean_over_labels() -> None:
    scores = RNG.beta(2, 3, 500)
    chances = scores**1.5
    drawn = drawn_metrics("binary", scores, (RNG.random((2000, 500)) < chances).astype(float))
    expected = class_metrics("binary", scores, chances)
    for name, values in drawn.items():
        assert expected[name] == pytest.approx(values.mean(), abs=0.005), name


def test_of_many_classes_only_accuracy_can_be_expected() -> None:
    scores = RNG.random(300)
    right = RNG.random(300) < scores
    assert class_metrics("multiclass", scores, right.astype(float)) == pytest.approx(
        measure_multiclass(300, right).metrics
    )


def test_one_class_has_no_auc() -> None:
    assert "auc" not in class_metrics("binary", np.array([0.2, 0.9]), np.zeros(2))
    drawn = drawn_metrics("binary", np.array([0.2, 0.9]), np.array([[0.0, 0.0], [0.0, 1.0]]))
    assert np.isnan(drawn["auc"][0])
    assert drawn["auc"][1] == 1.0
