"""The monitor: prediction events and labels come in, closed windows and reports go out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from raymlops.clock import Clock, from_us, to_us
from raymlops.config.monitoring import MonitoringConfig
from raymlops.errors import DataError, ModelVersionNotFound, SchemaMismatch
from raymlops.monitoring.labels import label_text
from raymlops.monitoring.ports import EventTables, WindowMetadata
from raymlops.monitoring.profile import REFERENCE_FILE, SCORE_COLUMN, Profile
from raymlops.monitoring.reference import Reference
from raymlops.monitoring.report import Distribution, MonitorReport, distributions
from raymlops.monitoring.windows import WindowData, last_champion, observe_window
from raymlops.records.models import ModelVersion
from raymlops.records.windows import WindowRecord

__all__ = ["MonitorService"]

Scoring = Literal["binary", "multiclass", "regressor"]

_INSTANT = pa.timestamp("us", tz="UTC")
_EVENTS = pa.schema(
    [
        ("request_id", pa.string()),
        ("row", pa.int32()),
        ("event_time", _INSTANT),
        ("served_at", _INSTANT),
        ("version", pa.int32()),
        ("role", pa.string()),
        ("fallback", pa.string()),
        ("error", pa.string()),
        (SCORE_COLUMN, pa.float64()),
        ("label_predicted", pa.string()),
    ]
)
"""The columns of prediction events that the monitor reads itself; the model's inputs are beside them."""
_LABELS = pa.schema(
    [("request_id", pa.string()), ("row", pa.int32()), ("label", pa.string()), ("event_time", _INSTANT)]
)


