"""Profiles of closed windows by version, role and segment: stored with the window, added to by rows that come late."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raymlops.clock import from_us, to_us
from raymlops.config.monitoring import MonitoringConfig
from raymlops.errors import ConfigError
from raymlops.monitoring.data_quality.bounds import inside
from raymlops.monitoring.events.ports import EventTables, WindowMetadata
from raymlops.monitoring.performance.conditions import condition_mask
from raymlops.monitoring.profiles.label_counts import label_profile, with_labels
from raymlops.monitoring.profiles.profile import LABEL_COLUMN, Profile
from raymlops.monitoring.profiles.reference import Reference
from raymlops.records.windows import WindowProfile, WindowRecord

__all__ = ["Part", "WindowProfiles", "frozen_segments", "profile_parts"]

MAX_SEGMENTS = 50
_WINDOWS_AT_ONCE = 8
LEVELS = 6
QUARTERS = (0.25, 0.5, 0.75)

Mask = NDArray[np.bool_]


class Part(NamedTuple):
    """Some of a window's rows."""

    version: int
    role: str
    segment: str = ""
    """A declared segment; empty: all rows."""


def frozen_segments(names: Sequence[str], reference: Reference) -> list[str]:
    """Conditions that mean the same in every window: a column stands for its levels in the reference.

    Args:
        names: Conditions, or columns of the reference: of those the most frequent categories, or the quarters.
        reference: Its bins are the levels.
    """
    found: list[str] = []
    for name in names:
        found += _levels(name, reference) if name in reference.columns else [name]
    return found[:MAX_SEGMENTS]


def _levels(name: str, reference: Reference) -> list[str]:
    bins = reference.bins(name)
    if bins.kind != "numeric":
        return [f"{name} = '{category}'" for category in bins.categories[:LEVELS] if "'" not in category]
    if not bins.edges:
        return []
    shares = np.cumsum(reference.counts(name)[: bins.bins])
    places = np.searchsorted(shares, np.array(QUARTERS) * shares[-1])
    edges = sorted({bins.edges[place] for place in places if shares[place] < shares[-1]})
    if not edges:
        return []
    texts = [f"{edge!r}" for edge in edges]
    between = [f"{name} > {low} and {name} <= {high}" for low, high in pairwise(texts)]
    return [f"{name} <= {texts[0]}", *between, f"{name} > {texts[-1]}"]


def profile_parts(
    reference: Reference,
    events: pa.Table,
    segments: Sequence[str] = (),
    labels: Sequence[str | None] | None = None,
) -> dict[Part, Profile]:
    """Profile a window's answered rows, part by part; shadows' too, apart from the others.

    Args:
        reference: The champion's, whose bins all parts are counted on.
        events: N prediction events; those that failed are left out.
        segments: Conditions; one that cannot be read, or names a column that is not logged, is left out.
        labels: The N labels' texts, ``None`` where there is none; by default none at all.
    """
    wanted = [name for name in events.column_names if name in reference.columns and name != LABEL_COLUMN]
    labelled = LABEL_COLUMN in reference.columns
    parts = {}
    for part, mask in _masks(events, segments):
        profile = reference.profile(events.filter(pa.array(mask)).select(wanted), sketched=True)
        parts[part] = with_labels(profile, None) if labelled else profile
    if labels is not None and labelled:
        counted = _label_parts(reference, events, segments, labels)
        parts = {part: with_labels(profile, counted[part]) for part, profile in parts.items()}
    return parts


def _label_parts(
    reference: Reference, events: pa.Table, segments: Sequence[str], labels: Sequence[str | None]
) -> dict[Part, Profile]:
    alone, texts = reference.only(LABEL_COLUMN), np.array(labels, dtype=object)
    return {part: label_profile(alone, texts[mask].tolist(), sketched=True) for part, mask in _masks(events, segments)}


def _masks(events: pa.Table, segments: Sequence[str]) -> Iterator[tuple[Part, Mask]]:
    """The parts that have rows, and which rows are theirs."""
    masks = {"": np.ones(events.num_rows, dtype=np.bool_)}
    for segment in segments:
        try:
            masks[segment] = condition_mask(segment, events)
        except ConfigError:
            continue  # the segment's performance names the fault
    answered = pc.is_null(events["error"])
    pairs = events.filter(answered).select(["version", "role"]).group_by(["version", "role"]).aggregate([]).to_pylist()
    for version, role in sorted((pair["version"], pair["role"]) for pair in pairs):
        same = pc.and_(pc.equal(events["version"], version), pc.equal(events["role"], role))
        own = np.asarray(pc.fill_null(pc.and_(answered, same), False).to_numpy(), dtype=np.bool_)
        for segment, mask in masks.items():
            if (own & mask).any():
                yield Part(int(version), str(role), segment), own & mask


