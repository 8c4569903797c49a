"""What the monitor knows about one window of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from pydantic import Field

from raymlops.records.record import Instant, Record

__all__ = [
    "ColumnDrift",
    "DriftAlarm",
    "ErrorChange",
    "ErrorStreamState",
    "EstimatedPerformance",
    "FeatureAge",
    "MultivariateDrift",
    "Performance",
    "ProfileStore",
    "SegmentPerformance",
    "WindowProfile",
    "WindowRecord",
    "WindowStore",
]


class ColumnDrift(Record):
    """How far one column of a window lies from its reference."""

    score: float
    threshold: float
    p_value: float
    drifted: bool
    missing_share: float = 0.0
    importance: float | None = None
    """The champion's relative importance of the column, 0 to 1."""
    test: str = ""
    """The test that speaks loudest: ``shape``, ``location`` or ``missing``; empty where none could be made."""
    problem: str = ""
    """What is wrong with the column beside its distribution: dropped, changed type ..."""
    distances: dict[str, float] = Field(default_factory=dict)
    """``jensen_shannon``, ``psi``, ``kolmogorov_smirnov`` ... -> how far the window lies from the reference by it."""
    distance_thresholds: dict[str, float] = Field(default_factory=dict)
    """What chance alone makes of each in a window of this size, were the rows as they were."""


class MultivariateDrift(Record):
    """How well a classifier tells the inputs of a window from those of its reference, all columns together."""

    score: float
    """Area under the curve: 0.5 where they cannot be told apart."""
    threshold: float
    p_value: float
    drifted: bool
    importances: dict[str, float] = Field(default_factory=dict)
    """The few columns that tell most -> their share in telling, the largest first; the shares of all sum to 1."""


class DriftAlarm(Record):
    """Drift that lasted: raised by N of the last M windows, cleared by windows that are clearly calm."""

    model: str
    champion: int
    """Whose reference the windows were compared with; with another champion the alarm is over."""
    raised_at: Instant
    """End of the window that raised it."""
    cleared_at: Instant | None = None
    """End of the window that cleared it; nothing while it stands."""
    columns: tuple[str, ...] = ()
    """Columns that have drifted since it was raised, ``score`` for the predictions."""
    windows: int = 1
    """Windows that raised it or kept it up."""


class Performance(Record):
    """Realised performance over the labelled rows of one version in one window."""

    rows: int
    labelled_rows: int
    metrics: dict[str, float]
    """``log_loss``, ``auc``, ``brier``, ``mean_probability``, ``positive_share`` | ``mae``, ``rmse`` ..."""
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """95% intervals of some of the metrics."""
    label_lean: float | None = None
    """Mean score of the labelled rows less that of all rows: far from 0, labels have come for some kinds of rows first,
    and the metrics are those of these rows. ``None`` without labels, and of several classes."""

    @property
    def label_coverage(self) -> float:
        """Share of the rows that have a label; 0 of no rows."""
        return self.labelled_rows / self.rows if self.rows else 0.0

    @property
    def labels_text(self) -> str:
        """How much is labelled, and which way that leans, for people."""
        lean = "" if self.label_lean is None else f", their mean score {self.label_lean:+.3g} off that of all"
        return f"{self.labelled_rows:,} of {self.rows:,} rows are labelled ({self.label_coverage:.0%}){lean}"


class EstimatedPerformance(Record):
    """What a version's performance is expected to be over all its rows of one window, whether labelled or not.

    An estimate: it takes for granted that what follows from the inputs is what it was on the holdout.
    """

    rows: int
    metrics: dict[str, float]
    """Under the names that the realised metrics have."""
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """95% intervals for what the metrics will be found to be once every row has its label."""
    method: str
    """``recalibrated`` (classifiers) or ``loss regression`` (regressors)."""
    effective_rows: float
    """Rows of the holdout that the weighted ones amount to: few where the window is unlike it."""
    problem: str = ""
    """Why it should not be leant on; empty where nothing speaks against it."""


