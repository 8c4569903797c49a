"""Contract suite of ``Flavor``.

A flavor's test module subclasses ``FlavorContract`` and gives the fixtures ``flavor``, ``case`` (a fitted estimator and
rows to ask it about) and ``unfit`` (an estimator that must not be packaged). A flavor with families that a search draws
from adds ``FamilyContract`` and the fixture ``family``.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import DataError, ModelLoadFailed, SchemaMismatch
from raymlops.flavors import flavor_named, flavor_of, parse
from raymlops.flavors.protocol import Array, FitRows, Flavor
from raymlops.records.learning.tasks import LearningTask
from raymlops.records.record import sha256_of
from raymlops.serving.models.model import Model, columns_of
from raymlops.serving.models.model_files import load_model, save_model

__all__ = ["FamilyContract", "FlavorCase", "FlavorContract"]

_TOGETHER = 1e-6
"""How far an answer may lie from the same row's in another batch: libraries add in another order."""


@dataclass(frozen=True)
class FlavorCase:
    """A fitted estimator.

    Attributes:
        estimator: Of the flavor.
        rows: At least 20 rows of its inputs, the odd ones among them: missing values, unknown categories.
        answers: What its library says to the rows: P(class 1) [N], [N, classes] or values [N].
        classes: In the order of the answers; empty for a regressor.
    """

    estimator: Any
    rows: pa.Table
    answers: Array
    classes: tuple[Any, ...] = ()


class FlavorContract:
    """What every flavor does."""

    @pytest.fixture
    def model(self, case: FlavorCase, tmp_path: Path) -> Model:
        manifest = save_model(tmp_path / "packaged", case.estimator, example=case.rows)
        return load_model(tmp_path / "packaged", manifest, sha256_of(manifest))

    def test_it_is_found_by_its_name_and_by_its_estimators(self, flavor: Flavor, case: FlavorCase) -> None:
        assert flavor_named(flavor.name) is flavor
        assert flavor_of(case.estimator) is flavor
        assert flavor.file.startswith("model.")
        assert not flavor.owns(object())

    def test_the_packaged_model_answers_as_the_library_does(self, case: FlavorCase, model: Model) -> None:
        _assert_answers(_numbers(model, case.rows), case)
        assert model.signature.classes == case.classes

    def test_a_row_has_one_answer_whatever_stands_beside_it(self, case: FlavorCase, model: Model) -> None:
        alone = np.concatenate([_numbers(model, case.rows.slice(place, 1)) for place in range(case.rows.num_rows)])
        _assert_answers(alone, case)
        order = np.random.default_rng(5).permutation(case.rows.num_rows)
        shuffled = _numbers(model, case.rows.take(pa.array(order)))
        np.testing.assert_allclose(shuffled, _numbers(model, case.rows)[order], atol=_TOGETHER, rtol=_TOGETHER)

    def test_requests_that_are_stacked_have_the_answers_that_each_has(self, case: FlavorCase, model: Model) -> None:
        parts = [columns_of(case.rows.slice(place, 5), model.signature) for place in (0, 5, 10)]
        stacked = model.score(model.stack([model.encode(part) for part in parts]))
        apart = np.concatenate([_of(model.predict(part)) for part in parts])
        np.testing.assert_allclose(_of(stacked), apart, atol=_TOGETHER, rtol=_TOGETHER)

    def test_many_threads_may_ask_at_once(self, case: FlavorCase, model: Model) -> None:
        with ThreadPoolExecutor(4) as pool:
            for answers in pool.map(lambda _: _numbers(model, case.rows), range(16)):
                _assert_answers(answers, case)

    def test_equal_estimators_are_equal_bytes(self, flavor: Flavor, case: FlavorCase) -> None:
        assert flavor.dump(case.estimator) == flavor.dump(case.estimator)

    def test_an_example_of_other_columns_is_refused(self, flavor: Flavor, case: FlavorCase) -> None:
        with pytest.raises(SchemaMismatch):
            flavor.describe(case.estimator, [*case.rows.column_names, "another"])
        with pytest.raises(SchemaMismatch):
            flavor.describe(case.estimator, [case.rows.column_names[0]] * case.rows.num_columns)

    def test_what_is_not_fitted_is_refused(self, unfit: Any, case: FlavorCase, tmp_path: Path) -> None:
        with pytest.raises(DataError):
            save_model(tmp_path / "unfit", unfit, example=case.rows)
        assert not (tmp_path / "unfit").exists()

    @pytest.mark.parametrize("content", [b"", b"junk", b"\x00" * 4096])
    def test_bytes_that_are_no_model_are_refused(self, flavor: Flavor, content: bytes) -> None:
        with pytest.raises(ModelLoadFailed):
            parse(flavor.name, content)

    def test_importances_are_shares_of_the_inputs(self, case: FlavorCase, model: Model) -> None:
        shares = model.importances()
        assert not shares or set(shares) == set(case.rows.column_names)
        assert not shares or sum(shares.values()) == pytest.approx(1.0)