class WindowProfiles:
    """Stores a window's profiles when it closes, and adds the rows that come later.

    Of every closed window, the stored profiles hold just the events recorded before the model's marks: what was
    recorded since is found by the marks, so that a crash neither loses a row nor counts one twice. One caller at a
    time per model.

    Args:
        tables: The tables of events.
        metadata: The stores of windows and profiles.
        reference_of: The reference of a version, ``None`` where it has none: its windows then have no profiles.
        segments_of: The segments of a version.
        config: Windows.
    """

    def __init__(
        self,
        tables: EventTables,
        metadata: WindowMetadata,
        reference_of: Callable[[str, int], Reference | None],
        segments_of: Callable[[str, int], Sequence[str]],
        config: MonitoringConfig,
    ) -> None:
        self._tables = tables
        self._metadata = metadata
        self._reference_of = reference_of
        self._segments_of = segments_of
        self._config = config

    def catch_up(self, model: str, table: str, closed_until: datetime | None) -> Mapping[str, int]:
        """Add the events that came for closed windows since the last call.

        Args:
            model: Name of the model.
            table: Name of its event table.
            closed_until: End of the last closed window; ``None`` where there is none.

        Returns:
            Marks: the windows that close now hold the events before them.

        Raises:
            StaleWrite: Another monitor does the same; nothing was added.
        """
        marks, previous = self._tables.marks(table), self._metadata.profiles.profile_marks(model)
        if marks == previous:
            return marks
        late: list[WindowProfile] = []
        if previous is not None and closed_until is not None:
            events = self._tables.read(table, None, closed_until, "event_time", after=previous, until=marks)
            if events.num_rows:
                late = self._late(model, events)
        self._metadata.profiles.add_late_profiles(model, late, marks, previous)
        return marks

    def store(self, window: WindowRecord, events: pa.Table, labels: Sequence[str | None]) -> None:
        """Profile a window's events and their labels; a repeat replaces what an earlier call stored."""
        profiles = self._profiles(window, events, labels)
        self._metadata.profiles.put_profiles(window.model, window.start, profiles)

    def relabel(self, window: WindowRecord, events: pa.Table, labels: Sequence[str | None]) -> None:
        """Count the labels that are known by now in place of those known before; all other counts stay.

        Args:
            window: A closed window.
            events: All its events, those that came late among them: their labels are counted with the others'.
            labels: Their labels' texts, ``None`` where there is none.
        """
        reference = self._reference_of(window.model, window.champion)
        if reference is None or LABEL_COLUMN not in reference.columns:
            return
        if reference.digest != Profile.loads(self._metadata.windows.get_profile(window.model, window.start)).reference:
            return  # the version's reference is not the one that the window was counted on
        segments = frozen_segments(self._segments_of(window.model, window.champion), reference)
        counted = _label_parts(reference, events, segments, labels)
        stored = self._metadata.profiles.list_profiles(window.model, window.start, from_us(to_us(window.start) + 1))
        relabelled = []
        for each in sorted(stored, key=lambda each: each.late):  # a part whose rows all came late has no other
            found = counted.pop(Part(each.version, each.role, each.segment), None)
            labelled = with_labels(Profile.loads(each.profile), found)
            relabelled.append(each.model_copy(update={"profile": labelled.dumps()}))
        self._metadata.profiles.put_profiles(window.model, window.start, relabelled)

    def stored(self, model: str, start: datetime, end: datetime) -> Iterator[WindowProfile]:
        """The profiles of windows that start at or after ``start`` and before ``end``, a few windows at a time."""
        starts = [window.start for window in self._metadata.windows.list_windows(model, start, end)]
        for first in range(0, len(starts), _WINDOWS_AT_ONCE):
            last = starts[first : first + _WINDOWS_AT_ONCE][-1]
            yield from self._metadata.profiles.list_profiles(model, starts[first], from_us(to_us(last) + 1))

    def _late(self, model: str, events: pa.Table) -> list[WindowProfile]:
        events = inside(events, self._config)
        if not events.num_rows:
            return []
        first, last = pc.min(events["event_time"]).as_py(), pc.max(events["event_time"]).as_py()
        windows = self._metadata.windows.list_windows(model, first - self._config.window, from_us(to_us(last) + 1))
        found = []
        for window in windows:
            times = events["event_time"]
            within = pc.and_(pc.greater_equal(times, pa.scalar(window.start)), pc.less(times, pa.scalar(window.end)))
            rows = events.filter(within)
            if not rows.num_rows:
                continue
            stored = self._metadata.profiles.list_profiles(model, window.start, from_us(to_us(window.start) + 1))
            before = {Part(p.version, p.role, p.segment): p for p in stored if p.late}
            for profile in self._profiles(window, rows, late=True):
                earlier = before.get(Part(profile.version, profile.role, profile.segment))
                found.append(profile if earlier is None else _added(earlier, profile))
        return found

    def _profiles(
        self,
        window: WindowRecord,
        events: pa.Table,
        labels: Sequence[str | None] | None = None,
        *,
        late: bool = False,
    ) -> list[WindowProfile]:
        reference = self._reference_of(window.model, window.champion)
        if reference is None:
            return []
        segments = frozen_segments(self._segments_of(window.model, window.champion), reference)
        return [
            WindowProfile(
                model=window.model,
                start=window.start,
                champion=window.champion,
                version=part.version,
                role=part.role,
                segment=part.segment,
                late=late,
                rows=profile.rows,
                profile=profile.dumps(),
            )
            for part, profile in profile_parts(reference, events, segments, labels).items()
        ]


def _added(earlier: WindowProfile, later: WindowProfile) -> WindowProfile:
    both = Profile.loads(earlier.profile) + Profile.loads(later.profile)
    return later.model_copy(update={"rows": both.rows, "profile": both.dumps()})
