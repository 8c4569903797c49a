"""Columns of times as instants: in one form and one zone, or refused."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import DataError, SchemaMismatch
from raymlops.laboratory.intake.columns import instants_us, plain_column
from raymlops.tables.columns import INSTANT, as_table

__all__ = ["read_instants"]

_OFFSET = r":\d\d(?:[.,]\d+)?\s*(?P<offset>Z|UTC|GMT|[+-]\d\d:?\d\d)$"
_PLAIN_FORMS = {
    "": "",
    " d:d": " %H:%M",
    " d:d:d": " %H:%M:%S",
    " d:d a": " %I:%M %p",
    " d:d:d a": " %I:%M:%S %p",
}
_DIGITS = (10, 13, 16, 19)
"""Of seconds, milliseconds, microseconds and nanoseconds since 1970, from 2001 to 2286."""
_SHOWN = 3
_SUMMER_TIME_MIN = 60


def read_instants(rows: pa.Table, name: str, time_zone: str) -> Any:
    """A column of times as instants of UTC, to the microsecond; what is missing stays missing.

    Args:
        rows: The table; its times without a zone are of ``time_zone`` already, if they are no texts.
        name: The column: times, dates, or numbers that count time since 1970; or texts of one of these.
        time_zone: Zone of dates, and of texts without an offset.

    Raises:
        SchemaMismatch: It holds something else, an instant before 1970, or texts in several forms or zones.
        DataError: A time is there twice or never in its zone.
    """
    column = plain_column(rows[name])
    if pa.types.is_string(column.type):
        column = _read_counts(column)
    if pa.types.is_string(column.type):
        column = _read_texts(column, name, time_zone)
    elif pa.types.is_date(column.type):
        column = _in_zone(column.cast(pa.timestamp("us")), name, time_zone)
    values = instants_us(pa.table({name: column}), name)
    return pa.chunked_array([pa.array(values, pa.int64(), mask=values < 0).cast(INSTANT)])


def _read_counts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts that all count time since 1970, as numbers; others as they are."""
    texts = pc.utf8_trim_whitespace(pc.drop_null(column))
    for digits in _DIGITS:
        if len(texts) and pc.all(pc.match_substring_regex(texts, rf"^\d{{{digits}}}$")).as_py():
            return pc.utf8_trim_whitespace(column).cast(pa.int64())
    return column


def _read_texts(column: pa.ChunkedArray, name: str, time_zone: str) -> pa.ChunkedArray:
    texts = pc.utf8_trim_whitespace(column)
    offsets = _check_zones(texts, name)
    form = _one_form(texts, name)
    try:
        if form.startswith("Y-d-d"):
            if offsets:
                return _parsed(texts, "ISO8601", utc=True)
            return _in_zone(_parsed(texts, "ISO8601", utc=False), name, time_zone)
        if form == "YY":
            return _in_zone(_parsed(texts, "%Y%m%d", utc=False), name, time_zone)
        written = _written(texts, form, name)
        return _in_zone(_parsed(texts, written, utc=False), name, time_zone)
    except (ValueError, OverflowError, pa.ArrowException) as error:
        said = " ".join(str(error).split())[:160]
        raise SchemaMismatch(f"column {name!r} must hold times, {said}", column=name) from error


def _check_zones(texts: pa.ChunkedArray, name: str) -> list[str]:
    """The offsets that texts end with.

    Raises:
        SchemaMismatch: Some have one and others none, or they are of several zones.
    """
    found = pc.struct_field(pc.extract_regex(texts, _OFFSET), "offset")
    known: list[str] = pc.unique(pc.drop_null(found)).to_pylist()
    without = pc.and_(pc.is_valid(texts), pc.is_null(found))
    if known and pc.any(without).as_py():
        examples = [texts.filter(pc.is_valid(found))[0].as_py(), texts.filter(without)[0].as_py()]
        raise SchemaMismatch(
            f"column {name!r} must hold times with a zone or times without one, got both, as in {examples}", column=name
        )
    minutes = [_offset_minutes(offset) for offset in known]
    if minutes and max(minutes) - min(minutes) > _SUMMER_TIME_MIN:
        raise SchemaMismatch(f"column {name!r} must hold times of one zone, got offsets {sorted(known)}", column=name)
    return known


