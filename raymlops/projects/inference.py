"""Inference of a project from a user's table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.config.section import parse_duration
from raymlops.errors import ConfigError, DataError, NotEnoughRows, SchemaMismatch
from raymlops.features.definitions.naming import check_column
from raymlops.laboratory.intake.columns import label_values, plain_column
from raymlops.projects.columns import Column, Labels, describe_columns, kind_of
from raymlops.projects.instants import read_instants
from raymlops.projects.naming import Names, slug
from raymlops.projects.reading import check_columns
from raymlops.projects.rows import OWN_COLUMNS
from raymlops.projects.training import training_settings
from raymlops.projects.windows import aggregates, calendar_parts, event_fields, fitting_windows
from raymlops.records.learning.labels import label_text
from raymlops.serving.models.input_names import EVENT_SCHEMA

__all__ = ["Asked", "Inferred", "infer", "likely_entities", "time_columns"]

_LEAST_ROWS = 100
_LEAST_PER_ENTITY = 2.0
_MOST_EARLY = 0.1
_RARE_ROWS = 30
_MOST_REPEATED, _COMPARED = 0.15, 50
_MOST_CATEGORIES_OF_ENTITY = 50
_ENTITY_NAME = re.compile(
    r"(^|_)(id|key|user|customer|client|account|member|device|sensor|machine|station|store|shop|product|item|sku"
    r"|merchant|driver|patient|vehicle|host|player|carrier|route)(_?(id|key|no|nr|number|code))?$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Asked:
    """A user's answers about a table.

    Attributes:
        label: Column with what is predicted.
        event_time: Column with the time of each row.
        entities: Columns that name what rows are about.
        label_time: Column with the times at which the labels became known.
        label_delay: How long after its row a label becomes known.
        time_zone: Zone of times that are written without one.
        keep: Suspected columns that are inputs all the same.
        leave_out: Columns that are no inputs.
        most_inputs: Where there are more, those with the least information about the label are left out.
    """

    label: str
    event_time: str
    entities: tuple[str, ...] = ()
    label_time: str | None = None
    label_delay: str = "0s"
    time_zone: str = "UTC"
    keep: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    most_inputs: int = 200


@dataclass(frozen=True)
class Inferred:
    """The result of the inference.

    Attributes:
        answers: Values for the templates of a project, as YAML takes them.
        notes: Points that a person should check, one line each.
    """

    answers: dict[str, Any]
    notes: tuple[str, ...]


def time_columns(rows: Any) -> list[str]:
    """Columns that can be the time of a row."""
    found = []
    for name in rows.column_names:
        kind = plain_column(rows[name]).type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            found.append(name)
        elif pa.types.is_string(kind):
            try:
                read_instants(pa.table({name: rows[name].slice(0, 1000)}), name, "UTC")
            except (DataError, ConfigError):
                continue  # it holds no times, which is no fault
            found.append(name)
    return found


def likely_entities(rows: Any, named: Sequence[str]) -> list[str]:
    """Columns that seem to name what rows are about: by their names, and since their values come back."""
    found = []
    for name in rows.column_names:
        if name in named or not _ENTITY_NAME.search(name) or kind_of(rows[name]) not in {"string", "int64"}:
            continue
        distinct = pc.count_distinct(plain_column(rows[name]), mode="only_valid").as_py()
        if 2 <= distinct <= rows.num_rows / _LEAST_PER_ENTITY:
            found.append(name)
    return found


def infer(raw: Any, asked: Asked, *, name: str, table: str) -> Inferred:
    """Everything that a project about a table says.

    Args:
        raw: The table, from ``read_raw``.
        asked: The user's answers about it.
        name: Of the project.
        table: Address of the table, as the project shall name it.

    Raises:
        DataError: A column is not there or of no use, or there are too few rows.
        ConfigError: A duration cannot be read.
    """
    rows, at_us, notes = _sound_rows(raw, asked)
    labels = _labels(rows, asked)
    _check_delay(rows, at_us, asked)
    notes += _rare_classes(labels)
    named = {asked.label, asked.event_time, *asked.entities, *([asked.label_time] if asked.label_time else [])}
    columns = describe_columns(rows, at_us, labels, named, time_zone=asked.time_zone)
    columns = _chosen(columns, asked, notes)
    names = Names(name)
    entities = [_entity(rows, column, names, notes) for column in asked.entities]
    windows = fitting_windows(at_us)
    inputs = [column for column in columns if not column.why_not]
    answers = {
        "name": name,
        "package": names.package,
        "table": table,
        **_said(asked),
        **_counted(rows, at_us, labels),
        "entities": entities,
        "keys": [_told(_key_column(rows, entity)) for entity in entities],
        "inputs": [_told(column) for column in inputs],
        "windows": list(windows),
        "aggregates": [aggregates(entity, inputs, labels, windows) for entity in entities if entity["repeats"]],
        "since": [
            {"view": names.new(f"since_{slug(column.name)}"), "column": column.name}
            for column in inputs
            if column.dtype == "timestamp"
        ],
        "left_out": [
            {"name": column.name, "reason": column.why_not, "suspect": column.suspect}
            for column in columns
            if column.why_not
        ],
    }
    answers["event_fields"] = event_fields(answers["aggregates"], answers["keys"], answers["inputs"])
    known = ~np.isnan(labels.values)
    repeated = _repeated_share(
        rows.filter(pa.array(known)), [asked.event_time, *(each["name"] for each in answers["inputs"])]
    )
    if repeated > _MOST_REPEATED:
        notes.append(f"{repeated:.0%} of the rows repeat another one: training takes them as they are")
    answers |= training_settings(at_us[known], labels, repeats=repeated > _MOST_REPEATED)
    answers["calendar"] = calendar_parts(at_us, answers["training"]["holdout_days"])
    if not (inputs or answers["aggregates"] or answers["calendar"]):
        raise DataError(f"the table has no column to predict {asked.label!r} from: {_first_reasons(columns)}")
    answers["notes"] = notes
    return Inferred(answers, tuple(notes))


def _said(asked: Asked) -> dict[str, Any]:
    return {
        "label": asked.label,
        "event_time": asked.event_time,
        "time_zone": asked.time_zone,
        "label_time": asked.label_time,
        "label_delay": asked.label_delay,
    }


def _counted(rows: Any, at_us: npt.NDArray[np.int64], labels: Labels) -> dict[str, Any]:
    return {
        "task": labels.kind,
        "metric": "log_loss" if labels.kind == "classifier" else "rmse",
        "classes": list(labels.classes),
        "rows": rows.num_rows,
        "labelled_rows": int((~np.isnan(labels.values)).sum()),
        "first": _instant(at_us.min()),
        "last": _instant(at_us.max()),
    }


def _sound_rows(raw: Any, asked: Asked) -> tuple[Any, npt.NDArray[np.int64], list[str]]:
    """Rows with a time, in the order of it."""
    named = [("label", asked.label), ("time", asked.event_time), *(("entity", name) for name in asked.entities)]
    named += [("label time", asked.label_time)] if asked.label_time else []
    check_columns(raw, [*named, *(("kept column", n) for n in asked.keep), *(("left out", n) for n in asked.leave_out)])
    for what, name in named:
        check_column(what, name if what == "entity" else name.lstrip("_"))
    own = [name for name in asked.entities if name in OWN_COLUMNS]
    if own:
        raise DataError(f"entity {own[0]!r} must not have the name of a column of the platform: rename it")
    once = [name for _, name in named]
    if len(set(once)) < len(once):
        raise ConfigError(f"label, time, label time and entities must be different columns, got {once}")
    notes: list[str] = []
    at = read_instants(raw, asked.event_time, asked.time_zone)
    if at.null_count == raw.num_rows:
        raise DataError(f"time {asked.event_time!r} must hold times, got none in {raw.num_rows:,} rows")
    if at.null_count:
        notes.append(f"{at.null_count:,} rows without a {asked.event_time!r} are left out")
    at_us = np.asarray(at.cast(pa.int64()).fill_null(-1))
    order = np.argsort(at_us, kind="stable")
    order = order[at_us[order] >= 0]
    if at_us[order[0]] == at_us[order[-1]]:
        only = at.drop_null()[0].as_py().isoformat()
        raise DataError(f"time {asked.event_time!r} must differ between rows, got {only} in every row")
    return raw.take(pa.array(order)), at_us[order], notes


def _labels(rows: Any, asked: Asked) -> Labels:
    """Labels as numbers.

    Raises:
        DataError: The label is constant, or of no use; or too few rows have one.
    """
    column = plain_column(rows[asked.label])
    there = np.asarray(pc.fill_null(pc.is_valid(column), False))
    if pa.types.is_floating(column.type):
        there &= np.asarray(pc.fill_null(pc.is_finite(column), False))
    known = column.filter(pa.array(there))
    if len(known) and pc.count_distinct(known).as_py() == 1:
        raise DataError(f"label {asked.label!r} must have at least two values, got {known[0].as_py()!r} in every row")
    if len(known) < _LEAST_ROWS:
        raise NotEnoughRows(
            f"the table must have {_LEAST_ROWS} rows with {asked.label!r} and {asked.event_time!r}, got {len(known)}"
        )
    kind, _, _ = label_values(known, asked.label)
    values = np.full(len(column), np.nan)
    if kind == "regressor":
        values[there] = np.asarray(known.cast(pa.float64(), safe=False))
        return Labels(kind, values, ())
    texts = sorted({label_text(value) for value in pc.unique(known).to_pylist()}, key=_class_order)
    strange = [text for text in texts if not text.isprintable()]
    if strange:
        raise DataError(f"label {asked.label!r} must have classes of printable text, got {strange[0]!r:.80}")
    if len(texts) < 2:
        raise DataError(f"label {asked.label!r} must have at least two classes, got {texts}")
    encoded = known.combine_chunks().dictionary_encode()
    codes = np.array([texts.index(label_text(value)) for value in encoded.dictionary.to_pylist()], dtype=np.float64)
    values[there] = codes[np.asarray(encoded.indices)]
    return Labels(kind, values, tuple(texts))


def _rare_classes(labels: Labels) -> list[str]:
    if not labels.classes:
        return []
    counts = np.bincount(labels.values[~np.isnan(labels.values)].astype(np.int64))
    return [
        f"class {name!r} has {count} rows: a training whose rows hold none of them is refused"
        for name, count in zip(labels.classes, counts, strict=True)
        if count < _RARE_ROWS
    ]


def _class_order(text: str) -> tuple[int, float, str]:
    """Numbers by size, before texts by alphabet: of two classes, the second is the one a probability is told of."""
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def _check_delay(rows: Any, at_us: npt.NDArray[np.int64], asked: Asked) -> None:
    try:
        delay = parse_duration(asked.label_delay)
    except ValueError as error:
        raise ConfigError(f"label delay {error}, got {asked.label_delay!r}") from error
    if asked.label_time is not None:
        if delay:
            raise ConfigError("a label has a label time or a label delay, got both")
        told = read_instants(rows, asked.label_time, asked.time_zone)
        there = np.asarray(pc.is_valid(told))
        if not there.any():
            raise DataError(f"label time {asked.label_time!r} must hold times, got none in {len(there):,} rows")
        delays_us = np.asarray(told.cast(pa.int64()).fill_null(0))[there] - at_us[there]
        early = float((delays_us < 0).mean())
        if early > _MOST_EARLY:
            raise SchemaMismatch(
                f"label time {asked.label_time!r} must not be before {asked.event_time!r}, got {early:.0%} of rows so"
            )
        delay = timedelta(microseconds=int(np.median(delays_us)))
    span = timedelta(microseconds=int(at_us[-1] - at_us[0]))
    if 2 * delay > span:
        raise DataError(f"the table must span twice the time after which labels are known, {delay}, got {span}")


def _chosen(columns: list[Column], asked: Asked, notes: list[str]) -> list[Column]:
    """Apply the user's choice of columns, and the limit of inputs."""
    found = []
    for column in columns:
        if column.name in asked.leave_out:
            found.append(replace(column, why_not="you left it out", suspect=False))
        elif column.name in asked.keep and column.why_not and not column.suspect:
            raise ConfigError(
                f"a kept column must be a suspected leak, got {column.name!r}, which is left out: {column.why_not}"
            )
        elif column.name in asked.keep and column.suspect:
            found.append(replace(column, why_not="", suspect=False))
            notes.append(f"column {column.name!r} is an input because you kept it: {column.why_not}")
        else:
            found.append(column)
    inputs = sorted((column for column in found if not column.why_not), key=lambda column: -column.told)
    beyond = {column.name for column in inputs[asked.most_inputs :]}
    if beyond:
        notes.append(
            f"{len(inputs):,} columns could be inputs; the {asked.most_inputs} that tell most of the label are"
        )
    why = f"{asked.most_inputs} other columns tell more of the label (--most-inputs)"
    found = [replace(column, why_not=why) if column.name in beyond else column for column in found]
    notes += [f"suspected leak: column {c.name!r} is left out: {c.why_not}" for c in found if c.suspect]
    return found


