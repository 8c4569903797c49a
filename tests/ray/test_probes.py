"""Probes as Ray tasks: from the training set and what was recorded to what they have shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import psutil
import pyarrow as pa
import pytest

from raymlops.control.loop.prober import grid_of, probe_folder
from raymlops.errors import UnavailableError
from raymlops.laboratory.probes.probe_files import ProbeFolder
from raymlops.laboratory.weighing import weigh_probed
from raymlops.runtime.cluster.clients import ActorProxy
from raymlops.runtime.cluster.names import MONITOR
from raymlops.runtime.jobs import probes
from raymlops.runtime.jobs.probes import ProbeProcess

if TYPE_CHECKING:
    from raymlops.monitoring import MonitorService
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray
DEADLINE_S = 60.0
PER_WEEK = 120
WEEKS = 6


def _weeks(platform: Platform, first: int, count: int) -> dict[str, Any]:
    """Rows of some weeks of the grid: keys, instants, an input and the label that follows it."""
    start, week = platform.config.monitoring.anchor, platform.config.monitoring.window
    rng = np.random.default_rng(first)
    x = rng.normal(size=count * PER_WEEK)
    at = [start + first * week + k * week / PER_WEEK for k in range(count * PER_WEEK)]
    return {"lamp_id": [f"{first}-{k}" for k in range(len(x))], "event_time": at, "x": x, "label": (x > 0).astype(int)}


@pytest.fixture(scope="module")
def lamp(platform: Platform) -> Any:
    """A version of model ``lamp`` with a training set, and one recorded week after it."""
    from sklearn.linear_model import LogisticRegression

    from raymlops.features import Entity, FeatureService, FeatureView, Field

    view = FeatureView("lamp_state", Entity("lamp", ["lamp_id"]), [Field("x", "float64")])
    platform.apply(view, FeatureService("lamps", ["lamp_state:x"]))
    known = pa.table(_weeks(platform, 0, WEEKS))
    platform.features.push("lamp_state", known.select(["lamp_id", "event_time", "x"]), ingest_id="lamps")
    training = platform.features.training_set("lamps", known.select(["lamp_id", "event_time", "label"]), name="lamps")
    inputs = training.table().select(["lamp_state__x"])
    fitted = LogisticRegression().fit(inputs.to_pandas().to_numpy(), training.table()["label"])
    version = platform.models.register("lamp", fitted, example=inputs, training_set=training)
    asked = _weeks(platform, WEEKS, 1)
    requests = {"request_id": asked["lamp_id"], "row": pa.array([0] * PER_WEEK, pa.int32())}
    shared = {"version": pa.array([1] * PER_WEEK, pa.int32()), "role": ["champion"] * PER_WEEK}
    empty = {name: pa.array([""] * PER_WEEK) for name in ("fallback", "error", "label_predicted")}
    times = {"event_time": asked["event_time"], "served_at": asked["event_time"]}
    events = pa.table({**requests, **times, **shared, **empty, "score": [0.5] * PER_WEEK, "lamp_state__x": asked["x"]})
    labels = {"label": [str(label) for label in asked["label"]], "event_time": asked["event_time"]}
    monitor = cast("MonitorService", ActorProxy(MONITOR, 60.0, "monitor"))
    monitor.record_events("lamp", events, "lamps")
    monitor.record_labels("lamp", pa.table({**requests, **labels}), "lamps")
    return version


def test_a_window_is_probed_from_the_training_set_and_the_record(platform: Platform, lamp: Any) -> None:
    config = platform.config
    start = config.monitoring.anchor + WEEKS * config.monitoring.window
    at = start + config.monitoring.window + config.monitoring.label_delay
    task = ProbeProcess(config).start(lamp, [start], at)
    assert task.wait(DEADLINE_S)
    assert task.outcome() == ""
    folder = probe_folder(config.home, lamp, grid_of(lamp, config.control, config.monitoring))
    shown = ProbeFolder(folder).shown()
    assert [window.start for window in shown] == [start - k * config.monitoring.window for k in (3, 2, 1, 0)]
    assert (shown[-1].rows, shown[-1].at) == (PER_WEEK, at)
    assert shown[-1].loss < 0.3, "the label follows the input"
    standing = weigh_probed(shown, trained_at=start, price=0.05)
    assert standing is not None
    assert (standing.age_windows, standing.probed_windows, standing.end) == (1, len(shown), shown[-1].end)
    assert standing.accrued == 0, "the probe of its own window stands for it"
    assert (folder / "shown.json").stat().st_mode & 0o077 == 0


def test_a_window_that_nobody_asked_about_is_told(platform: Platform, lamp: Any) -> None:
    start = platform.config.monitoring.anchor + (WEEKS + 9) * platform.config.monitoring.window
    task = ProbeProcess(platform.config).start(lamp, [start], start + timedelta(days=8))
    assert task.wait(DEADLINE_S)
    assert task.outcome().startswith("nothing was asked of 'lamp' in the window from 2013")


def test_probes_that_are_ended_say_so(platform: Platform, lamp: Any) -> None:
    start = platform.config.monitoring.anchor + WEEKS * platform.config.monitoring.window
    process = ProbeProcess(platform.config)
    task = process.start(lamp, [start], start + timedelta(days=8))
    task.cancel()
    assert task.wait(DEADLINE_S)
    with pytest.raises(UnavailableError, match="probes"):
        task.outcome()
    again = process.start(lamp, [start], start + timedelta(days=8))
    assert again.wait(DEADLINE_S)
    assert again.outcome() == "", "the next probes have a process of their own"


def test_one_process_probes_and_fits_ahead_and_goes_when_it_is_let_go(
    platform: Platform, lamp: Any, processes: Callable[[str], list[psutil.Process]], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = platform.config.monitoring.anchor + WEEKS * platform.config.monitoring.window
    process, others, seen = ProbeProcess(platform.config), set(processes("ProbeWorker")), set()
    for ahead, kept_s in ((False, 600.0), (True, 600.0), (False, 0.01)):
        monkeypatch.setattr(probes, "_KEPT_S", kept_s)
        task = process.start(lamp, [start], start + timedelta(days=8), ahead=ahead)
        assert task.wait(DEADLINE_S)
        assert task.outcome() == ""
        seen |= set(processes("ProbeWorker")) - others if kept_s > 1 else set()
        del task
    (found,) = seen
    assert found.wait(DEADLINE_S) is None, "Ray, and not this process, is its parent"
