"""Longer periods out of closed windows: stored profiles added up, without the rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from raymlops.errors import NotFoundError
from raymlops.monitoring.profiles.drift import DriftReport, DriftRule
from raymlops.monitoring.profiles.profile import SCORE_COLUMN, Profile
from raymlops.monitoring.profiles.reference import Reference
from raymlops.monitoring.profiles.sketched_columns import new_value_share
from raymlops.monitoring.windows.window_profiles import Part
from raymlops.records.shown import shown
from raymlops.records.windows import WindowProfile

__all__ = ["PeriodProfile", "roll_up"]

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@shown()
@dataclass(frozen=True)
class PeriodProfile:
    """Sum of one champion's windows in a period.

    Attributes:
        start: Start of its first window.
        end: End of the period asked for.
        champion: Version whose reference all is counted on.
        windows: Windows that it is made of.
        late_rows: Rows among them that came after their window had closed, and are no part of its verdicts.
        parts: Versions, roles and declared segments -> profile.
        reference: The champion's, where it can still be read.
    """

    start: datetime
    end: datetime
    champion: int
    windows: int
    late_rows: int
    parts: Mapping[Part, Profile]
    reference: Reference | None = field(default=None, compare=False)

    def answered(self, segment: str = "") -> Profile:
        """Inputs of all answered rows, of one segment or all, and the champion's scores.

        Raises:
            NotFoundError: Nothing was answered in that segment.
        """
        total: Profile | None = None
        for part, profile in self.parts.items():
            if part.segment != segment or part.role == "shadow":
                continue
            own = profile if part.version == self.champion else _without_scores(profile)
            total = own if total is None else total + own
        if total is None:
            raise NotFoundError(f"no rows were answered in segment {segment!r}", segment=segment)
        return total

    def drift(self, segment: str = "", *, rule: DriftRule | None = None) -> DriftReport | None:
        """How far the answered rows lie from the champion's reference; ``None`` where that cannot be read any more.

        Raises:
            NotFoundError: Nothing was answered in that segment.
        """
        profile = self.answered(segment)
        if self.reference is None or self.reference.digest != profile.reference:
            return None
        return self.reference.compare(profile, rule=rule)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        segments = sorted({part.segment for part in self.parts if part.role != "shadow"})
        return {
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "champion": self.champion,
            "windows": self.windows,
            "late_rows": self.late_rows,
            "parts": [{**part._asdict(), "rows": profile.rows} for part, profile in self.parts.items()],
            "segments": {segment: self._describe(segment) for segment in segments},
        }

    def _describe(self, segment: str) -> dict[str, Any]:
        profile, drift = self.answered(segment), self.drift(segment)
        quantiles = {
            name: dict(zip(map(str, QUANTILES), sketch.quantiles(QUANTILES), strict=True))
            for name, sketch in profile.quantiles.items()
            if sketch.rows
        }
        identifiers = {}
        for name, sketch in profile.identifiers.items():
            new = None if self.reference is None else new_value_share(sketch, self.reference.bins(name))
            identifiers[name] = {
                "distinct": sketch.distinct.count,
                "distinct_share": sketch.distinct_share,
                "new_share": new,
            }
        return {
            "rows": profile.rows,
            "quantiles": quantiles,
            "identifiers": identifiers,
            "drift": None if drift is None else drift.to_dict(),
        }


@dataclass
class _Sum:
    """The running sum of one period and champion."""

    starts: set[datetime] = field(default_factory=set)
    late_rows: int = 0
    parts: dict[Part, Profile] = field(default_factory=dict)

    def add(self, stored: WindowProfile, profile: Profile) -> None:
        self.starts.add(stored.start)
        if stored.late and not stored.segment:
            self.late_rows += stored.rows
        part = Part(stored.version, stored.role, stored.segment)
        self.parts[part] = self.parts[part] + profile if part in self.parts else profile


def roll_up(
    profiles: Iterable[WindowProfile],
    reference_of: Callable[[int], Reference | None],
    start: datetime,
    end: datetime,
    every: timedelta | None = None,
) -> list[PeriodProfile]:
    """Add up windows, one result per period and champion, by start.

    Profiles of different champions are counted on different bins and do not add up.

    Args:
        profiles: Of the windows, those of late rows among them; looked at one by one.
        reference_of: The reference of a version.
        start: Start of the first period.
        end: End of the last one.
        every: Length of a period; ``None``: one for all.
    """
    sums: dict[tuple[int, int, str], _Sum] = defaultdict(_Sum)
    for stored in profiles:
        number = 0 if every is None else (stored.start - start) // every
        profile = Profile.loads(stored.profile)
        sums[number, stored.champion, profile.reference].add(stored, profile)
    periods = [
        PeriodProfile(
            start=min(total.starts),
            end=end if every is None else min(end, start + (number + 1) * every),
            champion=champion,
            windows=len(total.starts),
            late_rows=total.late_rows,
            parts=total.parts,
            reference=reference_of(champion),
        )
        for (number, champion, _), total in sums.items()
    ]
    return sorted(periods, key=lambda period: (period.start, period.champion))


def _without_scores(profile: Profile) -> Profile:
    if SCORE_COLUMN not in profile.counts:
        return profile
    return Profile(
        reference=profile.reference,
        rows=profile.rows,
        counts={**profile.counts, SCORE_COLUMN: profile.counts[SCORE_COLUMN] * 0},
        ranges={name: pair for name, pair in profile.ranges.items() if name != SCORE_COLUMN},
        problems=profile.problems,
        new_columns=profile.new_columns,
        quantiles={name: sketch for name, sketch in profile.quantiles.items() if name != SCORE_COLUMN},
        identifiers=profile.identifiers,
    )