class SegmentPerformance(Record):
    """The champion's mean loss over a part of one window's rows, beside that of the others."""

    segment: str
    """A condition such as ``carrier = 'AA' and distance > 1000``."""
    rows: int
    """Rows whose loss is known, or estimated."""
    metric: str
    """``log_loss``, ``error`` (share of wrong classes) or ``squared_error``: a mean over rows, lower is better."""
    value: float
    interval: tuple[float, float]
    excess: float
    """By how much the loss lies above that of the window's other rows."""
    p_value: float
    """Corrected for the number of segments looked at."""
    significant: bool
    declared: bool
    """Whether it was asked for; otherwise it was found by the search."""
    estimated: bool = False
    """Whether losses are estimates, for lack of labels."""


class ErrorChange(Record):
    """An abrupt change of the champion's loss, within a window."""

    at: Instant
    """Event time of the row at which it was signalled, which is some rows after it happened."""
    before: float
    """Mean loss since the change before, or since the champion's first window."""
    after: float
    """Mean loss since the change."""


class ErrorStreamState(Record):
    """How far the stream of the champion's losses has come by the end of a window; the next window goes on from it."""

    metric: str
    """What the losses are: ``log_loss``, ``error`` or ``squared_error``."""
    seen: int
    pending: tuple[float, ...]
    levels: tuple[tuple[tuple[int, float, float], ...], ...]
    """Rows, total and squares of the buckets of each level."""


class FeatureAge(Record):
    """How old one feature view's rows were when a window's predictions were made from them."""

    rows: int
    """Predictions that the view was joined for."""
    median_s: float | None
    """Of the rows that were found, from their event time to the instant asked about; ``None`` where none was."""
    p95_s: float | None
    missing_share: float
    """Share of the predictions for which the view had no valid row."""


class WindowProfile(Record):
    """The profile of one part of a closed window's rows: those that one version answered in one role.

    Counted on the bins of the champion's reference, so that the parts of a window add up.
    """

    model: str
    start: Instant
    """Of the window."""
    champion: int
    """Whose reference it is counted on."""
    version: int
    """That answered."""
    role: str
    """In which role: ``champion``, ``canary``, ``shadow`` or ``backup``."""
    segment: str = ""
    """A declared segment; empty: all rows."""
    late: bool = False
    """Whether of the rows that came after the window had closed; those are no part of its verdicts."""
    rows: int
    profile: bytes
    """Of format 2."""


