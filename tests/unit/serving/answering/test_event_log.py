from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from raymlops.clock import to_us
from raymlops.config.serving import EventLogConfig
from raymlops.errors import DataError, StorageError, UnavailableError
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.serving.answering import event_log
from raymlops.serving.answering.event_log import EventLog
from raymlops.serving.answering.events import PredictionEvent
from raymlops.serving.protocol.prediction_request import PredictionRequest
from raymlops.serving.protocol.schema import InputSchema

pytestmark = pytest.mark.asyncio

SCHEMA = InputSchema(Signature(task="regressor", inputs=(ColumnSpec(name="a", dtype="FP64"),)))
Record = Callable[..., None]


@pytest.fixture
def sink(helpers: Any) -> Any:
    return helpers.FakeSink()


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "RETRY_S", (0.001,))


def make_log(sink: Any, **config: Any) -> EventLog:
    settings = {"flush_every": "10s", "flush_rows": 1000, "buffer_rows": 1000, **config}
    return EventLog("delay", sink, EventLogConfig(**settings), name="replica")


def make_event(helpers: Any, name: str, rows: int = 1) -> PredictionEvent:
    now = to_us(helpers.NOW)
    values = np.arange(float(rows))
    request = PredictionRequest(name, {"a": values}, [now] * rows)
    return PredictionEvent(request, SCHEMA, now, 1, "champion", 5, {"value": values})


def ids(sink: Any) -> list[str]:
    return [row["request_id"] for row in sink.rows]


async def test_a_flush_sends_everything_in_order(helpers: Any, sink: Any) -> None:
    log = make_log(sink)
    for number in range(5):
        log.record(make_event(helpers, f"r{number}", 2))
    assert await log.flush() == 0
    assert ids(sink) == [f"r{number}" for number in range(5) for _ in range(2)]
    assert log.stats == (10, 10, 0, 0)
    assert await log.flush() == 0
    assert sink.sent == ["replica-0-0"]


@pytest.mark.parametrize("config", [{"flush_every": "5ms"}, {"flush_rows": 3}])
async def test_the_background_sends_by_time_and_by_size(helpers: Any, sink: Any, config: dict[str, Any]) -> None:
    log = make_log(sink, **config)
    log.start()
    log.start()
    for number in range(3):
        log.record(make_event(helpers, f"r{number}"))
    async with asyncio.timeout(2):
        while log.stats.waiting:
            await asyncio.sleep(0.001)
    assert ids(sink) == ["r0", "r1", "r2"]
    assert await log.stop() == 0


@pytest.mark.parametrize(
    "error", [UnavailableError("died"), StorageError("disk full"), TimeoutError(), OSError("broken")]
)
@pytest.mark.parametrize("stored", [False, True])
async def test_an_unacknowledged_batch_is_sent_again_under_its_id(
    helpers: Any, sink: Any, error: Exception, stored: bool
) -> None:
    log = make_log(sink)
    sink.errors = [error] * 9
    sink.store_before_failing = stored
    log.record(make_event(helpers, "r0"))
    flushing = asyncio.create_task(log.flush())
    await asyncio.sleep(0)
    log.record(make_event(helpers, "later"))
    assert await flushing == 0
    assert sink.sent == ["replica-0-0"] * 10
    assert await log.flush() == 0
    assert ids(sink) == ["r0", "later"]
    assert log.stats == (2, 2, 0, 0)


@pytest.mark.parametrize("error", [DataError("no such column"), ValueError("a bug")])
async def test_a_refused_batch_is_dropped_and_counted_and_the_next_goes_on(
    helpers: Any, sink: Any, error: Exception
) -> None:
    log = make_log(sink)
    sink.errors = [error] * event_log.ATTEMPTS
    log.record(make_event(helpers, "bad", 3))
    assert await log.flush() == 0
    log.record(make_event(helpers, "good"))
    assert await log.flush() == 0
    assert sink.sent == ["replica-0-0"] * event_log.ATTEMPTS + ["replica-1-0"]
    assert ids(sink) == ["good"]
    assert log.stats == (4, 1, 0, 3)


async def test_events_that_have_no_table_do_not_stop_the_others(helpers: Any, sink: Any) -> None:
    log = make_log(sink)
    bad = make_event(helpers, "bad")
    log.record(bad._replace(request=bad.request._replace(columns={})))
    assert await log.flush() == 0
    log.record(make_event(helpers, "good"))
    assert await log.flush() == 0
    assert (ids(sink), log.stats) == (["good"], (2, 1, 0, 1))


async def test_overflow_counts_drops_and_never_waits(helpers: Any, sink: Any) -> None:
    sink.hang = True
    log = make_log(sink, buffer_rows=10, flush_rows=2, flush_every="1ms")
    log.start()
    started = asyncio.get_running_loop().time()
    for number in range(2000):
        log.record(make_event(helpers, f"r{number}"))
        if number == 1000:
            await asyncio.sleep(0.01)
    assert asyncio.get_running_loop().time() - started < 1
    assert log.stats == (2000, 0, 10, 1990)
    sink.hang = False
    assert await log.stop() == 0
    assert log.stats == (2000, 10, 0, 1990)
    assert ids(sink) == [f"r{number}" for number in range(10)]


async def test_room_is_made_by_acknowledgements(helpers: Any, sink: Any) -> None:
    log = make_log(sink, buffer_rows=2)
    for number in range(4):
        log.record(make_event(helpers, f"r{number}"))
    await log.flush()
    log.record(make_event(helpers, "r4"))
    await log.flush()
    assert ids(sink) == ["r0", "r1", "r4"]
    assert log.stats == (5, 3, 0, 2)


async def test_stop_in_the_middle_of_a_send_loses_nothing(helpers: Any, sink: Any) -> None:
    sink.hang = True
    log = make_log(sink, flush_rows=1)
    log.start()
    log.record(make_event(helpers, "r0"))
    async with asyncio.timeout(2):
        while not sink.sent:
            await asyncio.sleep(0.001)
    log.record(make_event(helpers, "r1"))
    sink.hang = False
    assert await log.stop() == 0
    assert sink.sent == ["replica-0-0", "replica-0-0", "replica-1-0"]
    assert ids(sink) == ["r0", "r1"]


async def test_what_a_stop_cannot_send_is_counted(helpers: Any, sink: Any) -> None:
    sink.hang = True
    log = make_log(sink)
    log.start()
    log.record(make_event(helpers, "r0", 3))
    assert await log.flush(0.01) == 3
    assert await log.stop(0.01) == 3
    assert log.stats == (3, 0, 0, 3)


async def test_a_silent_sink_is_asked_again(helpers: Any, sink: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "SEND_TIMEOUT_S", 0.01)
    sink.hang = True
    log = make_log(sink)
    log.record(make_event(helpers, "r0"))
    flushing = asyncio.create_task(log.flush())
    async with asyncio.timeout(2):
        while len(sink.sent) < 2:
            await asyncio.sleep(0.001)
    sink.hang = False
    assert await flushing == 0
    assert set(sink.sent) == {"replica-0-0"}
    assert ids(sink) == ["r0"]


async def test_a_long_backlog_is_sent_in_parts(helpers: Any, sink: Any) -> None:
    log = make_log(sink, flush_rows=1)
    for number in range(25):
        log.record(make_event(helpers, f"r{number}"))
    assert await log.flush() == 0
    assert sink.sent == ["replica-0-0", "replica-1-0", "replica-2-0"]
    assert len(ids(sink)) == 25


async def test_two_logs_never_share_an_id(sink: Any) -> None:
    assert EventLog("delay", sink)._name != EventLog("delay", sink)._name