def _offset_minutes(offset: str) -> int:
    if offset[0] not in "+-":
        return 0
    digits = offset[1:].replace(":", "")
    return (int(digits[:2]) * 60 + int(digits[2:])) * (-1 if offset[0] == "-" else 1)


def _one_form(texts: pa.ChunkedArray, name: str) -> str:
    """The form that all texts have: ``Y`` for a year, ``d`` for other numbers, ``a`` for words.

    Raises:
        SchemaMismatch: They have several.
    """
    forms = pc.replace_substring_regex(texts, r"(\d)[Tt](\d)", r"\1 \2")
    forms = pc.replace_substring_regex(forms, r"(:\d\d)[.,]\d+", r"\1")
    forms = pc.replace_substring_regex(forms, r"(:\d\d)\s*(?:Z|UTC|GMT|[+-]\d\d:?\d\d)$", r"\1")
    for pattern, letter in ((r"\p{L}+", "a"), (r"\d{4}", "Y"), (r"\d+", "d")):
        forms = pc.replace_substring_regex(forms, pattern, letter)
    known = pc.unique(pc.drop_null(forms)).to_pylist()
    if len(known) > 1:
        examples = [texts.filter(pc.equal(forms, form))[0].as_py() for form in known[:_SHOWN]]
        raise SchemaMismatch(
            f"column {name!r} must hold times in one form, got {len(known)}, as in {examples}", column=name
        )
    return str(known[0]) if known else ""


def _written(texts: pa.ChunkedArray, form: str, name: str) -> str:
    """How days, months and years are written; ``mixed`` leaves it to pandas, where a month is a word.

    Raises:
        SchemaMismatch: Nothing tells days from months.
    """
    separator = form[1:2]
    if form[:5] != f"d{separator}d{separator}Y" or form[5:] not in _PLAIN_FORMS:
        if "a" in form.removesuffix(" a") and "Y" in form:
            return "mixed"
        raise SchemaMismatch(
            f"column {name!r} must hold times such as 2024-05-17 or 2024-05-17T08:30:00Z, got {texts[0].as_py()!r:.60}",
            column=name,
        )
    parts = pc.extract_regex(pc.drop_null(texts), r"^(?P<first>\d+)\D(?P<second>\d+)")
    first, second = (pc.max(pc.struct_field(parts, part).cast(pa.int64())).as_py() for part in ("first", "second"))
    if (first > 12) == (second > 12):
        raise SchemaMismatch(
            f"column {name!r} must tell days from months: write its times as in 2024-05-17, got {texts[0].as_py()!r}",
            column=name,
        )
    order = ("%d", "%m") if first > 12 else ("%m", "%d")
    return separator.join((*order, "%Y")) + _PLAIN_FORMS[form[5:]]


def _parsed(texts: pa.ChunkedArray, written: str, *, utc: bool) -> pa.ChunkedArray:
    import pandas as pd

    values = pd.to_datetime(texts.to_pandas(), format=written, utc=utc)
    plain = values.dt.tz_convert(None) if values.dt.tz is not None else values
    found = pa.chunked_array([pa.array(plain.to_numpy()).cast(pa.timestamp("us"), safe=False)])
    return found.cast(INSTANT) if utc else found


def _in_zone(column: pa.ChunkedArray, name: str, time_zone: str) -> pa.ChunkedArray:
    at_midnight = pc.all(pc.equal(column, pc.floor_temporal(column, unit="day"))).as_py()
    if at_midnight:  # where clocks change at midnight, a day begins at the first instant that it has
        local = np.asarray(column.cast(pa.int64()).fill_null(0))
        instants = pc.assume_timezone(column, str(ZoneInfo(time_zone)), ambiguous="earliest", nonexistent="latest")
        return instants.cast(INSTANT) if len(local) else column.cast(INSTANT)
    try:
        read: pa.Table = as_table("table", pa.table({name: column}), time_zone=time_zone)
    except DataError as error:
        raise type(error)(f"{error}, or name another --time-zone", **error.context) from error
    return read[name].cast(INSTANT)
