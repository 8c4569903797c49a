"""Columns of codes: Arrow's dictionaries, which hold each text once and a number for each row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["coded_where_few", "decoded", "of_codes", "one_dictionary", "plain_schema", "plain_type", "text_codes"]

_BATCH_ROWS = 1 << 17  # texts of so many rows fit the offsets of a string
_SAMPLE_ROWS = 256


def coded_where_few(column: Any) -> Any:
    """Texts as codes where they seem to be few, so that what follows works on each text once; else the column itself.

    Args:
        column: An array or chunked array of any type.
    """
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    first = next((chunk for chunk in chunks if len(chunk)), None)
    if first is None:
        return column
    # From all over it: of sorted texts the first ones are few, whatever comes after them.
    places = np.linspace(0, len(first) - 1, min(len(first), _SAMPLE_ROWS), dtype=np.int64)
    sample = first.take(pa.array(places))
    few = sample.null_count < len(sample) and len(sample.unique()) <= len(sample) // 2
    return column.dictionary_encode() if few else column


def text_codes(column: Any) -> Any | None:
    """A column of codes as codes of ``string``, where that is less to work on than the texts of all rows.

    Args:
        column: A chunked array of dictionaries.

    Returns:
        The codes; their texts hold no null, so that a row is null only where its code is. ``None``: decode it.
    """
    values = column.type.value_type
    texts = [chunk.dictionary for chunk in column.chunks]
    if not (pa.types.is_string(values) or pa.types.is_large_string(values)):
        return None
    if any(each.null_count for each in texts) or sum(map(len, texts)) > len(column):
        return None
    if pa.types.is_string(values):
        return column
    cast = [
        pa.DictionaryArray.from_arrays(chunk.indices, each.cast(pa.string()))
        for chunk, each in zip(column.chunks, texts, strict=True)
    ]
    return pa.chunked_array(cast, pa.dictionary(column.type.index_type, pa.string()))


def one_dictionary(column: Any) -> Any:
    """A column of codes whose chunks share one dictionary.

    A dictionary that has a null, or whose values are of an extension type, is decoded: neither casts nor files take it.
    """
    values = column.type.value_type
    plain = not isinstance(values, pa.BaseExtensionType) and not pa.types.is_nested(values)
    if not plain or any(chunk.dictionary.null_count for chunk in column.chunks):
        return pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks], values)
    if column.num_chunks < 2:
        return column
    try:
        return column.unify_dictionaries()
    except pa.ArrowInvalid:  # together they have more values than the codes can count
        wider = pa.dictionary(pa.int32(), column.type.value_type, column.type.ordered)
        return column.cast(wider).unify_dictionaries()


def of_codes(codes: Any, of_texts: Any, missing: Any) -> Any:
    """What a function of texts gives for each row, asked once for each text that there is.

    Args:
        codes: A dictionary array whose texts hold no null.
        of_texts: Takes the array of texts, returns one NumPy value for each.
        missing: Value of rows that are null.
    """
    found = of_texts(codes.dictionary)
    if not len(found):
        return np.full(len(codes), missing)
    if not codes.null_count:
        return found[codes.indices.to_numpy()]
    valid = codes.is_valid().to_numpy(zero_copy_only=False)
    return np.where(valid, found[codes.indices.fill_null(0).to_numpy()], missing)


def plain_schema(schema: Any) -> Any:
    """A schema with the texts' types in place of the codes'."""
    return pa.schema([field.with_type(plain_type(field.type)) for field in schema])


def plain_type(given: Any) -> Any:
    """The type of the texts of codes; any other type as it is."""
    return given.value_type if pa.types.is_dictionary(given) else given


def decoded(table: Any) -> Iterator[Any]:
    """The rows of a table as record batches, with texts in place of codes."""
    schema = plain_schema(table.schema)
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        columns = [each.dictionary_decode() if pa.types.is_dictionary(each.type) else each for each in batch.columns]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