class FamilyContract:
    """What every family that a search draws from does, by its flavor."""

    TASKS: Sequence[LearningTask] = (
        LearningTask(inputs=("a", "b", "c"), label="y"),
        LearningTask(inputs=("a", "b", "c"), label="y", classes=3),
        LearningTask(inputs=("a", "b", "c"), label="y", kind="regressor", metric="mae"),
    )

    @pytest.mark.parametrize("task", TASKS, ids=["two classes", "three classes", "regression"])
    def test_equal_seeds_are_equal_models(self, flavor: Flavor, family: str, task: LearningTask) -> None:
        contents = []
        for _ in range(2):
            inputs, labels = _problem(task)
            estimator = flavor.families[family].build({}, seed=3, task=task)
            flavor.families[family].fit(estimator, FitRows(inputs, labels), None, task)
            contents.append(flavor.dump(estimator))
        assert contents[0] == contents[1]
        assert flavor.describe(estimator, list(task.inputs)).task == task.kind

    @pytest.mark.parametrize("task", TASKS, ids=["two classes", "three classes", "regression"])
    def test_a_report_hears_of_rounds_and_may_end_them(self, flavor: Flavor, family: str, task: LearningTask) -> None:
        inputs, labels = _problem(task)
        heard: list[tuple[int, float]] = []

        def report(rounds: int, loss: float) -> bool:
            heard.append((rounds, loss))
            return rounds < 4

        estimator = flavor.families[family].build({}, seed=3, task=task)
        rows = FitRows(inputs, labels, watched=(inputs, labels))
        ended = flavor.families[family].fit(estimator, rows, report, task)
        if heard:  # a family without rounds has none to tell of
            assert [rounds for rounds, _ in heard] == [1, 2, 3, 4]
            assert ended.stopped_at == 4
            assert heard[-1][1] < heard[0][1]

    def test_the_loss_by_rounds_ends_at_the_model_s_own(self, flavor: Flavor, family: str) -> None:
        task = self.TASKS[0]
        inputs, labels = _problem(task)
        estimator = flavor.families[family].build({}, seed=3, task=task)
        flavor.families[family].fit(estimator, FitRows(inputs, labels), None, task)
        staged = flavor.staged(estimator, inputs, task.kind, lambda total: [1, total])
        if staged:
            np.testing.assert_allclose(staged[-1][1], estimator.predict_proba(inputs), atol=1e-6)
            assert np.abs(staged[0][1] - staged[-1][1]).max() > 0.01

    def test_an_unknown_parameter_is_refused(self, flavor: Flavor, family: str) -> None:
        with pytest.raises(Exception, match="no parameters"):
            flavor.families[family].build({"no_such_thing": 1}, seed=3, task=self.TASKS[0])


def _problem(task: LearningTask) -> tuple[Array, Array]:
    draw = np.random.default_rng(11)
    inputs = draw.normal(size=(300, 3))
    if task.kind == "regressor":
        return inputs, inputs[:, 0] * 2 + np.abs(inputs[:, 1])
    return inputs, (inputs[:, 0] > 0).astype(np.int64) + ((inputs[:, 1] > 0.5) if task.classes == 3 else 0)


def _of(outputs: dict[str, Array]) -> Array:
    return outputs["value"] if "value" in outputs else outputs["probability"]


def _numbers(model: Model, rows: pa.Table) -> Array:
    return _of(model.predict(columns_of(rows, model.signature)))


def _assert_answers(found: Array, case: FlavorCase) -> None:
    expected = case.answers
    if expected.ndim < found.ndim:
        found = found[:, 1]
    np.testing.assert_allclose(found, expected, atol=_TOGETHER, rtol=_TOGETHER)
