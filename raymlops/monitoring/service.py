"""The monitor: prediction events and labels come in, closed windows and reports go out."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from raymlops.clock import Clock
from raymlops.config.monitoring import MonitoringConfig
from raymlops.errors import ConfigError, ModelVersionNotFound, RaymlopsError, UnavailableError
from raymlops.monitoring.alerts.alarm import AlarmRule
from raymlops.monitoring.data_quality.bounds import insane_labels, inside, sane
from raymlops.monitoring.data_quality.served_features import ServedFeatures
from raymlops.monitoring.data_quality.traffic import HISTORY, TrafficHistory
from raymlops.monitoring.events.ports import EventTables, FeatureAudit, WindowMetadata
from raymlops.monitoring.events.recorded import EVENTS, LABELS, conform
from raymlops.monitoring.events.retention import Retention
from raymlops.monitoring.performance.error_changes import stream_before
from raymlops.monitoring.performance.labels import KEY, join_labels
from raymlops.monitoring.profiles.profile import Profile
from raymlops.monitoring.report.monitor_report import Distribution, MonitorReport, distributions
from raymlops.monitoring.windows.closing import WindowData, last_champion, observe_window, refresh_window
from raymlops.monitoring.windows.label_arrivals import LabelArrivals
from raymlops.monitoring.windows.late_labels import LateLabels
from raymlops.monitoring.windows.rollup import PeriodProfile, roll_up
from raymlops.monitoring.windows.schedule import WindowSchedule, events_name, grid, labels_name
from raymlops.monitoring.windows.unjudged import UnjudgedWindows
from raymlops.monitoring.windows.version_files import VersionFiles
from raymlops.monitoring.windows.version_segments import VersionSegments
from raymlops.monitoring.windows.window_profiles import WindowProfiles
from raymlops.records.learning.labels import label_text
from raymlops.records.models import ModelVersion
from raymlops.records.windows import WindowRecord

__all__ = ["MonitorService"]

Scoring = Literal["binary", "multiclass", "regressor"]
_CLOSING_WAIT_S = 1.0


class MonitorService:
    """Keeps prediction events and labels, and judges a model's windows once their labels have had time to come.

    Thread-safe: closings of one model are made one at a time; those of others, appends and reports run beside them.
    All state lies in the tables and the metadata store; what is held in memory is a cache, and is lost without harm.

    Args:
        tables: The tables of events (``predictions/MODEL``) and labels (``labels/MODEL``).
        metadata: The registry, the plans and the store of closed windows.
        clock: Dates reports; windows follow the instant that ``close_windows`` is given.
        config: Windows, delays and bars.
        audit: Compares the features that were joined for a window's predictions with the tables; ``None``: no audit.
        alarm_of: Model -> when its reports call drift an alarm, as triggers and alerts do.
    """

    def __init__(
        self,
        tables: EventTables,
        metadata: WindowMetadata,
        clock: Clock,
        config: MonitoringConfig | None = None,
        audit: FeatureAudit | None = None,
        alarm_of: Callable[[str], AlarmRule] | None = None,
    ) -> None:
        self._tables = tables
        self._metadata = metadata
        self._clock = clock
        self._config = config or MonitoringConfig()
        self._audit = audit
        self._alarm_of = alarm_of or (lambda _: AlarmRule())
        self._closing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._schedule = WindowSchedule(tables, metadata.windows, self._config)
        self._unjudged = UnjudgedWindows(metadata, self._config.window)
        self._out_of_bounds: Counter[str] = Counter()
        self._files = VersionFiles(metadata.models)
        self._segments = VersionSegments(metadata, self._config.segments)
        self._profiles = WindowProfiles(tables, metadata, self._files.find_reference, self._segments.of, self._config)
        self._retention = Retention(tables, metadata, self._config)
        self._traffic: dict[str, TrafficHistory] = {}
        self._late_labels = LateLabels(self._config)
        self._arrivals = LabelArrivals(tables)

    def record_events(self, model: str, table: pa.Table, batch_id: str) -> int:
        """Keep prediction events. A repeat of ``batch_id`` changes nothing.

        Args:
            model: Name of the model.
            table: Prediction events: request, version, answer, and one column for each model input.
            batch_id: Idempotency key of the batch.

        Returns:
            Rows kept, on disk.

        Raises:
            SchemaMismatch: A column is missing or of another type.
            DataError: A row has no request id, row number, instant, version or role.
            ConflictError: The batch id was used for other events before.
        """
        required = ("request_id", "row", "event_time", "served_at", "version", "role")
        table = conform(table, EVENTS, "prediction events", required)
        self._tables.append(events_name(model), table, ingest_id=batch_id)
        counted = sane(table, self._config)
        self._schedule.recorded(model, table.filter(pa.array(counted)))
        self._out_of_bounds[model] += int((~counted).sum())
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
            ConflictError: The batch id was used for other labels before.
        """
        if "label" in table.column_names:
            texts = [None if value is None else label_text(value) for value in table["label"].to_pylist()]
            table = table.set_column(table.column_names.index("label"), "label", pa.array(texts, type=pa.string()))
        table = conform(table, LABELS, "labels", tuple(LABELS.names)).select(LABELS.names)
        # labels that are sent again may be dated by the platform, whose clock has moved on
        self._tables.append(labels_name(model), table, ingest_id=batch_id, told_by=[*KEY, "label"])
        self._late_labels.record(model)
        self._out_of_bounds[model] += insane_labels(table, self._clock.now(), self._config)
        return int(table.num_rows)

    def close_windows(self, model: str, now: datetime, limit: int | None = None) -> list[WindowRecord]:
        """Judge windows that ended ``label_delay`` ago or earlier and have not been judged yet, oldest first.

        A window counts the labels that became known before it closes, whatever the instant of the call, so that a
        repeat after a crash gives the same record. For ``late_labels`` from then on, later calls add the labels
        that came late: they replace a window's realised performance, and leave its drift and quality as they were
        judged. What was decided on the window meanwhile stands in the ledger. Of a long silence the first and the last
        window are judged.

        Args:
            model: Name of the model.
            now: The present instant.
            limit: At most so many windows; ``None``: all that are due.

        Returns:
            The windows closed by this call, by start; each is stored.

        Raises:
            UnavailableError: An earlier call is still closing windows of this model.
        """
        with self._alone(model):
            self._add_late_labels(model, now)
            closed: list[WindowRecord] = []
            start = self._schedule.next_start(model, now)
            marks = self._profiles.catch_up(model, events_name(model), start)
            while start is not None and self._schedule.due(start, now) and len(closed) != limit:
                try:
                    record = self._close(model, start, marks)
                except Exception as error:  # raised again, or told by the window's record once it failed often enough
                    record = self._unjudged.after(model, start, error)
                if record is None:
                    break
                self._history(model, start).add(record)
                closed.append(record)
                self._late_labels.closed(record)
                start = self._schedule.closed(record, now)
            return closed

    def out_of_bounds_rows(self, model: str) -> int:
        """Rows of events and labels since the start whose event time is no sane one: kept, and in no window."""
        return self._out_of_bounds[model]

    @contextmanager
    def _alone(self, model: str) -> Iterator[None]:
        """One call at a time closes windows of a model; others do not line up behind one that takes long."""
        if not self._closing[model].acquire(timeout=_CLOSING_WAIT_S):
            raise UnavailableError(f"windows of {model!r} are still being closed by an earlier call", model=model)
        try:
            yield
        finally:
            self._closing[model].release()

    def events(self, model: str, since: datetime, until: datetime) -> pa.Table:
        """Prediction events served within ``[since, until)``, in the order they were recorded."""
        table = self._tables.read(events_name(model), since, until, "served_at")
        return table if table.num_columns else EVENTS.empty_table()

    def labels(self, model: str, since: datetime) -> pa.Table:
        """Labels that became known at or after ``since``, in the order they were recorded; their ``label`` is text."""
        table = self._tables.read(labels_name(model), since, None, "event_time")
        return table if table.num_columns else LABELS.empty_table()

    def scoring(self, model: str, version: int) -> tuple[Scoring, str | None]:
        """The kind of a version's scores, and the text of the label that a binary score is the probability of.

        Raises:
            ModelVersionNotFound: There is no such version.
        """
        signature = self._metadata.models.get_version(model, version).manifest.signature
        if signature.task == "regressor":
            return "regressor", None
        if len(signature.classes) != 2:
            return "multiclass", None
        return "binary", label_text(signature.classes[1])

    def report(self, model: str, start: datetime | None = None, end: datetime | None = None) -> MonitorReport:
        """The records of a model's windows that start at or after ``start`` and before ``end``."""
        windows = self._metadata.windows.list_windows(model, start, end)
        shown = next((window for window in reversed(windows) if window.rows and window.columns), None)
        shares: tuple[Distribution, ...] = ()
        if shown is not None:
            reference = self._files.find_reference(model, shown.champion)
            profile = Profile.loads(self._metadata.windows.get_profile(model, shown.start))
            if reference is not None and profile.reference == reference.digest:
                shares = distributions(shown, reference, profile)
        late = self._metadata.profiles.late_rows(model, start, end)
        return MonitorReport(
            model, self._clock.now(), tuple(windows), shares, late_rows=late, alarm=self._alarm_of(model)
        )

    def rollup(
        self,
        model: str,
        start: datetime | None = None,
        end: datetime | None = None,
        every: timedelta | None = None,
    ) -> list[PeriodProfile]:
        """Closed windows that start at or after ``start`` and before ``end``, added up without their rows.

        Rows that came after their window had closed are among them.

        Args:
            model: Name of the model.
            start: Start of the first period; ``None``: the period that holds the first window, counted from the anchor.
            end: End of the last one; ``None``: that of the newest window.
            every: Length of a period, such as a day or a week; ``None``: one for all.

        Returns:
            One per period and champion, by start; periods without profiles are left out.

        Raises:
            ConfigError: A period is not made of whole windows.
        """
        if every is not None and every % self._config.window:
            raise ConfigError(f"a period must be made of whole windows of {self._config.window}, got {every}")
        if start is None or end is None:
            windows = self._metadata.windows.list_windows(model, start, end)
            if not windows:
                return []
            start, end = start or grid(self._config, windows[0].start, every=every), end or windows[-1].end
        profiles = self._profiles.stored(model, start, end)
        return roll_up(profiles, partial(self._files.find_reference, model), start, end, every)

    def maintain(self, model: str, now: datetime) -> None:
        """Pack a model's tables, and remove what is older than it has to be kept; queries go on meanwhile.

        Raises:
            StorageError: A table cannot be read or written; what stands is whole.
        """
        self._retention.apply(model, now, self._schedule.next_start(model, now))

    def _history(self, model: str, start: datetime) -> TrafficHistory:
        if model not in self._traffic:
            self._traffic[model] = TrafficHistory(self._metadata.windows.list_windows(model, start - HISTORY))
        return self._traffic[model]

    def _close(self, model: str, start: datetime, marks: Mapping[str, int]) -> WindowRecord | None:
        """Judge and store one window; ``None`` where nothing has ever been champion."""
        end = start + self._config.window
        closes = end + self._config.label_delay
        lookback = max(self._config.window, self._config.label_delay)
        events = inside(self._read(events_name(model), start, end, EVENTS, until=marks), self._config)
        known = self._read(events_name(model), start - lookback, closes, EVENTS, columns=KEY, until=marks)
        labels = self._read(labels_name(model), start, closes, LABELS)
        champion = self._champion(model, events, end)
        if champion is None:
            return None
        versions = self._answering(model, champion, events)
        estimators, unread = self._files.estimators(versions.values())
        reference, problem = self._files.reference(model, champion)
        wanted = versions.get(champion) if self._config.drift.multivariate != "off" else None
        domain, unsampled = self._files.domain(wanted)
        before = self._metadata.windows.list_windows(model, start - self._config.window, start)
        data = WindowData(
            model=model,
            start=start,
            end=end,
            champion=champion,
            events=events,
            known=known,
            labels=labels,
            versions=versions,
            reference=reference,
            reference_problem=problem,
            domain=domain,
            domain_problem=unsampled,
            estimators=estimators,
            estimator_problems=unread,
            segments=self._segments.of(model, champion),
            error_stream=stream_before(before, champion),
            served_features=self._audited(model, events),
            usual=tuple(self._history(model, start).usual(start, self._config.window)),
        )
        record, profile = observe_window(data, self._config)
        self._profiles.store(record, events, join_labels(events, labels).labels)
        self._metadata.windows.put_window(record, b"" if profile is None else profile.dumps())
        return record

    def _add_late_labels(self, model: str, now: datetime) -> None:
        """Measure anew the closed windows that labels may have come for."""
        since = self._late_labels.since(model, now)
        if since is None:
            return
        windows = self._metadata.windows.list_windows(model, start=since - self._config.window)
        try:
            due = self._late_labels.due(model, windows, now)
            look = self._arrivals.look(model, events_name(model), labels_name(model), due, now)
            for window, until in look.touched:
                self._measure_anew(window, until)
            self._arrivals.measured(model, look)
        except RaymlopsError:
            self._late_labels.record(model)  # a model that was not reached now is due the next time
            raise

    def _measure_anew(self, window: WindowRecord, until: datetime) -> None:
        model = window.model
        events = inside(self._read(events_name(model), window.start, window.end, EVENTS), self._config)
        versions = self._answering(model, window.champion, events)
        data = WindowData(
            model=model,
            start=window.start,
            end=window.end,
            champion=window.champion,
            events=events,
            known=events.select(KEY),
            labels=self._read(labels_name(model), window.start, until, LABELS),
            versions=versions,
            reference=None,
            estimators=self._files.estimators(versions.values())[0],
            segments=self._segments.of(model, window.champion),
        )
        found = refresh_window(window, data, until, self._config)
        ended = until >= window.end + self._config.label_delay + self._config.late_labels
        if ended or found.performance != window.performance:
            self._profiles.relabel(window, events, join_labels(events, data.labels).labels)
            self._metadata.windows.put_window(found, self._metadata.windows.get_profile(model, window.start))

    def _answering(self, model: str, champion: int, events: pa.Table) -> dict[int, ModelVersion]:
        """The versions that answered, and the champion, as far as the registry knows them."""
        found = {}
        for number in sorted({champion, *map(int, pc.unique(events["version"]).to_pylist())}):
            try:
                found[number] = self._metadata.models.get_version(model, number)
            except ModelVersionNotFound:
                continue  # events of a version that is not in the registry still count as traffic
        return found

    def _audited(self, model: str, events: pa.Table) -> ServedFeatures:
        """The audit of a window's features, or why there is none: its windows must close all the same."""
        config = self._config.feature_audit
        if self._audit is None or not config.enabled or not events.num_rows:
            return ServedFeatures()
        try:
            return ServedFeatures(self._audit(model, events, config.sample_rows))
        except RaymlopsError as error:
            return ServedFeatures(problem=str(error))

    def _champion(self, model: str, events: pa.Table, end: datetime) -> int | None:
        champion = last_champion(events) or self._metadata.models.serving_at(model, end)
        if champion is None:
            plan = self._metadata.plans.find_plan(model)
            champion = None if plan is None else plan.champion
        return champion

    def _read(
        self,
        name: str,
        start: datetime,
        end: datetime,
        schema: pa.Schema,
        *,
        columns: Sequence[str] | None = None,
        until: Mapping[str, int] | None = None,
    ) -> pa.Table:
        table = self._tables.read(name, start, end, "event_time", columns=columns, until=until)
        return table if table.num_columns else schema.empty_table().select(columns or schema.names)
