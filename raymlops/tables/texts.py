"""Texts of untyped files, such as CSV, read as values of a declared type; no value is altered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["KEY_RULE", "cast_or_null", "guessed_types", "mask_of", "read_texts"]

KEY_RULE = "must be a 64-bit integer written as it prints, without zeros, a plus or blanks before it"
"""What a text must be to be an integer key; it is said of one that is not."""

_PRINTED_INTEGER = r"^(0|-?[1-9][0-9]*)$"
_INTEGER = r"^[+-]?[0-9]+(\.0*)?$"
_INTEGER_PARTS = r"^\+?(-?)0*([0-9]+)(\.0*)?$"
_LONG_INTEGER = r"^[+-]?0*[1-9][0-9]{7,}(\.0*)?$"
"""Whole numbers that a float might round; shorter ones it never does."""

Mask = npt.NDArray[np.bool_]


def read_texts(column: Any, target: Any, *, key: bool = False, time_zone: str | None = None) -> tuple[Any, Mask | None]:
    """Read texts as values of a declared type; a text that is no such value becomes null.

    Numbers are decimal. An integer may have zeros behind a point, as in ``1.0``. Whole numbers that a float would round
    are refused, as they are where they come as integers.

    Args:
        column: Texts.
        target: Arrow type of integers, floats, bools, instants with a zone, dates or texts.
        key: Whether a value must print back as the same text: two texts that read the same would become one key.
        time_zone: Zone of instants that are written without one; ``None``: each must have its own.

    Returns:
        The values; and which texts are none, ``None`` where all are.
    """
    types, broken = pa.types, None
    column = column.cast(pa.string())
    if types.is_integer(target):
        broken = mask_of(pc.invert(pc.match_substring_regex(column, _PRINTED_INTEGER if key else _INTEGER)))
        column = column if key else pc.replace_substring_regex(column, _INTEGER_PARTS, r"\1\2")
    elif types.is_floating(target):
        broken = _rounded(column, target)
    elif types.is_timestamp(target) and time_zone is not None:
        zoned = pc.match_substring_regex(column, r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)$").fill_null(False)
        zoned = pc.and_(zoned, pc.greater(pc.binary_length(column).fill_null(0), 10))  # a date ends like a zone
        own, broken = cast_or_null(_kept(column, zoned), target)
        naive, missing = cast_or_null(_kept(column, pc.invert(zoned)), pa.timestamp(target.unit))
        local, absent = cast_or_null(naive, target, lambda part: pc.assume_timezone(part, time_zone).cast(target))
        return pc.coalesce(own, local), _either(broken, missing, absent)
    return cast_or_null(column, target, broken=broken)


def guessed_types(
    tables: Iterable[Any], asked: Callable[[str], bool], *, integers_only: bool = False
) -> dict[str, Any]:
    """Types of columns of texts: numbers only where every value in all tables prints back as the same text.

    Args:
        tables: All tables of a source.
        asked: Tells whether a column is asked about; those that are no texts are left out.
        integers_only: Whether to find int64 alone; else float64 and bool, too.

    Returns:
        Column -> int64, float64, bool or string. A column without values is text.
    """
    left: dict[str, list[_Guess]] = {}
    filled: set[str] = set()
    for table in tables:
        for field, column in zip(table.schema, table.columns, strict=True):
            if asked(field.name) and _is_text(field.type):
                guesses = left.setdefault(field.name, _GUESSES[:1] if integers_only else _GUESSES)
                values = column.drop_null()
                if len(values):
                    filled.add(field.name)
                    left[field.name] = [guess for guess in guesses if guess[1](values.cast(pa.string()))]
    return {name: guesses[0][0] if guesses and name in filled else pa.string() for name, guesses in left.items()}


def cast_or_null(
    column: Any, target: Any, cast: Callable[[Any], Any] | None = None, *, broken: Mask | None = None
) -> tuple[Any, Mask | None]:
    """A column in another type, null where a value cannot be of it.

    Args:
        column: The column.
        target: The Arrow type.
        cast: Makes it of some rows, and raises ``ArrowInvalid`` where one cannot be; ``None``: a safe cast.
        broken: Values that are not even tried.

    Returns:
        The values; and which could not be, ``None`` where all could.
    """
    cast = cast or (lambda part: part.cast(target))
    broken = np.zeros(len(column), bool) if broken is None else broken.copy()
    column = _kept(column, ~broken)
    try:
        return cast(column), broken if broken.any() else None
    except pa.ArrowInvalid:
        spans = [(0, len(column))]
    while spans:
        start, stop = spans.pop()
        try:
            cast(column.slice(start, stop - start))
        except pa.ArrowInvalid:
            if stop - start == 1:
                broken[start] = True
            else:
                middle = (start + stop) // 2
                spans += [(start, middle), (middle, stop)]
    return cast(_kept(column, ~broken)), broken


def _kept(column: Any, which: Any) -> Any:
    """A column with null in place of all other values."""
    if isinstance(which, np.ndarray):
        if which.all():
            return column
        which = pa.array(which)
    return pc.if_else(which, column, pa.scalar(None, column.type))


def mask_of(column: Any) -> Mask:
    """A column of bools as an array; null is false."""
    mask: Mask = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
    return mask


def _either(*masks: Mask | None) -> Mask | None:
    given = [mask for mask in masks if mask is not None]
    return np.logical_or.reduce(given) if given else None


def _is_text(given: Any) -> bool:
    return bool(pa.types.is_string(given) or pa.types.is_large_string(given) or pa.types.is_string_view(given))


def _rounded(column: Any, target: Any) -> Mask | None:
    """Which texts are whole numbers that a float does not hold."""
    rows = np.flatnonzero(mask_of(pc.match_substring_regex(column, _LONG_INTEGER)))
    if not len(rows):
        return None
    kind = np.dtype(target.to_pandas_dtype()).type
    texts = column.take(pa.array(rows)).to_pylist()
    rounded = [not np.isfinite(value := kind(text)) or int(value) != int(text.partition(".")[0]) for text in texts]
    broken = np.zeros(len(column), bool)
    broken[rows[np.array(rounded, bool)]] = True
    return broken


def _all_integers(values: Any) -> bool:
    if not pc.all(pc.match_substring_regex(values, _PRINTED_INTEGER)).as_py():
        return False
    return cast_or_null(values, pa.int64())[1] is None


def _all_floats(values: Any, whole: str) -> bool:
    """Whether doubles print as the texts; whole numbers with ``whole`` behind them."""
    try:
        printed = values.cast(pa.float64()).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    if whole:
        integer = pc.match_substring_regex(printed, r"^-?[0-9]+$")
        printed = pc.if_else(integer, pc.binary_join_element_wise(printed, whole, ""), printed)
    finite = pc.match_substring_regex(values, r"[0-9]")
    return bool(pc.all(pc.and_(pc.equal(printed, values), finite)).as_py())


def _all_bools(values: Any) -> bool:
    return bool(pc.all(pc.is_in(values, value_set=pa.array(["true", "false"]))).as_py())


_Guess = tuple[Any, Callable[[Any], bool]]
_GUESSES: list[_Guess] = [
    (pa.int64(), _all_integers),
    (pa.float64(), lambda values: _all_floats(values, ".0")),
    (pa.float64(), lambda values: _all_floats(values, "")),
    (pa.bool_(), _all_bools),
]
