"""The loss of a calendar: a model retrained at even intervals, as often as the loop retrained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymlops.clock import from_us, to_us
from raymlops.config.section import parse_duration
from raymlops.laboratory.intake.columns import encode
from raymlops.laboratory.recipe import Recipe
from raymlops.records.bundles import ProjectSpec
from raymlops.replay.outcome.losses import Floats, TaskLoss
from raymlops.replay.tables import instants_of
from raymlops.steps.project.context import EVENT_TIME, LABEL, LABEL_TIME, spine_function
from raymlops.steps.recipes import recipe_of

if TYPE_CHECKING:
    from raymlops.platform import Platform

__all__ = ["Calendar", "Rows", "encoded", "even_instants", "scored_by_calendar"]

_INSTANT = pa.timestamp("us", tz="UTC")
_DAY_US = 86_400_000_000


def even_instants(start: datetime, end: datetime, count: int) -> tuple[datetime, ...]:
    """``count`` instants that part a stretch of time into pieces of one length."""
    return tuple(start + (end - start) * number / (count + 1) for number in range(1, count + 1))


@dataclass(frozen=True)
class Rows:
    """Rows a model is fitted on or scored on: model inputs as numbers, labels, and when each is asked about."""

    inputs: npt.NDArray[np.float32]
    labels: Floats
    at_us: npt.NDArray[np.int64]


def scored_by_calendar(
    learned: Rows,
    known_us: npt.NDArray[np.int64],
    asked: Rows,
    instants: Sequence[datetime],
    before: Floats,
    recipe: Recipe,
    loss: TaskLoss,
    recent_us: int | None = None,
) -> Floats:
    """The loss of each asked row by the model of the newest instant before it. Pure.

    Args:
        learned: All rows that there are to learn from.
        known_us: When the label of each of them became known.
        asked: The requests that are scored.
        instants: When a model is fitted anew, ascending.
        before: Losses of the asked rows by the first model, which serves until the first instant.
        recipe: How models are fitted.
        loss: Of the task.
        recent_us: A fit takes rows that are at most so much older than its instant; ``None``: all.
    """
    losses = before.copy()
    highest = max([0.0, *learned.labels.tolist(), *asked.labels.tolist()])
    task = loss.task(int(highest) + 1 if loss.kind == "classifier" else 2)
    bounds = [to_us(at) for at in instants]
    for number, (start, end) in enumerate(zip(bounds, [*bounds[1:], np.iinfo(np.int64).max], strict=False), start=1):
        known = (known_us <= start) & (learned.at_us < start)
        if recent_us is not None:
            known &= learned.at_us >= start - recent_us
        served = (asked.at_us >= start) & (asked.at_us < end)
        if not known.any() or not served.any():
            continue
        model = recipe.fit(learned.inputs[known], learned.labels[known], task, number=number)
        losses[served] = model.losses(asked.inputs[served], asked.labels[served])
    return losses


class Calendar:
    """Scores what was asked by models that are fitted at even intervals.

    Each is fitted by the recipe of the first version, its family and its parameters, without a search, on the project's
    own training rows whose labels were known at that instant, and on no more of them than a retraining would take.
    Until the first interval ends, the first version itself serves.

    Args:
        platform: Still up, with all of the table in it.
        spec: Of the project.
        loss: Of its model.
    """

    def __init__(self, platform: Platform, spec: ProjectSpec, loss: TaskLoss) -> None:
        self._platform = platform
        self._spec = spec
        self._loss = loss

    def losses(
        self, instants: Sequence[datetime], request_ids: Sequence[str], labels: Sequence[float], never: Floats
    ) -> Floats:
        """One loss per request.

        Args:
            instants: When the model is fitted anew; without any, ``never`` is the answer.
            request_ids: Ids of the requests in the prediction log.
            labels: Their labels.
            never: Their losses by the first version.
        """
        if not instants:
            return never
        first = self._platform.models.list(self._spec.model)[0]
        names = [column.name for column in first.manifest.signature.inputs]
        asked = self._platform.models.asked(self._spec.model).select(["request_id", "event_time", *names])
        place_of = {request_id: place for place, request_id in enumerate(asked["request_id"].to_pylist())}
        asked = asked.take(pa.array([place_of[request_id] for request_id in request_ids], pa.int64()))
        training = self._training_rows()
        known_us = self._known(training)
        learned, scored = encoded(training, asked, names, known_us)
        truth = np.asarray(labels, dtype=np.float64)
        most = self._spec.training.get("max_rows")
        recipe = recipe_of(first)
        recipe = replace(recipe, max_rows=most) if isinstance(most, int) else recipe
        rows = Rows(learned, np.asarray(training[LABEL], dtype=np.float64), instants_of(training, EVENT_TIME))
        asked_rows = Rows(scored, truth, instants_of(asked, "event_time"))
        days = self._spec.training.get("train_window_days")
        recent_us = int(days * _DAY_US) if isinstance(days, int | float) else None
        return scored_by_calendar(rows, known_us, asked_rows, instants, never, recipe, self._loss, recent_us)

    def _training_rows(self) -> pa.Table:
        """The project's training set at the end of the replay, labelled rows only."""
        features = self._platform.features
        spine = spine_function(self._spec.spine)(features, from_us(0), self._platform.clock.now())
        spine = spine.filter(spine[LABEL].is_valid())
        return features.training_set(self._spec.service, spine, name="replay-calendar").table()

    def _known(self, training: pa.Table) -> npt.NDArray[np.int64]:
        if LABEL_TIME in training.column_names:
            return instants_of(training, LABEL_TIME)
        delay = self._platform.config.monitoring.label_delay
        if self._spec.data is not None:
            delay = parse_duration(self._spec.data.label_delay)
        return instants_of(training, EVENT_TIME) + int(delay.total_seconds() * 1e6)


def encoded(
    training: pa.Table, asked: pa.Table, names: Sequence[str], known_us: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The inputs of both as numbers: a text is the number of its first appearance in the training rows."""
    order = np.argsort(known_us, kind="stable")
    parts = [training.take(pa.array(order)).select(list(names)), _like(asked.select(list(names)), training)]
    together = pa.concat_tables(parts, promote_options="permissive")
    at_us = np.concatenate([instants_of(training, EVENT_TIME)[order], instants_of(asked, "event_time")])
    notes: list[str] = []
    values, found = encode(together, at_us, EVENT_TIME, (), notes)
    kept = [place for place, name in enumerate(found) if name in names]  # not the hour and the weekday
    values = values[:, kept]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return values[: len(order)][back], values[len(order) :]


def _like(asked: pa.Table, training: pa.Table) -> pa.Table:
    """Columns as the training rows have them: the prediction log holds numbers and bools as floats."""
    for place, name in enumerate(asked.column_names):
        kind: Any = training.schema.field(name).type
        if pa.types.is_boolean(kind):
            asked = asked.set_column(place, name, asked[name].cast(pa.float64()).cast(pa.bool_()))
        elif not pa.types.is_floating(asked[name].type) and asked[name].type != kind:
            asked = asked.set_column(place, name, asked[name].cast(kind))
    return asked
