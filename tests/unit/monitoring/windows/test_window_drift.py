"""What moves beside single inputs: several columns together, and labels, which must not weigh on the inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.config.monitoring import DriftConfig
from raymlops.errors import SchemaMismatch
from raymlops.monitoring import LABEL_COLUMN, DomainClassifier, Reference
from raymlops.monitoring.windows.window_data import WindowData
from raymlops.monitoring.windows.window_drift import WindowDrift, judge_drift

COLUMNS = ("x", "y", "kind")
ONES = pa.array(["1"] * 1000)


@pytest.fixture
def domain(world: Any) -> DomainClassifier:
    """Told from the inputs of the world's model, which are independent of each other."""
    return DomainClassifier.fit(world.events(0, 4000).select(COLUMNS))


def judge(
    world: Any,
    events: pa.Table,
    domain: DomainClassifier | None = None,
    labels: list[str | None] | None = None,
    reference: Reference | None = None,
    **config: Any,
) -> WindowDrift:
    if not (world.home / "1").exists():
        world.register(1)
    start = world.clock.now()
    data = WindowData(
        model="m",
        start=start,
        end=start + world.config.window,
        champion=1,
        events=events,
        known=events.select(["request_id", "row"]),
        labels=pa.table({}),
        versions={},
        reference=reference or Reference.load(world.home / "1" / "reference.bin"),
        domain=domain,
    )
    return judge_drift(data, events, labels or [None] * events.num_rows, DriftConfig(**config))


def correlated(world: Any) -> pa.Table:
    """Events whose columns are each as before, but ``y`` follows ``x``."""
    events = world.events(0, 2000)
    x = events["x"].to_numpy()
    y = 0.8 * x + 0.6 * world.rng.normal(size=2000)
    return events.set_column(events.column_names.index("y"), "y", pa.array(y))


def test_what_no_column_shows_is_found_in_several_together(world: Any, domain: DomainClassifier) -> None:
    found = judge(world, correlated(world), domain)
    assert not any(column.drifted for column in found.columns.values())
    assert found.multivariate is not None
    assert found.multivariate.drifted
    assert found.multivariate.score > found.multivariate.threshold
    assert list(found.multivariate.importances)[-1] == "kind"


@pytest.mark.parametrize(
    ("mode", "judged", "drifted"), [("off", False, False), ("report", True, False), ("trigger", True, True)]
)
def test_it_counts_only_where_that_is_asked_for(
    world: Any, domain: DomainClassifier, mode: str, judged: bool, drifted: bool
) -> None:
    found = judge(world, correlated(world), domain, multivariate=mode)
    assert (found.multivariate is not None) is judged
    assert found.drifted is drifted


def test_a_quiet_window_is_not_told_apart(world: Any, domain: DomainClassifier) -> None:
    found = judge(world, world.events(1, 2000), domain, multivariate="trigger")
    assert found.multivariate is not None
    assert not found.multivariate.drifted
    assert not found.drifted


@pytest.mark.parametrize(("rows", "least"), [(199, 200), (20, 1), (0, 1)])
def test_few_rows_have_no_verdict(world: Any, domain: DomainClassifier, rows: int, least: int) -> None:
    assert judge(world, world.events(0, 2000).slice(0, rows), domain, min_rows=least).multivariate is None


def test_rows_are_looked_at_in_the_order_of_time(world: Any, domain: DomainClassifier) -> None:
    events = world.events(0, 2000)
    shuffled = events.take(pa.array(world.rng.permutation(2000)))
    assert judge(world, shuffled, domain).multivariate == judge(world, events, domain).multivariate


def test_broken_columns_disturb_nothing_else(world: Any, domain: DomainClassifier) -> None:
    events = world.events(0, 2000).drop_columns(["kind"])
    broken = events.set_column(events.column_names.index("y"), "y", pa.array(["text"] * 2000))
    found = judge(world, broken, domain)
    assert found.multivariate is not None
    assert set(list(found.multivariate.importances)[:2]) == {"kind", "y"}
    assert not found.columns["x"].drifted


def labelled(world: Any) -> Reference:
    """The reference of the world's model, with labels of which three in ten are 1."""
    world.register(1)
    labels = pa.array((np.random.default_rng(0).random(4000) < 0.3).astype(int)).cast(pa.string())
    return Reference.load(world.home / "1" / "reference.bin").joined(Reference.fit(pa.table({LABEL_COLUMN: labels})))


def test_the_verdict_on_inputs_does_not_hang_on_labels(world: Any) -> None:
    reference, events = labelled(world), world.events(0, 1000, shift=0.2)
    bare = judge(world, events, reference=reference)
    full = judge(world, events, labels=["1"] * 1000, reference=reference)
    plain = judge(world, events)
    assert full.label is not None
    assert full.label.drifted
    assert bare.label is not None
    assert not bare.label.drifted
    assert full.columns == bare.columns == plain.columns
    assert (full.drifted, full.prediction) == (bare.drifted, bare.prediction)


def test_few_labels_are_not_judged(world: Any) -> None:
    reference, events = labelled(world), world.events(0, 1000)
    few = judge(world, events, labels=["never seen", *[None] * 999], reference=reference)
    assert few.label is not None
    assert not few.label.drifted
    assert few.sound is not None
    assert few.sound.counts[LABEL_COLUMN].sum() == 0
    assert few.profile is not None
    assert few.profile.counts[LABEL_COLUMN].sum() == 1
    assert few.sound.problems == few.profile.problems == {}
    many = judge(world, events, labels=["1"] * 200 + [None] * 800, reference=reference)
    assert many.sound is not None
    assert many.sound.counts[LABEL_COLUMN].sum() == 200


def test_a_reference_of_some_columns(world: Any) -> None:
    reference = labelled(world)
    alone = reference.only("y", "x")
    assert alone.columns == ("y", "x")
    assert (alone.counts("x") == reference.counts("x")).all()
    with pytest.raises(SchemaMismatch, match="'nope' is not in the reference"):
        reference.only("nope")


def test_labels_that_have_moved_are_drawn_beside_those_of_the_reference(world: Any) -> None:
    labelled(world).save(world.home / "1" / "reference.bin")
    monitor, events = world.monitor(), world.events(0, 1000)
    monitor.record_events("m", events, "e")
    monitor.record_labels("m", events.select(["request_id", "row", "event_time"]).append_column("label", ONES), "l")
    (record,) = monitor.close_windows("m", world.clock.now() + 2 * world.config.window)
    assert record.label_drift is not None
    assert record.label_drift.drifted
    assert not record.drifted
    shown = {one.column: one for one in monitor.report("m").distributions}[LABEL_COLUMN]
    assert dict(zip(shown.labels, shown.window, strict=True))["1"] == 1.0
    assert dict(zip(shown.labels, shown.reference, strict=True))["1"] == pytest.approx(0.3, abs=0.03)
