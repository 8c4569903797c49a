"""Writers that share commits: what was acknowledged is there after SIGKILL, and what is sent again is there once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from raymlops.clock import ManualClock
from raymlops.metadata import MetadataService
from raymlops.monitoring import MonitorService
from raymlops.monitoring.events.event_tables import DeltaEventTables

START = datetime(2026, 1, 5, tzinfo=UTC)
WRITERS, ROWS, ROUNDS = 8, 25, 2
INSTANT = pa.timestamp("us", tz="UTC")
DEADLINE_S = 60.0


def batch(writer: int, number: int) -> pa.Table:
    return pa.table(
        {
            "request_id": [f"{writer}-{number}-{row}" for row in range(ROWS)],
            "row": pa.array([0] * ROWS, pa.int32()),
            "event_time": pa.array([START] * ROWS, INSTANT),
            "served_at": pa.array([START] * ROWS, INSTANT),
            "version": pa.array([1] * ROWS, pa.int32()),
            "role": ["champion"] * ROWS,
            "fallback": pa.nulls(ROWS, pa.string()),
            "error": pa.nulls(ROWS, pa.string()),
            "score": [0.5] * ROWS,
            "label_predicted": ["0"] * ROWS,
        }
    )


def open_monitor(home: Path, metadata: MetadataService) -> MonitorService:
    return MonitorService(DeltaEventTables(home / "monitor", commits=100), metadata, ManualClock(START))


def work(home: Path, following: list[int]) -> None:
    """Every writer records batch after batch, for ever, and says what was acknowledged."""
    monitor, saying = open_monitor(home, MetadataService(home / "metadata.db")), threading.Lock()

    def write(writer: int, number: int) -> None:
        while True:
            monitor.record_events("m", batch(writer, number), f"{writer}-{number}")
            with saying:
                sys.stdout.write(f"{writer} {number}\n")
                sys.stdout.flush()
            number += 1

    for writer, number in enumerate(following):
        threading.Thread(target=write, args=(writer, number)).start()


def test_what_was_acknowledged_is_there_once(tmp_path: Path) -> None:
    acknowledged: set[tuple[int, int]] = set()

    def following() -> list[int]:
        return [sum(1 for writer, _ in acknowledged if writer == number) for number in range(WRITERS)]

    for _ in range(ROUNDS):
        code = f"from pathlib import Path; from {__name__} import work; work(Path({str(tmp_path)!r}), {following()})"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            overdue = threading.Timer(DEADLINE_S, process.kill)
            overdue.start()
            count = 0
            for count, line in enumerate(process.stdout, 1):
                writer, number = map(int, line.split())
                acknowledged.add((writer, number))
                if count == 2 * WRITERS:
                    process.kill()
            overdue.cancel()
        assert process.returncode == -signal.SIGKILL
        assert count >= 2 * WRITERS
    with closing(MetadataService(tmp_path / "metadata.db")) as metadata:
        monitor = open_monitor(tmp_path, metadata)
        for writer, number in enumerate(following()):  # the batches in flight are sent again, as a replica does
            monitor.record_events("m", batch(writer, number), f"{writer}-{number}")
        found = Counter(monitor.events("m", START, START.replace(year=2027))["request_id"].to_pylist())
    assert set(found.values()) == {1}
    batches = {tuple(map(int, request.split("-")[:2])) for request in found}
    assert acknowledged <= batches
    assert len(found) == len(batches) * ROWS, "no batch is there in part"
