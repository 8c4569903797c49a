"""Features computed at request time: one function, called the same way for training and for serving."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymlops.errors import ConfigError, DataError
from raymlops.features.definitions.fields import DType
from raymlops.features.definitions.naming import column_name, seen_as
from raymlops.features.definitions.schema import arrow_type
from raymlops.features.definitions.services import OnDemandView
from raymlops.features.definitions.source_code import FunctionSource, function_source
from raymlops.tables.columns import INSTANT

__all__ = ["Columns", "OnDemandFunction"]

Columns: TypeAlias = Mapping[str, npt.NDArray[Any]]

_loading = threading.Lock()
_files: dict[str, str] = {}
"""Module -> digest of the file it was loaded from in this process."""


class OnDemandFunction:
    """The function of an on-demand view, loaded.

    Args:
        view: The view. Where it is an applied one, the function's code must be the code that was applied.

    Raises:
        ConfigError: the function cannot be imported in this process, or is not the one that was applied.
    """

    def __init__(self, view: OnDemandView) -> None:
        self.view = view
        self._owner = f"on-demand view {view.ref!r}"
        self._function = _load(view, self._owner)
        self.inputs = {reference: seen_as(reference) for reference in view.inputs}
        """Input as declared -> the name the function sees."""

    def request_type(self, name: str) -> DType:
        """Type of a request column."""
        return self.view.request_type(name)

    def given(self, columns: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """What the function is given: name it sees -> NumPy array, not to be written to.

        Args:
            columns: Name the function sees -> Arrow array; others are left out.
        """
        return {name: _numpy(columns[name]) for name in self.inputs.values()}

    def compute(self, columns: Mapping[str, Any], rows: int) -> dict[str, Any]:
        """Call the function; it is not asked about no rows at all.

        Args:
            columns: Name the function sees -> Arrow array of ``rows`` values.
            rows: Number of rows.

        Returns:
            Column name ``VIEW__FIELD`` -> Arrow array of the declared type.

        Raises:
            DataError: the function raised, or what it returned is not what the view declares.
        """
        if not rows:
            types = {column_name(self.view.name, column.name): column.dtype for column in self.view.fields}
            return {name: pa.array([], arrow_type(dtype)) for name, dtype in types.items()}
        return self.call(self.given(columns), rows)

    def call(self, given: Columns, rows: int) -> dict[str, Any]:
        """Call the function with arrays.

        Args:
            given: As ``given`` returns them, of ``rows`` values.
            rows: Number of rows, 1 or more.

        Returns:
            As ``compute``.

        Raises:
            DataError: as ``compute``.
        """
        try:
            returned = self._function(given)
        except Exception as error:
            reason = f"{self._owner}: {self.view.function} raised {error!r}"
            raise DataError(reason, view=self.view.name) from error
        declared = {column.name: column.dtype for column in self.view.fields}
        if not isinstance(returned, Mapping) or set(returned) != set(declared):
            got = sorted(map(str, returned)) if isinstance(returned, Mapping) else type(returned).__name__
            reason = f"{self._owner}: must return columns {sorted(declared)}, got {got}"
            raise DataError(reason, view=self.view.name)
        results = {}
        for name, dtype in declared.items():
            values = _array_of(self._owner, name, returned[name])
            if values.shape != (rows,):
                raise DataError(f"{self._owner}: column {name!r} must have shape ({rows},), got {values.shape}")
            results[column_name(self.view.name, name)] = _arrow(self._owner, name, values, dtype)
        return results


def _load(view: OnDemandView, owner: str) -> Callable[[Columns], Any]:
    module, _, name = view.function.partition(":")
    try:
        source = function_source(view.function)
        if view.code and view.code != source.digest:
            rule = f"the code of {view.function!r} must be what was applied, {view.code[:12]}"
            raise ConfigError(f"{rule}, got {source.digest[:12]}: give the changed function a new name and version")
        with _loading:
            function = getattr(_imported(module, source), name)
    except ConfigError as error:
        raise ConfigError(f"{owner}: {error}", **error.context) from error
    except Exception as error:
        # a user's module may raise anything while it is imported
        raise ConfigError(f"{owner}: cannot import {view.function!r}: {error!r}", function=view.function) from error
    if not callable(function):
        raise ConfigError(f"{owner}: {view.function!r} must be callable, got {function!r}", function=view.function)
    loaded: Callable[[Columns], Any] = function
    return loaded


def _imported(name: str, source: FunctionSource) -> ModuleType:
    """The module, with what it is made of loaded again where the files changed since this process loaded them.

    A process that lives for months sees definitions come and go. Functions of applied views do not change: their code
    is checked, so that loading a file again gives them as they were.
    """
    for module, digest in source.files.items():
        if module in sys.modules and _files.setdefault(module, digest) != digest:
            importlib.invalidate_caches()
            importlib.reload(sys.modules[module])
        _files[module] = digest
    return importlib.import_module(name)


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
    # Arrow's own memory is read-only, copies of it are not: what a function may do must not hang on missing values.
    values.flags.writeable = False
    return values


def _array_of(owner: str, name: str, returned: object) -> npt.NDArray[Any]:
    try:
        return np.asarray(returned)
    except (TypeError, ValueError) as error:
        raise DataError(f"{owner}: column {name!r} must be an array, got {type(returned).__name__}: {error}") from error


def _arrow(owner: str, name: str, values: npt.NDArray[Any], dtype: DType) -> Any:
    try:
        if values.dtype.kind == "M":
            values = values.astype("datetime64[us]")
        column = pa.array(values, from_pandas=True)
        if dtype == "timestamp" and pa.types.is_timestamp(column.type):
            return column.cast(INSTANT)
        return column.cast(arrow_type(dtype))
    except (pa.ArrowException, OverflowError, TypeError) as error:
        raise DataError(f"{owner}: column {name!r} must be {dtype}, got {values.dtype}: {error}") from error
