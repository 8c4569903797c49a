"""Batch scoring, as a user holds it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from raymlops.platform.subject import Subject
from raymlops.records.runs import Run
from raymlops.records.scoring import OutputMode, ScoringCheck, ScoringReceipt

__all__ = ["Batch"]


class Batch(Subject):
    """Scores tables with registered versions."""

    def score(
        self,
        model: str,
        source: Path | str,
        output: Path | str,
        *,
        version: int | None = None,
        features: str | None = None,
        at: datetime | None = None,
        columns: Sequence[str] | None = None,
        mode: OutputMode = "create",
    ) -> ScoringReceipt:
        """Predict every row of a table, and write a Delta table that holds all of them, or nothing.

        The same call again goes on where the last one was cut off, or finds that all is done.

        Args:
            model: Name of the model.
            source: A Parquet or CSV file, a directory of such, a Delta table, or ``view:NAME``; with ``@v12`` behind
                one of the last two, version 12 of the table, else the newest.
            output: Directory or URI of the table: the source's columns, ``prediction``, a classifier's ``probability``,
                ``model_version``, and ``_row``, the row's place in the source.
            version: Of the model; left out, the champion.
            features: Feature service; left out, the one the version was trained on or is served with.
            at: The instant that features are joined as of; left out, each row's ``event_time``.
            columns: Of the source, to carry over; left out, all.
            mode: What becomes of an output that is there: an error, more rows, or other rows.

        Raises:
            DataError: The rows are broken or do not fit the model: nothing was written.
            AlreadyRegistered: The output is there, and ``mode`` is ``create``.
            RaymlopsError: As ``BatchOperator.score`` does.
        """
        from raymlops.runtime.jobs.batch import ScoringRequest

        request = ScoringRequest(model, str(source), str(output), version, features, at, columns, mode)
        return self._services.batch.score(request)

    def check(
        self,
        model: str,
        source: Path | str,
        output: Path | str,
        *,
        version: int | None = None,
        features: str | None = None,
        at: datetime | None = None,
        columns: Sequence[str] | None = None,
        mode: OutputMode = "create",
    ) -> ScoringCheck:
        """What ``score`` would do, and what a sample of the rows says; nothing is written."""
        from raymlops.runtime.jobs.batch import ScoringRequest

        request = ScoringRequest(model, str(source), str(output), version, features, at, columns, mode)
        return self._services.batch.check(request)

    def list(self, model: str | None = None, version: int | None = None) -> list[Run]:
        """What was scored, newest first, by one model, by one of its versions, or by any."""
        return self._services.batch.runs(model, version)
