"""Features computed at request time: one function, called the same way for training and for serving."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymlops.errors import ConfigError, DataError
from raymlops.features.definitions import DType
from raymlops.features.naming import column_name, parse_feature
from raymlops.features.schema import INSTANT, arrow_type
from raymlops.features.services import OnDemandView

__all__ = ["OnDemandFunction"]

Columns: TypeAlias = Mapping[str, npt.NDArray[Any]]


class OnDemandFunction:
    """The function of an on-demand view, loaded.

    Args:
        view: The view.

    Raises:
        ConfigError: the function cannot be imported.
    """

    def __init__(self, view: OnDemandView) -> None:
        self.view = view
        self._function = _load(view)
        self.inputs = {reference: _seen_as(reference) for reference in view.inputs}
        """Input as declared -> the name the function sees."""

    def request_type(self, name: str) -> DType:
        """Type of a request column."""
        return self.view.request_types.get(name, "float64")

    def compute(self, columns: Mapping[str, Any], rows: int) -> dict[str, Any]:
        """Call the function.

        Args:
            columns: Name the function sees -> Arrow array of ``rows`` values.
            rows: Number of rows.

        Returns:
            Column name ``VIEW__FIELD`` -> Arrow array of the declared type.

        Raises:
            DataError: the function raised, or what it returned is not what the view declares.
        """
        owner = f"on-demand view {self.view.ref!r}"
        given = {name: _numpy(columns[name]) for name in self.inputs.values()}
        try:
            returned = self._function(given)
        except Exception as error:
            raise DataError(f"{owner}: {self.view.function} raised {error!r}", view=self.view.name) from error
        declared = {column.name: column.dtype for column in self.view.fields}
        if not isinstance(returned, Mapping) or set(returned) != set(declared):
            got = sorted(returned) if isinstance(returned, Mapping) else type(returned).__name__
            raise DataError(f"{owner}: must return columns {sorted(declared)}, got {got}", view=self.view.name)
        results = {}
        for name, dtype in declared.items():
            values = np.asarray(returned[name])
            if values.shape != (rows,):
                raise DataError(f"{owner}: column {name!r} must have shape ({rows},), got {values.shape}")
            results[column_name(self.view.name, name)] = _arrow(owner, name, values, dtype)
        return results


def _seen_as(reference: str) -> str:
    if ":" not in reference:
        return reference
    view, _, field = parse_feature(reference)
    return column_name(view, field)


def _load(view: OnDemandView) -> Callable[[Columns], Any]:
    module, _, name = view.function.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"on-demand view {view.ref!r}: cannot import {view.function!r}: {error}") from error
    if not callable(function):
        raise ConfigError(f"on-demand view {view.ref!r}: {view.function!r} must be callable, got {function!r}")
    loaded: Callable[[Columns], Any] = function
    return loaded


def _numpy(column: Any) -> npt.NDArray[Any]:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    values: npt.NDArray[Any]
    if pa.types.is_string(column.type):
        values = np.array(column.to_pylist(), dtype=object)
    elif pa.types.is_timestamp(column.type):
        values = column.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
    else:
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def _arrow(owner: str, name: str, values: npt.NDArray[Any], dtype: DType) -> Any:
    try:
        if values.dtype.kind == "M":
            values = values.astype("datetime64[us]")
        column = pa.array(values, from_pandas=True)
        if dtype == "timestamp" and pa.types.is_timestamp(column.type):
            return column.cast(INSTANT)
        return column.cast(arrow_type(dtype))
    except pa.ArrowException as error:
        raise DataError(f"{owner}: column {name!r} must be {dtype}, got {values.dtype}: {error}") from error
