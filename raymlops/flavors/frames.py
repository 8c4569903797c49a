"""Frames for estimators that were fitted on one: its dtypes and its missing markers, whatever else is in a batch.

An encoder knows the one missing marker that it was fitted with, a category the ones that its dtype lists, and pandas
chooses dtypes by what a batch holds: without these, the same row has another answer beside other rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from raymlops.errors import SchemaMismatch
from raymlops.flavors.building import categorical

if TYPE_CHECKING:
    from raymlops.flavors.protocol import Array, Columns

__all__ = [
    "Frames",
    "GivenRows",
    "codes_of",
    "columns_of_frame",
    "frame_of",
    "has_texts",
    "input_remedy",
    "is_frame",
    "numbers_as_floats",
    "numbers_of",
    "text_columns",
    "texts_as_objects",
    "vocabulary",
    "with_categories",
    "with_one_missing",
]

_MARKER = b"raymlops.missing"
"""Metadata of an example's column of objects: what stands for a missing value in the caller's own frame."""
_UNKNOWN = b"unknown"
_TRIED = 16
_ARROW = b"raymlops.arrow"
"""Metadata of an example's column: it is one of Arrow's in the caller's own frame."""
_NUMBERS = b"raymlops.numbers"
"""Metadata of an example's column: numbers and bools were floats in the frame of the fit."""
_MARKERS = {b"none": None, b"nan": float("nan")}


def input_remedy(dtype: pa.DataType) -> str:
    """What somebody can do about a column that no model takes."""
    if pa.types.is_temporal(dtype):
        return "derive numbers of it, such as its hour or its age (docs/features.md, calendar and elapsed)"
    if pa.types.is_decimal(dtype):
        return "cast it to float64"
    if pa.types.is_null(dtype):
        return "give rows in which it has values, or a type"
    if isinstance(dtype, pa.BaseExtensionType):  # such as an interval of pandas' cut
        return "cast it to text"
    return "give a column of its own for each value that it holds, or leave it out"


class GivenRows(NamedTuple):
    """Rows as a caller has them.

    Attributes:
        frame: In the dtypes of the caller, which are those of the fit; its columns are named by texts.
        table: The same in Arrow; its schema tells the dtypes.
    """

    frame: Any
    table: pa.Table

    @classmethod
    def of(cls, given: Any) -> GivenRows:
        """Rows from a table of Arrow or a frame of pandas.

        Raises:
            SchemaMismatch: It is neither, two columns have one name, or a column holds values of several kinds.
        """
        if not is_frame(given):
            if not isinstance(given, pa.Table):
                kind = type(given).__name__
                raise SchemaMismatch(f"example must be a table of Arrow or a frame of pandas, got {kind}", got=kind)
            return cls(frame_of(given), given)
        names = [str(name) for name in given.columns]  # pandas numbers the columns of a matrix
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise SchemaMismatch(f"example must name each column once, got {twice} more than once", columns=twice)
        given = given.set_axis(names, axis=1)
        fields, columns = [], []
        for name, values in given.items():
            try:
                column = pa.Array.from_pandas(values)
            except (pa.ArrowException, TypeError, ValueError) as error:
                rule = f"input {name!r} must hold numbers, bools or texts, all of one kind"
                raise SchemaMismatch(f"{rule}, got {values.dtype} that does not: {error}", column=name) from error
            column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            fields.append(pa.field(name, column.type, metadata=_told(values)))
            columns.append(column)
        metadata = pa.Schema.from_pandas(given.iloc[:1], preserve_index=False).metadata
        return cls(given, pa.table(columns, schema=pa.schema(fields, metadata=metadata)))

    def first(self, names: Sequence[str], rows: int) -> GivenRows:
        """The first rows of these columns."""
        table = self.table.select(list(names)).slice(0, rows)
        return GivenRows(self.frame[list(names)].iloc[:rows], table.unify_dictionaries().combine_chunks())


class Frames:
    """Makes frames of columns as requests hold them. Immutable.

    Args:
        example: Rows that the model was packaged with; their schema tells the dtypes.
        missing: What stands for a missing text in a column of objects of which the example does not tell it.
        extended: Whether an unseen category is a category that the estimator does not know, and not a missing value.
    """

    def __init__(self, example: pa.Table, *, missing: float | None, extended: bool) -> None:
        frame = frame_of(example) if missing is not None else texts_as_objects(frame_of(example))
        self._makers = {}
        self._names = frame.columns
        for field in example.schema:
            marker = _MARKERS.get((field.metadata or {}).get(_MARKER, _UNKNOWN), missing)
            self._makers[field.name] = _maker(frame[field.name].dtype, field.type, marker, extended)

    def frame(self, columns: Columns) -> Any:
        """A frame of N rows, its columns in the example's order."""
        import pandas as pd

        made = {place: make(columns[name]) for place, (name, make) in enumerate(self._makers.items())}
        found = pd.DataFrame(made, index=pd.RangeIndex(len(made[0]) if made else 0), copy=False)
        found.columns = self._names  # made once; a frame of a mapping by name makes them anew
        return found


