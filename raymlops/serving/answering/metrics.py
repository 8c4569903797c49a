"""Counters of a replica, and the Prometheus metric families made of them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from raymlops.records.plans import Role
from raymlops.serving.answering.breaker import Breakers, BreakerState

__all__ = [
    "BATCH_ROWS",
    "DURATIONS_S",
    "Family",
    "Histogram",
    "Sample",
    "ServingMetrics",
    "breaker_families",
    "family_of",
]

DURATIONS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram of durations, in seconds."""
BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper bounds of the histogram of batch sizes, in rows."""
_VERSIONS = 16
"""Figures of at most so many versions are kept: of those that are served, then of the newest."""


class Sample(NamedTuple):
    """One number: the suffix of its family's name, its labels without model and replica, its value."""

    suffix: str
    labels: dict[str, str]
    value: float


class Family(NamedTuple):
    """Samples of one name, with the type and the help that Prometheus shows."""

    name: str
    kind: str
    text: str
    samples: list[Sample]


class Histogram:
    """A histogram: counts of values by upper bound.

    Args:
        bounds: Upper bounds, ascending; what lies above the last is counted, too.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self, labels: dict[str, str]) -> Iterator[Sample]:
        """Cumulative, as Prometheus has them."""
        totals = list(accumulate(self._counts))
        for bound, total in zip((*map(_bound, self._bounds), "+Inf"), totals, strict=True):
            yield Sample("_bucket", {**labels, "le": bound}, total)
        yield Sample("_sum", labels, self._sum)
        yield Sample("_count", labels, totals[-1])


class ServingMetrics:
    """Counters of one replica since its start. All methods belong to one event loop."""

    def __init__(self) -> None:
        self.replies: Counter[tuple[int, int | None]] = Counter()
        """(status, version that answered; ``None`` where none did) -> replies."""
        self.rows: Counter[int] = Counter()
        """Version -> rows it answered."""
        self.fallbacks: Counter[tuple[int, Role]] = Counter()
        """(version that answered for another, its role) -> requests."""
        self.candidate_fallbacks: Counter[int] = Counter()
        """Candidate -> requests that another answered for it."""
        self.swaps = 0
        self.load_s = 0.0
        """What the last load of a plan took."""
        self.batch_rows = Histogram(BATCH_ROWS)
        self._durations: dict[int, Histogram] = {}
        self._stages = {stage: Histogram(DURATIONS_S) for stage in ("preprocess", "predict", "postprocess")}

    def staged(self, started_ns: int, read_ns: int, answered_ns: int, encoded_ns: int) -> None:
        """Count how long an answered request was read, answered and encoded; all by ``time.perf_counter_ns``."""
        self._stages["preprocess"].observe((read_ns - started_ns) / 1e9)
        self._stages["predict"].observe((answered_ns - read_ns) / 1e9)
        self._stages["postprocess"].observe((encoded_ns - answered_ns) / 1e9)

    def forget_but(self, served: Collection[int]) -> None:
        """Drop the figures of old versions: a replica that outlives a hundred of them must not show them all.

        Args:
            served: Versions whose figures are kept in any case.
        """
        known = {version for _, version in self.replies if version is not None}
        known |= {version for version, _ in self.fallbacks} | set(self.candidate_fallbacks)
        gone = known - _shown(known, served)
        if not gone:
            return
        for version in gone:
            self._durations.pop(version, None)
            self.rows.pop(version, None)
            self.candidate_fallbacks.pop(version, None)
        self.replies = Counter({key: count for key, count in self.replies.items() if key[1] not in gone})
        self.fallbacks = Counter({key: count for key, count in self.fallbacks.items() if key[0] not in gone})

    def replied(self, status: int, version: int | None, seconds: float) -> None:
        """Count a reply, and how long it took where a version answered."""
        self.replies[status, version] += 1
        if version is not None:
            durations = self._durations.get(version)
            if durations is None:
                durations = self._durations[version] = Histogram(DURATIONS_S)
            durations.observe(seconds)

    def families(self) -> Iterator[Family]:
        """Everything counted here; a family without a sample is left out."""
        replies = [
            Sample("", {"code": str(status), "version": _version(version)}, count)
            for (status, version), count in self.replies.items()
        ]
        yield from _family("infer_requests_total", "counter", "Replies, by status and version.", replies)
        durations = [
            sample for version, found in self._durations.items() for sample in found.samples({"version": str(version)})
        ]
        text = "Time from a request's arrival to its answer, by the version that answered."
        yield from _family("infer_request_duration_seconds", "histogram", text, durations)
        stages = [sample for stage, found in self._stages.items() for sample in found.samples({"stage": stage})]
        text = "Time of an answered request by what was done: reading it, answering, writing the answer."
        yield from _family("infer_stage_duration_seconds", "histogram", text, stages)
        rows = [Sample("", {"version": str(version)}, count) for version, count in self.rows.items()]
        yield from _family("infer_rows_total", "counter", "Rows answered, by version.", rows)
        batches = list(self.batch_rows.samples({}))
        yield from _family("batch_rows", "histogram", "Rows of one call of a model.", batches)
        fallbacks = [
            Sample("", {"role": role, "version": str(version)}, count)
            for (version, role), count in self.fallbacks.items()
        ]
        text = "Requests that another than the chosen version answered, by the version that did."
        yield from _family("fallbacks_total", "counter", text, fallbacks)
        candidates = [
            Sample("", {"version": str(version)}, count) for version, count in self.candidate_fallbacks.items()
        ]
        text = "Requests a candidate could not answer, by candidate."
        yield from _family("candidate_fallbacks_total", "counter", text, candidates)
        yield family_of("plan_swaps_total", "counter", "Plans taken since the start.", self.swaps)
        text = "What the last load of a plan took, off the request path."
        yield family_of("plan_load_seconds", "gauge", text, self.load_s)


def breaker_families(breakers: Breakers, served: Collection[int]) -> Iterator[Family]:
    """Metric families of circuit breakers: which versions are not asked, and how often breakers opened.

    Args:
        breakers: Of all versions that were asked.
        served: Versions that are shown in any case; of others only the newest are.
    """
    shown = _shown({*breakers.states(), *breakers.openings}, served)
    states = [
        Sample("", {"version": str(version)}, float(state is not BreakerState.CLOSED))
        for version, state in breakers.states().items()
        if version in shown
    ]
    yield from _family("breaker_open", "gauge", "1 where a version is not asked until a probe passes.", states)
    openings = [
        Sample("", {"version": str(version)}, count) for version, count in breakers.openings.items() if version in shown
    ]
    text = "How often a version failed so often in a row that it was not asked any more."
    yield from _family("breaker_openings_total", "counter", text, openings)


def family_of(name: str, kind: str, text: str, value: float) -> Family:
    """A metric family with one sample."""
    return Family(name, kind, text, [Sample("", {}, value)])


def _family(name: str, kind: str, text: str, samples: list[Sample]) -> Iterator[Family]:
    if samples:
        yield Family(name, kind, text, samples)


def _shown(known: Collection[int], served: Collection[int]) -> set[int]:
    return set(sorted(known, key=lambda version: (version in served, version), reverse=True)[:_VERSIONS])


def _bound(bound: float) -> str:
    return repr(float(bound))


def _version(version: int | None) -> str:
    return "" if version is None else str(version)
