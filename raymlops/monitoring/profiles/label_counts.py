"""Labels among a profile's counts: those that are known, for one that has not come yet is not missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from raymlops.monitoring.profiles.columns import label_number
from raymlops.monitoring.profiles.profile import LABEL_COLUMN, Profile
from raymlops.monitoring.profiles.reference import Reference

__all__ = ["label_profile", "with_labels"]


def label_profile(reference: Reference, labels: Sequence[str | None], *, sketched: bool = False) -> Profile:
    """The profile of the labels that are known, on the bins of a reference of labels alone.

    Args:
        reference: Of the labels: ``Reference.only(LABEL_COLUMN)``.
        labels: Their texts, ``None`` where there is none yet.
        sketched: Whether with the quantiles of numbers.
    """
    known = [text for text in labels if text is not None]
    numbers = reference.bins(LABEL_COLUMN).ordered
    column = pa.array([label_number(text) for text in known]) if numbers else pa.array(known, pa.string())
    return reference.profile(pa.table({LABEL_COLUMN: column}), sketched=sketched)


def with_labels(profile: Profile, labels: Profile | None) -> Profile:
    """The profile with these labels and no others; ``None``: without any."""
    none = profile.counts[LABEL_COLUMN] * 0
    ranges = {name: pair for name, pair in profile.ranges.items() if name != LABEL_COLUMN}
    quantiles = {name: sketch for name, sketch in profile.quantiles.items() if name != LABEL_COLUMN}
    return replace(
        profile,
        counts={**profile.counts, LABEL_COLUMN: none if labels is None else labels.counts[LABEL_COLUMN]},
        ranges=ranges if labels is None else ranges | labels.ranges,
        quantiles=quantiles if labels is None else quantiles | labels.quantiles,
        problems={name: problem for name, problem in profile.problems.items() if name != LABEL_COLUMN},
    )
