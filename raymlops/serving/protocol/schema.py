"""A model's signature, compiled once for the requests to come."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from raymlops.errors import DataError
from raymlops.records.learning.datatypes import TEXT, is_float, is_integer
from raymlops.records.learning.labels import label_text
from raymlops.records.learning.signatures import Signature
from raymlops.serving.protocol.datatypes import NUMBERS
from raymlops.serving.protocol.matrix_columns import MatrixColumns

__all__ = ["InputSchema", "check_texts"]

Array = npt.NDArray[Any]

_NUMBER_BYTES = 8
_TEXT_BYTES = 64
"""Bytes of a Python string beside its characters."""


class InputSchema:
    """A model's inputs and outputs, in the forms that requests need. Immutable.

    Attributes:
        signature: What it was compiled from.
        names: Input columns, in signature order.
        datatypes: Input column -> datatype.
        position: Input column -> place in ``names``.
        texts: The input columns that are text.
        names_not_float: The input columns that do not take any number.
        required: Inputs that must not be missing: the model fails where they are.
        outputs: Names of the outputs.
        class_names: The classes as text, as events hold them; empty for a regressor.
        row_bytes: Memory of one row's inputs and outputs, the characters of its texts not counted.
    """

    __slots__ = (
        *("class_names", "datatypes", "names", "names_not_float", "outputs", "position", "required", "row_bytes"),
        *("signature", "texts"),
    )

    def __init__(self, signature: Signature, required: Collection[str] = ()) -> None:
        self.signature = signature
        self.names = signature.names
        self.datatypes = {column.name: column.dtype for column in signature.inputs}
        self.position = {name: index for index, name in enumerate(self.names)}
        self.texts = signature.texts
        self.names_not_float = tuple(name for name in self.names if not is_float(self.datatypes[name]))
        self.required = tuple(name for name in self.names if name in required)
        self.outputs = ("label", "probability") if signature.task == "classifier" else ("value",)
        self.class_names = tuple(label_text(value) for value in signature.classes)
        self.row_bytes = _NUMBER_BYTES * (len(self.names) + len(self.class_names) + 1) + _TEXT_BYTES * len(self.texts)

    def chars_of(self, columns: Mapping[str, Array]) -> int:
        """Characters of the text inputs, where they are there."""
        there = [columns[name] for name in self.texts if name in columns]
        return sum(len(value) for values in there for value in values if value is not None)

    def memory_of(self, columns: Mapping[str, Array], rows: int) -> int:
        """Bytes that N rows of inputs and their outputs take, estimated."""
        return rows * self.row_bytes + self.chars_of(columns)

    def input_metadata(self) -> list[dict[str, Any]]:
        """The model metadata's ``inputs``."""
        return [{"name": name, "datatype": self.datatypes[name], "shape": [-1]} for name in self.names]

    def output_metadata(self) -> list[dict[str, Any]]:
        """The model metadata's ``outputs``."""
        if self.signature.task == "regressor":
            return [{"name": "value", "datatype": "FP64", "shape": [-1]}]
        label = datatype_of_label(self.signature)
        return [
            {"name": "label", "datatype": label, "shape": [-1]},
            {"name": "probability", "datatype": "FP64", "shape": [-1, len(self.signature.classes)]},
        ]

    def check_present(self, columns: Mapping[str, Array]) -> None:
        """Refuse a missing value where the model takes none; what ``columns`` does not hold is not looked at.

        Raises:
            DataError: One is missing; so the caller, and not the model, is at fault.
        """
        if type(columns) is MatrixColumns and not np.isnan(columns.matrix).any():
            return
        missing = [name for name in self.required if name in columns and _any_missing(columns[name])]
        if missing:
            raise DataError(f"inputs {missing} must not be missing: the model takes no null there", columns=missing)

    def check_lengths(self, columns: Mapping[str, Array], chars: int) -> None:
        """Refuse a text that is longer than so many characters.

        Raises:
            DataError: One is.
        """
        for name in self.texts:
            check_texts(name, columns[name], chars)

    def check_column(self, name: str, datatype: str, values: Array) -> Array:
        """``values`` as a model input, given the datatype they were sent as.

        A float column takes any number; an integer column takes floats that are whole or missing, and a bool column
        numbers that are 0, 1 or missing: that is how a missing value is said, and how one tensor holds all columns.

        Raises:
            DataError: The model input is of another kind.
        """
        wanted = self.datatypes[name]
        if datatype == wanted:
            return values
        if TEXT in (wanted, datatype):
            raise DataError(f"input {name!r} must be {wanted}, got {datatype}", column=name)
        if is_float(wanted) and datatype != "BOOL":
            return values
        if is_integer(wanted) and (is_integer(datatype) or (is_float(datatype) and _whole(values))):
            return values
        if wanted == "BOOL" and _zero_or_one(values):
            return values
        raise DataError(f"input {name!r} must be {wanted}, got {datatype} that is not", column=name)


def check_texts(name: str, values: Iterable[object], chars: int) -> None:
    """Refuse a text that is longer than so many characters; what is no text is not looked at.

    Raises:
        DataError: One is.
    """
    for value in values:
        if type(value) is str and len(value) > chars:
            raise DataError(f"{name!r} must have at most {chars} characters, got {len(value)}", column=name)


def datatype_of_label(signature: Signature) -> str:
    """The datatype of a classifier's ``label``."""
    kinds = {type(value) for value in signature.classes}
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    return "FP64" if kinds <= {int, float} else TEXT


def labels_array(signature: Signature) -> Array:
    """The classes as an array of the label's type, to be indexed by class number."""
    datatype = datatype_of_label(signature)
    if datatype == TEXT:
        array = np.empty(len(signature.classes), dtype=object)
        array[:] = [str(value) for value in signature.classes]
        return array
    return np.array(signature.classes, dtype=NUMBERS[datatype])


def _any_missing(values: Array) -> bool:
    if values.dtype.kind == "O":
        return any(value is None for value in values)
    return values.dtype.kind == "f" and bool(np.isnan(values).any())


def _whole(values: Array) -> bool:
    present = values[~np.isnan(values)]
    return bool((present == np.floor(present)).all())


def _zero_or_one(values: Array) -> bool:
    return bool(((values == 0) | (values == 1) | np.isnan(values)).all())