def is_frame(given: object) -> bool:
    """Whether it is a frame of pandas, which is not imported for it."""
    return type(given).__module__.partition(".")[0] == "pandas" and hasattr(given, "columns")


def frame_of(table: pa.Table) -> Any:
    """A table as a frame of pandas, in the dtypes of the frame that it was made from."""
    import pandas as pd

    for place, field in enumerate(table.schema):
        if _NUMBERS in (field.metadata or {}):
            held = table.column(place)
            held = held.cast(pa.uint8()) if pa.types.is_boolean(field.type) else held
            table = table.set_column(place, field.name, held.cast(pa.float64(), safe=False))
    try:
        frame = table.to_pandas()
    except TypeError:  # pandas does not read back every name of a dtype that it wrote
        frame = table.replace_schema_metadata().to_pandas()
    told = (table.schema.pandas_metadata or {}).get("columns", [])
    objects = {c["name"] for c in told if c["numpy_type"] == "object" and c["pandas_type"] == "unicode"}
    objects |= {field.name for field in table.schema if _MARKER in (field.metadata or {})}
    arrow = {field.name: pd.ArrowDtype(field.type) for field in table.schema if _ARROW in (field.metadata or {})}
    return frame.astype({**{name: object for name in objects.intersection(frame.columns)}, **arrow})


