from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from raymlops.errors import ConfigError, FeatureViewNotFound, NotEnoughRows
from raymlops.features import FeatureStore
from raymlops.pipelines import Halt
from raymlops.steps import TrainingContext
from raymlops.steps.extract import PinnedReader, extract, pin
from raymlops.steps.split import Window

ASKED: dict[str, Any] = {"search": {"logistic": {}}, "asked": "a" * 64, "skip_unchanged": True}


def _pin(context: TrainingContext, as_of: str | None = None) -> dict[str, Any]:
    return dict(pin(context, as_of=as_of, **ASKED)["pin"])


def _extract(context: TrainingContext, pins: dict[str, Any], **window: Any) -> Any:
    project = context.project.model_dump(mode="json")
    return extract(context, pin=pins, project=project, window=Window(**window).model_dump(mode="json"))


@pytest.fixture
def replace_spine(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[pa.Table], pa.Table]], None]:
    """Let the project's spine give what a function makes of it."""

    def replace(change: Callable[[pa.Table], pa.Table]) -> None:
        from toy_spine import spine as real

        module = ModuleType("toy_spine")
        module.spine = lambda reader, start, end: change(real(reader, start, end))  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "toy_spine", module)

    return replace


def test_a_pin_holds_all_that_may_change(next_context: TrainingContext, pass_days: Callable[..., None]) -> None:
    before = _pin(next_context)
    assert before["as_of"] == next_context.clock.now().isoformat()
    assert before["table_versions"].keys() == {"orders", "loads"}
    assert before["service"] == "toy@1"
    assert before["service_tables"] == ["loads"]
    assert before["champion"] == 1
    pass_days(60, 1, 50)
    after = _pin(next_context)
    assert after["table_versions"]["orders"] > before["table_versions"]["orders"]
    assert after["project_code"] == before["project_code"]


def test_what_is_extracted_follows_the_pin_and_not_the_present(
    next_context: TrainingContext, pass_days: Callable[..., None]
) -> None:
    pins = _pin(next_context)
    before = _extract(next_context, pins)
    pass_days(60, 5, 200)
    after = _extract(next_context, {**_pin(next_context), "table_versions": pins["table_versions"]})
    assert after["frame"].equals(before["frame"])
    assert after["training_set"].digest == before["training_set"].digest
    assert _extract(next_context, _pin(next_context))["frame"].num_rows > before["frame"].num_rows


def test_rows_are_in_order_labelled_and_known_by_then(context: TrainingContext) -> None:
    as_of = "2013-02-10T12:00:00+00:00"
    got = _extract(context, _pin(context, as_of), train_window_days=20)
    frame = got["frame"]
    times = frame["event_time"].to_pylist()
    assert times == sorted(times)
    assert pc.max(frame["label_time"]).as_py().isoformat() <= as_of
    assert times[-1] > context.clock.now().replace(month=2, day=9, hour=0)
    assert times[0] >= context.clock.now().fromisoformat(as_of) - timedelta(days=20)
    assert got["task"].inputs == ("size", "hour", "loads__load", "loads__noise")
    assert got["task"].classes == 2
    assert got["training_set"].table_versions.keys() == {"loads"}


def test_rows_whose_labels_are_not_ripe_are_left_out(context: TrainingContext) -> None:
    """The labels that come first may be of one kind, so that a row counts once its label has had time to come."""
    as_of = "2013-02-10T12:00:00+00:00"
    all_of, ripe = (_extract(context, _pin(context, as_of), label_maturity_days=days)["frame"] for days in (0.0, 5.0))
    limit = datetime.fromisoformat(as_of) - timedelta(days=5)
    expected = [at for at in all_of["event_time"].to_pylist() if at < limit]
    assert 0 < len(expected) < all_of.num_rows
    assert ripe["event_time"].to_pylist() == expected