def _entity(rows: Any, column: str, names: Names, notes: list[str]) -> dict[str, Any]:
    """Name and size of an entity.

    Raises:
        DataError: Its column holds values that cannot be keys.
    """
    dtype = kind_of(rows[column])
    if dtype not in {"string", "int64"}:
        raise SchemaMismatch(
            f"entity {column!r} must hold texts or whole numbers, got {rows[column].type}", column=column
        )
    values = plain_column(rows[column])
    distinct = pc.count_distinct(values, mode="only_valid").as_py()
    repeats = distinct >= 2 and (rows.num_rows - values.null_count) / distinct >= _LEAST_PER_ENTITY
    if not repeats:
        notes.append(
            f"entity {column!r} has {distinct:,} values in {rows.num_rows:,} rows: no windows are made of its past"
        )
    return {
        "column": column,
        "name": names.new(slug(column)),
        "dtype": dtype,
        "distinct": distinct,
        "repeats": bool(repeats),
        "input": dtype == "string"
        and column not in EVENT_SCHEMA.names
        and distinct <= _MOST_CATEGORIES_OF_ENTITY
        and bool(repeats),
        "recent": names.new(f"{slug(column)}_recent"),
        "outcomes": names.new(f"{slug(column)}_outcomes"),
    }


def _key_column(rows: Any, entity: dict[str, Any]) -> Column:
    return Column(entity["column"], entity["dtype"], nullable=rows[entity["column"]].null_count > 0)


def _repeated_share(rows: Any, columns: Sequence[str]) -> float:
    """The share of rows that repeat another one in the first of the columns."""
    chosen = rows.select(list(dict.fromkeys(columns))[:_COMPARED])
    distinct = chosen.group_by(chosen.column_names).aggregate([]).num_rows
    return 1.0 - float(distinct) / float(chosen.num_rows)


def _told(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "dtype": column.dtype,
        "nullable": column.nullable,
        "ge": column.ge,
        "le": column.le,
        "told": round(column.told, 3),
    }


def _instant(at_us: Any) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(at_us))).isoformat()


def _first_reasons(columns: Sequence[Column]) -> str:
    shown = [f"{column.name!r}: {column.why_not}" for column in columns[:3]]
    return "; ".join(shown) or "it has no other"
