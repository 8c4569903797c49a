"""The rehearsal of an on-demand function: a check that each row's result depends on that row alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raymlops.errors import ConfigError, DataError

if TYPE_CHECKING:
    from raymlops.features.definitions.on_demand import OnDemandFunction

__all__ = ["rehearse"]


def rehearse(function: OnDemandFunction, example: Mapping[str, Any]) -> None:
    """Call a function on an example in one call, again, row by row, in another order, in parts and doubled.

    Every value must have the same bits each time; a NaN is a missing value, and equals another.

    Args:
        function: The function.
        example: Name the function sees -> Arrow array; all of the same length, two rows or more.

    Raises:
        ConfigError: the function raises, changes its inputs, returns what is not declared, or other values for the
            same row.
    """
    owner = f"on-demand view {function.view.ref!r}"
    rows = len(next(iter(example.values())))
    try:
        # The example holds values that real rows may not: what NumPy thinks of 1 / 0 is not what is asked here.
        with np.errstate(all="ignore"):
            _check_inputs_kept(owner, function, example, rows)
            whole = function.compute(example, rows)
            for how, parts in _ways(rows):
                _check_same(owner, function, example, whole, how, parts)
    except DataError as error:
        raise ConfigError(f"{error} (tried on an example of {rows} rows)", **error.context) from error


def _ways(rows: int) -> list[tuple[str, list[list[int]]]]:
    """Ways to ask about all rows: a name, and the positions asked about in each call."""
    everything = list(range(rows))
    mixed = np.random.default_rng(rows).permutation(rows).tolist()
    return [
        ("when called again", [everything]),
        ("row by row", [[row] for row in everything]),
        ("in reverse order", [everything[::-1]]),
        ("in another order", [mixed]),
        ("in two parts", [everything[: rows // 2], everything[rows // 2 :]]),
        ("with every row twice", [everything + everything]),
    ]


def _check_inputs_kept(owner: str, function: OnDemandFunction, example: Mapping[str, Any], rows: int) -> None:
    writable = {name: values.copy() for name, values in function.given(example).items()}
    before = {name: values.copy() for name, values in writable.items()}
    given = dict(writable)
    function.call(given, rows)
    for name, values in writable.items():
        if not _unchanged(before[name], values):
            rule = f"{function.view.function} must not change its inputs, but changed {name!r}"
            raise ConfigError(f"{owner}: {rule}", view=function.view.name)


def _unchanged(before: Any, after: Any) -> bool:
    if before.dtype == object:
        return bool(before.tolist() == after.tolist())
    return bool(before.shape == after.shape and before.tobytes() == after.tobytes())


def _check_same(
    owner: str,
    function: OnDemandFunction,
    example: Mapping[str, Any],
    whole: Mapping[str, Any],
    how: str,
    parts: Sequence[Sequence[int]],
) -> None:
    for positions in parts:
        taken = pa.array(positions, pa.int64())
        found = function.compute({name: column.take(taken) for name, column in example.items()}, len(positions))
        for name, column in found.items():
            expected = whole[name].take(taken)
            differing = np.flatnonzero(_bits(column) != _bits(expected))
            if len(differing):
                row = int(differing[0])
                inputs = {seen: values[positions[row]].as_py() for seen, values in example.items()}
                raise ConfigError(
                    f"{owner}: {function.view.function} must give a row the same {name!r} however it is called, got "
                    f"{expected[row].as_py()!r} in one call and {column[row].as_py()!r} {how}, for {inputs}",
                    view=function.view.name,
                )


def _bits(column: Any) -> Any:
    """Values that are equal exactly where the bits are, or both are missing."""
    if pa.types.is_floating(column.type):
        bits = column.fill_null(0.0).to_numpy(zero_copy_only=False).view(np.int64)
        column = pa.array(bits, mask=column.is_null().to_numpy(zero_copy_only=False))
    return np.array(column.to_pylist(), dtype=object)