def numbers_as_floats(table: pa.Table) -> pa.Table:
    """A table whose schema tells that its numbers and bools are floats in the frame of the fit."""
    types = pa.types
    fields = [
        field.with_metadata({_NUMBERS: b"float64"})
        if types.is_integer(field.type) or types.is_boolean(field.type) or types.is_floating(field.type)
        else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def numbers_of(frame: Any) -> Array:
    """A frame of numbers as a matrix [N, columns] of 64-bit floats.

    Raises:
        ValueError: A column holds something else.
    """
    return codes_of(frame, {})


def codes_of(frame: Any, known: Mapping[int, Sequence[Any]]) -> Array:
    """A frame as a matrix [N, columns] of 64-bit floats, codes in the place of categories; NaN is missing or unseen.

    Args:
        frame: Numbers and categories.
        known: Place of a column of categories -> these in their order.
    """
    columns = [
        frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        if place not in known
        else np.where((codes := categorical(frame[name], known[place]).codes) < 0, np.nan, codes)
        for place, name in enumerate(frame.columns)
    ]
    return np.column_stack(columns)


def vocabulary(column: pa.ChunkedArray) -> list[Any] | None:
    """The categories of a dictionary column in their order; ``None`` of any other."""
    if not pa.types.is_dictionary(column.type):
        return None
    chunks = column.unify_dictionaries().chunks
    listed: list[Any] = chunks[0].dictionary.to_pylist() if chunks else []
    return listed


def text_columns(frame: Any) -> list[str]:
    """The columns of a frame that hold texts, categories of texts among them."""
    import pandas as pd

    def holds_texts(values: Any) -> bool:
        held = values.dtype.categories if isinstance(values.dtype, pd.CategoricalDtype) else values
        truths = held.dtype.kind == "O" and pd.api.types.infer_dtype(held, skipna=True) == "boolean"
        return not truths and not pd.api.types.is_numeric_dtype(held.dtype)

    return [name for name, values in frame.items() if holds_texts(values)]


def texts_as_objects(frame: Any) -> Any:
    """A frame for an estimator that was fitted on ``None``: pandas' ``str`` holds none, so its texts were objects.

    A frame that holds objects has the dtypes of the fit, and stays as it is; one made of Arrow has ``str``.
    """
    if any(_holds_objects(dtype) for dtype in frame.dtypes):
        return frame
    return frame.assign(**{name: _as_objects(values) for name, values in frame.items() if values.dtype == "str"})


def with_categories(frame: Any, known: Mapping[str, Sequence[Any]]) -> Any:
    """A frame in which columns are categories; any other value is missing, and bools that may be missing are numbers.

    Args:
        frame: What is one of the categories already stays as it is.
        known: Column -> its categories in their order.
    """
    import pandas as pd

    held, texts = {}, text_columns(frame)
    for name, values in frame.items():
        if isinstance(values.dtype, pd.CategoricalDtype):
            continue
        if name in known:
            held[name] = categorical(values, known[name])
        elif values.dtype.kind == "O" and name not in texts:
            held[name] = values.astype(float)
    return frame.assign(**held)


def with_one_missing(frame: Any, names: Sequence[str]) -> Any:
    """The first row of a frame, once for each column that may miss a value, with that value missing.

    Args:
        frame: At least one row.
        names: The columns to look at; of those that may miss a value, the first ``_TRIED`` have a row.
    """
    import pandas as pd

    def may_miss(values: Any) -> bool:
        if _holds_objects(values.dtype):  # the frame tells the marker where it has one
            return _marker(values) != _UNKNOWN
        return not isinstance(values.dtype, np.dtype) or values.dtype.kind == "f"

    may = [name for name in names if may_miss(frame[name])][:_TRIED]
    rows = frame.iloc[[0] * len(may)].reset_index(drop=True)
    for place, name in enumerate(may):
        values = rows[name].copy()
        values.iloc[place] = _MARKERS[_marker(frame[name])] if _holds_objects(values.dtype) else pd.NA
        rows[name] = values
    return rows


def has_texts(frame: Any) -> bool:
    """Whether a column of a frame holds anything but numbers and bools."""
    from pandas.api.types import is_numeric_dtype

    return not all(is_numeric_dtype(dtype) for dtype in frame.dtypes)


def columns_of_frame(frame: Any) -> dict[str, Array]:
    """A frame as ``Columns``: numbers as 64-bit floats, and texts."""
    import pandas as pd

    columns = {}
    for name, values in frame.items():
        if pd.api.types.is_numeric_dtype(values.dtype):
            columns[name] = np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
        else:
            columns[name] = _as_objects(values).to_numpy(dtype=object)
    return columns


def _told(values: Any) -> dict[bytes, bytes] | None:
    """What an example notes of a column, which its metadata for pandas do not tell."""
    import pandas as pd

    if isinstance(values.dtype, pd.ArrowDtype):
        return {_ARROW: b"1"}
    return {_MARKER: _marker(values)} if _holds_objects(values.dtype) else None


def _as_objects(values: Any) -> Any:
    held = values.astype(object)
    return held.where(held.notna(), None)


def _holds_objects(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind == "O"


def _marker(values: Any) -> bytes:
    """What stands for a missing value in a column of objects, where one is missing."""
    absent = values[values.isna()]
    if not len(absent):
        return _UNKNOWN
    return b"none" if absent.iloc[0] is None else b"nan"


def _maker(dtype: Any, held: pa.DataType, marker: float | None, extended: bool) -> Callable[[Array], Any]:
    """From a column as requests hold it to one of a dtype."""
    import pandas as pd

    if isinstance(dtype, pd.CategoricalDtype):
        return _categories(dtype, extended)
    if _holds_objects(dtype):
        truths = pa.types.is_boolean(held)
        return lambda values: _objects(values, marker, bool if truths else None)
    if isinstance(dtype, np.dtype) and dtype.kind == "b":
        return lambda values: _exact(values, dtype) if not _any_nan(values) else _objects(values, None, bool)
    if isinstance(dtype, np.dtype):
        return lambda values: _exact(values, dtype)
    return lambda values: _extension(values, dtype)


def _categories(dtype: Any, extended: bool) -> Callable[[Array], Any]:
    import pandas as pd

    known = dtype.categories.tolist()
    codes = {value: code for code, value in enumerate(known)}

    def make(values: Array) -> Any:
        found = [codes.get(value, -1) for value in values.tolist()]
        if extended and -1 in found:
            unseen = {
                v: None for v, code in zip(values.tolist(), found, strict=True) if code < 0 and not _is_missing(v)
            }
            if unseen:
                wider = pd.CategoricalDtype([*known, *unseen], ordered=dtype.ordered)
                placed = {value: code for code, value in enumerate(wider.categories.tolist())}
                return pd.Categorical.from_codes([placed.get(v, -1) for v in values.tolist()], dtype=wider)
        return pd.Categorical.from_codes(found, dtype=dtype)

    return make


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _any_nan(values: Array) -> bool:
    return values.dtype.kind == "f" and bool(np.isnan(values).any())


def _objects(values: Array, marker: float | None, kind: type | None) -> Any:
    import pandas as pd

    made = [marker if _is_missing(value) else value if kind is None else kind(value) for value in values.tolist()]
    return pd.Series(made, dtype=object)  # of an array of texts a frame would make a column of ``str``


def _exact(values: Array, dtype: np.dtype[Any]) -> Array:
    """Numbers in a dtype; as they are where it does not hold them."""
    if values.dtype == dtype:
        return values
    with np.errstate(invalid="ignore", over="ignore"):
        made = values.astype(dtype)
    return made if dtype.kind == "f" or (made == values).all() else values


def _extension(values: Array, dtype: Any) -> Any:
    import pandas as pd

    kind, is_text = getattr(dtype, "kind", "O"), isinstance(dtype, pd.StringDtype)
    listed: Any = values
    if is_text:  # which takes None and NaN alike, and from Arrow in half of the time
        with suppress(TypeError, pa.ArrowException):
            return dtype.__from_arrow__(pa.array(values, pa.large_string(), from_pandas=True))
    else:
        listed = [None if _is_missing(value) else value for value in values.tolist()]
    if values.dtype.kind == "f" and kind in "iu" and all(v is None or v.is_integer() for v in listed):
        listed = [None if value is None else int(value) for value in listed]
    elif kind == "b":
        listed = [None if value is None else bool(value) for value in listed]
    try:
        return pd.array(listed, dtype=dtype)
    except (TypeError, ValueError, OverflowError, pa.ArrowException):
        return values  # a number that the dtype does not hold