class MonitorService:
    """Keeps prediction events and labels, and judges a model's windows once their labels have had time to come.

    Thread-safe: appends and closings are each made one at a time, reports run beside them. All state lies in the
    tables and the metadata store; what is held in memory is a cache, and is lost without harm.

    Args:
        tables: Where events (``predictions/MODEL``) and labels (``labels/MODEL``) are kept.
        metadata: The registry, the plans and the store of closed windows.
        clock: Dates reports; windows follow the instant that ``close_windows`` is given.
        config: Windows, delays and bars.
    """

    def __init__(
        self, tables: EventTables, metadata: WindowMetadata, clock: Clock, config: MonitoringConfig | None = None
    ) -> None:
        self._tables = tables
        self._metadata = metadata
        self._clock = clock
        self._config = config or MonitoringConfig()
        self._appending = threading.Lock()
        self._closing = threading.Lock()
        self._earliest: dict[str, datetime] = {}
        self._next: dict[str, datetime] = {}
        self._references: dict[tuple[str, int], Reference] = {}

    def record_events(self, model: str, table: pa.Table, batch_id: str) -> int:
        """Keep prediction events. A repeat of ``batch_id`` changes nothing.

        Args:
            model: Name of the model.
            table: Prediction events: who answered what, and one column per model input.
            batch_id: Idempotency key of the batch.

        Returns:
            Rows kept, on disk.

        Raises:
            SchemaMismatch: A column is missing or of another type.
            DataError: A row has no request id, row number, instant, version or role.
        """
        required = ("request_id", "row", "event_time", "served_at", "version", "role")
        table = _conform(table, _EVENTS, "prediction events", required)
        with self._appending:
            self._tables.append(_events_name(model), table, ingest_id=batch_id)
            if model in self._earliest and table.num_rows:
                self._earliest[model] = min(self._earliest[model], pc.min(table["event_time"]).as_py())
        return int(table.num_rows)

    def record_labels(self, model: str, table: pa.Table, batch_id: str) -> int:
        """Keep labels. A repeat of ``batch_id`` changes nothing; of several labels of a prediction the last one counts.

        Args:
            model: Name of the model.
            table: ``request_id``, ``row``, ``label`` (text, number or boolean), ``event_time`` (when it became known).
            batch_id: Idempotency key of the batch.

        Returns:
            Rows kept, on disk.

        Raises:
            SchemaMismatch: A column is missing or of another type.
            DataError: A row has a null.
        """
        if "label" in table.column_names:
            texts = [None if value is None else label_text(value) for value in table["label"].to_pylist()]
            table = table.set_column(table.column_names.index("label"), "label", pa.array(texts, type=pa.string()))
        table = _conform(table, _LABELS, "labels", tuple(_LABELS.names)).select(_LABELS.names)
        with self._appending:
            self._tables.append(_labels_name(model), table, ingest_id=batch_id)
        return int(table.num_rows)

    def close_windows(self, model: str, now: datetime) -> list[WindowRecord]:
        """Judge every window that ended ``label_delay`` ago or earlier and has not been judged yet.

        A window counts the labels that became known before it closes, whatever the instant of the call, so that a
        repeat after a crash comes to the same record.

        Returns:
            The windows closed by this call, by start; each is stored.
        """
        with self._closing:
            closed: list[WindowRecord] = []
            start = self._next_start(model)
            while start is not None and start + self._config.window + self._config.label_delay <= now:
                record = self._close(model, start)
                if record is None:
                    break
                closed.append(record)
                start = self._next[model] = record.end
            return closed

    def events(self, model: str, since: datetime, until: datetime) -> pa.Table:
        """Prediction events served within ``[since, until)``, in the order they were recorded."""
        table = self._tables.read(_events_name(model), since, until, "served_at")
        return table if table.num_columns else _EVENTS.empty_table()

    def labels(self, model: str, since: datetime) -> pa.Table:
        """Labels that became known at or after ``since``, in the order they were recorded; their ``label`` is text."""
        table = self._tables.read(_labels_name(model), since, None, "event_time")
        return table if table.num_columns else _LABELS.empty_table()

    def scoring(self, model: str, version: int) -> tuple[Scoring, str | None]:
        """What a version's scores are, and the text of the label that a binary score is the probability of.

        Raises:
            ModelVersionNotFound: There is no such version.
        """
        signature = self._metadata.get_version(model, version).manifest.signature
        if signature.task == "regressor":
            return "regressor", None
        if len(signature.classes) != 2:
            return "multiclass", None
        return "binary", label_text(signature.classes[1])

    def report(self, model: str, start: datetime | None = None, end: datetime | None = None) -> MonitorReport:
        """What is known about a model's windows that start at or after ``start`` and before ``end``."""
        windows = self._metadata.list_windows(model, start, end)
        shown = next((window for window in reversed(windows) if window.rows and window.columns), None)
        shares: tuple[Distribution, ...] = ()
        if shown is not None:
            reference, _ = self._reference(model, shown.champion)
            profile = Profile.loads(self._metadata.get_profile(model, shown.start))
            if reference is not None and profile.reference == reference.digest:
                shares = distributions(shown, reference, profile)
        return MonitorReport(model, self._clock.now(), tuple(windows), shares)

    def _next_start(self, model: str) -> datetime | None:
        """Start of the first window not judged yet; ``None`` where the model has no events."""
        if model not in self._next:
            windows = self._metadata.list_windows(model)
            if windows:
                self._next[model] = self._grid(windows[-1].end, up=True)
            else:
                earliest = self._first_event(model)
                return None if earliest is None else self._grid(earliest)
        return self._next[model]

    def _first_event(self, model: str) -> datetime | None:
        with self._appending:
            if model not in self._earliest:
                times = self._tables.read(_events_name(model), None, None, "event_time")
                if not times.num_rows:
                    return None
                self._earliest[model] = pc.min(times["event_time"]).as_py()
            return self._earliest[model]

    def _grid(self, instant: datetime, *, up: bool = False) -> datetime:
        """The last window start at or before an instant; with ``up`` the first one at or after it."""
        length, anchor = self._config.window, self._config.anchor
        number = -((anchor - instant) // length) if up else (instant - anchor) // length
        return from_us(to_us(anchor + number * length))

    def _close(self, model: str, start: datetime) -> WindowRecord | None:
        """Judge and store one window; ``None`` where nothing has ever been champion."""
        end = start + self._config.window
        closes = end + self._config.label_delay
        lookback = max(self._config.window, self._config.label_delay)
        known = self._read(_events_name(model), start - lookback, closes, _EVENTS)
        labels = self._read(_labels_name(model), start, closes, _LABELS)
        times = known["event_time"]
        events = known.filter(pc.and_(pc.greater_equal(times, pa.scalar(start)), pc.less(times, pa.scalar(end))))
        champion = self._champion(model, events, end)
        if champion is None:
            return None
        answering = {champion, *(int(version) for version in pc.unique(events["version"]).to_pylist())}
        reference, problem = self._reference(model, champion)
        data = WindowData(
            model=model,
            start=start,
            end=end,
            champion=champion,
            events=events,
            known=known.select(["request_id", "row"]),
            labels=labels,
            versions=dict(self._versions(model, answering)),
            reference=reference,
            reference_problem=problem,
        )
        record, profile = observe_window(data, self._config)
        self._metadata.put_window(record, b"" if profile is None else profile.dumps())
        return record

    def _champion(self, model: str, events: pa.Table, end: datetime) -> int | None:
        champion = last_champion(events) or self._metadata.serving_at(model, end)
        if champion is None:
            plan = self._metadata.find_plan(model)
            champion = None if plan is None else plan.champion
        return champion

    def _versions(self, model: str, numbers: set[int]) -> Iterator[tuple[int, ModelVersion]]:
        for number in sorted(numbers):
            try:
                yield number, self._metadata.get_version(model, number)
            except ModelVersionNotFound:
                continue  # events of a version that is not in the registry still count as traffic

    def _reference(self, model: str, version: int) -> tuple[Reference | None, str]:
        """A version's reference, or why there is none: one bad file must not keep the windows from closing."""
        if (model, version) not in self._references:
            try:
                path = Path(self._metadata.get_version(model, version).path) / REFERENCE_FILE
                self._references[model, version] = Reference.load(path)
            except ModelVersionNotFound:
                return None, f"version {version} is not registered"
            except FileNotFoundError:
                return None, f"version {version} has no {REFERENCE_FILE}"
            except (DataError, OSError) as error:
                return None, f"the reference of version {version} cannot be read: {error}"
        return self._references[model, version], ""

    def _read(self, name: str, start: datetime, end: datetime, schema: pa.Schema) -> pa.Table:
        table = self._tables.read(name, start, end, "event_time")
        return table if table.num_columns else schema.empty_table()


def _events_name(model: str) -> str:
    return f"predictions/{model}"


def _labels_name(model: str) -> str:
    return f"labels/{model}"


def _conform(table: pa.Table, schema: pa.Schema, what: str, required: tuple[str, ...]) -> pa.Table:
    """``table`` with the columns of ``schema`` cast to their types; its other columns stay as they are."""
    absent = [name for name in schema.names if name not in table.column_names]
    if absent:
        raise SchemaMismatch(f"{what} must have the columns {schema.names}, got none of {absent}", columns=absent)
    for field in schema:
        column = table[field.name]
        if pa.types.is_timestamp(field.type) and not (pa.types.is_timestamp(column.type) and column.type.tz):
            raise SchemaMismatch(f"{what}: {field.name} must be tz-aware instants, got {column.type}")
        try:
            cast = column.cast(field.type)
        except pa.ArrowException as error:
            raise SchemaMismatch(f"{what}: {field.name} must be {field.type}, got {column.type}: {error}") from error
        if field.name in required and cast.null_count:
            raise DataError(f"{what}: {field.name} must not be null, got {cast.null_count} nulls", column=field.name)
        table = table.set_column(table.column_names.index(field.name), field.name, cast)
    return table
