"""Values skew: the newest rows against those that the champion was fitted on. Recorded, never a reason to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from raymlops.errors import DataError
from raymlops.experiments.task import is_text, numeric
from raymlops.monitoring import REFERENCE_FILE, Reference
from raymlops.steps.project.context import EVENT_TIME, TrainingContext

__all__ = ["as_logged", "values_skew"]


def as_logged(rows: pa.Table, inputs: tuple[str, ...]) -> pa.Table:
    """The inputs as numbers and texts, which is how prediction events and references hold them."""
    return pa.table({name: _logged(rows[name], name) for name in inputs})


def _logged(column: pa.ChunkedArray, name: str) -> pa.Array | pa.ChunkedArray:
    return column.cast(pa.string()) if is_text(column.type) else pa.array(numeric(column, name), from_pandas=True)


def values_skew(
    context: TrainingContext, champion: int | None, newest: pa.Table, inputs: tuple[str, ...]
) -> dict[str, Any]:
    """How far the newest rows have moved, by the monitor's own measure.

    Args:
        context: Looks the champion up.
        champion: Its version, if there is one.
        newest: The holdout.
        inputs: Model inputs.

    Returns:
        ``against`` (version, or ``None``), ``drifted`` (columns, the furthest first), ``columns`` (column -> ``score``
        and ``threshold``, of the drifted ones), ``new`` and ``gone`` (inputs); ``problem`` where nothing could be
        compared.
    """
    nothing: dict[str, Any] = {"against": champion, "drifted": [], "columns": {}, "new": [], "gone": [], "problem": ""}
    if champion is None:
        return {**nothing, "problem": "there is no champion to compare with"}
    version = context.metadata.models.get_version(context.project.model, champion)
    known = [column.name for column in version.manifest.signature.inputs]
    shared = tuple(name for name in inputs if name in known)
    found = {
        **nothing,
        "new": [name for name in inputs if name not in known],
        "gone": [name for name in known if name not in inputs],
    }
    try:
        reference = Reference.load(Path(version.path) / REFERENCE_FILE)
    except (OSError, DataError) as error:
        return {**found, "problem": f"version {champion} has no reference that can be read: {error}"}
    judged = reference.only(*(name for name in shared if name in reference.columns))
    rows = as_logged(newest, judged.columns).append_column(EVENT_TIME, newest[EVENT_TIME])
    report = judged.compare(judged.profile(rows))
    drifted = report.drifted_columns()
    scores = {n: {"score": report.columns[n].score, "threshold": report.columns[n].threshold} for n in drifted}
    return {**found, "drifted": drifted, "columns": scores}