def test_sampling_spares_the_holdout_and_is_seeded(context: TrainingContext) -> None:
    pins = _pin(context)
    whole = _extract(context, pins, holdout_days=10)["frame"]
    some, same, other = (
        _extract(context, pins, holdout_days=10, max_rows=500, seed=seed)["frame"] for seed in (1, 1, 2)
    )
    newest = pc.greater(whole["event_time"], pa.scalar(whole["event_time"][-1].as_py() - timedelta(days=10)))
    holdout = whole.filter(newest)
    assert some.num_rows == 500 + holdout.num_rows
    assert some.slice(500).equals(holdout)
    assert some.equals(same)
    assert not some.equals(other)


def test_a_row_without_a_label_is_left_out(context: TrainingContext, replace_spine: Callable[..., None]) -> None:
    pins = _pin(context)
    rows = _extract(context, pins)["frame"].num_rows

    def unlabelled(spine: pa.Table) -> pa.Table:
        blank = pc.if_else(pc.equal(spine["size"], 1), pa.scalar(None, pa.float64()), spine["label"])
        return spine.set_column(1, "label", blank)

    replace_spine(unlabelled)
    frame = _extract(context, pins)["frame"]
    assert 0 < frame.num_rows < rows
    assert frame["label"].null_count == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda spine: spine.drop_columns(["label"]), "none of ['label']"),
        (lambda spine: spine.drop_columns(["size"]), "none of ['size']"),
        (lambda spine: spine.drop_columns(["shop"]), "schema skew"),
        (lambda spine: spine.set_column(0, "event_time", pa.nulls(spine.num_rows, pa.timestamp("us"))), "tz-aware"),
        (lambda spine: spine.slice(0, 0), "empty: no labelled rows"),
    ],
)
def test_a_spine_that_is_not_what_it_should_be_blocks_the_run(
    context: TrainingContext, replace_spine: Callable[..., None], change: Any, reason: str
) -> None:
    pins = _pin(context)
    replace_spine(change)
    got = _extract(context, pins)
    assert isinstance(got, Halt)
    assert got.result["outcome"] == "blocked"
    assert reason in got.result["reason"]


def test_tables_without_rows_block_the_run(context: TrainingContext) -> None:
    pins = _pin(context)
    for table in ("orders", "loads"):
        versions = {name: version for name, version in pins["table_versions"].items() if name != table}
        got = _extract(context, {**pins, "table_versions": versions})
        assert isinstance(got, Halt)
        assert got.result["reason"].startswith("empty: table")


def test_a_service_that_is_not_applied_is_an_error(context: TrainingContext) -> None:
    FeatureStore(context.home / "features", clock=context.clock).close()
    wrong = context.project.model_copy(update={"service": "other"})
    with pytest.raises(FeatureViewNotFound, match="other"):
        pin(TrainingContext(**{**vars(context), "project": wrong}), as_of=None, **ASKED)


def test_a_project_whose_metric_does_not_fit_its_task_is_an_error(context: TrainingContext) -> None:
    wrong = context.project.model_copy(update={"metric": "rmse"})
    with pytest.raises(ConfigError, match="metric of a classifier"):
        _extract(TrainingContext(**{**vars(context), "project": wrong}), _pin(context))


class _Tables:
    def table(self, view: str, version: int | None = None) -> Any:
        return view, version


def test_a_pinned_reader_reads_what_it_is_pinned_to() -> None:
    pins = {
        "views": {
            "a": {"ref": "a@2", "table": "t"},
            "a@1": {"ref": "a@1", "table": "t"},
            "b": {"ref": "b@1", "table": "b"},
        },
        "table_versions": {"t": 7},
    }
    reader = PinnedReader(_Tables(), pins)
    assert reader.table("a") == ("a@2", 7)
    assert reader.table("a@1") == ("a@1", 7)
    assert reader.table("a", 3) == ("a@2", 3)
    with pytest.raises(NotEnoughRows, match="'b' had no rows"):
        reader.table("b")
    with pytest.raises(FeatureViewNotFound, match="'c' was not applied"):
        reader.table("c")