class WindowRecord(Record):
    """One closed window of one model: counts, drift against the champion's reference, performance per version."""

    model: str
    start: Instant
    end: Instant
    """Exclusive."""
    champion: int
    rows: int
    """Rows answered to callers; those of a shadow are not among them."""
    errors: int = 0
    """Rows whose prediction failed."""
    fallbacks: int = 0
    """Rows that the champion or the backup answered in place of another version."""
    newest_event_at: Instant | None = None
    """When the last of its events happened."""
    labels_unknown: int = 0
    """Labels that arrived in the window for request ids of which no prediction is known."""
    labels_duplicate: int = 0
    """Labels replaced by a later one for the same prediction."""
    labels_contradictory: int = 0
    """Those of them that said something else than the one that counts."""
    quality: str = "ok"
    """``ok``, ``warn`` or ``block``."""
    quality_reasons: tuple[str, ...] = ()
    audited_rows: int = 0
    """Rows whose joined features were recomputed from the tables, by sample."""
    wrong_features: dict[str, float] = Field(default_factory=dict)
    """Feature -> share of the audited rows that were served another value than the tables say; others left out."""
    late_features: dict[str, float] = Field(default_factory=dict)
    """Feature -> share of the audited rows that were served what was known then; newer rows came later."""
    wrong_feature_share: float = 0.0
    """Share of all audited values that are wrong."""
    feature_ages: dict[str, FeatureAge] = Field(default_factory=dict)
    """Feature view -> how old its rows were; views that were not joined are left out."""
    drifted: bool = False
    columns: dict[str, ColumnDrift] = Field(default_factory=dict)
    multivariate: MultivariateDrift | None = None
    """How far the inputs together lie from the champion's reference, where that has a sample of rows."""
    prediction_drift: ColumnDrift | None = None
    label_drift: ColumnDrift | None = None
    """How far the labels known when it closed lie from those of the reference, where that has them."""
    performance: dict[int, Performance] = Field(default_factory=dict)
    """Model version -> performance of what it answered."""
    estimated: dict[int, EstimatedPerformance] = Field(default_factory=dict)
    """Model version -> what the performance of all it answered is expected to be; made before labels, not changed."""
    error_changes: tuple[ErrorChange, ...] = ()
    """Abrupt changes of the champion's loss, by the labels known when the window closed."""
    error_stream: ErrorStreamState | None = None
    segments: tuple[SegmentPerformance, ...] = ()
    """The champion's declared segments, then the worst one that was found."""
    labels_until: Instant | None = None
    """Labels known before this instant are in ``performance``, where the window was looked at again after it closed."""
    reference_metrics: dict[str, float] = Field(default_factory=dict)
    """The champion's metrics on the holdout it was registered with."""
    degraded: bool = False
    """Whether the champion is significantly worse than its reference."""
    degraded_reason: str = ""
    estimated_degraded: str = ""
    """Why the champion is expected to be worse, by the estimate; starts nothing unless that is configured."""


class WindowStore(Protocol):
    """Closed monitoring windows and their profiles, one per model and start."""

    def put_window(self, record: WindowRecord, profile: bytes) -> None:
        """Store a window; a later record of the same model and start replaces it, profile included."""
        ...

    def list_windows(
        self, model: str, start: datetime | None = None, end: datetime | None = None
    ) -> list[WindowRecord]:
        """Windows of a model that start at or after ``start`` and before ``end``, by start."""
        ...

    def get_profile(self, model: str, start: datetime) -> bytes:
        """The profile of the window that starts at ``start``.

        Raises:
            NotFoundError: There is no such window.
        """
        ...


class ProfileStore(Protocol):
    """Profiles of closed windows by version, role and segment, and those of rows that came late."""

    def put_profiles(self, model: str, start: datetime, profiles: Sequence[WindowProfile]) -> None:
        """Store the profiles of one window, in place of all that it had."""
        ...

    def list_profiles(
        self, model: str, start: datetime | None = None, end: datetime | None = None, segment: str | None = None
    ) -> list[WindowProfile]:
        """Profiles of windows that start at or after ``start`` and before ``end``, of one segment or all, in order.

        The order is that of start, version, role, segment; rows that came late come after the others.
        """
        ...

    def late_rows(self, model: str, start: datetime | None = None, end: datetime | None = None) -> dict[datetime, int]:
        """Start of a window -> rows that came after it had closed; windows without any are left out."""
        ...

    def profile_marks(self, model: str) -> dict[str, int] | None:
        """How far a model's events have been added to its closed windows; ``None`` where that was never said."""
        ...

    def add_late_profiles(
        self,
        model: str,
        profiles: Sequence[WindowProfile],
        marks: Mapping[str, int],
        previous: Mapping[str, int] | None,
    ) -> None:
        """Put profiles in place of those of the same keys and move the marks, both or neither.

        A repeat changes nothing.

        Args:
            model: Name of the model.
            profiles: Of late rows.
            marks: How far events are added now.
            previous: The marks that this follows on.

        Raises:
            StaleWrite: The marks are others; nothing was written.
        """
        ...

    def drop_profiles(self, model: str, before: datetime) -> int:
        """Remove the profiles of windows that start before an instant; returns how many."""
        ...
